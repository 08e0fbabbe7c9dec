// Azurite loads this file first. Its parent holds the other end of stdin and never writes to it. The end of the stream
// means that the parent has ended, in whatever way; Azurite then closes as on SIGTERM, and no write is lost.
process.stdin.on("end", () => process.kill(process.pid, "SIGTERM"));
process.stdin.resume();
process.stdin.unref();

// Output to a parent that has ended must not stop Azurite before it has saved its data.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

// A name may hold U+FFFE and U+FFFF, which XML cannot carry. Azurite would refuse each list with one; the proxy encodes them.
require("xmlbuilder/lib/XMLStringifier").prototype.assertLegalChar = (text) => text;

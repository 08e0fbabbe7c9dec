// Loaded into Azurite before itself. Its parent holds the other end of stdin and never writes: the end of the stream
// means that the parent is gone, however it died, and Azurite closes as if it had been asked to (no write is lost).
process.stdin.on("end", () => process.kill(process.pid, "SIGTERM"));
process.stdin.resume();
process.stdin.unref();

// While it closes it still talks, to a parent that no longer listens; that must not end it before its data is saved.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

// A name may hold U+FFFE and U+FFFF, which XML cannot carry: Azurite would refuse every list that has one. The proxy encodes them.
require("xmlbuilder/lib/XMLStringifier").prototype.assertLegalChar = (text) => text;

// Azurite loads this file first. Its parent holds the other end of stdin and never writes to it. The stream ends when the
// parent ends, even by `kill -9`. Azurite then closes as on SIGTERM, and no write is lost.
process.stdin.on("end", () => process.kill(process.pid, "SIGTERM"));
process.stdin.resume();
process.stdin.unref();

// Output to a parent that has ended must not stop Azurite before it has saved its data.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

// A name may contain U+FFFE and U+FFFF, which XML does not allow. Azurite would refuse each list with one of them.
// This check is off, and the proxy encodes these names.
require("xmlbuilder/lib/XMLStringifier").prototype.assertLegalChar = (text) => text;

// Azurite loads this package even though its telemetry is off. That would take most of its start.
const telemetry = require.resolve("applicationinsights");
require.cache[telemetry] = { id: telemetry, filename: telemetry, loaded: true, exports: {} };

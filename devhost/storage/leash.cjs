// Loaded into Azurite before itself. Its parent holds the other end of stdin and never writes: the end of the stream
// means that the parent is gone, however it died, and Azurite closes as if it had been asked to (no write is lost).
process.stdin.on("end", () => process.kill(process.pid, "SIGTERM"));
process.stdin.resume();
process.stdin.unref();

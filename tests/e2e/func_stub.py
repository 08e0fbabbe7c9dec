"""A stub of Core Tools, `func start --port N`: it answers what it is told to, and leaves its worker behind when it ends.

`stub.json` in DEVHOST_STATE may hold `answers` (by path: a list of status and body, one for each call, the last one for all
that follow), `seconds` (that a call takes), `deaf` (to SIGTERM), `dies` (when it is asked). In `stub.log` it notes a line for
each thing that happens to it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

STATE = Path(os.environ["DEVHOST_STATE"])
TOLD: dict[str, Any] = json.loads((STATE / "stub.json").read_text())
WORKER = "/core-tools/workers/python/3.11/LINUX/X64/worker.py"
NOTES = STATE / "stub.log"
LAST_DEATH = 3


def note(line: str) -> None:
    """Write a line into the log, at once."""
    with NOTES.open("a") as log:
        log.write(f"{line}\n")


class Handler(BaseHTTPRequestHandler):
    """Gives the next answer of a path."""

    def do_GET(self) -> None:
        """Note, wait, answer."""
        note(self.path)
        if TOLD.get("dies"):
            os._exit(1)
        time.sleep(TOLD.get("seconds", 0))
        answers = TOLD.get("answers", {}).get(self.path, [[404, None]])
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def work() -> None:
    """Keep a worker; end with its third death, as the real host does."""
    for _ in range(LAST_DEATH):
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", WORKER])  # its own
        note(f"worker {worker.pid}")
        worker.wait()
    os._exit(1)


def stop(*_: object) -> None:
    """End at once, without a thought for the worker."""
    note("SIGTERM")
    if not TOLD.get("deaf"):
        os._exit(0)


if __name__ == "__main__":
    assert sys.argv[1:3] == ["start", "--port"]
    note(f"func {os.getpid()}")
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=work, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()

"""A stub of Core Tools for `func start --port N`. It returns prepared answers, and leaves its worker running when it ends.

`stub.json` in DEVHOST_STATE may contain `answers` (by path, a list of status and body; the last one is repeated), `seconds`
(the duration of a call), `deaf` (ignore SIGTERM) and `dies` (exit at the first call). The stub logs its events to `stub.log`.
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
PLAN: dict[str, Any] = json.loads((STATE / "stub.json").read_text())
WORKER = "/core-tools/workers/python/3.11/LINUX/X64/worker.py"
LOG = STATE / "stub.log"
MAX_WORKER_DEATHS = 3


def note(line: str) -> None:
    with LOG.open("a") as log:
        log.write(f"{line}\n")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        note(self.path)
        if PLAN.get("dies"):
            os._exit(1)
        time.sleep(PLAN.get("seconds", 0))
        answers = PLAN.get("answers", {}).get(self.path, [[404, None]])
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Suppress the access log."""


def work() -> None:
    """Keep one worker running. Exit at its third death, as the real host does."""
    for _ in range(MAX_WORKER_DEATHS):
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", WORKER])
        note(f"worker {worker.pid}")
        worker.wait()
    os._exit(1)


def stop(*_: object) -> None:
    """Exit immediately, without stopping the worker."""
    note("SIGTERM")
    if not PLAN.get("deaf"):
        os._exit(0)


if __name__ == "__main__":
    assert sys.argv[1:3] == ["start", "--port"]
    note(f"func {os.getpid()}")
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=work, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()

"""A tap on the queue service: passes every request on, and counts it. The proxy counts those of the blob service alone."""

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from devhost.storage.config import HOST

NAMES = {
    ("GET", "messages"): "GetMessages",
    ("POST", "messages"): "PutMessage",
    ("GET", "queue"): "GetQueueProperties",
    ("DELETE", "message"): "DeleteMessage",
    ("PUT", "message"): "UpdateMessage",
}
HOPS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})


class Tap:
    """What was asked of each queue, by operation: `DeleteMessage blob-events`."""

    def __init__(self) -> None:
        self.asked = Counter[str]()

    @contextlib.contextmanager
    def on(self, port: int) -> Iterator[int]:
        """Stand before the queue service at `port`; the port where this one listens."""
        server = ThreadingHTTPServer((HOST, 0), _handler(self.asked, port))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def operation(method: str, target: str) -> str:
    """Name a request, from its line alone."""
    url = urlsplit(target)
    _, _, queue, *rest = [*url.path.split("/"), "", ""][:5]
    peeks = parse_qs(url.query).get("peekonly") == ["true"]
    what = "message" if len(rest) > 1 and rest[1] else "messages" if rest and rest[0] else "queue"
    name = "PeekMessages" if peeks else NAMES.get((method, what), f"{method} {what}")
    return f"{name} {queue}"


def _handler(asked: Counter[str], port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            asked[operation(self.command, self.path)] += 1
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=60)) as service:
                service.request(self.command, self.path, body or None, dict(self.headers))
                answer = service.getresponse()
                data = answer.read()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in HOPS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass_on  # noqa: N815  # the names are the library's

        def log_message(self, *_: Any) -> None:
            """A request's line may hold a signature."""

    return Handler

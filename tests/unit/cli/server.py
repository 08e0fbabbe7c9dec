"""A server in place of the app: it gives prepared answers, and keeps what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request."""

    call: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """An answer; a body that is not bytes is sent as JSON."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0


def page(*items: Any, continuation: str | None = None) -> dict[str, Any]:
    """A page of a list."""
    return {"items": list(items), "continuation": continuation}


def problem(status: int, detail: str, fix: str = "Do this.", **headers: str) -> Answer:
    """An error of the API."""
    return Answer(status, {"status": status, "detail": detail, "fix": fix}, headers)


@dataclass
class Server:
    """Answers by call, such as `GET /api/health`. The last answer of a call is repeated."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def on(self, call: str, *answers: Any) -> None:
        """Prepare answers: an Answer, the JSON of a 200, or a function of the request that returns either."""
        method, _, path = call.partition(" ")
        self.answers[f"{method} /api{path}"] = list(answers)

    def calls(self) -> list[str]:
        return [each.call.replace("/api", "", 1) for each in self.asked]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        prepared = self.answers.get(asked.call)
        if not prepared:
            return Answer(404, b"")
        found = prepared.pop(0) if len(prepared) > 1 else prepared[0]
        found = found(asked) if isinstance(found, Callable) else found  # type: ignore[arg-type]
        return found if isinstance(found, Answer) else Answer(200, found)

    @contextmanager
    def running(self) -> Iterator["Server"]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.loads(data) if data else None
                asked = Asked(f"{self.command} {parts.path}", dict(parse_qsl(parts.query)), dict(self.headers), body)
                answer = server.answer(asked)
                if answer.delay:
                    time.sleep(answer.delay)
                sent = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(sent)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            do_POST = do_DELETE = do_GET  # noqa: N815  # http.server's names

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            http.daemon_threads = True
            thread = threading.Thread(target=http.serve_forever, args=(0.01,))
            thread.start()
            self.url = f"http://127.0.0.1:{http.server_port}"
            try:
                yield self
            finally:
                http.shutdown()
                thread.join()

"""A collector of metrics on loopback, as strict as the schema of OTLP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict, Parse, ParseError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

PATH = "/v1/metrics"


@dataclass
class Sink:
    """It keeps each request that it can parse, and answers the next ones with `answers`: status, body, headers."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """The points of a metric in the last request, by the values of their attributes."""
        (resource,) = self.requests[-1]["resourceMetrics"]
        (scope,) = resource["scopeMetrics"]
        (metric,) = [each for each in scope["metrics"] if each["name"] == name]
        (data,) = [metric[kind] for kind in ("sum", "gauge", "histogram") if kind in metric]
        return {
            tuple(each["value"]["stringValue"] for each in point.get("attributes", [])): _value(point)
            for point in data["dataPoints"]
        }

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Parse a request, and return the answer."""
        self.headers.append(headers)
        if path != PATH:
            return 404, b"", {}
        if headers.get("content-type") != "application/json":
            return 415, b"", {}
        if self.answers:
            return self.answers.pop(0)
        try:
            request = Parse(body, ExportMetricsServiceRequest())
        except ParseError as error:
            return 400, str(error).encode(), {}
        self.requests.append(MessageToDict(request))
        return 200, b'{"partialSuccess":{}}', {}


def _value(point: dict[str, Any]) -> Any:
    if "asInt" in point:
        return int(point["asInt"])
    return point["asDouble"] if "asDouble" in point else (int(point["count"]), point["sum"])


@contextmanager
def sink() -> Iterator[Sink]:
    """A running collector."""
    found = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent = {name.lower(): value for name, value in self.headers.items()}
            status, answer, headers = found.take(self.path, sent, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

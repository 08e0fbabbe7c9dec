"""Recipients are notified of each version once it is complete, through kills of the host and a queue that refuses."""

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from devhost.storage.testing import free_ports
from tests.e2e.client import TIMEOUT, Client
from tests.e2e.stacks import LOUD, environment, running_stack
from tests.e2e.storm import LONG

ROOT = Path(__file__).parents[2]
VERSIONS, REFUSES_SECONDS = (1_000, 60) if LONG else (150, 10)
KILLS = 3
HEADERS = ("Authorization", "Content-Type", "Accept", "Date", "Content-Length")


class Queues:
    """A proxy before the queue service, which can refuse every request."""

    def __init__(self, port: int, upstream: int) -> None:
        self.refusing = False
        self.refused = 0
        queues = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                status, headers, answer = queues.answer(self.path, body, dict(self.headers), upstream)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(
        self, path: str, body: bytes, headers: dict[str, str], upstream: int
    ) -> tuple[int, dict[str, str], bytes]:
        if self.refusing:
            self.refused += 1
            return 503, {"x-ms-error-code": "ServerBusy"}, b""
        kept = {name: value for name, value in headers.items() if name.startswith("x-ms-") or name in HEADERS}
        request = urllib.request.Request(f"http://127.0.0.1:{upstream}{path}", body, kept, method="POST")  # loopback
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                return answer.status, {"Content-Type": "application/xml"}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {"x-ms-error-code": error.headers.get("x-ms-error-code") or ""}, error.read()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def queues_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, queues_port: int) -> Iterator[Client]:
    state = tmp_path_factory.mktemp("notify")
    settings = environment(state)
    accounts = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    routes = [
        {
            "name": name,
            "source": f"{accounts}/sharingsource/{container}/",
            "target": f"{accounts}/sharingtarget/{container}/",
            "notify": f"http://127.0.0.1:{queues_port}/sharingtarget/{queue}",
        }
        for name, container, queue in (("default", "source", "arrivals"), ("astray", "many", "nowhere"))
    ]
    with running_stack(state, settings | LOUD | {"ROUTES": json.dumps(routes)}) as running:
        for account in ("sharingsource", "sharingtarget"):
            running.create_container(account, "source")
            running.create_container(account, "many")
        yield running


@pytest.fixture(scope="module")
def queues(client: Client, queues_port: int) -> Iterator[Queues]:
    made = Queues(queues_port, client.stack.queue_port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def arrivals(client: Client) -> QueueClient:
    queue = QueueClient.from_connection_string(client.stack.connection_string("sharingtarget"), "arrivals")
    queue.create_queue()
    return queue


@pytest.fixture(scope="module")
def consume() -> Callable[..., None]:
    """The consumer of docs/consumers.md."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "consumers.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "consumer"}
    exec(compile(code, "consumers.md", "exec"), names)  # noqa: S102  # the project's own documentation
    found: Callable[..., None] = names["consume"]
    return found


class Consumed:
    """What the consumer has handled: it starts once for each id, and reads the whole blob."""

    def __init__(self, client: Client, queue: QueueClient, consume: Callable[..., None]) -> None:
        key = client.accounts["sharingtarget"].credential.account_key
        self._consume, self._queue = consume, queue
        self._credential = {"account_name": "sharingtarget", "account_key": key}
        self.seen: set[str] = set()
        self.contents: dict[str, bytes] = {}
        self.handled: Counter[str] = Counter()

    def has_read(self, more_than: int) -> bool:
        """Read what has arrived. Return whether so many versions were announced."""
        self._consume(self._queue, self._credential, self.seen, self._handle)
        return len(self.seen) > more_than

    def _handle(self, event: dict[str, Any], content: bytes) -> None:
        assert len(content) == event["data"]["contentLength"]
        self.handled[event["id"]] += 1
        self.contents[event["subject"].partition("/blobs/")[2]] = content


@pytest.mark.timeout(30 * TIMEOUT)
def test_a_consumer_starts_once_for_each_version_through_kills_and_refusals(
    client: Client, queues: Queues, arrivals: QueueClient, consume: Callable[..., None]
) -> None:
    consumed = Consumed(client, arrivals, consume)
    contents = {
        f"day/{number:04} ü&.bin": f"content {number}".encode() * (number % 7 + 1) for number in range(VERSIONS)
    }
    names = list(contents)
    step = VERSIONS // (KILLS + 1)
    for number, start in enumerate(range(0, VERSIONS, step)):
        for name in names[start : start + step]:
            client.put(name, contents[name])
        if number < KILLS:
            client.until(partial(consumed.has_read, start // 2), "events arrive")
            client.stack.kill_host()
            client.stack.start_host()
        if number == 1:
            queues.refusing = True
            refuses_until = time.monotonic() + REFUSES_SECONDS
    client.until(lambda: queues.refused > 0, "the queue refuses events")
    client.until(lambda: time.monotonic() > refuses_until, "the queue refuses no longer")
    queues.refusing = False

    client.until(partial(consumed.has_read, VERSIONS - 1), "all versions are announced", TIMEOUT * 4)
    assert len(consumed.handled) == VERSIONS
    assert set(consumed.handled.values()) == {1}
    assert consumed.contents == contents
    assert client.list_all("/dead-letters?route=default") == []


def test_a_recipient_that_does_not_exist_leaves_the_transfer_verified(client: Client, queues: Queues) -> None:
    assert not queues.refusing
    client.put("lost.txt", b"lost", container="many")
    transfer = client.until_final("lost.txt", "astray")
    assert transfer["state"] == "verified"
    assert client.read(client.target("lost.txt", "many")) == b"lost"
    answer = client.api("POST", f"/transfers/{transfer['id']}/notify")
    assert answer.status == 503
    assert "QueueNotFound" in answer.body["detail"]
    queue = QueueClient.from_connection_string(client.stack.connection_string("sharingtarget"), "nowhere")
    queue.create_queue()
    answer = client.api("POST", f"/transfers/{transfer['id']}/notify")
    assert answer.status == 202
    assert any(message.content for message in queue.receive_messages())

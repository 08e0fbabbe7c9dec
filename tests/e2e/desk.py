"""What an end-to-end test does: put blobs, ask the API, look at queues and at the proxy's log, break things."""

import http.client
import json
import os
import re
import secrets
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from azure.storage.blob import BlobClient, BlobServiceClient
from azure.storage.queue import QueueClient

from devhost.stack import LocalStack
from devhost.storage.client import StorageControl
from devhost.storage.config import EVENTS_ACCOUNT, STATE_ACCOUNT
from tests.e2e.processes import below

FINAL = frozenset({"verified", "superseded", "dead_lettered", "cancelled"})
ON_FUNC = os.environ.get("HOST") == "func"
# A real host that was killed takes up its queue messages after ten minutes.
PATIENCE = 900 if ON_FUNC else 120
# The Python worker of a real host, by its command line; and what the stand-in says when there is another one.
WORKER, REPLACED = re.compile(rb"/workers/python/\S*worker"), b"a new worker is up"
AGENT = "blob-data-sharing"
# What a client, or a gateway in front of the app, sends with every call; the app has no business to keep any of it.
CANARY = f"canary-{secrets.token_hex(16)}"
SENT = {
    "x-functions-key": CANARY,
    "Authorization": f"Bearer {CANARY}",
    "Cookie": f"AppServiceAuthSession={CANARY}",
    "X-MS-TOKEN-AAD-ACCESS-TOKEN": CANARY,
}


@dataclass
class Answer:
    """What the API answered."""

    status: int
    headers: dict[str, str]
    body: Any


class Desk:
    """A running stack with its clients. `own` are the app's state account and its events account."""

    def __init__(
        self, environment: dict[str, str], log: IO[str], own: tuple[str, str] = (STATE_ACCOUNT, EVENTS_ACCOUNT)
    ) -> None:
        self.stack = LocalStack(environment, output=log)
        self.log = Path(log.name)
        self.own = own
        self.control = StorageControl(self.stack.blob_port)
        self.accounts = {
            name: BlobServiceClient.from_connection_string(self.stack.connection_string(name))
            for name in ("sharingsource", "sharingtarget", *own)
        }
        self.answers: list[str] = []

    def close(self) -> None:
        """Stop everything."""
        for account in self.accounts.values():
            account.close()
        self.stack.stop()

    def container(self, account: str, name: str) -> None:
        """Create a container, if it is not there."""
        container = self.accounts[account].get_container_client(name)
        if not container.exists():
            container.create_container()

    def source(self, name: str, container: str = "source") -> BlobClient:
        """A blob of the source account."""
        return self.accounts["sharingsource"].get_blob_client(container, name)

    def target(self, name: str, container: str = "target") -> BlobClient:
        """A blob of the target account."""
        return self.accounts["sharingtarget"].get_blob_client(container, name)

    def put(self, name: str, data: bytes, container: str = "source", **options: Any) -> str:
        """Put a blob into a source; its ETag, bare_etag."""
        done = self.source(name, container).upload_blob(data, overwrite=True, **options)
        return str(done["etag"]).strip('"')

    def read(self, blob: BlobClient) -> bytes:
        """A blob's bytes, as they are stored."""
        stream = blob.download_blob(decompress=False)
        return bytes(stream.readall())

    def queue(self, name: str = "blob-events") -> QueueClient:
        """A queue of the events account."""
        return QueueClient.from_connection_string(self.stack.connection_string(self.own[1]), name)

    def api(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Ask the API, with canaries for a key and tokens; every answer is kept for the search for secrets."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"{self.stack.api}{path}{'&' if '?' in path else '?'}code={CANARY}"
        answer = self._ask(method, url, data, SENT | (headers or {}))
        self.answers.append(f"{answer.headers} {answer.body!r}")
        answer.body = json.loads(answer.body) if answer.body else None
        return answer

    def host(self, path: str) -> int:
        """Post to the host's own API, past the app: as an operator may."""
        return self._ask(
            "POST", f"http://127.0.0.1:{self.stack.host_port}{path}", b"{}", {"Content-Type": "application/json"}
        ).status

    def webhook(self, path: str) -> int:
        """Post to the Durable extension's public API; a real host asks for its system key."""
        status = self.host(f"/runtime/webhooks/durabletask{path}")
        if status != 401:
            return status
        key = self.admin("host/systemkeys/durabletask_extension")["value"]
        return self.host(f"/runtime/webhooks/durabletask{path}&code={key}")

    def admin(self, path: str) -> Any:
        """What the host says of itself."""
        return json.loads(self._ask("GET", f"http://127.0.0.1:{self.stack.host_port}/admin/{path}", None, {}).body)

    def _ask(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  # loopback
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def fire(self, function: str) -> None:
        """Run a timer's function now, as the portal does."""
        assert self.host(f"/admin/functions/{function}") == 202

    def kill_worker(self) -> None:
        """The Python worker dies, as out of memory. A host that ends itself because of it is started again, as by Azure."""
        host, replaced = self.stack.host, self._replaced()
        assert host is not None
        if self.stack.on_func:
            for worker in self.workers():
                os.kill(worker, signal.SIGKILL)
        else:
            host.send_signal(signal.SIGUSR1)
        self.until(lambda: replaced() or host.poll() is not None, "there is another worker, or no host")
        if host.poll() is not None:
            self.stack.kill_host()  # its pipe
            self.stack.start_host()

    def restart_job_host(self) -> None:
        """The job host starts anew in its process, as after a change of its settings."""
        replaced = self._replaced()
        assert self.host("/admin/host/restart") == 200
        self.until(replaced, "there is another worker")

    def _replaced(self) -> Callable[[], bool]:
        """What tells whether another worker has taken the place of the one that is up now."""
        if self.stack.on_func:
            workers = self.workers()
            assert workers
            return lambda: bool(self.workers() - workers)
        begun = self.log.stat().st_size
        return lambda: REPLACED in self._written_since(begun)

    def _written_since(self, begun: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(begun)
            return log.read()

    def workers(self) -> set[int]:
        """The Python workers of a real host."""
        host = self.stack.host
        return {number for number, line in below(host.pid).items() if WORKER.search(line)} if host else set()

    def transfer_of(self, name: str, route: str = "default") -> Answer:
        """The transfer of a blob's current version."""
        return self.api("GET", f"/transfers?{urllib.parse.urlencode({'route': route, 'name': name})}")

    def until_final(self, name: str, route: str = "default") -> dict[str, Any]:
        """The transfer of a blob's current version, once it has ended."""
        found: dict[str, Any] = self.until(lambda: self._final(self.transfer_of(name, route)), f"{route}:{name} ends")
        return found

    def until_ended(self, transfer_id: str) -> dict[str, Any]:
        """A transfer by its id, once it has ended."""
        look = lambda: self._final(self.api("GET", f"/transfers/{transfer_id}"))  # noqa: E731  # said once
        found: dict[str, Any] = self.until(look, f"{transfer_id} ends")
        return found

    def _final(self, answer: Answer) -> dict[str, Any] | None:
        return answer.body if answer.status == 200 and answer.body["state"] in FINAL else None

    def until(self, look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """Look again and again until there is something to see."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if seen := look():
                return seen
            time.sleep(0.2)
        raise AssertionError(f"waited {patience} s in vain until {what}")

    def until_resumed(self, look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """As `until`, with the timer `resume` run every other second: by itself it comes once a minute."""
        due = time.monotonic()

        def fired() -> Any:
            nonlocal due
            if time.monotonic() >= due:
                with suppress(OSError, http.client.HTTPException):  # there is no worker now, or no host
                    self.host("/admin/functions/resume")
                due = time.monotonic() + 2
            return look()

        return self.until(fired, what, patience)

    def everything(self, path: str, limit: str = "limit=100") -> list[dict[str, Any]]:
        """Every item of a list, page by page; a report has no limit. ConnectionError where the app does not answer."""
        items: list[dict[str, Any]] = []
        continuation = ""
        while True:
            more = f"&continuation={urllib.parse.quote(continuation)}" if continuation else ""
            page = self.api("GET", f"{path}{'&' if '?' in path else '?'}{limit}{more}".replace("?&", "?").rstrip("?"))
            if page.status != 200:
                raise ConnectionError(f"{path} was answered {page.status}")
            items += page.body["items"]
            continuation = page.body["continuation"] or ""
            if not continuation:
                return items

    def requests(self, names: Iterable[str] | None = None) -> Counter[str]:
        """How often the app itself asked for what of source and target, by the proxy's log."""
        wanted = None if names is None else set(names)
        return Counter(
            request["operation"]
            for request in self.control.requests(internal=False)
            if AGENT in request["user_agent"]
            and request["account"] in {"sharingsource", "sharingtarget"}
            and (wanted is None or request["blob"] in wanted)
        )

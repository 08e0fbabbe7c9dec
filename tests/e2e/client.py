"""The client of an end-to-end test: blobs, the API, queues, the storage log, and restarts of the host."""

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
# After a kill, a real host receives its queue messages again only after ten minutes.
TIMEOUT = 900 if ON_FUNC else 120
# Part of the command line of a real host's Python worker.
WORKER = re.compile(rb"/workers/python/\S*worker")
# The log line of the stand-in when a new worker has started.
WORKER_STARTED = b"a new worker is up"
AGENT = "blob-data-sharing"
# Credentials that clients and gateways send with a call. The app must not store or log them.
CANARY = f"canary-{secrets.token_hex(16)}"
CREDENTIALS = {
    "x-functions-key": CANARY,
    "Authorization": f"Bearer {CANARY}",
    "Cookie": f"AppServiceAuthSession={CANARY}",
    "X-MS-TOKEN-AAD-ACCESS-TOKEN": CANARY,
}


@dataclass
class Answer:
    """An answer of the API."""

    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """A running stack with its clients. `app_accounts` are the names of the state account and the events account."""

    def __init__(
        self, environment: dict[str, str], log: IO[str], app_accounts: tuple[str, str] = (STATE_ACCOUNT, EVENTS_ACCOUNT)
    ) -> None:
        self.stack = LocalStack(environment, output=log)
        self.log = Path(log.name)
        self.app_accounts = app_accounts
        self.control = StorageControl(self.stack.blob_port)
        self.accounts = {
            name: BlobServiceClient.from_connection_string(self.stack.connection_string(name))
            for name in ("sharingsource", "sharingtarget", *app_accounts)
        }
        self.answers: list[str] = []

    def close(self) -> None:
        for account in self.accounts.values():
            account.close()
        self.stack.stop()

    def create_container(self, account: str, name: str) -> None:
        container = self.accounts[account].get_container_client(name)
        if not container.exists():
            container.create_container()

    def source(self, name: str, container: str = "source") -> BlobClient:
        return self.accounts["sharingsource"].get_blob_client(container, name)

    def target(self, name: str, container: str = "target") -> BlobClient:
        return self.accounts["sharingtarget"].get_blob_client(container, name)

    def put(self, name: str, data: bytes, container: str = "source", **options: Any) -> str:
        """Upload a source blob. Return its ETag without quotes."""
        done = self.source(name, container).upload_blob(data, overwrite=True, **options)
        return str(done["etag"]).strip('"')

    def read(self, blob: BlobClient) -> bytes:
        """Return the blob's bytes as they are stored, without decompression."""
        stream = blob.download_blob(decompress=False)
        return bytes(stream.readall())

    def queue(self, name: str = "blob-events") -> QueueClient:
        return QueueClient.from_connection_string(self.stack.connection_string(self.app_accounts[1]), name)

    def api(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Call the API with canary credentials. Every answer is kept, so that it can be searched for secrets."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"{self.stack.api}{path}{'&' if '?' in path else '?'}code={CANARY}"
        answer = self.request(method, url, data, CREDENTIALS | (headers or {}))
        self.answers.append(f"{answer.headers} {answer.body!r}")
        answer.body = json.loads(answer.body) if answer.body else None
        return answer

    def post_host(self, path: str) -> int:
        """Post to an address of the host itself, as an operator may. Return the status."""
        return self.request(
            "POST", f"http://127.0.0.1:{self.stack.host_port}{path}", b"{}", {"Content-Type": "application/json"}
        ).status

    def post_webhook(self, path: str) -> int:
        """Post to the Durable extension's API. A real host requires its system key."""
        status = self.post_host(f"/runtime/webhooks/durabletask{path}")
        if status != 401:
            return status
        key = self.get_admin("host/systemkeys/durabletask_extension")["value"]
        return self.post_host(f"/runtime/webhooks/durabletask{path}&code={key}")

    def get_admin(self, path: str) -> Any:
        """Return an answer of the host's admin API."""
        return json.loads(self.request("GET", f"http://127.0.0.1:{self.stack.host_port}/admin/{path}", None, {}).body)

    def request(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  # loopback
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def run_timer(self, function: str) -> None:
        """Run the function of a timer now, as the portal does."""
        assert self.post_host(f"/admin/functions/{function}") == 202

    def kill_worker(self) -> None:
        """Kill the Python worker. If the host ends because of it, start the host again, as Azure does."""
        host, replaced = self.stack.host, self._worker_replaced()
        assert host is not None
        if self.stack.on_func:
            for worker in self.workers():
                os.kill(worker, signal.SIGKILL)
        else:
            host.send_signal(signal.SIGUSR1)
        self.until(lambda: replaced() or host.poll() is not None, "the worker is replaced, or the host has ended")
        if host.poll() is not None:
            self.stack.kill_host()  # closes its pipe
            self.stack.start_host()

    def restart_job_host(self) -> None:
        """Restart the job host in its process, as a change of settings does."""
        replaced = self._worker_replaced()
        assert self.post_host("/admin/host/restart") == 200
        self.until(replaced, "the worker is replaced")

    def _worker_replaced(self) -> Callable[[], bool]:
        """Return a function that tells whether a new worker has replaced the current one."""
        if self.stack.on_func:
            workers = self.workers()
            assert workers
            return lambda: bool(self.workers() - workers)
        size = self.log.stat().st_size
        return lambda: WORKER_STARTED in self._log_from(size)

    def _log_from(self, position: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(position)
            return log.read()

    def workers(self) -> set[int]:
        """Return the process ids of the Python workers of a real host."""
        host = self.stack.host
        return {number for number, line in below(host.pid).items() if WORKER.search(line)} if host else set()

    def transfer_of(self, name: str, route: str = "default") -> Answer:
        """Get the transfer of a blob's current version."""
        return self.api("GET", f"/transfers?{urllib.parse.urlencode({'route': route, 'name': name})}")

    def until_final(self, name: str, route: str = "default") -> dict[str, Any]:
        """Wait until the transfer of a blob's current version has ended, and return it."""
        look = lambda: self._final(self.transfer_of(name, route))  # noqa: E731
        found: dict[str, Any] = self.until(look, f"{route}:{name} ends")
        return found

    def until_ended(self, transfer_id: str) -> dict[str, Any]:
        """Wait until the transfer with this id has ended, and return it."""
        look = lambda: self._final(self.api("GET", f"/transfers/{transfer_id}"))  # noqa: E731
        found: dict[str, Any] = self.until(look, f"{transfer_id} ends")
        return found

    def _final(self, answer: Answer) -> dict[str, Any] | None:
        return answer.body if answer.status == 200 and answer.body["state"] in FINAL else None

    def until(self, look: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
        """Call `look` until its result is true, and return the result."""
        end, pause = time.monotonic() + timeout, 0.02
        while time.monotonic() < end:
            if result := look():
                return result
            time.sleep(pause)
            pause = min(1.5 * pause, 0.2)
        raise AssertionError(f"timed out after {timeout} s waiting until {what}")

    def until_resumed(self, look: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> Any:
        """As `until`, but run the timer `resume` every two seconds instead of once a minute."""
        due = time.monotonic()

        def resume_and_look() -> Any:
            nonlocal due
            if time.monotonic() >= due:
                with suppress(OSError, http.client.HTTPException):  # the worker or the host is down
                    self.post_host("/admin/functions/resume")
                due = time.monotonic() + 2
            return look()

        return self.until(resume_and_look, what, timeout)

    def list_all(self, path: str, limit: str = "limit=100") -> list[dict[str, Any]]:
        """Return the items of all pages of a list. Reports accept no limit.

        Raises:
            ConnectionError: A page was not answered with 200.
        """
        items: list[dict[str, Any]] = []
        continuation = ""
        while True:
            more = f"&continuation={urllib.parse.quote(continuation)}" if continuation else ""
            page = self.api("GET", f"{path}{'&' if '?' in path else '?'}{limit}{more}".replace("?&", "?").rstrip("?"))
            if page.status != 200:
                raise ConnectionError(f"{path} returned {page.status}")
            items += page.body["items"]
            continuation = page.body["continuation"] or ""
            if not continuation:
                return items

    def count_requests(self, names: Iterable[str] | None = None) -> Counter[str]:
        """Count the app's requests to source and target by operation, optionally only those for these blob names."""
        wanted = None if names is None else set(names)
        return Counter(
            request["operation"]
            for request in self.control.requests(internal=False)
            if AGENT in request["user_agent"]
            and request["account"] in {"sharingsource", "sharingtarget"}
            and (wanted is None or request["blob"] in wanted)
        )

"""The search for secrets: their patterns, and every place where the app or the host stores or logs data."""

import base64
import gzip
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient, QueueServiceClient

from tests.e2e.client import CANARY, Client
from tests.e2e.processes import below
from tests.e2e.tables import Tables

# Patterns of secrets in lower case: a signature or key in a URL, an authorization header, an account key. Each begins with
# plain text, because Python finds such a pattern many times faster.
VALUE = rb"(?:=|%(?:25)*3d|\\+u003d)(?!removed|redacted)[\w%+/\\-]"
FORMS = (
    rb"sig(?<![a-z_-]sig)" + VALUE,
    rb"code(?<![a-z_-]code)" + VALUE,
    rb"sharedkey(?:lite)? \w+:",
    rb"bearer [\w.~+/-]{8}",
    rb"accountkey=\w",
)
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
SIGNATURE = re.compile(r"[?&]sig=([^&]+)")
# A signature is base64 that ends with one `=`. There are thousands, so only the text before each `=` is compared.
END = re.compile(rb"=|%(?:25)*3[dD]|\\+u003[dD]")
TAIL = 16
# The emulator is the service, `func` is a copy of the app's files, and the last two contain the host keys by design.
NOT_SEARCHED = ("storage", "func", "host-keys.json", "azure-webjobs-secrets")
GZIP = b"\x1f\x8b"


class Secrets:
    """Known secret values, and patterns of unknown ones."""

    def __init__(self, values: Iterable[str], signatures: Iterable[str] = ()) -> None:
        known = sorted({re.escape(form.lower()) for value in values for form in _encodings(value)})
        self._patterns = [re.compile(pattern) for pattern in (*FORMS, *known)]
        self._tails = {form[-TAIL:] for value in signatures for form in _encodings(value.removesuffix("="))}

    def find(self, text: bytes) -> bytes | None:
        """Return the first secret in a text with its surroundings, or None. Base64 is searched decoded as well."""
        decoded = b"\n".join(base64.b64decode(_padded(run)) for run in BASE64.findall(text))
        return next((found for layer in (text, decoded) for found in self._matches(layer)), None)

    def _matches(self, text: bytes) -> Iterator[bytes]:
        lower = text.lower()
        yield from (_around(text, match) for pattern in self._patterns for match in pattern.finditer(lower))
        ends = END.finditer(text) if self._tails else ()
        yield from (_around(text, end) for end in ends if text[end.start() - TAIL : end.start()] in self._tails)

    def leaks(self, places: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """Return the places that contain a secret, each with the first one."""
        return {where: found for where, text in places if (found := self.find(text)) is not None}


def _encodings(value: str) -> Iterator[bytes]:
    for _ in range(3):  # plain, in a URL, and in a URL that is a parameter of another URL
        yield value.encode()
        value = quote(value, safe="")


def _padded(run: bytes) -> bytes:
    whole = run[: len(run) - (len(run) % 4 == 1)].translate(bytes.maketrans(b"-_", b"+/"))
    return whole + b"=" * (-len(whole) % 4)


def _around(text: bytes, match: re.Match[bytes]) -> bytes:
    return text[max(0, match.start() - 60) : match.end() + 20]


def all_leaks(client: Client) -> dict[str, bytes]:
    """Return the places that contain a secret, and the answers with a URL of the extension (it has the system key)."""
    named = {where: b"of the extension" for where, text in answers(client) if names_the_extension(text.decode())}
    return named | known_secrets(client).leaks(all_places(client))


def known_secrets(client: Client) -> Secrets:
    """The account key, the host keys, the canaries that the client sent, and all signatures that the app made."""
    return Secrets([client.stack.key, CANARY, *host_keys(client)], signatures(client))


def host_keys(client: Client) -> list[str]:
    """The keys of the host: master, function and system. A local real host shows them without a key."""
    if not client.stack.on_func:
        return list(json.loads((client.stack.state / "host-keys.json").read_text()).values())
    named = [key for kind in ("keys", "systemkeys") for key in client.get_admin(f"host/{kind}")["keys"]]
    return [key["value"] for key in [*named, client.get_admin("host/systemkeys/_master")]]


def signatures(client: Client) -> set[str]:
    """The signatures of all SAS that the app used for copies.

    With `show_signature` the stack returns them, as the service did until 2019.
    """
    found = set()
    client.control.copies(show_signature=True)
    # An account may be source and target.
    for account in (
        client.accounts["sharingsource"],
        client.accounts["sharingtarget"],
    ):
        for container in account.list_containers():
            for blob in account.get_container_client(container.name).list_blobs(include=["copy"]):
                found |= {unquote(signature) for signature in SIGNATURE.findall(blob.copy.source or "")}
    client.control.copies(show_signature=False)
    return found


def all_places(client: Client) -> Iterator[tuple[str, bytes]]:
    """Every place that is searched, with its content."""
    yield from files(client.stack.state)
    yield from app_accounts(client)
    yield from answers(client)
    yield from commands()


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Logs and databases. Databases are also read by row, because a file stores a long value in pieces."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).parts[0] not in NOT_SEARCHED:
            yield path.name, path.read_bytes()
            if path.suffix == ".sqlite":
                yield from rows(path)


def rows(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            found = database.execute(f"SELECT * FROM {table}")  # noqa: S608  # the name is from the database
            yield f"{path.name}:{table}", "\n".join(map(repr, found)).encode()


def app_accounts(client: Client) -> Iterator[tuple[str, bytes]]:
    """All queues, tables and containers of the state account and the events account."""
    yield from tables(client)
    for name in client.app_accounts:
        yield from queues(client, name)
        for container in client.accounts[name].list_containers(include_metadata=True):
            if container.name not in NOT_SEARCHED:
                yield container.name, str(container.metadata).encode()
                yield from blobs(client.accounts[name].get_container_client(container.name))


def answers(client: Client) -> Iterator[tuple[str, bytes]]:
    return ((f"answer {number}", answer.encode()) for number, answer in enumerate(client.answers))


def names_the_extension(text: str) -> bool:
    """Return whether a text contains a URL of the Durable extension, of its RPC port or of the admin API."""
    return re.search(r"(?i)runtime/webhooks|/durabletask|rpcBaseUrl|taskHub=|/admin/", text) is not None


def queues(client: Client, account: str) -> Iterator[tuple[str, bytes]]:
    """An account's queues: their metadata and first messages."""
    with QueueServiceClient.from_connection_string(client.stack.connection_string(account)) as service:
        for queue in service.list_queues(include_metadata=True):
            messages = service.get_queue_client(queue.name).peek_messages(32)
            yield queue.name, "\n".join([str(queue.metadata), *(str(message.content) for message in messages)]).encode()


def tables(client: Client) -> Iterator[tuple[str, bytes]]:
    """All rows of the tables of the state account, where a real host stores histories."""
    service = Tables(client.stack, client.app_accounts[0])
    for name in service.names():
        yield name, b"\n".join(service.pages(name))


def blobs(container: ContainerClient) -> Iterator[tuple[str, bytes]]:
    """A container's blobs: names, metadata, headers and content. A real host compresses large values with gzip."""
    for blob in container.list_blobs(include=["metadata", "tags", "copy"]):
        about = f"{blob.name} {blob.metadata} {blob.tags} {blob.content_settings} {blob.copy}".encode()
        stored = bytes(container.download_blob(blob.name).readall()) if blob.size else b""
        unpacked = gzip.decompress(stored) if stored.startswith(GZIP) else stored
        yield f"{container.container_name}/{blob.name}", about + b"\n" + unpacked


def commands() -> Iterator[tuple[str, bytes]]:
    """The command lines of all descendant processes: every user of the machine can read them."""
    for number, line in below(os.getpid()).items():
        yield f"command line of {number}", line


def plant_in_queue(client: Client, name: str, account: str = "sharingstate") -> Callable[[], None]:
    """Put the account key into a new queue. Returns a function that deletes the queue."""
    queue = QueueClient.from_connection_string(client.stack.connection_string(account), name)
    queue.create_queue()
    queue.send_message(base64.b64encode(client.stack.key.encode()).decode())
    return queue.delete_queue

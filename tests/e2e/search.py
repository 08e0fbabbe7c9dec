"""The search for secrets: what one looks like, and every place where the app or its host leaves something."""

import base64
import gzip
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueServiceClient

from tests.e2e.desk import CANARY, Desk
from tests.e2e.processes import below
from tests.e2e.tables import Tables

# Whatever its value: what looks like a signature, a key in a URL, or a header that lets somebody in.
FORMS = re.compile(
    rb"(?i)(?<![a-z_-])(?:sig|code)(?:=|%(?:25)*3D|\\+u003d)(?!REMOVED|REDACTED)[\w%+/\\-]"
    rb"|SharedKey(?:Lite)? \w+:|Bearer [\w.~+/-]{8}|AccountKey=\w"
)
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
SIGNATURE = re.compile(r"[?&]sig=([^&]+)")
# A signature is base64 that ends with one =. There are thousands: only what stands before such an end is compared.
END = re.compile(rb"(?i)=|%(?:25)*3D|\\+u003d")
TAIL = 16
# The emulator plays the service, `func` is a copy of the app's own files, and the other two hold the host's keys on purpose.
NOT_OURS = ("storage", "func", "host-keys.json", "azure-webjobs-secrets")
GZIP = b"\x1f\x8b"


class Secrets:
    """Values that must be nowhere, and the forms in which nothing may be anywhere."""

    def __init__(self, values: Iterable[str], signatures: Iterable[str] = ()) -> None:
        known = sorted({re.escape(form) for value in values for form in _written(value)})
        self._pattern = re.compile(b"|".join([FORMS.pattern, *known]))
        self._tails = {form[-TAIL:] for value in signatures for form in _written(value.removesuffix("="))}

    def found(self, text: bytes) -> bytes | None:
        """The first secret in a text, with what stands around it; also inside base64."""
        decoded = b"\n".join(base64.b64decode(_padded(run)) for run in BASE64.findall(text))
        return next((found for layer in (text, decoded) for found in self._in(layer)), None)

    def _in(self, text: bytes) -> Iterator[bytes]:
        yield from (_around(text, match) for match in self._pattern.finditer(text))
        ends = END.finditer(text) if self._tails else ()
        yield from (_around(text, end) for end in ends if text[end.start() - TAIL : end.start()] in self._tails)

    def leaks(self, places: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
        """The places that hold one."""
        return {where: found for where, text in places if (found := self.found(text)) is not None}


def _written(value: str) -> Iterator[bytes]:
    for _ in range(3):  # as it is, in a URL, in a URL that is a parameter of another
        yield value.encode()
        value = quote(value, safe="")


def _padded(run: bytes) -> bytes:
    whole = run[: len(run) - (len(run) % 4 == 1)].translate(bytes.maketrans(b"-_", b"+/"))
    return whole + b"=" * (-len(whole) % 4)


def _around(text: bytes, match: re.Match[bytes]) -> bytes:
    return text[max(0, match.start() - 60) : match.end() + 20]


def found(desk: Desk) -> dict[str, bytes]:
    """Where a secret was left, or an answer names an address of the extension, which come with the system key."""
    named = {where: b"of the extension" for where, text in answers(desk) if of_the_extension(text.decode())}
    return named | secrets(desk).leaks(everything(desk))


def secrets(desk: Desk) -> Secrets:
    """The stack's own: the account key, the host's keys, the canaries that were sent, every signature that the app made."""
    return Secrets([desk.stack.key, CANARY, *keys(desk)], signatures(desk))


def keys(desk: Desk) -> list[str]:
    """The host's own: master, function and system. A real host shows them, as nobody needs a key on this machine."""
    if not desk.stack.on_func:
        return list(json.loads((desk.stack.state / "host-keys.json").read_text()).values())
    named = [key for kind in ("keys", "systemkeys") for key in desk.admin(f"host/{kind}")["keys"]]
    return [key["value"] for key in [*named, desk.admin("host/systemkeys/_master")]]


def signatures(desk: Desk) -> set[str]:
    """What the app signed its copies' sources with: the stack shows it here as the service did until 2019."""
    found = set()
    desk.control.copies(show_signature=True)
    for account in (desk.accounts["sharingsource"], desk.accounts["sharingtarget"]):  # a source may be a target, too
        for container in account.list_containers():
            for blob in account.get_container_client(container.name).list_blobs(include=["copy"]):
                found |= {unquote(signature) for signature in SIGNATURE.findall(blob.copy.source or "")}
    desk.control.copies(show_signature=False)
    return found


def everything(desk: Desk) -> Iterator[tuple[str, bytes]]:
    """Every place where the app or the host leaves something, with what is there."""
    yield from files(desk.stack.state)
    yield from own_accounts(desk)
    yield from answers(desk)
    yield from commands()


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Logs and databases, the latter also row by row: a long value lies in pieces in the file."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).parts[0] not in NOT_OURS:
            yield path.name, path.read_bytes()
            if path.suffix == ".sqlite":
                yield from rows(path)


def rows(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every table of a database, whole."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            found = database.execute(f"SELECT * FROM {table}")  # noqa: S608  # a name out of the database itself
            yield f"{path.name}:{table}", "\n".join(map(repr, found)).encode()


def own_accounts(desk: Desk) -> Iterator[tuple[str, bytes]]:
    """Whatever queues, tables and containers the state account and the events account have."""
    yield from tables(desk)
    for name in desk.own:
        yield from queues(desk, name)
        for container in desk.accounts[name].list_containers(include_metadata=True):
            if container.name not in NOT_OURS:
                yield container.name, str(container.metadata).encode()
                yield from blobs(desk.accounts[name].get_container_client(container.name))


def answers(desk: Desk) -> Iterator[tuple[str, bytes]]:
    """Every answer of the API, headers too."""
    return ((f"answer {number}", answer.encode()) for number, answer in enumerate(desk.answers))


def of_the_extension(text: str) -> bool:
    """Whether a text names an address of the Durable extension, of its RPC port or of the admin's."""
    return re.search(r"(?i)runtime/webhooks|/durabletask|rpcBaseUrl|taskHub=|/admin/", text) is not None


def queues(desk: Desk, account: str) -> Iterator[tuple[str, bytes]]:
    """Every queue of an account: its metadata and the first messages."""
    with QueueServiceClient.from_connection_string(desk.stack.connection_string(account)) as service:
        for queue in service.list_queues(include_metadata=True):
            said = service.get_queue_client(queue.name).peek_messages(32)
            yield queue.name, "\n".join([str(queue.metadata), *(str(message.content) for message in said)]).encode()


def tables(desk: Desk) -> Iterator[tuple[str, bytes]]:
    """Every table of the state account, whole: a real host keeps its histories there."""
    service = Tables(desk.stack, desk.own[0])
    for name in service.names():
        yield name, b"\n".join(service.pages(name))


def blobs(container: ContainerClient) -> Iterator[tuple[str, bytes]]:
    """Every blob of a container: its name, metadata, headers, bytes, unpacked (a real host packs what is large)."""
    for blob in container.list_blobs(include=["metadata", "tags", "copy"]):
        about = f"{blob.name} {blob.metadata} {blob.tags} {blob.content_settings} {blob.copy}".encode()
        stored = bytes(container.download_blob(blob.name).readall()) if blob.size else b""
        unpacked = gzip.decompress(stored) if stored.startswith(GZIP) else stored
        yield f"{container.container_name}/{blob.name}", about + b"\n" + unpacked


def commands() -> Iterator[tuple[str, bytes]]:
    """The command line of every process that this one started, and of theirs: anybody on the machine may read it."""
    for number, line in below(os.getpid()).items():
        yield f"command line of {number}", line

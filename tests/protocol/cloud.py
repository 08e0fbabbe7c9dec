"""The world of the in-memory fakes as a value: stored by number, changed by one request at a time."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from adapters import translation
from rules.dead_letters.letters import DeadLetter
from rules.errors import StorageError
from rules.routes.model import Blob, Route
from rules.transfers import identity
from rules.transfers.decisions import RECEIPT_SOURCE_ETAG, CopyStatus
from rules.transfers.model import Ended, Kind
from tests.fakes import (
    Item,
    MemoryDeadLetters,
    MemoryEvents,
    MemoryRecipients,
    MemorySource,
    MemoryStorage,
    MemoryTarget,
)
from tests.protocol.coroutines import Request, frozen
from tests.protocol.loop import Loop
from tests.protocol.orchestration import BASE

NAME = "name"
CONTENT = {0: b"", **{number: f"version-{number}".encode() for number in range(1, 8)}}
ACTS = frozenset({"copy", "commit", "abort", "clear_copy", "delete"})
WRITES = ACTS | {"stage", "write_ended", "drop_ended", "write", "resolve", "put", "send"}


class View(NamedTuple):
    """The world as an observer sees it: versions by number, 0 for none."""

    source: int
    exists: bool
    complete: int
    """The version that the target holds completely; -1 for other content."""
    receipt: int
    """The version in the target's receipt."""
    status: str | None
    size: int
    etag: str


class _Storage(MemoryStorage):
    """ETags count the writes, so that equivalent worlds are equal."""

    writes = 0

    def next_etag(self) -> str:
        self.writes += 1
        return f"0x{self.writes:X}"

    def next_number(self) -> int:
        return 0


class _Target(MemoryTarget):
    def _copy_id(self) -> str:
        return f"copy-{self._world.writes}"  # type: ignore[attr-defined]


@dataclass
class Fakes:
    """The fakes of one world."""

    storage: _Storage
    source: MemorySource
    target: _Target
    dead_letters: MemoryDeadLetters
    events: MemoryEvents
    recipients: MemoryRecipients

    @classmethod
    def new(cls) -> "Fakes":
        """Return the fakes of an empty world."""
        storage = _Storage(now=lambda: BASE)
        return cls(
            storage,
            MemorySource(storage),
            _Target(storage),
            MemoryDeadLetters(storage),
            MemoryEvents(storage),
            MemoryRecipients(storage),
        )

    def copy(self) -> "Fakes":
        """Return a copy. The fakes replace their values and never change them, so copying their tables is enough."""
        fakes = Fakes.new()
        for table, new_table in zip(self._tables(), fakes._tables(), strict=True):
            new_table.update(table)
        fakes.storage.containers = set(self.storage.containers)
        fakes.storage.writes = self.storage.writes
        return fakes

    def _tables(self) -> tuple[dict[Any, Any], ...]:
        return (
            self.storage.blobs,
            self.storage.signed,
            self.storage.staged,
            self.dead_letters.open,
            self.dead_letters.resolved,
            self.dead_letters.ends,
            self.events.queue,
            self.recipients.sent,
        )

    def frozen(self) -> Any:
        """Return the whole state as a hashable value."""
        return frozen([self.storage.writes, *self._tables()])


class Lost(NamedTuple):
    """The request gets no answer; `happened` says whether it had its effect."""

    happened: bool


class Unseen(NamedTuple):
    """The service answers that an existing blob does not exist."""


RequestFault = Lost | Unseen | None


class Cloud:
    """All worlds so far, by number, and the effect of every request on them. `route` is the route whose target is observed."""

    def __init__(self, route: Route, kinds: tuple[Kind, ...] = ()) -> None:
        self._kinds = dict(enumerate(kinds, 1))
        self.source = route.source.blob(NAME)
        self.target = route.target.blob(NAME)
        self._worlds: list[Fakes] = []
        self._numbers: dict[Any, int] = {}
        self._changed: dict[tuple[int, str], int] = {}
        self._views: dict[int, View] = {}
        fakes = Fakes.new()
        for place in (route.source, route.target):
            fakes.storage.create(place.endpoint, place.container)
        self.empty = self._number_of(fakes)

    def serve(self, world: int, request: Request, fault: RequestFault = None, read: int = 0) -> tuple[int, Any]:
        """Serve a request; return the world afterwards and the answer. An answer that is an exception is to be raised.

        `read` is the version that the service has already read for this request.
        """
        if isinstance(fault, Unseen):
            return world, None
        fakes = self._worlds[world].copy()
        with self._as_read(fakes, read):
            answer = _call(fakes, request, fault)
        return self._number_of(fakes), answer

    def change(self, world: int, name: str, apply: Callable[[Fakes], None]) -> int:
        """Return the world after a change that the app has no part in."""
        key = (world, name)
        if key not in self._changed:
            fakes = self._worlds[world].copy()
            apply(fakes)
            self._changed[key] = self._number_of(fakes)
        return self._changed[key]

    def overwrite(self, world: int, version: int) -> int:
        """Write a version to the source, or delete the blob (0)."""

        def write(fakes: Fakes) -> None:
            fakes.storage.blobs.pop(self.source, None)
            if version:
                fakes.storage.blobs[self.source] = self._item(version)

        return self.change(world, f"source {version}", write)

    def end_copy(self, world: int, *, well: bool, read: int = 0) -> int:
        """End the pending copy. With `well` it succeeds if the source has not changed since it was `read`."""

        def end(fakes: Fakes) -> None:
            if well:
                with self._as_read(fakes, read):
                    fakes.storage.finish(self.target)
            else:
                fakes.storage.fail(self.target, "500 InternalServerError")

        return self.change(world, f"copy ends {well} {read}", end)

    @contextmanager
    def _as_read(self, fakes: Fakes, read: int) -> Iterator[None]:
        now = fakes.storage.blobs.get(self.source)
        if read:
            fakes.storage.blobs[self.source] = self._item(read)
        yield
        if read:
            del fakes.storage.blobs[self.source]
            fakes.storage.blobs |= {self.source: now} if now else {}

    def touch(self, world: int) -> int:
        """Set the target's properties as an outsider: its ETag changes and its copy properties are gone."""

        def touch(fakes: Fakes) -> None:
            item = fakes.storage.blobs[self.target]
            fakes.storage.blobs[self.target] = replace(item, etag=fakes.storage.next_etag(), copy=None)

        return self.change(world, "touch", touch)

    def collect(self, world: int) -> int:
        """Drop the staged blocks of the target, as the service does after a week or at another client's commit."""
        return self.change(world, "collect", lambda fakes: fakes.storage.staged.clear())

    def vanish(self, world: int) -> int:
        """Delete the target as an outsider, with its staged blocks."""
        return self.change(world, "vanish", lambda fakes: fakes.storage.remove(self.target))

    def has_staged(self, world: int) -> bool:
        return bool(self._worlds[world].storage.staged)

    def make_by_lake(self, world: int) -> int:
        """Write the target as an outsider does through the Data Lake API: it takes no blocks until it is deleted."""

        def write(fakes: Fakes) -> None:
            fakes.storage.put(self.target, Item(b"", made_by_lake=True))

        return self.change(world, "lake", write)

    def messages(self, world: int) -> tuple[int, list[bytes]]:
        """Empty the queue; return the world and the messages."""
        queue = self._worlds[world].events.queue
        if not queue:
            return world, []
        return self.change(world, "take", lambda fakes: fakes.events.queue.clear()), [m.body for m in queue.values()]

    def notices(self, world: int) -> tuple[int, list[dict[str, Any]]]:
        """Take the events that recipients have got; return the world and the events."""
        sent = self._worlds[world].recipients.sent
        if not sent:
            return world, []
        found = [event for events in sent.values() for event in events]
        return self.change(world, "notices", lambda fakes: fakes.recipients.sent.clear()), found

    def ended(self, world: int, identity: str) -> Ended | None:
        """Return the record of an end."""
        return self._worlds[world].dead_letters.ends.get(identity)

    def dead_letter(self, world: int, identity: str) -> DeadLetter | None:
        """Return the open dead letter."""
        return self._worlds[world].dead_letters.open.get(identity)

    def resolved(self, world: int, identity: str) -> DeadLetter | None:
        """Return the resolved dead letter."""
        return self._worlds[world].dead_letters.resolved.get(identity)

    def forget(self, world: int, identity: str) -> int:
        """End the retention of a resolved dead letter: it is deleted."""

        def forget(fakes: Fakes) -> None:
            del fakes.dead_letters.resolved[identity]

        return self.change(world, f"forget {identity}", forget)

    def lose(self, world: int, identity: str) -> int:
        """Delete an open dead letter, as an outsider does."""

        def lose(fakes: Fakes) -> None:
            del fakes.dead_letters.open[identity]

        return self.change(world, f"lose {identity}", lose)

    def blobs(self, world: int) -> dict[Blob, Item]:
        return self._worlds[world].storage.blobs

    def item(self, world: int) -> Item | None:
        """Return the target."""
        return self._worlds[world].storage.blobs.get(self.target)

    def view(self, world: int) -> View:
        if world not in self._views:
            self._views[world] = self._view(self._worlds[world].storage.blobs)
        return self._views[world]

    def _view(self, blobs: dict[Blob, Item]) -> View:
        source, item = blobs.get(self.source), blobs.get(self.target)
        current = version(source.etag) if source else 0
        if item is None:
            return View(current, exists=False, complete=0, receipt=0, status=None, size=0, etag="")
        status = item.copy.status if item.copy else None
        content_version = next((number for number, content in CONTENT.items() if content == item.content), -1)
        unfinished = status not in {None, CopyStatus.SUCCESS}
        receipt = version(item.metadata.get(RECEIPT_SOURCE_ETAG, "E0"))
        return View(
            source=current,
            exists=True,
            complete=0 if unfinished else content_version,
            receipt=receipt,
            status=status,
            size=len(item.content),
            etag=item.etag,
        )

    def kind(self, version: int) -> Kind:
        """Return the blob type of a version at the source."""
        return self._kinds.get(version, Kind.BLOCK)

    def _item(self, version: int) -> Item:
        return Item(CONTENT[version], etag=etag(version), kind=self.kind(version))

    def _number_of(self, fakes: Fakes) -> int:
        number = self._numbers.setdefault(fakes.frozen(), len(self._worlds))
        if number == len(self._worlds):
            self._worlds.append(fakes)
        return number


def etag(number: int) -> str:
    """Return the ETag of a version at the source."""
    return f"E{number}"


def version(etag: str) -> int:
    """Return the version of an ETag at the source."""
    return int(identity.bare_etag(etag).removeprefix("E"))


def _call(fakes: Fakes, request: Request, lost: Lost | None) -> Any:
    """Return the answer of the fake's method."""

    async def hook(actual: translation.Request, _subject: str) -> Exception | None:
        if lost is None:
            return None
        if not lost.happened:
            raise translation.error_for_no_answer(actual)
        return translation.error_for_no_answer(actual)

    fakes.storage.hook = hook
    loop = Loop()  # type: ignore[abstract]  # it implements only what it needs
    call = getattr(getattr(fakes, request.port), request.method)(*request.args, **dict(request.options))
    task = loop.create_task(_list(call) if isinstance(call, AsyncIterator) else call)
    loop.settle()
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, StorageError):
        return error.with_traceback(None)
    raise error


async def _list(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]

"""The world of the in-memory twin as a value: kept by number, changed by one request at a time."""

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
from tests.fakes import Item, MemoryDeadLetters, MemoryEvents, MemorySource, MemoryStorage, MemoryTarget
from tests.protocol.loop import Loop
from tests.protocol.orchestration import BASE
from tests.protocol.recall import Request, frozen

NAME = "name"
CONTENT = {0: b"", **{number: f"version-{number}".encode() for number in range(1, 8)}}
ACTS = frozenset({"copy", "abort", "clear_copy", "delete"})
WRITES = ACTS | {"write_ended", "drop_ended", "write", "resolve", "put"}


class View(NamedTuple):
    """What an independent onlooker sees: versions by number, 0 for none."""

    source: int
    there: bool
    whole: int
    """The version whose bytes are the target's, complete; -1 for bytes that are no version's."""
    receipt: int
    """The version that the target's metadata names."""
    status: str | None
    size: int
    etag: str


class _Storage(MemoryStorage):
    """ETags count the writes to the target, so that worlds that are alike are equal."""

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
class Twin:
    """The twins of one world."""

    storage: _Storage
    source: MemorySource
    target: _Target
    dead_letters: MemoryDeadLetters
    events: MemoryEvents

    @classmethod
    def new(cls) -> "Twin":
        """An empty one."""
        storage = _Storage(now=lambda: BASE)
        return cls(storage, MemorySource(storage), _Target(storage), MemoryDeadLetters(storage), MemoryEvents(storage))

    def copy(self) -> "Twin":
        """Another one, alike: what the twins keep is never changed in place, so its tables are all there is to copy."""
        twin = Twin.new()
        for mine, its in zip(self._tables(), twin._tables(), strict=True):
            its.update(mine)
        twin.storage.containers = set(self.storage.containers)
        twin.storage.writes = self.storage.writes
        return twin

    def _tables(self) -> tuple[dict[Any, Any], ...]:
        letters = self.dead_letters
        return (
            self.storage.blobs,
            self.storage.signed,
            letters.open,
            letters.resolved,
            letters.ends,
            self.events.queue,
        )

    def frozen(self) -> Any:
        """Everything that counts, as something hashable."""
        return frozen([self.storage.writes, *self._tables()])


class Lost(NamedTuple):
    """No answer comes; whether the request had its effect."""

    happened: bool


class Unseen(NamedTuple):
    """The service answers that the blob is not there, although it is."""


Trouble = Lost | Unseen | None


class Cloud:
    """All worlds that were met, by number, and what every request made of them. `route` is the one whose target is watched."""

    def __init__(self, route: Route, kinds: tuple[Kind, ...] = ()) -> None:
        self._kinds = dict(enumerate(kinds, 1))
        self.source = route.source.blob(NAME)
        self.target = route.target.blob(NAME)
        self._twins: list[Twin] = []
        self._numbers: dict[Any, int] = {}
        self._changed: dict[tuple[int, str], int] = {}
        self._views: dict[int, View] = {}
        twin = Twin.new()
        for place in (route.source, route.target):
            twin.storage.create(place.endpoint, place.container)
        self.empty = self._known(twin)

    def serve(self, world: int, request: Request, trouble: Trouble = None, read: int = 0) -> tuple[int, Any]:
        """Let a request happen; the world afterwards and the answer. An answer that is an exception is to be raised.

        `read` is the version that the service has read for it already.
        """
        if isinstance(trouble, Unseen):
            return world, None
        twin = self._twins[world].copy()
        with self._as_read(twin, read):
            answer = _asked(twin, request, trouble)
        return self._known(twin), answer

    def change(self, world: int, name: str, how: Callable[[Twin], None]) -> int:
        """The world after something that the app had no part in."""
        key = (world, name)
        if key not in self._changed:
            twin = self._twins[world].copy()
            how(twin)
            self._changed[key] = self._known(twin)
        return self._changed[key]

    def overwrite(self, world: int, version: int) -> int:
        """The owner writes a version, or deletes the blob (0)."""

        def write(twin: Twin) -> None:
            twin.storage.blobs.pop(self.source, None)
            if version:
                twin.storage.blobs[self.source] = self._item(version)

        return self.change(world, f"source {version}", write)

    def end_copy(self, world: int, *, well: bool, read: int = 0) -> int:
        """The service ends the pending copy, well or not (well only if the source is as it was when it was `read`)."""

        def end(twin: Twin) -> None:
            if well:
                with self._as_read(twin, read):
                    twin.storage.finish(self.target)
            else:
                twin.storage.fail(self.target, "500 InternalServerError")

        return self.change(world, f"copy ends {well} {read}", end)

    @contextmanager
    def _as_read(self, twin: Twin, read: int) -> Iterator[None]:
        now = twin.storage.blobs.get(self.source)
        if read:
            twin.storage.blobs[self.source] = self._item(read)
        yield
        if read:
            del twin.storage.blobs[self.source]
            twin.storage.blobs |= {self.source: now} if now else {}

    def touch(self, world: int) -> int:
        """Somebody sets the target's properties: its ETag changes and its copy properties are gone."""

        def touch(twin: Twin) -> None:
            item = twin.storage.blobs[self.target]
            twin.storage.blobs[self.target] = replace(item, etag=twin.storage.next_etag(), copy=None)

        return self.change(world, "touch", touch)

    def messages(self, world: int) -> tuple[int, list[bytes]]:
        """The world without what was put on its queue, and that."""
        queue = self._twins[world].events.queue
        if not queue:
            return world, []
        return self.change(world, "take", lambda twin: twin.events.queue.clear()), [m.body for m in queue.values()]

    def ended(self, world: int, identity: str) -> Ended | None:
        """The record of an end."""
        return self._twins[world].dead_letters.ends.get(identity)

    def letter(self, world: int, identity: str) -> DeadLetter | None:
        """The open letter."""
        return self._twins[world].dead_letters.open.get(identity)

    def resolved(self, world: int, identity: str) -> DeadLetter | None:
        """The letter as it was resolved."""
        return self._twins[world].dead_letters.resolved.get(identity)

    def forget(self, world: int, identity: str) -> int:
        """The retention of a resolved letter ends: the container's rule deletes it."""

        def forget(twin: Twin) -> None:
            del twin.dead_letters.resolved[identity]

        return self.change(world, f"forget {identity}", forget)

    def lose(self, world: int, identity: str) -> int:
        """An outsider deletes an open letter."""

        def lose(twin: Twin) -> None:
            del twin.dead_letters.open[identity]

        return self.change(world, f"lose {identity}", lose)

    def blobs(self, world: int) -> dict[Blob, Item]:
        """All blobs."""
        return self._twins[world].storage.blobs

    def item(self, world: int) -> Item | None:
        """The target."""
        return self._twins[world].storage.blobs.get(self.target)

    def view(self, world: int) -> View:
        """What an onlooker sees."""
        if world not in self._views:
            self._views[world] = self._view(self._twins[world].storage.blobs)
        return self._views[world]

    def _view(self, blobs: dict[Blob, Item]) -> View:
        source, item = blobs.get(self.source), blobs.get(self.target)
        current = version(source.etag) if source else 0
        if item is None:
            return View(current, there=False, whole=0, receipt=0, status=None, size=0, etag="")
        status = item.copy.status if item.copy else None
        whole = next((number for number, content in CONTENT.items() if content == item.content), -1)
        unfinished = status not in {None, CopyStatus.SUCCESS}
        receipt = version(item.metadata.get(RECEIPT_SOURCE_ETAG, "E0"))
        return View(
            source=current,
            there=True,
            whole=0 if unfinished else whole,
            receipt=receipt,
            status=status,
            size=len(item.content),
            etag=item.etag,
        )

    def kind(self, version: int) -> Kind:
        """The blob type of a version at the source."""
        return self._kinds.get(version, Kind.BLOCK)

    def _item(self, version: int) -> Item:
        return Item(CONTENT[version], etag=etag(version), kind=self.kind(version))

    def _known(self, twin: Twin) -> int:
        number = self._numbers.setdefault(twin.frozen(), len(self._twins))
        if number == len(self._twins):
            self._twins.append(twin)
        return number


def etag(number: int) -> str:
    """The ETag of a version at the source."""
    return f"E{number}"


def version(etag: str) -> int:
    """The version of an ETag at the source."""
    return int(identity.bare_etag(etag).removeprefix("E"))


def _asked(twin: Twin, request: Request, lost: Lost | None) -> Any:
    """The answer of the twin's own method."""

    async def hook(asked: translation.Request, _subject: str) -> Exception | None:
        if lost is None:
            return None
        if not lost.happened:
            raise translation.error_for_no_answer(asked)
        return translation.error_for_no_answer(asked)

    twin.storage.hook = hook
    loop = Loop()  # type: ignore[abstract]  # it is as abstract as it needs to be
    asked = getattr(getattr(twin, request.port), request.method)(*request.args, **dict(request.options))
    task = loop.create_task(_listed(asked) if isinstance(asked, AsyncIterator) else asked)
    loop.settle()
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, StorageError):
        return error.with_traceback(None)
    raise error


async def _listed(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]

"""What the app needs of the world, as small Protocols owned by the rules. Their docstrings are contracts.

Every method may be called again after a crash. Whatever a service answers arrives as one of the three errors of `errors`:
reads raise `Retryable` or `Permanent`; acts (copy, abort, delete, clear) also `LookAgain` where nobody knows what happened.
No error holds a URL, a key or a SAS.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from rules.decisions import SourceBlob, TargetBlob
from rules.errors import Permanent
from rules.jobs import Job
from rules.letters import Ended, Letter
from rules.models import Blob, Engine, Place, Route, Run
from rules.policies import Times

# What an orchestration is started with; its kind decides which one.
Input = Run | Job
EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CopySource:
    """A source as the target's service may read it: a URL with a SAS. A secret: never printed, never stored."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Copy:
    """One request to copy: pinned to the version, conditional on the target, carrying the receipt.

    `if_match` None means If-None-Match: * (there must be no target). `metadata` replaces the source's and holds the receipt.
    """

    target: Blob
    source: CopySource
    etag: str
    engine: Engine
    metadata: dict[str, str]
    if_match: str | None = None
    tier: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where versions are read."""

    async def head(self, blob: Blob) -> SourceBlob | None:
        """Look at a blob once. None only where the service says BlobNotFound, or that it is a directory.

        A missing container is Retryable. A name that this account would store otherwise (`names.HIERARCHICAL`) is Permanent
        `invalid_name`, as it is for `Target.head` and `Target.copy`.
        """

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, SourceBlob | Permanent]], str | None]:
        """List a page of a place's blobs, raw name and blob; the marker of the next page, None at the end.

        A blob that the list shows in a way that cannot be read is an error in its place: the others are shown all the same.
        """

    async def tags(self, blob: Blob, etag: str) -> dict[str, str] | None:
        """Read a blob's index tags; None where the app may not, or the version is gone (its pinned copy will say so)."""

    async def readable(self, blob: Blob, until: datetime) -> CopySource:
        """Sign a read of this one blob until then. No request per blob: the key behind it is cached."""


class Target(Protocol):
    """Where versions are written. Every act is conditional and one request; the SDK does not retry it."""

    async def head(self, blob: Blob) -> TargetBlob | None:
        """Look at a blob once. None where there is no blob.

        A missing container is Permanent `target_unwritable`, a directory of that name Permanent `target_conflict`.
        """

    async def page(
        self, place: Place, limit: int, marker: str | None
    ) -> tuple[list[tuple[str, TargetBlob | Permanent]], str | None]:
        """List a page of a place's blobs as `Source.page` does."""

    async def copy(self, copy: Copy) -> bool:
        """Ask the service to copy. True: done, this very request read the version. False: accepted, look later.

        A code that says "changed" and no answer are LookAgain; so is `CANNOT_VERIFY_SOURCE`, with that code. A refusal by a
        code that is not known is `Rejected`, a LookAgain with a reason.
        """

    async def abort(self, blob: Blob, copy_id: str) -> None:
        """Abort a pending copy. It leaves a zero-length blob with the metadata. Nothing pending any more: LookAgain."""

    async def clear_copy(self, blob: Blob, target: TargetBlob) -> None:
        """Set the properties to what they are (If-Match), which drops the copy's: they show the source URL with its SAS."""

    async def delete(self, blob: Blob, etag: str) -> None:
        """Delete, if it still has this ETag. Absent already is fine, or LookAgain: some services answer 412 to it."""


class Letters(Protocol):
    """Dead letters and the records of ends, in the state account. Writes are conditional; the higher attempt wins."""

    async def ended(self, identity: str) -> Ended | None:
        """Read the record of a transfer's end, if there is one."""

    async def write_ended(self, ended: Ended) -> None:
        """Record an end. A record of the same rank or a higher one stays as it is (`Ended.rank`)."""

    async def drop_ended(self, identity: str, attempt: int, resumes: int = 0) -> None:
        """Forget the record of an end, unless it is of a higher rank. Absent already is fine."""

    async def write(self, letter: Letter) -> None:
        """Open a letter, merged with what is known of this id (`letters.merged`). A late or second write changes nothing."""

    async def resolve(self, identity: str, attempt: int, how: str, now: datetime) -> bool:
        """Move an open letter to `resolved/` (written first, then the open one is deleted), unless it is of a later attempt.

        If it is `discarded`, the record of its end says so before the open one is deleted: the sweep never writes it again.
        False where there is none to resolve.
        """

    async def read(self, identity: str) -> Letter | None:
        """Read a letter, open or resolved."""

    async def page(self, prefix: str, limit: int, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """List open letters whose id begins so, from their metadata, in order of id. A page may be short.

        Raises ValueError for a continuation that is none of this prefix's.
        """

    def endings(self) -> AsyncIterator[Ended]:
        """Every record of an end that can be read, in order of id, in pages: flat in memory. Without its detail, which no list shows."""


class Reports(Protocol):
    """Pages of JSON lines, in the state account. A page that is written again is replaced."""

    async def write(self, name: str, lines: list[dict[str, Any]], *, new: bool = False) -> None:
        """Write a page. Where it is to be `new`, one that is there already stays, and this raises Retryable."""

    async def read(self, name: str) -> list[dict[str, Any]]:
        """Read a page; empty where there is none (old ones are deleted)."""


class Events(Protocol):
    """The queue blob-events, its poison twin, and the events that Event Grid itself gave up."""

    async def put(self, body: bytes, delay: int = 0) -> None:
        """Put an event on the queue, as Event Grid would; visible after `delay` seconds, never expiring."""

    def poison(self) -> AsyncIterator["Poison"]:
        """The messages of the poison queue, each hidden from others for a while. Ends when none is visible."""

    async def consumed(self, message: "Poison") -> None:
        """Delete a poison message. Gone already is fine."""

    def undelivered(self) -> AsyncIterator["Undelivered"]:
        """What Event Grid could not deliver and kept, from a list: blobs of one or more events, in order of name."""

    async def read(self, found: "Undelivered") -> bytes | None:
        """Read such a blob; None if it is not any more what was listed."""

    async def delivered(self, found: "Undelivered") -> None:
        """Delete such a blob, if it is still what was listed. Gone already is fine."""

    async def depth(self) -> int:
        """About how many events wait."""

    async def oldest(self) -> datetime | None:
        """When the oldest of the next events was put; None where none is visible. Nothing is hidden from others by it."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A message of the poison queue: its raw body and what it takes to delete it."""

    body: bytes
    id: str
    receipt: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A blob of events that Event Grid gave up: its name, its size in bytes, and the ETag that it was listed with."""

    name: str
    size: int
    etag: str


class Standing:
    """What the Durable extension says of an instance; its words, not ours."""

    RUNNING = frozenset({"Pending", "Running", "Suspended", "ContinuedAsNew"})
    BROKEN = frozenset({"Failed", "Terminated"})
    ENDED = frozenset({"Completed"}) | BROKEN
    # What is broken is started again: it is as much under way as what runs.
    UNDER_WAY = RUNNING | BROKEN


@dataclass(frozen=True, slots=True)
class Instance:
    """One orchestration as the extension shows it: its input is a `run` or a `job`, or cannot be read (both None)."""

    id: str
    status: str
    run: Run | None
    custom: dict[str, Any]
    output: Any
    updated_at: datetime
    job: Job | None = None

    @property
    def input(self) -> Input | None:
        """Its input, if it can be read."""
        return self.job or self.run

    @property
    def name(self) -> str | None:
        """The name of its blob; None of a job, and of a transfer whose input cannot be read."""
        return self.run.transfer.name if self.run else None

    @property
    def running(self) -> bool:
        """Whether it may still do something."""
        return self.status in Standing.RUNNING

    @property
    def under_way(self) -> bool:
        """Whether more follows by itself: it runs, or it is broken and is started again (`broken.sequel`)."""
        return self.running or (self.broken and self.input is not None)

    @property
    def live(self) -> dict[str, Any]:
        """What its orchestrator last said of itself: its output once it has ended, until then its custom status."""
        return self.output if isinstance(self.output, dict) and not self.running else self.custom

    @property
    def broken(self) -> bool:
        """Whether it ended without a word of its own (rule 8)."""
        return self.status in Standing.BROKEN


class Instances(Protocol):
    """The orchestrations: looked up, started, signalled. A start is not atomic: see `start`."""

    async def find(self, identity: str) -> Instance | None:
        """Look one up."""

    async def start(self, what: Input) -> bool:
        """Start a run or a job. False where an instance of its id is alive. True is no proof of being first."""

    async def cancel(self, identity: str) -> None:
        """Raise the cancel event. Of an instance that ended meanwhile: nothing happens."""

    async def terminate(self, identity: str, why: str) -> None:
        """End one without asking it. Of an instance that ended meanwhile: nothing happens."""

    async def purge(self, identity: str) -> None:
        """Forget one that has ended, history and all. Gone already is fine; one that runs is Retryable."""

    async def oldest_message(self) -> datetime | None:
        """When the oldest message that waits in the task hub was put: how far the hub is behind. None where none waits."""

    async def page(
        self,
        *,
        prefix: str = "",
        standing: frozenset[str] = frozenset(),
        before: datetime | None = None,
        limit: int,
        continuation: str | None = None,
    ) -> tuple[list[Instance], str | None]:
        """List transfers (or, where the prefix begins like theirs, jobs) whose id begins so; a page may be short, even empty.

        `standing` are the statuses wanted, all where it is empty; `before` leaves out what was created later.

        Raises ValueError for a continuation that is none.
        """


class Probe(Protocol):
    """A look at what a route or a store needs, for `health`."""

    async def container(self, place: Place) -> None:
        """Succeed if the container can be seen; else raise as a read does."""

    async def letters(self) -> None:
        """Succeed if the dead letters can be listed."""

    async def reports(self) -> None:
        """Succeed if the reports' container can be seen."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that the operations and activities are given. Made once per process; time is an argument too."""

    routes: tuple[Route, ...]
    source: Source
    target: Target
    letters: Letters
    events: Events
    reports: Reports
    probe: Probe
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    times: Times
    app_version: str
    # When this process began: what was accepted before may have been begun by one that died.
    born: datetime = EVER

    def route(self, name: str) -> Route | None:
        """Today's route of that name."""
        return next((route for route in self.routes if route.name == name), None)

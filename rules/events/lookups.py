"""Events that name no version: the app looks it up at the source (rule 21).

An event of a rename has no ETag. An announcement (`CreateFile`, `SftpCreate`, `SftpWrite`) is of a file that is empty or still
grows; a writer that flushes without closing it raises no other event. If a lookup does not decide, the app puts a message on
the queue that leads to the next one. An event of a changed tier tells that an archived blob may be readable again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from rules.transfers.decisions import SourceBlob
from rules.transfers.policies import Times

# An empty file may be one whose writer has not flushed yet.
EMPTY_FOR = timedelta(days=1)
LONGEST_PAUSE = 600


class Cause(StrEnum):
    """Why the app looks up a version."""

    RENAMED = "renamed"
    ANNOUNCED = "announced"
    TIER_CHANGED = "tier_changed"


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup of a blob's version. It is part of the message that leads to it.

    `since`: when the app accepted the event; None until then. `etag`: what the last lookup found. `count`: the lookups before
    this one. `settled`: the last one found the version at the target, and every request from before it has ended.
    """

    cause: Cause
    since: datetime | None = None
    etag: str = ""
    count: int = 0
    settled: bool = False


@dataclass(frozen=True, slots=True)
class NextLookup:
    """A lookup, and the seconds until it is due."""

    lookup: Lookup
    pause: int


def first_pause(lookup: Lookup, times: Times) -> int:
    """Return the seconds from the event to the first lookup: none, unless the file is announced and so not complete."""
    return times.announced if lookup.cause is Cause.ANNOUNCED else 0


def is_complete(lookup: Lookup, source: SourceBlob, now: datetime) -> bool:
    """Whether a file's content is complete, so that it can be shared.

    | cause | file | complete |
    | --- | --- | --- |
    | renamed, tier changed | any | yes |
    | announced | empty | after a day |
    | announced | unchanged since the last lookup | yes |
    | announced | changed, or first lookup | no |
    """
    if lookup.cause is not Cause.ANNOUNCED:
        return True
    return now - (lookup.since or now) >= EMPTY_FOR if source.size == 0 else source.etag == lookup.etag


def after_growing(lookup: Lookup, source: SourceBlob, times: Times) -> NextLookup:
    """Return the next lookup of a file that may still grow. The pauses double, up to an hour with the default window."""
    pause = min(times.announced * _doubled(lookup), 12 * times.announced)
    return NextLookup(replace(lookup, etag=source.etag, count=lookup.count + 1), pause)


def after_running(lookup: Lookup, times: Times) -> NextLookup:
    """Return the next lookup while the version's transfer runs.

    It may already be ending as superseded, because the file had been renamed away, or as a dead letter, because it had been
    archived.
    """
    pause = min(times.recheck * _doubled(lookup), LONGEST_PAUSE)
    return NextLookup(replace(lookup, count=lookup.count + 1, settled=False), pause)


def after_match(lookup: Lookup, times: Times) -> NextLookup | None:
    """Return the next lookup if the target holds the version although its transfer ended earlier; None if that is certain.

    A copy of another version, pinned while that one was at the source, may still arrive. After `settle` none can.
    """
    return None if lookup.settled else NextLookup(replace(lookup, settled=True), times.settle)


def _doubled(lookup: Lookup) -> int:
    # Both pauses have reached their limit by then; the count is from a message.
    return int(2 ** max(0, min(lookup.count, 10)))

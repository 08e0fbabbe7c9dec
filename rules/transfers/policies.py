"""Limits, delays, deadlines and the choice of the engine, as pure functions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil

from rules.errors import Reason
from rules.routes.model import SAME_TIER, TIERS, Engine, EnginePreference
from rules.transfers.model import Kind

MAX_COPY_ATTEMPTS = 8
MAX_FAILURES = 10
MAX_LOOKS = 8
MAX_RESUMES = 5
# The service's limit for the metadata of one blob, keys and values together; the receipt is part of it.
METADATA_LIMIT = 8 * 1024
DEADLINES = {Engine.SYNC: timedelta(hours=1), Engine.ASYNC: timedelta(hours=24), Engine.BLOCKS: timedelta(hours=24)}
STALL = timedelta(minutes=30)
TIB = 1024**4
# The service drops staged blocks so long after the last one of a name.
STAGED_LIFE = timedelta(weeks=1)
# An activity begins no block after the first time in seconds, and abandons a block after the second. Both together are less than
# `functionTimeout`. They may be long: a late block changes nothing that a reader or the protocol sees.
STAGING_TIME, STAGE_TIMEOUT = 100, 400
# A durable timer may fire a second early, so a time this close counts as reached.
GRACE = timedelta(seconds=2)
# Seconds between polls: at least, usually at most, and at most for a copy of hours.
MIN_POLL, MAX_POLL, LONGEST_POLL = 2, 60, 600


@dataclass(frozen=True, slots=True)
class Times:
    """The times of the protocol in seconds. `window`: how long after a read the app may act on it; the others scale with it."""

    window: float = 15.0

    @property
    def timeout(self) -> float:
        """A request without an answer is abandoned after this time."""
        return 4 * self.window

    @property
    def activity(self) -> float:
        """The time limit of an activity: it then begins no other look or line.

        If a function exceeds `functionTimeout`, the host stops its worker and with it every other function.
        """
        return 3 * self.timeout

    @property
    def patience(self) -> timedelta:
        """How long an `async` copy may make no progress before blocks replace it: 30 minutes with the default window.

        After a third of it, a pace that misses the deadline is reason enough.
        """
        return timedelta(seconds=120 * self.window)

    @property
    def recheck(self) -> int:
        """The pause between two looks. The source counts as deleted only if both do not find it."""
        return ceil(2 * self.window)

    @property
    def announced(self) -> int:
        """The pause before the first lookup of an announced file: five minutes with the default window."""
        return ceil(20 * self.window)

    @property
    def delivery(self) -> timedelta:
        """How long an event may take to arrive: five minutes with the default window. Event Grid usually takes seconds."""
        return timedelta(seconds=20 * self.window)

    @property
    def settle(self) -> int:
        """The wait before the cleanup: longer than window and timeout together, so that every late request has ended."""
        return ceil(6 * self.window)


def jitter(identity: str) -> float:
    """Return a factor from 0.75 to 1.25, derived from the id because an orchestrator must be deterministic."""
    return 0.75 + int(sha256(identity.encode()).hexdigest()[:4], 16) / 0xFFFF / 2


def backoff(count: int, identity: str) -> int:
    """Return the seconds before the next try: 5 s doubling to 10 min, with jitter to spread the retries.

    | count | 1 | 2 | 3 | 4 | 7 | 8 and more |
    | --- | --- | --- | --- | --- | --- | --- |
    | about | 5 | 10 | 20 | 40 | 320 | 600 |
    """
    return max(MIN_POLL, round(min(600.0, 5 * 2.0 ** min(count - 1, 10)) * jitter(identity)))


def resume_pause(resumes: int, identity: str) -> int:
    """Return the seconds before a failed orchestration is resumed, by the number of earlier resumes.

    | resumes | 0 | 1 | 2 | 3 | 4 and more |
    | --- | --- | --- | --- | --- | --- |
    | about | 5 | 20 | 80 | 320 | 600 |

    The first pause is short because a worker restarts within a second. It grows fast in case the worker crashes again.
    """
    return round(min(600.0, 5 * 4.0 ** min(resumes, 10)) * jitter(identity))


def next_poll(polls: int, copied: int, total: int | None, elapsed: float) -> int:
    """Return the seconds until the next poll of a pending copy.

    | progress | seconds |
    | --- | --- |
    | unknown | 2, 4, 8 … doubling with each poll |
    | known | half of the remaining time at the pace so far |
    | either | at least 2; at most a tenth of the time so far, or 60 if that is more; never over 600 |

    A poll takes about 18 storage transactions of the task hub. A long copy has few: its end is noticed at most a tenth
    of its time late, and at most 10 minutes.
    """
    cap = min(LONGEST_POLL, max(MAX_POLL, elapsed / 10))
    if copied and total and elapsed > 0:
        seconds = (total - copied) * elapsed / copied / 2
    else:
        seconds = MIN_POLL * 2.0 ** min(polls, 10)
    return round(min(cap, max(MIN_POLL, seconds)))


def is_too_slow(copied: int, total: int | None, elapsed: timedelta, left: timedelta) -> bool:
    """Whether a pending copy cannot end before the deadline at its pace so far.

    | bytes | too slow |
    | --- | --- |
    | none, or the total is unknown | no: the pace is unknown |
    | the rest takes up to the time left | no |
    | the rest takes longer | yes |
    """
    return bool(copied) and total is not None and (total - copied) * elapsed / copied > left


def deadline(configured: timedelta | None, engine: Engine | None, size: int | None = None) -> timedelta:
    """Return how long a transfer may take: the route's deadline, else the engine's (`sync` while it is unknown).

    By blocks, each TiB adds an hour, which is a pace of 290 MiB/s.
    """
    if configured:
        return configured
    extra = timedelta(hours=(size or 0) // TIB) if engine is Engine.BLOCKS else timedelta()
    return DEADLINES[engine or Engine.SYNC] + extra


def is_reached(now: datetime, moment: datetime) -> bool:
    """Whether `moment` is reached, allowing for timers that fire up to `GRACE` early."""
    return moment - now <= GRACE


def choose_engine(
    preference: EnginePreference, kind: Kind, refused: frozenset[Engine], *, small: bool, same_account: bool
) -> Engine | Reason:
    """Return the engine for a blob, or why there is none (rule 16).

    | preference | blob | engines, the first that is not refused |
    | --- | --- | --- |
    | auto | small block blob | sync, blocks, async |
    | auto | large block blob, between accounts | blocks, async |
    | auto | large block blob, in one account | async, blocks |
    | auto | append or page blob | async, blocks |
    | sync | small block blob | sync |
    | sync | any other | none: `unsupported_blob` |
    | async | any | async |
    | blocks | any | blocks |
    | any | any, all of them refused | none: `source_unreadable` |

    Small is up to 256 MiB, the limit of Copy Blob From URL. Put Block From URL is the call that works between accounts
    with firewalls, in parallel and resumable. In one account, `async` only links the content. `refused` holds the
    engines that failed for this version: the service could not read the source with them, or they were too slow. A
    forced engine has no fallback: a route may force one because an `async` copy first empties the target.
    """
    is_block = kind is Kind.BLOCK
    if preference is EnginePreference.SYNC and not (is_block and small):
        return Reason.UNSUPPORTED_BLOB
    if preference is not EnginePreference.AUTO:
        usable: tuple[Engine, ...] = (Engine(preference),)
    elif is_block and small:
        usable = (Engine.SYNC, Engine.BLOCKS, Engine.ASYNC)
    elif is_block and not same_account:
        usable = (Engine.BLOCKS, Engine.ASYNC)
    else:
        usable = (Engine.ASYNC, Engine.BLOCKS)
    return next((engine for engine in usable if engine not in refused), Reason.SOURCE_UNREADABLE)


def written_kind(engine: Engine | Reason, kind: Kind) -> Kind:
    """Return the type of the blob that an engine writes: by blocks a block blob, else the source's type."""
    return Kind.BLOCK if engine is Engine.BLOCKS else kind


def choose_tier(route: str | None, source: str | None, written: Kind) -> str | None:
    """Return the tier that a copy sets; None: the target gets its account's default.

    `source` is the tier that was set on the source, `written` the type of blob that the copy writes.

    | written | route's `tier` | source | tier |
    | --- | --- | --- | --- |
    | not a block blob | any | any | none |
    | a block blob | `same` | Hot, Cool, Cold | the source's |
    | a block blob | `same` | none, or another | none |
    | a block blob | else | any | the route's |
    """
    if written is not Kind.BLOCK:
        return None
    if route != SAME_TIER:
        return route
    return source if source in TIERS else None


def metadata_fits(metadata: dict[str, str]) -> bool:
    """Whether keys and values, including the receipt, fit into the 8 KB that the service allows.

    A byte that is not UTF-8 is a lone surrogate here and counts as one byte.
    """
    sizes = (len(text.encode(errors="surrogateescape")) for item in metadata.items() for text in item)
    return sum(sizes) <= METADATA_LIMIT


UNSENDABLE = "the value of the source's metadata {key!a} cannot be sent as {encoding} byte for byte"


def unsendable_metadata(metadata: dict[str, str], encoding: str = "utf-8") -> str | None:
    """Return the first key whose value cannot be sent byte for byte in this encoding; None if all can be sent.

    A byte that is not UTF-8 is a lone surrogate here. The SDK strips all kinds of white space, HTTP only blanks and tabs.
    """
    for key, value in metadata.items():
        if value.strip() != value.strip(" \t") or not key.isascii() or not _can_encode(value, encoding):
            return key
    return None


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True

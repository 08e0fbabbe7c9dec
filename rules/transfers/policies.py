"""Limits, delays, deadlines and the choice of the engine, as pure functions."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil

from rules.errors import Reason
from rules.routes.model import Engine, EnginePreference
from rules.transfers.model import Kind

MAX_COPY_ATTEMPTS = 8
MAX_FAILURES = 10
MAX_LOOKS = 8
MAX_RESUMES = 5
SYNC_LIMIT = 256 * 1024 * 1024
# The service's limit for the metadata of one blob, keys and values together; the receipt is part of it.
METADATA_LIMIT = 8 * 1024
DEADLINES = {Engine.SYNC: timedelta(hours=1), Engine.ASYNC: timedelta(hours=24)}
STALL = timedelta(minutes=30)
# A durable timer may fire a second early, so a time this close counts as reached.
GRACE = timedelta(seconds=2)
MIN_POLL, MAX_POLL = 2, 60


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
    def stage(self) -> int:
        """A request that stages a block is abandoned after this time: with `staging` it stays below `functionTimeout`."""
        return ceil(self.window * 80 / 3)

    @property
    def recheck(self) -> int:
        """The pause between two looks. The source counts as deleted only if both do not find it."""
        return ceil(2 * self.window)

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
    """Return the seconds until the next poll of a pending copy, from 2 to 60.

    | progress | seconds |
    | --- | --- |
    | unknown | 2, 4, 8 … doubling with each poll |
    | known | half of the remaining time at the pace so far |

    The upper bound limits the cost: a poll takes about 18 storage transactions of the task hub.
    """
    if copied and total and elapsed > 0:
        seconds = (total - copied) * elapsed / copied / 2
    else:
        seconds = MIN_POLL * 2.0 ** min(polls, 10)
    return round(min(MAX_POLL, max(MIN_POLL, seconds)))


def deadline(configured: timedelta | None, engine: Engine | None) -> timedelta:
    """Return how long a transfer may take: the route's deadline, else the engine's (`sync` while it is unknown)."""
    return configured or DEADLINES[engine or Engine.SYNC]


def is_reached(now: datetime, moment: datetime) -> bool:
    """Whether `moment` is reached, allowing for timers that fire up to `GRACE` early."""
    return moment - now <= GRACE


def choose_engine(preference: EnginePreference, kind: Kind, size: int, refused: frozenset[Engine]) -> Engine | Reason:
    """Return the engine for this blob, or why there is none (rule 16).

    | preference | blob | refused | engine |
    | --- | --- | --- | --- |
    | auto | block, up to 256 MiB | - | sync |
    | auto | block, up to 256 MiB | sync | async |
    | auto | any other | - | async |
    | sync | block, up to 256 MiB | - | sync |
    | sync | any other | any | `unsupported_blob` |
    | async | any | - | async |
    | any | any | every usable engine | `source_unreadable` |

    `refused` holds the engines for which the service answered CannotVerifyCopySource although a HEAD of the source
    succeeded. A forced engine has no fallback: a route may force `sync` because an `async` copy first empties the
    target.
    """
    fits = kind is Kind.BLOCK and size <= SYNC_LIMIT
    if preference is EnginePreference.SYNC and not fits:
        return Reason.UNSUPPORTED_BLOB
    usable = {
        EnginePreference.SYNC: (Engine.SYNC,),
        EnginePreference.ASYNC: (Engine.ASYNC,),
        EnginePreference.AUTO: (Engine.SYNC, Engine.ASYNC) if fits else (Engine.ASYNC,),
    }[preference]
    return next((engine for engine in usable if engine not in refused), Reason.SOURCE_UNREADABLE)


def metadata_fits(metadata: dict[str, str]) -> bool:
    """Whether keys and values, including the receipt, fit into the 8 KB that the service allows.

    A byte that is not UTF-8 is a lone surrogate here and counts as one byte.
    """
    sizes = (len(text.encode(errors="surrogateescape")) for item in metadata.items() for text in item)
    return sum(sizes) <= METADATA_LIMIT

"""Policies decide, code obeys: pure functions over times, sizes and counts. Nothing here sleeps."""

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
# The receipt's two values, their keys and some air; the service allows 8 KB for all.
METADATA_LIMIT = 8 * 1024
DEADLINES = {Engine.SYNC: timedelta(hours=1), Engine.ASYNC: timedelta(hours=24)}
STALL = timedelta(minutes=30)
# A durable timer may fire a second early: what is this near has come (never compare the clock with the deadline waited for).
GRACE = timedelta(seconds=2)
MIN_POLL, MAX_POLL = 2, 60


@dataclass(frozen=True, slots=True)
class Times:
    """The times of the protocol, in seconds; one setting scales them all."""

    window: float = 15.0

    @property
    def timeout(self) -> float:
        """A request is given up after this."""
        return 4 * self.window

    @property
    def recheck(self) -> int:
        """Between the look that finds no source and the one that believes it."""
        return ceil(2 * self.window)

    @property
    def settle(self) -> int:
        """Longer than window and timeout together: after it, no late request of ours is alive."""
        return ceil(6 * self.window)


def jitter(identity: str) -> float:
    """Between 0.75 and 1.25, always the same for one id: an orchestrator has no random."""
    return 0.75 + int(sha256(identity.encode()).hexdigest()[:4], 16) / 0xFFFF / 2


def backoff(count: int, identity: str) -> int:
    """Seconds before the next try: 5 s doubling to 10 min, spread by the id so that a crowd does not come back at once.

    | count | 1 | 2 | 3 | 4 | 7 | 8 and more |
    | --- | --- | --- | --- | --- | --- | --- |
    | about | 5 | 10 | 20 | 40 | 320 | 600 |
    """
    return max(MIN_POLL, round(min(600.0, 5 * 2.0 ** min(count - 1, 10)) * jitter(identity)))


def resume_pause(resumes: int, identity: str) -> int:
    """Seconds before an orchestration that the host failed is started again, by how often that was done before.

    | resumes | 0 | 1 | 2 | 3 | 4 and more |
    | --- | --- | --- | --- | --- | --- |
    | about | 5 | 20 | 80 | 320 | 600 |

    Short at first, because one crash of a worker is over within a second; long where it crashes again and again.
    """
    return round(min(600.0, 5 * 4.0 ** min(resumes, 10)) * jitter(identity))


def next_poll(polls: int, copied: int, total: int | None, elapsed: float) -> int:
    """Seconds until the next look at a pending copy.

    | progress | seconds |
    | --- | --- |
    | none known | 2, 4, 8 … doubling with the polls |
    | some | half of what remains at the pace so far |

    Always between 2 and 60: a poll costs about 18 storage transactions of the task hub.
    """
    if copied and total and elapsed > 0:
        wanted = (total - copied) * elapsed / copied / 2
    else:
        wanted = MIN_POLL * 2.0 ** min(polls, 10)
    return round(min(MAX_POLL, max(MIN_POLL, wanted)))


def deadline(wanted: timedelta | None, engine: Engine | None) -> timedelta:
    """How long a transfer may take: the route's own, else its engine's. Until the engine is known, `sync` is meant."""
    return wanted or DEADLINES[engine or Engine.SYNC]


def is_reached(now: datetime, end: datetime) -> bool:
    """Whether the deadline has come, by a clock that may be early."""
    return end - now <= GRACE


def choose_engine(wanted: EnginePreference, kind: Kind, size: int, refused: frozenset[Engine]) -> Engine | Reason:
    """Rule 16: which engine carries this blob.

    | wanted | blob | refused | engine |
    | --- | --- | --- | --- |
    | auto | block, up to 256 MiB | - | sync |
    | auto | block, up to 256 MiB | sync | async |
    | auto | any other | - | async |
    | sync | block, up to 256 MiB | - | sync |
    | sync | any other | any | `unsupported_blob` |
    | async | any | - | async |
    | any | any | all that could | `source_unreadable` |

    `refused` holds the engines that the service answered CannotVerifyCopySource to, though a HEAD of the source succeeded.
    A forced engine has no understudy: who forces `sync` does not want a target emptied.
    """
    fits = kind is Kind.BLOCK and size <= SYNC_LIMIT
    if wanted is EnginePreference.SYNC and not fits:
        return Reason.UNSUPPORTED_BLOB
    able = {
        EnginePreference.SYNC: (Engine.SYNC,),
        EnginePreference.ASYNC: (Engine.ASYNC,),
        EnginePreference.AUTO: (Engine.SYNC, Engine.ASYNC) if fits else (Engine.ASYNC,),
    }[wanted]
    return next((engine for engine in able if engine not in refused), Reason.SOURCE_UNREADABLE)


def metadata_fits(metadata: dict[str, str]) -> bool:
    """Whether names and values, ours included, stay within the 8 KB that the service allows.

    Bytes that are not UTF-8 reach us as lone surrogates, one for each byte.
    """
    sizes = (len(text.encode(errors="surrogateescape")) for item in metadata.items() for text in item)
    return sum(sizes) <= METADATA_LIMIT

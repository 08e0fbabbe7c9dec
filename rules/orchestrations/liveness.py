"""When an orchestration counts as silent, when as stuck, and when its history may go: pure functions over times."""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from rules.codec import time_in
from rules.orchestrations.instance import Instance
from rules.transfers import lifecycle
from rules.transfers.identity import JOB_ID_PATTERN
from rules.transfers.model import Run

# The longest pause of a transfer is ten minutes; a full hub lets a new one wait for hours.
SILENT = timedelta(hours=1)
# An activity takes ten minutes at most (`functionTimeout`); after a crash of its host it is done again a minute later.
LOST = timedelta(minutes=15)
# 15 minutes doubled so often are ten days. An end is resumed without limit, and a longer time would overflow.
MAX_DOUBLINGS = 10
STUCK = timedelta(hours=24)
RETENTION = timedelta(days=30)


class Liveness(StrEnum):
    """What the watchdog makes of an orchestration that runs."""

    ACTIVE = "active"
    SILENT = "silent"
    LOST = "lost"
    STUCK = "stuck"


def last_sign_of_life(instance: Instance) -> datetime:
    """The last sign of life: when it last changed, or is to move again, if that is later."""
    return max(instance.updated_at, time_in(instance.custom, "next_check_at") or instance.updated_at)


def assess(instance: Instance, now: datetime) -> Liveness:
    """What the watchdog makes of an orchestration that it was listed as running.

    | status | input | its last sign of life | its deadline | it is |
    | --- | --- | --- | --- | --- |
    | any | a transfer | over 24 h ago | past | stuck |
    | any | a job | over 24 h ago | it has none | stuck |
    | Running | readable | over 15 min ago, twice as long for each of up to 10 resumes | any | lost |
    | any | any | over 1 h ago | any | silent |
    | any | any | up to 1 h ago, or to come | any | active |

    The first row that fits counts. What is lost waits for an answer that never comes: the host drops the call of an activity
    that it does not know. In a full hub the answer may still come; only who knows how far the hub is behind can tell.
    """
    silence = now - last_sign_of_life(instance)
    if silence > STUCK and _is_late(instance, now):
        return Liveness.STUCK
    given = instance.input
    if instance.status == "Running" and given is not None and silence > LOST * 2 ** min(given.resumes, MAX_DOUBLINGS):
        return Liveness.LOST
    return Liveness.SILENT if silence > SILENT else Liveness.ACTIVE


def _is_late(instance: Instance, now: datetime) -> bool:
    if JOB_ID_PATTERN.fullmatch(instance.id):
        return True
    return _is_past_deadline(instance.run, now)


def _is_past_deadline(run: Run | None, now: datetime) -> bool:
    # An input may be older than its first look.
    return run is not None and lifecycle.is_past_deadline(
        replace(run, first_look_at=run.first_look_at or run.accepted_at), now
    )


def may_purge(instance: Instance, now: datetime) -> bool:
    """Whether a history may be purged, if no dead letter of it is open.

    | it is | it last changed | may go |
    | --- | --- | --- |
    | running | any | no |
    | a transfer, Failed or Terminated: it is started again | any | no |
    | a transfer, Completed | up to 30 days ago | no |
    | a transfer, Completed | over 30 days ago | yes |
    | a job, ended in any way | up to 30 days ago | no |
    | a job, ended in any way | over 30 days ago | yes |
    """
    if instance.running or (instance.broken and not JOB_ID_PATTERN.fullmatch(instance.id)):
        return False
    return now - instance.updated_at > RETENTION

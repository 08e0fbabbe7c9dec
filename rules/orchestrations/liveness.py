"""When an orchestration counts as silent, lost or stuck, and when its history may be purged."""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from rules.codec import time_in
from rules.orchestrations.instance import Instance
from rules.transfers import lifecycle
from rules.transfers.identity import JOB_ID_PATTERN
from rules.transfers.model import Run

# The longest pause of a transfer is 10 minutes, but with a backlog a new one may wait for hours.
SILENT_AFTER = timedelta(hours=1)
# An activity takes at most 10 minutes (`functionTimeout`) and is repeated a minute after a crash of its host.
LOST_AFTER = timedelta(minutes=15)
# 15 minutes doubled 10 times are 10 days. Resumes towards an end are unlimited, so more doublings could overflow.
MAX_DOUBLINGS = 10
STUCK_AFTER = timedelta(hours=24)
RETENTION = timedelta(days=30)


class Liveness(StrEnum):
    """How the watchdog classifies a running orchestration."""

    ACTIVE = "active"
    SILENT = "silent"
    LOST = "lost"
    STUCK = "stuck"


def last_sign_of_life(instance: Instance) -> datetime:
    """Return when it last changed, or when its pause ends if that is later."""
    return max(instance.updated_at, time_in(instance.custom, "next_check_at") or instance.updated_at)


def assess(instance: Instance, now: datetime) -> Liveness:
    """Classify an orchestration that is listed as running; the first matching row applies.

    | status | input | last sign of life | deadline | class |
    | --- | --- | --- | --- | --- |
    | any | a transfer | over 24 h ago | past | stuck |
    | any | a job | over 24 h ago | none | stuck |
    | Running | readable | over 15 min ago, doubled for each of up to 10 resumes | any | lost |
    | any | any | over 1 h ago | any | silent |
    | any | any | up to 1 h ago, or in the future | any | active |

    A lost orchestration waits for the result of an activity that never arrives: the host drops calls of activities
    that it does not know. While the task hub has a backlog the result may still arrive, so the caller must check
    `oldest_message` first.
    """
    silence = now - last_sign_of_life(instance)
    if silence > STUCK_AFTER and _is_late(instance, now):
        return Liveness.STUCK
    run_or_job = instance.input
    if (
        instance.status == "Running"
        and run_or_job is not None
        and silence > LOST_AFTER * 2 ** min(run_or_job.resumes, MAX_DOUBLINGS)
    ):
        return Liveness.LOST
    return Liveness.SILENT if silence > SILENT_AFTER else Liveness.ACTIVE


def _is_late(instance: Instance, now: datetime) -> bool:
    if JOB_ID_PATTERN.fullmatch(instance.id):
        return True
    return _is_past_deadline(instance.run, now)


def _is_past_deadline(run: Run | None, now: datetime) -> bool:
    # The input may be older than the first look. The deadline then counts from the time of acceptance.
    return run is not None and lifecycle.is_past_deadline(
        replace(run, first_look_at=run.first_look_at or run.accepted_at), now
    )


def may_purge(instance: Instance, now: datetime) -> bool:
    """Whether a history may be purged, provided that it has no open dead letter.

    | orchestration | last changed | may be purged |
    | --- | --- | --- |
    | running | any | no |
    | a transfer, Failed or Terminated: it will be started again | any | no |
    | a transfer, Completed | up to 30 days ago | no |
    | a transfer, Completed | over 30 days ago | yes |
    | a job, ended in any way | up to 30 days ago | no |
    | a job, ended in any way | over 30 days ago | yes |
    """
    if instance.running or (instance.broken and not JOB_ID_PATTERN.fullmatch(instance.id)):
        return False
    return now - instance.updated_at > RETENTION

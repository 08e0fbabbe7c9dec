"""What becomes of an orchestration that ended without a word of its own: the host failed it, or it was terminated (rule 8).

The host fails what runs when its Python worker dies or its job host restarts in place (Azure/azure-functions-durable-extension
issue 2621). That says nothing about the blob, so the orchestration is started again from its input.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rules.codec import time_in
from rules.jobs import lifecycle as job_lifecycle
from rules.jobs.model import Job
from rules.orchestrations.instance import Input, Instance
from rules.redaction import text_without_secrets
from rules.routes.model import Engine
from rules.transfers import lifecycle as transfer_lifecycle
from rules.transfers import policies
from rules.transfers.model import Run

MAX_FAILURE_TEXT = 200
# The watchdog terminates what waits for a lost activity with this reason. It is then resumed like what the host failed.
LOST = "an activity was lost; the watchdog ended the orchestration so that it can resume"


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What a broken orchestration is started again with, and when. `resumed`: it goes on; else it is taken to its end."""

    input: Input
    due: datetime
    resumed: bool


def failure_text(instance: Instance) -> str:
    """What the host or whoever terminated it gave as the reason, without what looks like a secret."""
    return f"the orchestration was {instance.status}: {text_without_secrets(str(instance.output))[:MAX_FAILURE_TEXT]}"


def plan(instance: Instance) -> RecoveryPlan | None:
    """What follows for a broken orchestration; None if its input cannot be read.

    | status | input | what follows | when |
    | --- | --- | --- | --- |
    | Failed | a transfer that is being carried, resumed fewer than 5 times, before its deadline | it goes on | after a growing pause |
    | Failed | a job that was resumed fewer than 5 times | it goes on | after a growing pause |
    | Failed | a transfer whose end is decided | it goes on to that end, however often | after a growing pause |
    | Failed | any other | its end: `dead_lettered`, the job `failed` | at once |
    | Terminated by the watchdog to resume it | any | it goes on | at once |
    | Terminated otherwise | any | its end | at once |

    What a person was cancelling ends `cancelled`. The deadline is compared with the time at which it would go on.
    """
    if instance.input is None:
        return None
    given = _merge_status(instance.input, instance.custom)
    if LOST in str(instance.output):
        return RecoveryPlan(_resume(given, instance), instance.updated_at, resumed=True)
    if instance.status != "Failed":
        return RecoveryPlan(_abandon(given, instance), instance.updated_at, resumed=False)
    due = instance.updated_at + timedelta(seconds=policies.resume_pause(given.resumes, instance.id))
    if _may_resume(given, due):
        return RecoveryPlan(_resume(given, instance), due, resumed=True)
    return RecoveryPlan(_abandon(given, instance), instance.updated_at, resumed=False)


def input_after_cancel(instance: Instance) -> Input | None:
    """What a broken orchestration is started again with once a person cancels it; None where it is ending already."""
    match instance.input:
        case Run() as run if transfer_lifecycle.in_copy_phase(run):
            return transfer_lifecycle.cancel(transfer_lifecycle.resume(run, failure_text(instance)))
        case Job() as job:
            return job_lifecycle.cancel(job_lifecycle.merge_status(job, instance.custom), instance.updated_at)
        case _:
            return None


def _merge_status(given: Input, shown: dict[str, Any]) -> Input:
    """The input, which is of the execution's beginning, with what only the status shows: a noticed cancel, engine, first look."""
    cancelling = given.cancelling or bool(shown.get("cancelling"))
    if isinstance(given, Run):
        # The engine and the first look decide how long a transfer may take.
        engine = given.engine or next((engine for engine in Engine if engine == shown.get("engine")), None)
        return replace(
            given,
            cancelling=cancelling,
            engine=engine,
            first_look_at=given.first_look_at or time_in(shown, "first_look_at"),
        )
    return replace(given, cancelling=cancelling)


def _may_resume(given: Input, due: datetime) -> bool:
    spent = given.resumes >= policies.MAX_RESUMES
    if isinstance(given, Run):
        return given.ending is not None or not (spent or transfer_lifecycle.is_past_deadline(given, due))
    return not spent


def _resume(given: Input, instance: Instance) -> Input:
    if isinstance(given, Run):
        return transfer_lifecycle.resume(given, failure_text(instance))
    return _abandon(given, instance) if given.cancelling else job_lifecycle.resume(given, failure_text(instance))


def _abandon(given: Input, instance: Instance) -> Input:
    if isinstance(given, Run):
        return transfer_lifecycle.abandon(given, failure_text(instance))
    return job_lifecycle.abandon(job_lifecycle.merge_status(given, instance.custom), failure_text(instance))

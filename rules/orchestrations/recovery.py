"""How a broken orchestration continues: one that the host failed, or that was terminated (rule 8).

The host fails running orchestrations when its Python worker dies or its job host restarts in place
(Azure/azure-functions-durable-extension issue 2621). This says nothing about the blob, so the app starts them again
from their input.
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
from rules.transfers.model import Run, Step
from rules.transfers.states import State

MAX_FAILURE_TEXT = 200
# The watchdog terminates an orchestration that waits for a lost activity with this reason, so that it is resumed.
LOST_ACTIVITY = "an activity was lost; the watchdog ended the orchestration so that it can resume"


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """The input to start a broken orchestration with, and when. `resumed`: it continues; if false, it ends."""

    input: Input
    due: datetime
    resumed: bool


def failure_text(instance: Instance) -> str:
    """Return the host's or the terminating client's reason, with secrets removed."""
    return f"the orchestration was {instance.status}: {text_without_secrets(str(instance.output))[:MAX_FAILURE_TEXT]}"


def plan(instance: Instance) -> RecoveryPlan | None:
    """Plan how a broken orchestration continues; None if its input cannot be read.

    | status | input | plan | when |
    | --- | --- | --- | --- |
    | Failed | a transfer in `start` or `check`, resumed fewer than 5 times, before its deadline | resume | after a growing pause |
    | Failed | a job, resumed fewer than 5 times | resume | after a growing pause |
    | Failed | a transfer whose end is decided | resume towards that end, without limit | after a growing pause |
    | Failed | any other | end as `dead_lettered`, a job as `failed` | immediately |
    | Terminated by the watchdog to be resumed | any | resume | immediately |
    | Terminated otherwise | any | end | immediately |

    An orchestration with a cancel request ends `cancelled` instead. The deadline is compared with the time of the resume.
    """
    if instance.input is None:
        return None
    run_or_job = _merge_status(instance.input, instance.custom)
    if LOST_ACTIVITY in str(instance.output):
        return RecoveryPlan(_resume(run_or_job, instance), instance.updated_at, resumed=True)
    if instance.status != "Failed":
        return RecoveryPlan(_abandon(run_or_job, instance), instance.updated_at, resumed=False)
    due = instance.updated_at + timedelta(seconds=policies.resume_pause(run_or_job.resumes, instance.id))
    if _may_resume(run_or_job, due):
        return RecoveryPlan(_resume(run_or_job, instance), due, resumed=True)
    return RecoveryPlan(_abandon(run_or_job, instance), instance.updated_at, resumed=False)


def input_after_cancel(instance: Instance) -> Input | None:
    """Return the input to start a broken orchestration with after a cancel request; None if its end is decided."""
    match instance.input:
        case Run() as run if transfer_lifecycle.in_copy_phase(run):
            return transfer_lifecycle.cancel(transfer_lifecycle.resume(run, failure_text(instance)))
        case Job() as job:
            return job_lifecycle.cancel(job_lifecycle.merge_status(job, instance.custom), instance.updated_at)
        case _:
            return None


def _merge_status(run_or_job: Input, custom: dict[str, Any]) -> Input:
    """Return the input with what only the newer custom status knows."""
    if isinstance(run_or_job, Run):
        return merge_status(run_or_job, custom)
    return replace(run_or_job, cancelling=run_or_job.cancelling or bool(custom.get("cancelling")))


def merge_status(run: Run, custom: dict[str, Any]) -> Run:
    """Return the run with what only the newer custom status knows: a cancel request, the engine, the first look, the end.

    The engine and the first look decide how long a transfer may take.
    """
    merged = replace(
        run,
        cancelling=run.cancelling or bool(custom.get("cancelling")),
        engine=run.engine or next((engine for engine in Engine if engine == custom.get("engine")), None),
        first_look_at=run.first_look_at or time_in(custom, "first_look_at"),
    )
    return merge_verified(merged, custom)


def merge_verified(run: Run, custom: dict[str, Any]) -> Run:
    """Return the run with only its recipient left to notify, if it was verified. Its deadline may have passed since."""
    if custom.get("state") != State.VERIFIED:
        return run
    total = custom.get("total")
    return replace(
        run,
        state=State.VERIFIED,
        ending=transfer_lifecycle.VERIFIED,
        step=Step.NOTIFY,
        size=total if isinstance(total, int) else run.size,
        verified_at=run.verified_at or time_in(custom, "verified_at"),
    )


def _may_resume(run_or_job: Input, due: datetime) -> bool:
    spent = run_or_job.resumes >= policies.MAX_RESUMES
    if isinstance(run_or_job, Run):
        return run_or_job.ending is not None or not (spent or transfer_lifecycle.is_past_deadline(run_or_job, due))
    return not spent


def _resume(run_or_job: Input, instance: Instance) -> Input:
    if isinstance(run_or_job, Run):
        return transfer_lifecycle.resume(run_or_job, failure_text(instance))
    return (
        _abandon(run_or_job, instance)
        if run_or_job.cancelling
        else job_lifecycle.resume(run_or_job, failure_text(instance))
    )


def _abandon(run_or_job: Input, instance: Instance) -> Input:
    if isinstance(run_or_job, Run):
        return transfer_lifecycle.abandon(run_or_job, failure_text(instance))
    return job_lifecycle.abandon(job_lifecycle.merge_status(run_or_job, instance.custom), failure_text(instance))

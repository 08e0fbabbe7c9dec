"""The phases of a job, one activity each. An activity does one batch of its phase.

`survey` and `extras` write pages of the job's report. `act` acts on the lines of those pages.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from activities.jobs import lines, survey_dead_letters, survey_route
from activities.jobs.act import act
from activities.jobs.batch import Line, recorded_survey
from activities.jobs.lines import LineResult
from ports.orchestrations import Instances
from ports.services import Ports
from rules.errors import Failure, Permanent
from rules.jobs.model import Batch, Job, JobKind, Phase

Activity = Callable[[Ports, Instances, Job], Awaitable[Batch]]
LINE_HANDLERS: dict[JobKind, Callable[[Ports, Instances, Job, Line], Awaitable[LineResult]]] = {
    JobKind.REPLAY: lines.replay_line,
    JobKind.DISCARD: lines.discard_line,
    JobKind.RECONCILE: lines.start_line,
}


async def run_survey(ports: Ports, _instances: Instances, job: Job) -> Batch:
    """Find what the job is to act on, one page per batch."""
    survey = survey_route.survey if job.kind is JobKind.RECONCILE else survey_dead_letters.survey
    return await recorded_survey(ports, job) or await survey(ports, job)


async def run_extras(ports: Ports, _instances: Instances, job: Job) -> Batch:
    """Find blobs at the target that the source does not have, one page per batch."""
    return await recorded_survey(ports, job) or await survey_route.extras(ports, job)


async def run_act(ports: Ports, instances: Instances, job: Job) -> Batch:
    """Act on the lines of the report, a few seconds' worth per batch."""
    return await act(ports, job, partial(LINE_HANDLERS[job.kind], ports, instances, job))


ACTIVITIES: dict[Phase, Activity] = {Phase.SURVEY: run_survey, Phase.EXTRAS: run_extras, Phase.ACT: run_act}


async def run(activity: Activity, ports: Ports, instances: Instances, job: Job) -> Batch:
    """Run one batch. A storage failure is returned as a value, which says whether repeating the batch can help."""
    try:
        return await activity(ports, instances, job)
    except Failure as failure:
        return Batch(failure=str(failure), permanent=isinstance(failure, Permanent))

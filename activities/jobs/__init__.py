"""The phases of a job, one activity each; every run of one does a batch.

`survey` and `extras` write pages of the job's report. `act` acts on the lines of those pages.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from activities.jobs import lines, survey_dead_letters, survey_route
from activities.jobs.act import act
from activities.jobs.batch import Line, surveyed
from activities.jobs.lines import Acted
from ports.orchestrations import Instances
from ports.services import Ports
from rules.errors import Failure, Permanent
from rules.jobs.model import Batch, Job, JobKind, Phase

Activity = Callable[[Ports, Instances, Job], Awaitable[Batch]]
LINES: dict[JobKind, Callable[[Ports, Instances, Job, Line], Awaitable[Acted]]] = {
    JobKind.REPLAY: lines.replay_line,
    JobKind.DISCARD: lines.discard_line,
    JobKind.RECONCILE: lines.start_line,
}


async def run_survey(ports: Ports, _instances: Instances, job: Job) -> Batch:
    """Find what is meant, one page a batch."""
    survey = survey_route.survey if job.kind is JobKind.RECONCILE else survey_dead_letters.survey
    return await surveyed(ports, job) or await survey(ports, job)


async def run_extras(ports: Ports, _instances: Instances, job: Job) -> Batch:
    """Find what the target has beyond the source, one page a batch."""
    return await surveyed(ports, job) or await survey_route.extras(ports, job)


async def run_act(ports: Ports, instances: Instances, job: Job) -> Batch:
    """Act on what was found, a few seconds' worth a batch."""
    return await act(ports, job, partial(LINES[job.kind], ports, instances, job))


ACTIVITIES: dict[Phase, Activity] = {Phase.SURVEY: run_survey, Phase.EXTRAS: run_extras, Phase.ACT: run_act}


async def run(body: Activity, ports: Ports, instances: Instances, job: Job) -> Batch:
    """Run one batch. A failure of storage is a value: it says whether the batch is worth repeating."""
    try:
        return await body(ports, instances, job)
    except Failure as failure:
        return Batch(failure=str(failure), permanent=isinstance(failure, Permanent))

"""The turns of a job, one activity each: `survey`, `extras`, `act`."""

from collections.abc import Awaitable, Callable
from functools import partial

from operations import bulk, reconcile
from operations.acting import Acted, Line, act, surveyed
from rules.errors import Failure, Permanent
from rules.jobs import Job, Phase, Turn, Work
from rules.ports import Instances, Ports

Body = Callable[[Ports, Instances, Job], Awaitable[Turn]]
LINES: dict[Work, Callable[[Ports, Instances, Job, Line], Awaitable[Acted]]] = {
    Work.REPLAY: bulk.replay_line,
    Work.DISCARD: bulk.discard_line,
    Work.RECONCILE: reconcile.start_line,
}


async def run_survey(ports: Ports, _instances: Instances, job: Job) -> Turn:
    """Find what is meant, one page a turn."""
    survey = reconcile.survey if job.work is Work.RECONCILE else bulk.survey
    return await surveyed(ports, job) or await survey(ports, job)


async def run_extras(ports: Ports, _instances: Instances, job: Job) -> Turn:
    """Find what the target has beyond the source, one page a turn."""
    return await surveyed(ports, job) or await reconcile.extras(ports, job)


async def run_act(ports: Ports, instances: Instances, job: Job) -> Turn:
    """Act on what was found, a few seconds' worth a turn."""
    return await act(ports, job, partial(LINES[job.work], ports, instances, job))


BODIES: dict[Phase, Body] = {Phase.SURVEY: run_survey, Phase.EXTRAS: run_extras, Phase.ACT: run_act}


async def taken(body: Body, ports: Ports, instances: Instances, job: Job) -> Turn:
    """A turn, whatever storage says: its failure is a value, to be done again or not."""
    try:
        return await body(ports, instances, job)
    except Failure as failure:
        return Turn(failure=str(failure), permanent=isinstance(failure, Permanent))

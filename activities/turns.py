"""The turns of a job, one activity each: `survey`, `extras`, `act`."""

from collections.abc import Awaitable, Callable
from functools import partial

from operations import bulk, reconcile
from operations.acting import act
from rules.errors import Failure, Permanent
from rules.jobs import Job, Phase, Turn, Work
from rules.ports import Instances, Ports

Body = Callable[[Ports, Instances, Job], Awaitable[Turn]]


async def run_survey(ports: Ports, _instances: Instances, job: Job) -> Turn:
    """Find what is meant, one page a turn."""
    survey = bulk.survey if job.work is Work.REPLAY else reconcile.survey
    return await survey(ports, job)


async def run_extras(ports: Ports, _instances: Instances, job: Job) -> Turn:
    """Find what the target has beyond the source, one page a turn."""
    return await reconcile.extras(ports, job)


async def run_act(ports: Ports, instances: Instances, job: Job) -> Turn:
    """Act on what was found, a few seconds' worth a turn."""
    if job.work is Work.REPLAY:
        return await act(ports, job, partial(bulk.replay_line, ports, instances))
    return await act(ports, job, partial(reconcile.start_line, ports, instances, job))


BODIES: dict[Phase, Body] = {Phase.SURVEY: run_survey, Phase.EXTRAS: run_extras, Phase.ACT: run_act}


async def taken(body: Body, ports: Ports, instances: Instances, job: Job) -> Turn:
    """A turn, whatever storage says: its failure is a value, to be done again or not."""
    try:
        return await body(ports, instances, job)
    except Failure as failure:
        return Turn(failure=str(failure), permanent=isinstance(failure, Permanent))

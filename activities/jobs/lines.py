"""Acting on one line of a report: replay or discard a dead letter, or start a transfer."""

import asyncio
from dataclasses import dataclass

from activities.jobs.batch import NO_ROUTE, Line
from operations.dead_letters.discard import discard
from operations.dead_letters.replay import Resolved, replay
from operations.problems import Conflict, NotFound
from operations.transfers.start import StillRunning, restart
from ports.orchestrations import Instances
from ports.services import Ports
from rules.dead_letters.letters import DISCARDED
from rules.events.decide import transfer_for
from rules.events.parse import RejectedEvent
from rules.jobs.model import Finding, Job, Result
from rules.orchestrations import status
from rules.orchestrations.instance import Instance
from rules.transfers.model import Ended
from rules.transfers.states import State


@dataclass(frozen=True, slots=True)
class LineResult:
    """What happened to one line."""

    result: Result
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether to try the line again."""
        return self.result is Result.FAILED


ROUTE_CHANGED = LineResult(Result.REFUSED, "the route now has another source, target or filter")


async def replay_line(ports: Ports, instances: Instances, job: Job, line: Line) -> LineResult:
    """Replay one dead letter.

    One that was replayed after the job was created is reported as running, because an earlier try of this batch may have
    replayed it.
    """
    try:
        await replay(ports, instances, line["id"])
    except StillRunning:
        return LineResult(Result.RUNNING)
    except (Conflict, NotFound) as refusal:
        if isinstance(refusal, Resolved) and refusal.at >= job.created_at and refusal.how != DISCARDED:
            return LineResult(Result.RUNNING, "replayed in the meantime")
        return LineResult(Result.REFUSED, refusal.detail)
    return LineResult(Result.STARTED)


async def discard_line(ports: Ports, instances: Instances, job: Job, line: Line) -> LineResult:
    """Discard one dead letter, unless it has failed again since the survey.

    One that was discarded after the job was created is reported as discarded, because an earlier try of this batch may have
    discarded it.
    """
    try:
        await discard(ports, instances, line["id"], line["last_failed_at"])
    except StillRunning:
        return LineResult(Result.RUNNING)
    except (Conflict, NotFound) as refusal:
        if isinstance(refusal, Resolved) and refusal.at >= job.created_at and refusal.how == DISCARDED:
            return LineResult(Result.DISCARDED, "discarded in the meantime")
        return LineResult(Result.REFUSED, refusal.detail)
    return LineResult(Result.DISCARDED)


async def start_line(ports: Ports, instances: Instances, job: Job, line: Line) -> LineResult:
    """Start the transfer of a missing or stale blob, unless it was cancelled or has a dead letter."""
    route = ports.route(job.route or "")
    if route is None:
        return LineResult(Result.REFUSED, NO_ROUTE.failure)
    transfer = transfer_for(route, line["name"], line["etag"])
    if isinstance(transfer, RejectedEvent):
        return LineResult(Result.REFUSED, transfer.detail)
    if transfer.id != line["id"] or not route.carries(route.source.account, route.source.container, transfer.name):
        return ROUTE_CHANGED
    instance, ended = await asyncio.gather(instances.find(transfer.id), ports.dead_letters.read_ended(transfer.id))
    if (state := _state_to_keep(instance, ended)) is not None:
        discarded = ended is not None and ended.discarded
        replayable = state is State.DEAD_LETTERED and not discarded
        fix = "replay its dead letter" if replayable else "share it with POST /api/transfers"
        return LineResult(Result.SKIPPED, f"{state}{', dead letter discarded' if discarded else ''}: {fix}")
    try:
        await restart(ports, instances, transfer, blind=line["class"] == Finding.MISSING)
    except StillRunning:
        return LineResult(Result.RUNNING)
    return LineResult(Result.STARTED)


def _state_to_keep(instance: Instance | None, ended: Ended | None) -> State | None:
    """`cancelled` or `dead_lettered` if the transfer ended so, else None. Only a request starts it again.

    The record of the end counts if it is of the latest attempt, because it outlives the orchestration's history.
    """
    if instance is not None and instance.under_way:
        return None
    attempt = instance.run.attempt if instance and instance.run else 0
    if ended is not None and ended.attempt >= attempt:
        return ended.ending.state
    current = status.view(instance)["state"] if instance else None
    return next((state for state in (State.CANCELLED, State.DEAD_LETTERED) if state == current), None)

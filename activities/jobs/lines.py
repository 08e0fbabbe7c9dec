"""Acting on one line of a report: a replay, a discard, or the start of a transfer."""

import asyncio
from dataclasses import dataclass

from activities.jobs.batch import NO_ROUTE, Line
from operations.dead_letters.discard import discard
from operations.dead_letters.replay import Resolved, replay
from operations.problems import Conflict, NotFound
from operations.transfers.restart import StillRunning, restart
from ports.orchestrations import Instances
from ports.services import Ports
from rules.dead_letters.letters import DISCARDED
from rules.events import RejectedEvent, transfer_for
from rules.jobs.model import Finding, Job, Result
from rules.orchestrations import status
from rules.orchestrations.instance import Instance
from rules.transfers.model import Ended
from rules.transfers.states import State


@dataclass(frozen=True, slots=True)
class Acted:
    """What became of one line."""

    result: Result
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether storage failed it."""
        return self.result is Result.FAILED


async def replay_line(ports: Ports, instances: Instances, job: Job, line: Line) -> Acted:
    """Replay one dead letter; what it answers is the line's result.

    One that was resolved since the job was asked for is not refused: a try of the batch that was lost may have replayed it.
    """
    try:
        await replay(ports, instances, line["id"])
    except StillRunning:
        return Acted(Result.RUNNING)
    except (Conflict, NotFound) as refused:
        if isinstance(refused, Resolved) and refused.at >= job.created_at and refused.how != DISCARDED:
            return Acted(Result.RUNNING, "replayed in the meantime")
        return Acted(Result.REFUSED, refused.detail)
    return Acted(Result.STARTED)


async def discard_line(ports: Ports, instances: Instances, job: Job, line: Line) -> Acted:
    """Discard one dead letter, if it is the failure that the survey found; what it answers is the line's result.

    One that was discarded since the job was asked for is not refused: a try of the batch that was lost may have done it.
    """
    try:
        await discard(ports, instances, line["id"], line["last_failed_at"])
    except StillRunning:
        return Acted(Result.RUNNING)
    except (Conflict, NotFound) as refused:
        if isinstance(refused, Resolved) and refused.at >= job.created_at and refused.how == DISCARDED:
            return Acted(Result.DISCARDED, "discarded in the meantime")
        return Acted(Result.REFUSED, refused.detail)
    return Acted(Result.DISCARDED)


ELSEWHERE = Acted(Result.REFUSED, "the route now has another source or target")


async def start_line(ports: Ports, instances: Instances, job: Job, line: Line) -> Acted:
    """Start the transfer of a blob that is missing or stale; not one that a person cancelled, or that waits for its replay."""
    route = ports.route(job.route or "")
    if route is None:
        return Acted(Result.REFUSED, NO_ROUTE.failure)
    transfer = transfer_for(route, line["name"], line["etag"])
    if isinstance(transfer, RejectedEvent):
        return Acted(Result.REFUSED, transfer.detail)
    if transfer.id != line["id"] or not route.carries(route.source.account, route.source.container, transfer.name):
        return ELSEWHERE
    instance, ended = await asyncio.gather(instances.find(transfer.id), ports.dead_letters.read_ended(transfer.id))
    if (over := _over(instance, ended)) is not None:
        discarded = ended is not None and ended.discarded
        replayable = over is State.DEAD_LETTERED and not discarded
        fix = "replay its dead letter" if replayable else "share it with POST /api/transfers"
        return Acted(Result.SKIPPED, f"{over}{', dead letter discarded' if discarded else ''}: {fix}")
    try:
        await restart(ports, instances, transfer, blind=line["class"] == Finding.MISSING)
    except StillRunning:
        return Acted(Result.RUNNING)
    return Acted(Result.STARTED)


def _over(instance: Instance | None, ended: Ended | None) -> State | None:
    """Whether the transfer is left as it ended: cancelled, or dead-lettered. The record of the end outlives the history."""
    if instance is not None and instance.under_way:
        return None
    attempt = instance.run.attempt if instance and instance.run else 0
    if ended is not None and ended.attempt >= attempt:
        return ended.ending.state
    state = status.view(instance)["state"] if instance else None
    return next((over for over in (State.CANCELLED, State.DEAD_LETTERED) if over == state), None)

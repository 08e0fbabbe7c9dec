"""Resuming: orchestrations that the host failed are started again, the others that broke are taken to their end (rule 8)."""

import logging

from operations.log import log
from operations.upkeep.timer_run import TimerRun
from ports.orchestrations import Instances
from ports.services import Ports
from rules.dead_letters import letters
from rules.jobs.model import JobKind
from rules.orchestrations import recovery
from rules.orchestrations.instance import Instance, StatusFilter
from rules.orchestrations.recovery import RecoveryPlan
from rules.transfers.identity import TRANSFER_ID_PATTERN
from rules.transfers.model import Run

# Of a minute. A worker that dies may fail thousands of orchestrations at once, and to start all of them again at once would fill
# the hub: so many a round are 20 a second, which is what one small instance carries.
SECONDS, MOST, AT_ONCE = 45.0, 900, 8
PREFIXES = (*(f"{kind}-" for kind in JobKind), "")


async def resume(ports: Ports, instances: Instances) -> int:
    """Start again what is broken and due; how many. The next round goes on where this one was over."""
    run = TimerRun(ports, "resume", seconds=SECONDS, most=MOST)
    for prefix in PREFIXES:
        if not run.over:
            with run:
                await _take_up_all(ports, instances, run, prefix)
    if run.done:
        log("resume.done", "broken orchestrations restarted", count=run.done)
    run.finish()
    return run.done


async def _take_up_all(ports: Ports, instances: Instances, run: TimerRun, prefix: str) -> None:
    async def start(listed: Instance) -> None:
        # Not `+=` around the await: several are under way at once, and each would add to the count that it began with.
        if await take_up(ports, instances, listed.id):
            run.done += 1

    async for page in run.pages(instances, prefix, statuses=StatusFilter.BROKEN):
        await run.each([instance for instance in page if _is_due(ports, instance)], start, AT_ONCE)


def _is_due(ports: Ports, instance: Instance) -> bool:
    plan = recovery.plan(instance)
    return plan is None or plan.due <= ports.now()


async def take_up(ports: Ports, instances: Instances, identity: str) -> bool:
    """Start one broken orchestration again, if it still is broken and due. True if it was started."""
    # A list may be old: a replay may be under way or over, and a start silently replaces an instance that ended.
    instance = await instances.find(identity)
    if instance is None or not instance.broken or not _is_due(ports, instance):
        return False
    plan = recovery.plan(instance)
    if plan is None:
        await _keep(ports, instance)
        return False
    started = await instances.start(plan.input)
    if started:
        _report(instance, plan)
    return started


def _report(instance: Instance, plan: RecoveryPlan) -> None:
    given, what = plan.input, "resumed" if plan.resumed else "ended"
    log(
        f"resume.{what}",
        recovery.failure_text(instance),
        level=logging.WARNING,
        id=instance.id,
        route=given.transfer.route if isinstance(given, Run) else given.route,
        name=instance.name,
        resumes=given.resumes,
    )


async def _keep(ports: Ports, instance: Instance) -> None:
    """Report what only a person can look into. A transfer gets a dead letter, once; a letter resolved before is of an earlier end."""
    detail = recovery.failure_text(instance)
    if TRANSFER_ID_PATTERN.fullmatch(instance.id):
        letter = await ports.dead_letters.read(instance.id)
        if letter is not None and (letter.resolved_at is None or letter.resolved_at >= instance.updated_at):
            return
        await ports.dead_letters.write(
            letters.of_unreadable(instance.id, detail, ports.now(), ports.app_version, letter)
        )
    log("resume.unreadable", detail, level=logging.WARNING, id=instance.id)

"""The resume timer: restarts orchestrations that the host failed, and ends other broken ones (rule 8)."""

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

# The timer runs every minute. A worker that dies can fail thousands of orchestrations, and restarting all of them
# immediately would fill the hub. At most 900 per run are 20 per second, which one small instance can handle.
SECONDS, MAX_DONE, CONCURRENCY = 45.0, 900, 8
PREFIXES = (*(f"{kind}-" for kind in JobKind), "")


async def resume(ports: Ports, instances: Instances) -> int:
    """Restart broken orchestrations that are due, and return how many. The next run continues where this one stopped."""
    run = TimerRun(ports, "resume", seconds=SECONDS, max_done=MAX_DONE)
    for prefix in PREFIXES:
        if not run.over:
            with run:
                await _resume_listed(ports, instances, run, prefix)
    if run.done:
        log("resume.done", "broken orchestrations restarted", count=run.done)
    run.finish()
    return run.done


async def _resume_listed(ports: Ports, instances: Instances, run: TimerRun, prefix: str) -> None:
    async def start(listed: Instance) -> None:
        # Not `run.done += await ...`: concurrent calls would each add to the count that they had read before.
        if await resume_one(ports, instances, listed.id):
            run.done += 1

    async for page in run.pages(instances, prefix, statuses=StatusFilter.BROKEN):
        await run.for_each([instance for instance in page if _is_due(ports, instance)], start, CONCURRENCY)


def _is_due(ports: Ports, instance: Instance) -> bool:
    plan = recovery.plan(instance)
    return plan is None or plan.due <= ports.now()


async def resume_one(ports: Ports, instances: Instances, identity: str) -> bool:
    """Restart an orchestration if it is still broken and due. Return whether it was started."""
    # The list may be outdated: a replay may have started since, and a start silently replaces an instance that ended.
    instance = await instances.find(identity)
    if instance is None or not instance.broken:
        return False
    plan = recovery.plan(instance)
    if plan is None:
        await _report_unreadable(ports, instance)
        return False
    if plan.due > ports.now():
        return False
    started = await instances.start(plan.input)
    if started:
        _log_restart(instance, plan)
    return started


def _log_restart(instance: Instance, plan: RecoveryPlan) -> None:
    restarted = plan.input
    what = "resumed" if plan.resumed else "ended"
    log(
        f"resume.{what}",
        recovery.failure_text(instance),
        level=logging.WARNING,
        id=instance.id,
        route=restarted.transfer.route if isinstance(restarted, Run) else restarted.route,
        name=instance.name,
        resumes=restarted.resumes,
    )


async def _report_unreadable(ports: Ports, instance: Instance) -> None:
    """Report an orchestration whose input cannot be read. A transfer gets one dead letter.

    A dead letter that was resolved before the orchestration broke belongs to an earlier end.
    """
    detail = recovery.failure_text(instance)
    if TRANSFER_ID_PATTERN.fullmatch(instance.id):
        letter = await ports.dead_letters.read(instance.id)
        if letter is not None and (letter.resolved_at is None or letter.resolved_at >= instance.updated_at):
            return
        await ports.dead_letters.write(
            letters.of_unreadable(instance.id, detail, ports.now(), ports.app_version, letter)
        )
    log("resume.unreadable", detail, level=logging.WARNING, id=instance.id)

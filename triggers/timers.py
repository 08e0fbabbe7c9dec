"""The timers. Each is safe to run at any time, twice, and while the others run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from operations.upkeep.drain import drain
from operations.upkeep.figures import collect
from operations.upkeep.purge import purge
from operations.upkeep.resume import resume
from operations.upkeep.schedule import schedule
from operations.upkeep.sweep import sweep
from operations.upkeep.watchdog import watch
from ports.orchestrations import Instances
from ports.services import Ports, Services

Work = Callable[[Ports, Instances], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer: its NCRONTAB schedule (with seconds), the operation that it calls, and a description."""

    schedule: str
    work: Work
    does: str


TIMERS: dict[str, Timer] = {
    # Not a second queue trigger: some messages cannot be read by any trigger.
    "drain": Timer(
        "0 * * * * *",
        drain,
        "Accepts messages of `blob-events-poison` and blobs of `event-dead-letters`, or makes them dead letters. Logs the depth of "
        "`blob-events`.",
    ),
    "resume": Timer(
        "30 * * * * *",
        resume,
        "Restarts orchestrations that the host failed, after a growing pause. Ends other broken orchestrations.",
    ),
    "sweep": Timer("30 */5 * * * *", sweep, "Resolves and writes dead letters so that they agree with the transfers."),
    "schedule": Timer(
        "50 */5 * * * *",
        schedule,
        "Starts a reconcile of each route that has had none in its current `reconcile` interval, or is no longer `paused`.",
    ),
    "watchdog": Timer(
        "0 7,17,27,37,47,57 * * * *",
        watch,
        "Logs orchestrations without progress. Ends those whose activity was lost, so that they are resumed, and those that are stuck.",
    ),
    "figures": Timer(
        "15 * * * * *",
        collect,
        "Counts what happened to transfers: writes the figures of each route, and the ledger of verified transfers.",
    ),
    # 1,000 histories every ten minutes keep up with 100,000 transfers a day.
    "purge": Timer("45 */10 * * * *", purge, "Deletes histories that ended over 30 days ago, at most 15,000 per run."),
}


def register(app: df.DFApp, services: Services) -> None:
    """Register the timers."""
    for name, timer in TIMERS.items():
        function = app.durable_client_input(client_name="client")(_timer(name, timer.work, services))
        app.function_name(name)(app.timer_trigger(arg_name="timer", schedule=timer.schedule)(function))


def _timer(name: str, work: Work, services: Services) -> Callable[[func.TimerRequest, Any], Awaitable[None]]:
    async def run(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:  # noqa: ARG001  # a binding
        await work(services.ports, services.instances(client))

    run.__name__ = name
    return run

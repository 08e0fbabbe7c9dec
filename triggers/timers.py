"""The timers: what no event brings about. Each is safe to run at any time, twice, and while the other runs."""

from collections.abc import Awaitable, Callable
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from operations.jobs.schedule import reconcile_due
from operations.upkeep.drain import drain
from operations.upkeep.purge import purge
from operations.upkeep.resume import resume
from operations.upkeep.sweep import sweep
from operations.upkeep.watchdog import watch
from ports.orchestrations import Instances
from ports.services import Ports, Services

Work = Callable[[Ports, Instances], Awaitable[object]]
# When (NCRONTAB, by the second), and what.
TIMERS: dict[str, tuple[str, Work]] = {
    # A timer, not a second queue trigger: there are messages that no trigger can ever read.
    "drain": ("0 * * * * *", drain),
    # What the host failed is found within a minute.
    "resume": ("30 * * * * *", resume),
    "sweep": ("30 */5 * * * *", sweep),
    "schedule": ("50 */5 * * * *", reconcile_due),
    "watchdog": ("0 7,17,27,37,47,57 * * * *", watch),
    # Of its own, apart from the watchdog: a thousand this often keeps up with a hundred thousand transfers a day.
    "purge": ("45 */10 * * * *", purge),
}


def register(app: df.DFApp, services: Services) -> None:
    """Register the timers."""
    for name, (schedule, work) in TIMERS.items():
        function = app.durable_client_input(client_name="client")(_timer(name, work, services))
        app.function_name(name)(app.timer_trigger(arg_name="timer", schedule=schedule)(function))


def _timer(name: str, work: Work, services: Services) -> Callable[[func.TimerRequest, Any], Awaitable[None]]:
    async def run(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:  # noqa: ARG001  # a binding
        await work(services.ports, services.instances(client))

    run.__name__ = name
    return run

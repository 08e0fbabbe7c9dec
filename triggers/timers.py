"""The timers: what no event brings about. Each is safe to run at any time, twice, and while the other runs."""

from collections.abc import Callable
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from operations.drain import drain
from operations.purge import purge
from operations.schedule import reconcile_due
from operations.sweep import sweep
from operations.watchdog import watch
from rules.ports import Instances, Ports

EVERY_MINUTE = "0 * * * * *"
EVERY_FIVE_MINUTES = "30 */5 * * * *"
AND_A_WHILE_LATER = "50 */5 * * * *"
# Of its own, apart from the watchdog: a thousand this often keeps up with a hundred thousand transfers a day.
EVERY_TEN_MINUTES = "45 */10 * * * *"
EVERY_HOUR = "0 17 * * * *"


def register(app: df.DFApp, ports: Callable[[], Ports], instances: Callable[[Any], Instances]) -> None:
    """Put the timers into the app."""

    # A timer, not a second queue trigger: there are messages that no trigger can ever read.
    @app.function_name("drain")
    @app.timer_trigger(arg_name="timer", schedule=EVERY_MINUTE)
    @app.durable_client_input(client_name="client")
    async def drain_poison(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:  # noqa: ARG001  # a binding
        await drain(ports(), instances(client))

    @app.function_name("sweep")
    @app.timer_trigger(arg_name="timer", schedule=EVERY_FIVE_MINUTES)
    @app.durable_client_input(client_name="client")
    async def sweep_hub(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:  # noqa: ARG001  # a binding
        await sweep(ports(), instances(client))

    @app.function_name("schedule")
    @app.timer_trigger(arg_name="timer", schedule=AND_A_WHILE_LATER)
    @app.durable_client_input(client_name="client")
    async def reconcile_by_schedule(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:  # noqa: ARG001  # a binding
        await reconcile_due(ports(), instances(client))

    @app.function_name("watchdog")
    @app.timer_trigger(arg_name="timer", schedule=EVERY_HOUR)
    @app.durable_client_input(client_name="client")
    async def watch_hub(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:  # noqa: ARG001  # a binding
        await watch(ports(), instances(client))

    @app.function_name("purge")
    @app.timer_trigger(arg_name="timer", schedule=EVERY_TEN_MINUTES)
    @app.durable_client_input(client_name="client")
    async def purge_hub(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:  # noqa: ARG001  # a binding
        await purge(ports(), instances(client))

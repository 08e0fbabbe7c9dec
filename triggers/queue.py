"""The queue trigger: accepts one message of `blob-events`. It starts transfers and waits for none of them."""

import asyncio

import azure.durable_functions as df
import azure.functions as func

from operations.transfers.accept import accept
from ports.services import Services
from rules.fixed_names import EVENTS_QUEUE

CONNECTION = "EVENTS"
# A stopping host waits ten seconds for its functions. A message whose function it ends then is delivered again only after
# ten minutes; one whose function fails, after thirty seconds.
TIMEOUT_SECONDS = 8.0


def register(app: df.DFApp, services: Services) -> None:
    """Register the queue trigger."""

    @app.function_name("accept")
    @app.queue_trigger(arg_name="message", queue_name=EVENTS_QUEUE, connection=CONNECTION)
    @app.durable_client_input(client_name="client")
    async def accept_message(message: func.QueueMessage, client: df.DurableOrchestrationClient) -> None:
        # Use the body only: the host merges properties of the message into its metadata, so an `id` may be forged.
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await accept(services.ports, services.instances(client), message.get_body())

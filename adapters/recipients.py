"""The port `Recipients`: Azure Storage queues and Event Grid topics."""

import json
from base64 import b64encode
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.messaging import CloudEvent

from adapters.clients import Clients
from adapters.queues import Queue
from adapters.translation import RECIPIENT_SEND
from rules.routes.model import Recipient


class CloudRecipients:
    """Queues and topics."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def send(self, recipient: Recipient, event: dict[str, Any]) -> None:
        """Send a CloudEvent: to a queue in base64, as Event Grid does and as the triggers of Azure Functions expect."""
        if recipient.queue:
            body = b64encode(json.dumps(event).encode()).decode()
            await Queue(self._clients, recipient.endpoint, recipient.queue).put(RECIPIENT_SEND, body)
            return
        async with self._clients.request_scope(RECIPIENT_SEND):
            try:
                await self._clients.topic(recipient.endpoint).send(CloudEvent.from_dict(event))
            except ResourceNotFoundError as error:  # the SDK replaces the error of a 404 with one that has no response
                raise error.__cause__ if isinstance(error.__cause__, HttpResponseError) else error from None

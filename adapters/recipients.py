"""The port `Recipients`: Azure Storage queues and Event Grid topics."""

import json
from base64 import b64encode
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.messaging import CloudEvent

from adapters.clients import Clients
from adapters.translation import RECIPIENT_SEND
from rules.routes.model import Recipient

# A recipient that reads late must not miss anything.
NEVER_EXPIRES = -1


class CloudRecipients:
    """Queues and topics."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def send(self, recipient: Recipient, event: dict[str, Any]) -> None:
        """Send a CloudEvent: to a queue in base64, as Event Grid does and as the triggers of Azure Functions expect."""
        async with self._clients.request_scope(RECIPIENT_SEND):
            if recipient.queue:
                body = b64encode(json.dumps(event).encode()).decode()
                queue = self._clients.queue(recipient.endpoint, recipient.queue)
                await queue.send_message(body, time_to_live=NEVER_EXPIRES)
                return
            try:
                await self._clients.topic(recipient.endpoint).send(CloudEvent.from_dict(event))
            except ResourceNotFoundError as error:  # the SDK replaces the error of a 404 with one that has no response
                raise error.__cause__ if isinstance(error.__cause__, HttpResponseError) else error from None

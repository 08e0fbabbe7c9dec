"""The age of the messages in the task hub's queues in the state account.

The Azure Storage backend of the Durable extension names the queues `<hub>-workitems`, `<hub>-control-00`, `<hub>-control-01`
and so on. Other backends have no such queues.
"""

from datetime import datetime
from itertools import count

from azure.core.exceptions import HttpResponseError

from adapters.clients import Clients
from adapters.translation import INSTANCES_OLDEST, code_of


class HubQueues:
    """The queues of a task hub."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients = clients
        self._endpoint = endpoint

    async def oldest(self, hub: str) -> datetime | None:
        """Return when the oldest of the queues' first visible messages was inserted; None if there is none."""
        found = await self._first(f"{hub}-workitems") or []
        for number in count():
            first = await self._first(f"{hub}-control-{number:02}")
            if first is None:
                break
            found += first
        return min(found, default=None)

    async def _first(self, name: str) -> list[datetime] | None:
        """Return the insertion time of a queue's first message, in a list of at most one; None if there is no queue."""
        async with self._clients.request_scope(INSTANCES_OLDEST):
            try:
                messages = await self._clients.queue(self._endpoint, name.lower()).peek_messages(1)
            except HttpResponseError as error:
                if code_of(error) != "QueueNotFound":
                    raise
                return None
        return [message.inserted_on for message in messages if message.inserted_on]

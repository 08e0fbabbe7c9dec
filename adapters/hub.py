"""The age of the messages in the task hub's queues in the state account.

The Azure Storage backend of the Durable extension names the queues `<hub>-workitems`, `<hub>-control-00`, `<hub>-control-01`
and so on. Other backends have no such queues.
"""

from datetime import UTC, datetime
from itertools import count

from azure.core.exceptions import HttpResponseError

from adapters.clients import Clients
from adapters.translation import INSTANCES_OLDEST, code_of

MISSING = datetime.max.replace(tzinfo=UTC)


class HubQueues:
    """The queues of a task hub."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._clients = clients
        self._endpoint = endpoint

    async def oldest(self, hub: str) -> datetime | None:
        """Return when the oldest visible message of the hub was put; None if there is none."""
        times = [await self._oldest_in(f"{hub}-workitems")]
        for number in count():
            times.append(await self._oldest_in(f"{hub}-control-{number:02}"))
            if times[-1] is MISSING:
                break
        return min((at for at in times if at not in {None, MISSING}), default=None)

    async def _oldest_in(self, name: str) -> datetime | None:
        """Return when the first message of a queue was put; None if it is empty, `MISSING` if it does not exist."""
        async with self._clients.request_scope(INSTANCES_OLDEST):
            try:
                messages = await self._clients.queue(self._endpoint, name.lower()).peek_messages(1)
            except HttpResponseError as error:
                if code_of(error) != "QueueNotFound":
                    raise
                return MISSING
        return next((message.inserted_on for message in messages), None)

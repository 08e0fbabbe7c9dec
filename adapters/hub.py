"""The queues of the task hub in the state account: how long their messages have waited.

The Azure Storage backend of the Durable extension names them `<hub>-workitems` and `<hub>-control-00`, `-01` and so on. Another
backend has none.
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
        """When the oldest visible message of the hub was put; None if there is none."""
        found = [await self._first(f"{hub}-workitems")]
        for number in count():
            found.append(await self._first(f"{hub}-control-{number:02}"))
            if found[-1] is MISSING:
                break
        return min((at for at in found if at not in {None, MISSING}), default=None)

    async def _first(self, name: str) -> datetime | None:
        """When the first message of a queue was put; None if it has none, `MISSING` if there is no such queue."""
        async with self._clients.request_scope(INSTANCES_OLDEST):
            try:
                messages = await self._clients.queue(self._endpoint, name.lower()).peek_messages(1)
            except HttpResponseError as error:
                if code_of(error) != "QueueNotFound":
                    raise
                return MISSING
        return next((message.inserted_on for message in messages), None)

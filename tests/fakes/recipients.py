"""A fake of `Recipients`."""

from typing import Any

from adapters.translation import RECIPIENT_SEND, error_for_answer
from rules.routes.model import Recipient
from tests.fakes.world import MemoryStorage

MAX_BYTES = 64 * 1024


class MemoryRecipients:
    """The events sent to each recipient, in order. A queue that is not in `queues` does not exist."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.sent: dict[Recipient, tuple[dict[str, Any], ...]] = {}
        self.missing: set[str] = set()

    async def send(self, recipient: Recipient, event: dict[str, Any]) -> None:
        async with self._world.request(RECIPIENT_SEND, event["id"]):
            if recipient.queue in self.missing:
                raise error_for_answer(RECIPIENT_SEND, 404, "QueueNotFound")
            self.sent[recipient] = (*self.sent.get(recipient, ()), event)

"""The recipients that routes notify."""

from typing import Any, Protocol

from rules.routes.model import Recipient


class Recipients(Protocol):
    """Storage queues and Event Grid topics, in the app's tenant or in another one."""

    async def send(self, recipient: Recipient, event: dict[str, Any]) -> None:
        """Send a CloudEvent. Raises a Failure with the reason `not_notified`; the event may have arrived nevertheless."""

"""What was asked of the blob service, for tests to count: the last hundred thousand requests, in memory."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT = 100_000


@dataclass(slots=True)
class Entry:
    """One request; no query and no header but the user agent, so no signature either."""

    number: int
    operation: str
    method: str
    account: str
    container: str
    blob: str
    user_agent: str
    client_request_id: str
    internal: bool
    """Azurite's own read of a copy's source."""
    time: float = field(default_factory=time.time)
    status: int = 0
    """What the service answered; 0 while it has not."""
    code: str = ""
    answered: bool = False
    """Whether the client was told: not if a fault dropped the connection."""


class Journal:
    """The requests of this run, numbered from 1."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last = 0

    def next_number(self) -> int:
        """Return the number of the next request."""
        self._last += 1
        return self._last

    def add(self, entry: Entry) -> None:
        """Note a request as it comes; what became of it is filled in later."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget the requests so far; the numbers go on."""
        self._entries.clear()

    def select(self, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the entries whose fields equal the given ones; `since` leaves out numbers up to it."""
        since = int(wanted.get("since", "0"))
        fields = {name: text for name, text in wanted.items() if name != "since"}
        return [asdict(entry) for entry in self._entries if entry.number > since and _fits(entry, fields)]


def _fits(entry: Entry, fields: Mapping[str, str]) -> bool:
    return all(str(getattr(entry, name)).lower() == text.lower() for name, text in fields.items())

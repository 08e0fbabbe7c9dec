"""The last hundred thousand requests to the blob service, in memory, for tests to count."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT = 100_000


@dataclass(slots=True)
class Entry:
    """A request, without its query and most headers, because these may hold a signature."""

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
    length: int = 0
    """The bytes of the request's body, or of the range of its source."""
    time: float = field(default_factory=time.time)
    status: int = 0
    """The service's answer; 0 until then."""
    code: str = ""
    answered: bool = False
    """Whether the client got an answer. A fault may drop the connection."""


class Journal:
    """The requests of this process, numbered from 1."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last = 0

    def next_number(self) -> int:
        """Return the number of the next request."""
        self._last += 1
        return self._last

    def add(self, entry: Entry) -> None:
        """Add a request on arrival; its answer is filled in later."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Delete the requests; the numbers continue."""
        self._entries.clear()

    def select(self, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the entries whose fields equal the given ones and whose number is above `since`."""
        since = int(wanted.get("since", "0"))
        fields = {name: text for name, text in wanted.items() if name != "since"}
        return [asdict(entry) for entry in self._entries if entry.number > since and _fits(entry, fields)]


def _fits(entry: Entry, fields: Mapping[str, str]) -> bool:
    return all(str(getattr(entry, name)).lower() == text.lower() for name, text in fields.items())

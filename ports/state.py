"""What the app keeps of its own: dead letters, records of ends, reports."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Protocol

from rules.dead_letters.letters import DeadLetter
from rules.transfers.model import Ended


class DeadLetters(Protocol):
    """Dead letters and the records of ends, in the state account. Writes are conditional; the higher attempt wins."""

    async def read_ended(self, identity: str) -> Ended | None:
        """Read the record of a transfer's end, if there is one."""

    async def write_ended(self, ended: Ended) -> None:
        """Record an end. A record of the same rank or a higher one stays as it is (`Ended.rank`)."""

    async def drop_ended(self, identity: str, attempt: int, resumes: int = 0) -> None:
        """Forget the record of an end, unless it is of a higher rank. Absent already is fine."""

    async def write(self, letter: DeadLetter) -> None:
        """Open a letter, merged with what is known of this id (`letters.merge`). A late or second write changes nothing."""

    async def resolve(self, identity: str, attempt: int, how: str, now: datetime) -> bool:
        """Move an open letter to `resolved/` (written first, then the open one is deleted), unless it is of a later attempt.

        If it is `discarded`, the record of its end says so before the open one is deleted: the sweep never writes it again.
        False where there is none to resolve.
        """

    async def read(self, identity: str) -> DeadLetter | None:
        """Read a letter, open or resolved."""

    async def page(self, prefix: str, limit: int, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """List open letters whose id begins so, from their metadata, in order of id. A page may be short.

        Raises ValueError for a continuation that is none of this prefix's.
        """

    def list_ended(self) -> AsyncIterator[Ended]:
        """Every record of an end that can be read, in order of id, in pages: flat in memory. Without its detail, which no list shows."""


class Reports(Protocol):
    """Pages of JSON lines, in the state account. A page that is written again is replaced."""

    async def write(self, name: str, lines: list[dict[str, Any]], *, new: bool = False) -> None:
        """Write a page. Where it is to be `new`, one that is there already stays, and this raises Retryable."""

    async def read(self, name: str) -> list[dict[str, Any]]:
        """Read a page; empty where there is none (old ones are deleted)."""

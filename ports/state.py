"""The app's own state: dead letters, records of ends, reports."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Protocol

from rules.dead_letters.letters import DeadLetter
from rules.routes.model import Pause
from rules.transfers.model import Ended


class DeadLetters(Protocol):
    """Dead letters, and records of ends and of paused routes, in the state account.

    Writes are conditional; of dead letters and ends the higher attempt wins.
    """

    async def read_ended(self, identity: str) -> Ended | None:
        """Read the record of a transfer's end; None if there is none."""

    async def write_ended(self, ended: Ended) -> None:
        """Record an end, unless a record of the same or a higher rank exists (`Ended.rank`)."""

    async def drop_ended(self, identity: str, attempt: int, resumes: int = 0) -> None:
        """Delete the record of an end unless its rank is higher than this, or do nothing if it is absent."""

    async def write(self, letter: DeadLetter) -> None:
        """Open a dead letter, merged with the stored one (`letters.merge`). A late or repeated write has no effect."""

    async def resolve(self, identity: str, attempt: int, how: str, now: datetime) -> bool:
        """Move an open dead letter to `resolved/`, unless it is of a later attempt. False if there is none to resolve.

        It writes `resolved/` first and deletes `open/` last. With `how` "discarded" it marks the record of the end in
        between, so that the sweep does not write the dead letter again.
        """

    async def read(self, identity: str) -> DeadLetter | None:
        """Read a dead letter, open or resolved."""

    async def page(self, prefix: str, limit: int, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """List a page of open dead letters whose id has the prefix, in order of id, from metadata. It may be short.

        Raises ValueError if the continuation was issued for another prefix or is invalid.
        """

    def list_ended(self) -> AsyncIterator[Ended]:
        """Iterate over the readable records of ends in order of id, page by page, without their detail."""

    async def note_pause(self, route: str, now: datetime) -> None:
        """Record that a route is paused, unless it is recorded. A record of a pause that is ending is replaced."""

    async def end_pause(self, route: str) -> Pause | None:
        """Mark the record of a pause as ending, and return it; None if there is none. It may be marked already."""

    async def drop_pause(self, pause: Pause) -> None:
        """Delete this record of a pause, or do nothing if it was replaced or deleted."""

    def list_pauses(self) -> AsyncIterator[str]:
        """Iterate over the names of the routes whose pause is recorded."""


class Reports(Protocol):
    """Pages of JSON lines, in the state account."""

    async def write(self, name: str, lines: list[dict[str, Any]], *, new: bool = False) -> None:
        """Write a page, replacing an existing one. With `new`, an existing page stays and this raises Retryable."""

    async def read(self, name: str) -> list[dict[str, Any]]:
        """Read a page; empty if there is none, because a lifecycle policy deletes old ones."""

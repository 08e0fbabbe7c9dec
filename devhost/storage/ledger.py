"""What is known of asynchronous copies, in SQLite: written before a client is answered, so `kill -9` loses nothing."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from devhost.storage.operations import Key


class Status(StrEnum):
    """Of a copy whose target is zero-length; a copy that succeeded is Azurite's own blob and no longer here."""

    PENDING = "pending"
    FAILED = "failed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Copy:
    """One asynchronous copy, from its start to whatever ends it."""

    account: str
    container: str
    blob: str
    id: str
    path: str
    """The target as the client encoded it."""
    source: str
    """The URL as the client gave it, SAS included: the service shows it that way."""
    source_etag: str
    size: int
    started: float
    headers: dict[str, str]
    """Of the client's request: what the real copy must carry too."""
    request_id: str
    client_request_id: str
    md5: str = ""
    """Of the source: shown from the start."""
    doom: str = ""
    """A description to fail with at the end, instead of copying."""
    etag: str = ""
    """Of the zero-length target; empty until that exists."""
    status: Status = Status.PENDING
    description: str = ""
    finished: float = 0

    @property
    def key(self) -> Key:
        """The target."""
        return self.account, self.container, self.blob

    @property
    def pending(self) -> bool:
        """Whether the target refuses writes."""
        return self.status is Status.PENDING


class Ledger:
    """The last unfinished or failed copy of each target, and the copy ids to show in place of Azurite's."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = NORMAL; -- no wait for the disk: a killed process loses nothing by that
            CREATE TABLE IF NOT EXISTS copies (key TEXT PRIMARY KEY, copy TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS shown (stored TEXT PRIMARY KEY, shown TEXT NOT NULL);
            """
        )
        copies = (_read(text) for (text,) in self._database.execute("SELECT copy FROM copies"))
        self._copies = {copy.key: copy for copy in copies}

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def get(self, key: Key) -> Copy | None:
        """Return the copy onto a target, unless it succeeded."""
        return self._copies.get(key)

    def all(self) -> list[Copy]:
        """Return every copy that did not succeed."""
        return list(self._copies.values())

    def put(self, copy: Copy) -> None:
        """Record a copy in place of an earlier one onto the same target."""
        self._database.execute("INSERT OR REPLACE INTO copies VALUES (?, ?)", (json.dumps(copy.key), _write(copy)))
        self._copies[copy.key] = copy

    def forget(self, key: Key) -> None:
        """Drop the copy onto a target: it succeeded, or something else was written there."""
        if self._copies.pop(key, None):
            self._database.execute("DELETE FROM copies WHERE key = ?", (json.dumps(key),))

    def show(self, stored: str, shown: str) -> None:
        """Show `shown` wherever Azurite would show the copy id `stored`; an empty one hides all about the copy."""
        self._database.execute("INSERT OR REPLACE INTO shown VALUES (?, ?)", (stored, shown))

    def shown(self, stored: str) -> str:
        """Return what to show in place of Azurite's copy id; empty: nothing about that copy."""
        row = self._database.execute("SELECT shown FROM shown WHERE stored = ?", (stored,)).fetchone()
        return str(row[0]) if row else stored


def _write(copy: Copy) -> str:
    return json.dumps(asdict(copy))


def _read(text: str) -> Copy:
    values = json.loads(text)
    copy = Copy(**{field.name: values[field.name] for field in fields(Copy) if field.name in values})
    return replace(copy, status=Status(copy.status))

"""The asynchronous copies, in SQLite. They are written before a client gets its answer, so `kill -9` loses nothing."""

import json
import sqlite3
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from devhost.storage.operations import Key


class Status(StrEnum):
    """The status of a copy that has not succeeded; its target has no bytes."""

    PENDING = "pending"
    FAILED = "failed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Copy:
    """An asynchronous copy that has not succeeded."""

    account: str
    container: str
    blob: str
    id: str
    path: str
    """The target as the client encoded it."""
    source: str
    """The URL as the client gave it, with its SAS."""
    source_etag: str
    size: int
    started: float
    headers: dict[str, str]
    """Headers of the client's request that the real copy needs too."""
    request_id: str
    client_request_id: str
    md5: str = ""
    """Of the source; the target shows it from the start."""
    failure: str = ""
    """The description with which the copy fails at its end."""
    etag: str = ""
    """Of the target without bytes; empty until that exists."""
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
    """The last copy onto each target that has not succeeded, and the copy ids to show in place of Azurite's."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = NORMAL; -- no wait for the disk: only a crash of the machine could lose a write
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
        """Return the copy onto a target."""
        return self._copies.get(key)

    def all(self) -> list[Copy]:
        """Return all copies."""
        return list(self._copies.values())

    def put(self, copy: Copy) -> None:
        """Record a copy in place of an earlier one onto the same target."""
        self._database.execute("INSERT OR REPLACE INTO copies VALUES (?, ?)", (json.dumps(copy.key), _write(copy)))
        self._copies[copy.key] = copy

    def forget(self, key: Key) -> None:
        """Delete the copy onto a target, which succeeded or was overwritten."""
        if self._copies.pop(key, None):
            self._database.execute("DELETE FROM copies WHERE key = ?", (json.dumps(key),))

    def show(self, stored: str, shown: str) -> None:
        """Show `shown` in place of Azurite's copy id `stored`; an empty one hides the copy."""
        self._database.execute("INSERT OR REPLACE INTO shown VALUES (?, ?)", (stored, shown))

    def shown(self, stored: str) -> str:
        """Return the id to show in place of Azurite's; if it is empty, the copy is hidden."""
        row = self._database.execute("SELECT shown FROM shown WHERE stored = ?", (stored,)).fetchone()
        return str(row[0]) if row else stored


def _write(copy: Copy) -> str:
    return json.dumps(asdict(copy))


def _read(text: str) -> Copy:
    values = json.loads(text)
    copy = Copy(**{field.name: values[field.name] for field in fields(Copy) if field.name in values})
    return replace(copy, status=Status(copy.status))

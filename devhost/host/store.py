"""The task hub in one SQLite file: instances, their history, and the messages for them.

WAL with `synchronous=NORMAL`: a killed process loses no committed data. There is one connection, used on the event loop
only, so there is a single writer and every `with store.transaction()` is atomic. Messages carry the execution that they
belong to; messages for an earlier execution (before continue_as_new, a restart or a replacement) are dropped when taken.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devhost.host import clock
from devhost.host.events import Event, Kind

TERMINAL = ("Completed", "Failed", "Terminated")
SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (id TEXT PRIMARY KEY, name TEXT NOT NULL, execution TEXT NOT NULL,
    generation INTEGER, status TEXT NOT NULL, input TEXT, output TEXT, custom TEXT, parent TEXT, version TEXT,
    created TEXT NOT NULL, updated TEXT NOT NULL, continued INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instances_by_status ON instances (status, id);
CREATE TABLE IF NOT EXISTS history (instance TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL,
    PRIMARY KEY (instance, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL, execution TEXT,
    event TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS inbox_by_instance ON inbox (instance);
CREATE TABLE IF NOT EXISTS activities (seq INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL,
    execution TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS timers (seq INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL,
    execution TEXT NOT NULL, number INTEGER NOT NULL, fire_at TEXT NOT NULL, created TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS timers_by_instance ON timers (instance);
CREATE TABLE IF NOT EXISTS schedules (name TEXT PRIMARY KEY, last TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Instance:
    """A row of the instances table; `input`, `output` and `custom` are JSON text."""

    id: str
    name: str
    execution: str
    generation: int | None
    status: str
    input: str | None
    output: str | None
    custom: str | None
    parent: str | None
    version: str | None
    created: str
    updated: str
    continued: bool = False

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.status not in TERMINAL


@dataclass(frozen=True)
class Work:
    """A scheduled activity."""

    seq: int
    instance: str
    execution: str
    number: int
    name: str
    data: str


@dataclass(frozen=True)
class Alarm:
    """A timer that is set."""

    seq: int
    instance: str
    execution: str
    number: int
    fire_at: str
    created: str


class Store:
    """Plain reads and writes; transactions are the caller's."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block as a whole, or roll it back on an error."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def get(self, instance: str) -> Instance | None:
        """Return an instance."""
        row = self.db.execute("SELECT * FROM instances WHERE id = ?", (instance,)).fetchone()
        return Instance(*row) if row else None

    def create(self, started: Event) -> None:
        """Store a new execution from its ExecutionStarted event. It replaces the one of the same id and its messages."""
        self._create(started, custom=None, continued=False)

    def continue_as_new(self, started: Event, custom: str | None) -> None:
        """Replace the execution. As on the real host, buffered events are lost."""
        self._create(started, custom=custom, continued=True)

    def _create(self, started: Event, *, custom: str | None, continued: bool) -> None:
        ids, parent = started["OrchestrationInstance"], started["ParentInstance"]
        status, text = "Running" if continued else "Pending", parent and json.dumps(parent)
        created = clock.sortable(clock.now())
        self.forget(ids["InstanceId"])
        self.db.execute(
            "INSERT INTO instances VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?)",
            (ids["InstanceId"], started["Name"], ids["ExecutionId"], started["Generation"], status, started["Input"],
             custom, text, started["Version"], created, created, continued),
        )  # fmt: skip
        self.post(ids["InstanceId"], started, ids["ExecutionId"])

    def forget(self, instance: str) -> None:
        """Delete an instance. Running activities continue, but their answers find no execution."""
        self.db.execute("DELETE FROM instances WHERE id = ?", (instance,))
        for table in ("history", "inbox", "timers"):
            self.db.execute(f"DELETE FROM {table} WHERE instance = ?", (instance,))  # noqa: S608  # fixed names

    def update(self, instance: str, **columns: Any) -> None:
        """Set columns of an instance."""
        sets = ", ".join(f"{name} = ?" for name in columns)
        values = (*columns.values(), clock.sortable(clock.now()), instance)
        self.db.execute(f"UPDATE instances SET {sets}, updated = ? WHERE id = ?", values)  # noqa: S608  # own names

    def history(self, instance: str) -> list[Event]:
        """Return the committed history."""
        rows = self.db.execute("SELECT event FROM history WHERE instance = ? ORDER BY seq", (instance,))
        return [json.loads(text) for (text,) in rows]

    def scheduled(self, work: Work) -> Event | None:
        """Return the TaskScheduled event of an activity; none if its execution is gone."""
        row = self.db.execute(
            "SELECT event FROM history JOIN instances ON id = instance WHERE instance = ? AND execution = ?"
            " AND json_extract(event, '$.EventType') = ? AND json_extract(event, '$.EventId') = ?",
            (work.instance, work.execution, Kind.TASK_SCHEDULED, work.number),
        ).fetchone()
        return json.loads(row[0]) if row else None

    def append(self, instance: str, start: int, new: Iterable[Event]) -> None:
        """Append events to the first `start` ones."""
        rows = ((instance, start + n, json.dumps(event, ensure_ascii=False)) for n, event in enumerate(new))
        self.db.executemany("INSERT INTO history VALUES (?, ?, ?)", rows)

    def rewrite(self, instance: str, history: list[Event]) -> None:
        """Replace the whole history, for a rewind."""
        self.db.execute("DELETE FROM history WHERE instance = ?", (instance,))
        self.append(instance, 0, history)

    def post(self, instance: str, event: Event, execution: str | None = None) -> None:
        """Add a message for an instance; without `execution` it is for the current one."""
        text = json.dumps(event, ensure_ascii=False)
        self.db.execute("INSERT INTO inbox VALUES (NULL, ?, ?, ?)", (instance, execution, text))

    def inbox(self, instance: str, execution: str) -> tuple[list[int], list[Event]]:
        """Return the numbers of all messages of an instance, and the events of those for this execution."""
        rows = self.db.execute("SELECT seq, execution, event FROM inbox WHERE instance = ? ORDER BY seq", (instance,))
        found = rows.fetchall()
        events = [json.loads(text) for _, owner, text in found if owner in (None, execution)]
        return [seq for seq, _, _ in found], events

    def consume(self, seqs: Iterable[int]) -> None:
        """Delete messages."""
        self.db.executemany("DELETE FROM inbox WHERE seq = ?", ((seq,) for seq in seqs))

    def waiting(self) -> list[str]:
        """Return the instances that have messages."""
        return [row[0] for row in self.db.execute("SELECT DISTINCT instance FROM inbox")]

    def add_activity(self, instance: Instance, number: int, name: str, data: str) -> Work:
        """Store a scheduled activity."""
        row = (instance.id, instance.execution, number, name, data)
        cursor = self.db.execute("INSERT INTO activities VALUES (NULL, ?, ?, ?, ?, ?)", row)
        return Work(cursor.lastrowid or 0, *row)

    def activities(self) -> list[Work]:
        """Return the activities without an answer."""
        return [Work(*row) for row in self.db.execute("SELECT * FROM activities ORDER BY seq")]

    def drop_activity(self, seq: int) -> None:
        """Delete an activity that has an answer."""
        self.db.execute("DELETE FROM activities WHERE seq = ?", (seq,))

    def add_timer(self, instance: Instance, number: int, fire_at: str, created: str) -> Alarm:
        """Store a timer."""
        row = (instance.id, instance.execution, number, fire_at, created)
        cursor = self.db.execute("INSERT INTO timers VALUES (NULL, ?, ?, ?, ?, ?)", row)
        return Alarm(cursor.lastrowid or 0, *row)

    def timers(self) -> list[Alarm]:
        """Return the timers that have not fired."""
        return [Alarm(*row) for row in self.db.execute("SELECT * FROM timers")]

    def drop_timer(self, seq: int) -> bool:
        """Delete a timer; return False if there is none."""
        return self.db.execute("DELETE FROM timers WHERE seq = ?", (seq,)).rowcount > 0

    def drop_timers(self, instance: str) -> None:
        """Delete the timers of an instance that has ended."""
        self.db.execute("DELETE FROM timers WHERE instance = ?", (instance,))

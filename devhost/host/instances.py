"""Queries over the instances: filters, pages, purges. As on the real host, an unreadable filter is ignored."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from devhost.host import clock
from devhost.host.store import TERMINAL, Instance, Store

DEFAULT_PAGE, MAX_PAGE = 100, 1000
STATUSES = ("Running", "Completed", "ContinuedAsNew", "Failed", "Canceled", "Terminated", "Pending", "Suspended")
LAST = "\U0010ffff"


@dataclass(frozen=True)
class Query:
    """A filter; empty fields do not filter."""

    statuses: tuple[str, ...] = ()
    prefix: str = ""
    created_from: str = ""
    created_to: str = LAST

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> "Query":
        """Read a query string. An unknown status (case matters) or an unreadable time does not filter."""
        wanted = {name.strip() for name in parameters.get("runtimeStatus", "").split(",")}
        return cls(
            statuses=tuple(status for status in STATUSES if status in wanted),
            prefix=parameters.get("instanceIdPrefix", ""),
            created_from=_time(parameters.get("createdTimeFrom", "")) or "",
            created_to=_time(parameters.get("createdTimeTo", "")) or LAST,
        )

    def conditions(self) -> tuple[str, list[str]]:
        """Return the filter as SQL and its values."""
        sql, values = "created >= ? AND created <= ?", [self.created_from, self.created_to]
        if self.statuses:
            sql += f" AND status IN ({', '.join('?' * len(self.statuses))})"
            values += self.statuses
        if self.prefix:
            sql += " AND id >= ? AND id < ?"
            values += [self.prefix, self.prefix + LAST]
        return sql, values


def _time(text: str) -> str | None:
    try:
        return clock.sortable(datetime.fromisoformat(text)) if text else None
    except ValueError:
        return None


def page(store: Store, query: Query, top: int | None, token: str | None) -> tuple[list[Instance], str | None]:
    """Return a page in order of ids, and the token of the next, which names the next id. It costs only its own length."""
    size = DEFAULT_PAGE if top is None else min(top, MAX_PAGE)
    if (begin := _decode(token or "")) is None:  # measured: an unreadable token ends the list
        return [], None
    sql, values = query.conditions()
    rows = store.db.execute(
        f"SELECT * FROM instances WHERE id >= ? AND {sql} ORDER BY id LIMIT ?",  # noqa: S608  # own conditions
        (begin, *values, size + 1),
    )
    found = [Instance(*row) for row in rows]
    return found[:size], _encode(found[size].id) if len(found) > size else None


def _encode(name: str) -> str:
    return base64.b64encode(name.encode()).decode() + " "  # the real token ends in a blank as well


def _decode(token: str) -> str | None:
    try:
        return base64.b64decode(token.strip(), validate=True).decode()
    except ValueError:
        return None


def purge(store: Store, query: Query) -> int:
    """Delete the instances of the time range and return their number.

    Measured: the prefix is ignored, and only final states filter. Without one, *every* instance is deleted, including
    running and suspended ones.
    """
    final = tuple(status for status in query.statuses if status in TERMINAL)
    sql, values = replace(query, statuses=final, prefix="").conditions()
    with store.transaction():
        rows = store.db.execute(f"SELECT id FROM instances WHERE {sql}", values).fetchall()  # noqa: S608  # see page
        for (name,) in rows:
            store.forget(name)
    return len(rows)

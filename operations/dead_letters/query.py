"""Listing open dead letters."""

from typing import Any

from ports.services import Ports
from rules.dead_letters import records
from rules.transfers import identity

# At most this many pages are read to find one that has a match.
MAX_PAGES = 20


async def list_open(ports: Ports, filters: dict[str, str], limit: int, continuation: str | None) -> dict[str, Any]:
    """Return a page of the open dead letters that match the filters `route`, `reason` and `name`.

    `route` selects a prefix of ids. The other filters apply to each page read: the first page with a match is returned.
    """
    prefix = identity.route_prefix(filters["route"]) if "route" in filters else ""
    reason, name = filters.get("reason"), filters.get("name")
    items: list[dict[str, Any]] = []
    for _ in range(MAX_PAGES):
        listed, continuation = await ports.dead_letters.page(prefix, limit, continuation)
        items = [item for item in listed if reason in {None, item["reason"]} and await _has_name(ports, item, name)]
        if items or continuation is None:
            break
    return {"items": items, "continuation": continuation}


async def _has_name(ports: Ports, item: dict[str, Any], name: str | None) -> bool:
    """Compare names. The list truncates very long ones: for these, the dead letter itself is read."""
    if name is None:
        return True
    if not records.is_listed_as(item, name):
        return False
    if not records.is_truncated(name):
        return True
    letter = await ports.dead_letters.read(item["id"])
    return letter is not None and letter.name == name

"""Looking at dead letters: a page of open ones."""

from typing import Any

from ports.services import Ports
from rules.dead_letters import records
from rules.transfers import identity

# A page of letters is looked for in so many pages of the list.
MAX_PAGES = 20


async def page(ports: Ports, wanted: dict[str, str], limit: int, continuation: str | None) -> dict[str, Any]:
    """A page of open dead letters of the `route`, `reason` and `name` wanted.

    A route is a prefix of ids. The others filter: the list is read on until a page of it has what is wanted.
    """
    prefix = identity.route_prefix(wanted["route"]) if "route" in wanted else ""
    reason, name = wanted.get("reason"), wanted.get("name")
    items: list[dict[str, Any]] = []
    for _ in range(MAX_PAGES):
        listed, continuation = await ports.dead_letters.page(prefix, limit, continuation)
        items = [item for item in listed if reason in {None, item["reason"]} and await _has_name(ports, item, name)]
        if items or continuation is None:
            break
    return {"items": items, "continuation": continuation}


async def _has_name(ports: Ports, item: dict[str, Any], name: str | None) -> bool:
    """Whether a listed letter is of the blob of that name. The list cuts the longest names: then the letter itself says."""
    if name is None:
        return True
    if not records.is_listed_as(item, name):
        return False
    if not records.is_truncated(name):
        return True
    letter = await ports.dead_letters.read(item["id"])
    return letter is not None and letter.name == name

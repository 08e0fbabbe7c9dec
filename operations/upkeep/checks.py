"""The results of checks, as `GET /api/health` and `GET /api/health/deep` answer them."""

from collections.abc import Awaitable, Sequence
from typing import Any

from rules.errors import StorageError

# The name of a check, its fix, and the request that it sends.
Check = tuple[str, str, Awaitable[Any]]


async def run(name: str, fix: str, check: Awaitable[Any]) -> dict[str, Any]:
    """Return the result of a check: failed if its request fails."""
    try:
        await check
    except StorageError as error:
        return failed(name, str(error), fix)
    return passed(name)


def passed(name: str, detail: str = "") -> dict[str, Any]:
    """Return a check that has passed."""
    return {"name": name, "ok": True, "detail": detail, "fix": ""}


def not_tried(name: str, why: str) -> dict[str, Any]:
    """Return a check that was not tried. It counts as passed."""
    return passed(name, f"not tried: {why}")


def failing(checks: Sequence[dict[str, Any]]) -> str:
    """Return the name of the first check that has failed; "" if none has."""
    return next((check["name"] for check in checks if not check["ok"]), "")


def failed(name: str, detail: str, fix: str) -> dict[str, Any]:
    """Return a check that has failed, with what to do about it."""
    return {"name": name, "ok": False, "detail": detail, "fix": fix}

"""The results of checks, as `GET /api/health` and `GET /api/health/deep` answer them."""

from collections.abc import Awaitable
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


def failed(name: str, detail: str, fix: str) -> dict[str, Any]:
    """Return a check that has failed, with what to do about it."""
    return {"name": name, "ok": False, "detail": detail, "fix": fix}

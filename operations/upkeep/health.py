"""Health: what works and what does not, with the fix. It really looks, and names no blob."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ports.services import Ports
from rules.errors import StorageError

FRESH = 10.0


@dataclass
class Health:
    """A look at everything the app needs, kept for 10 seconds: anybody may ask, so asking must be cheap."""

    ports: Ports
    looked_at: float = field(default=float("-inf"), init=False)
    answer: dict[str, Any] = field(default_factory=dict, init=False)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def look(self) -> dict[str, Any]:
        """`{"up": bool, "checks": [{"name", "ok", "detail", "fix"}]}`."""
        async with self.looking:
            if self.ports.monotonic() - self.looked_at > FRESH:
                self.answer = await self._look()
                self.looked_at = self.ports.monotonic()
            return self.answer

    async def _look(self) -> dict[str, Any]:
        probe, events = self.ports.probe, self.ports.events
        looks: list[tuple[str, str, Awaitable[Any]]] = [
            (
                "queue",
                "Create the queue blob-events in the events account, and give the app Storage Queue Data Contributor on it.",
                events.depth(),
            ),
            (
                "undelivered events",
                "Give the app Storage Blob Data Contributor on the events account.",
                anext(events.undelivered(), None),
            ),
            (
                "dead letters",
                "Create the container dead-letters, and give the app Storage Blob Data Contributor on it.",
                probe.letters(),
            ),
            (
                "reports",
                "Create the container reports, and give the app Storage Blob Data Contributor on it.",
                probe.reports(),
            ),
        ]
        for route in self.ports.routes:
            fix = "Check that the container exists and that the app has Storage Blob Data Reader on it."
            looks.append((f"source of route {route.name}", fix, probe.container(route.source)))
            fix = "Give the app Storage Blob Delegator on the source's account: the app signs the source URL of each copy."
            signed = self.ports.source.readable(route.source.blob("x"), self.ports.now() + timedelta(minutes=1))
            looks.append((f"signing for route {route.name}", fix, signed))
            fix = "Check that the container exists and that the app has Storage Blob Data Contributor on it."
            looks.append((f"target of route {route.name}", fix, probe.container(route.target)))
        checks = await asyncio.gather(*(_check(*look) for look in looks))
        return {"up": all(check["ok"] for check in checks), "checks": checks}


async def _check(name: str, fix: str, look: Awaitable[Any]) -> dict[str, Any]:
    try:
        await look
    except StorageError as error:
        return {"name": name, "ok": False, "detail": str(error), "fix": fix}
    return {"name": name, "ok": True, "detail": "", "fix": ""}

"""The health check: one request to each resource that the app uses. Failures have a fix. It names no blob."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from operations.upkeep.checks import Check, passed, run
from ports.services import Ports

FRESH_SECONDS = 10.0
# No blob has this name. A request for it needs the same container and permission as sharing.
NO_BLOB = "health-check"
OWN_FIX = "Check that the container exists and that the app has Storage Blob Data Contributor on it."
PARTNER_FIX = (
    "Check that the container exists, and that its owner has run both commands of docs/partners.md: `az ad sp create`, and "
    "`az role assignment create` for Storage Blob Data Contributor on the container."
)


@dataclass
class Health:
    """The latest result, cached for 10 seconds: the endpoint is anonymous, so a call must be cheap."""

    checked_at: float = field(default=float("-inf"), init=False)
    answer: dict[str, Any] = field(default_factory=dict, init=False)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def check(self, ports: Ports) -> dict[str, Any]:
        """Return `{"up": bool, "checks": [{"name", "ok", "detail", "fix"}]}`."""
        async with self.lock:
            if ports.monotonic() - self.checked_at > FRESH_SECONDS:
                checks = await asyncio.gather(*(run(*check) for check in [*app_checks(ports), *route_checks(ports)]))
                paused = [passed(f"route {route.name}", "paused") for route in ports.routes if route.paused]
                self.answer = {"up": all(check["ok"] for check in checks), "checks": [*checks, *paused]}
                self.checked_at = ports.monotonic()
            return self.answer


def app_checks(ports: Ports) -> list[Check]:
    """Return the checks of the app's own accounts."""
    return [
        (
            "queue",
            "`azd provision` creates the queue blob-events in the events account, and gives the app Storage Queue Data Contributor on it.",
            ports.events.depth(),
        ),
        (
            "undelivered events",
            "`azd provision` gives the app Storage Blob Data Contributor on the events account.",
            anext(ports.events.list_undelivered(), None),
        ),
        (
            "dead letters",
            "`azd provision` creates the container dead-letters, and gives the app Storage Blob Data Contributor on it.",
            ports.dead_letters.page("", 1, None),
        ),
        (
            "reports",
            "`azd provision` creates the container reports, and gives the app Storage Blob Data Contributor on it.",
            ports.reports.read(NO_BLOB),
        ),
        (
            "transfer ends",
            "`azd provision` creates the queue transfer-ends in the state account, and gives the app Storage Queue Data Contributor on it.",
            ports.feed.depth(),
        ),
        (
            "figures",
            "`azd provision` creates the container figures, and gives the app Storage Blob Data Contributor on it.",
            ports.figures.load(NO_BLOB),
        ),
        (
            "ledger",
            "`azd provision` creates the container ledger, and gives the app Storage Blob Data Contributor on it.",
            ports.ledger.exists(f"{NO_BLOB}/"),
        ),
    ]


def route_checks(ports: Ports) -> list[Check]:
    """Return the checks of both ends of each route."""
    checks: list[Check] = []
    for route in ports.routes:
        source, target = route.source.blob(NO_BLOB), route.target.blob(NO_BLOB)
        checks += [
            (
                f"source of route {route.name}",
                "Check that the container exists and that the app has Storage Blob Data Reader on it.",
                ports.source.head(source),
            ),
            (
                f"signing for route {route.name}",
                "Give the app Storage Blob Delegator on the source's account: the app signs the source URL of each copy.",
                ports.source.sign_read(source, ports.now() + timedelta(minutes=1)),
            ),
            (
                f"target of route {route.name}",
                PARTNER_FIX if route.tenant else OWN_FIX,
                ports.target.head(target),
            ),
        ]
    return checks

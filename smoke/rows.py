"""What a run proves, or refutes, of what the pages list as unproven: rows to paste into an issue. No name of anything in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smoke.findings import Finding, summary

NETWORK, SCALE = "docs/network.md", "docs/scale.md"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a page's list, and what was seen of it."""

    page: str
    unproven: str
    seen: str


def rows(told: Mapping[str, str], found: Sequence[Finding]) -> list[Row]:
    """The rows that this deployment says something about: of open accounts, nothing is learned about closed ones."""
    closed, scheduler = bool(told.get("APP_SUBNET")), told.get("DURABLE_BACKEND") == "scheduler"
    return [*(_network(told, found) if closed else []), *(_scale(found) if scheduler else [])]


def markdown(about: Mapping[str, str], lines: Sequence[Row]) -> list[str]:
    """A table that an issue shows as one."""
    return [
        ", ".join(f"{name} {value}" for name, value in about.items()),
        "",
        "| page | unproven | seen |",
        "| --- | --- | --- |",
        *(f"| {row.page} | {row.unproven} | {row.seen} |" for row in lines),
    ]


def about(told: Mapping[str, str], version: str, date: str) -> dict[str, str]:
    """What the rows depend on."""
    network = "open to all networks"
    if told.get("APP_SUBNET"):
        network = "private endpoints" if told.get("PRIVATE_ENDPOINTS") == "true" else "service endpoints"
    return {
        "version": version,
        "date": date,
        "region": told.get("AZURE_LOCATION", "unknown"),
        "network": network,
        "durable backend": told.get("DURABLE_BACKEND", "storage"),
    }


def _network(told: Mapping[str, str], found: Sequence[Finding]) -> list[Row]:
    way = "private endpoints" if told.get("PRIVATE_ENDPOINTS") == "true" else "service endpoints"
    existing = '"account"' in told.get("SHARING_ROUTES", "")
    engines = f"{summary('sync', found) or 'sync not used'}; {summary('async', found) or 'async not used'}"
    lines = [
        Row(
            NETWORK,
            "`sync` and `async` between closed accounts over service endpoints, over private endpoints, and with trusted services off",
            f"over {way}, {'existing accounts among them' if existing else 'trusted services off'}: {engines}",
        ),
        Row(
            NETWORK,
            "Event Grid delivers to the closed queue, and writes its dead letters, with roles on the queue and the container alone",
            f"its delivery: {summary('canary', found)}; its dead letters were not tried",
        ),
        Row(
            NETWORK,
            "the host starts with its three roles on the closed state account, and takes its package from there",
            summary("health", found),
        ),
    ]
    scope = Row(NETWORK, "`allowedCopyScope: AAD` refuses neither engine within a tenant", engines)
    return lines if existing else [*lines, scope]


def _scale(found: Sequence[Finding]) -> list[Row]:
    started = f"{summary('health', found)}; {summary('canary', found)}"
    return [
        Row(
            SCALE,
            "the scheduler with the extension bundle of `host.json`, which was published with preview bundles, and with the other values of `storageProvider` left in",
            started,
        ),
        Row(
            SCALE,
            "lists, cancel, restart, purge and the watchdog answer from the scheduler as from storage",
            f"restart: {summary('replay', found)}; the others were not tried",
        ),
        Row(SCALE, "the scheduler's role on the task hub alone is enough", started),
    ]

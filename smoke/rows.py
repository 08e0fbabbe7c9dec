"""Results for docs/unproven.md, by the key of its row, to paste into an issue. They contain no names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smoke.findings import Finding, Result, summary


@dataclass(frozen=True, slots=True)
class Row:
    """The key of a row of that page, and the result."""

    key: str
    seen: str


def rows(told: Mapping[str, str], found: Sequence[Finding]) -> list[Row]:
    """The rows that this deployment says something about: of open accounts, nothing is learned about closed ones."""
    if not told:  # the local stack
        return []
    closed, scheduler = bool(told.get("APP_SUBNET")), told.get("DURABLE_BACKEND") == "scheduler"
    return [*_deployment(found), *(_network(told, found) if closed else []), *(_scale(found) if scheduler else [])]


def markdown(about: Mapping[str, str], lines: Sequence[Row]) -> list[str]:
    """A table that an issue shows as one."""
    return [
        ", ".join(f"{name} {value}" for name, value in about.items()),
        "",
        "| key | seen |",
        "| --- | --- |",
        *(f"| {row.key} | {row.seen} |" for row in lines),
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


def _deployment(found: Sequence[Finding]) -> list[Row]:
    canary = summary("canary", found)
    traced = [finding.seen for finding in found if finding.what == "spans"]
    read = any(finding.result is Result.LET_THROUGH for finding in found)
    return [
        Row(
            "clean-clone",
            f"{summary('health', found)}; {canary}; what azd asked was not seen",
        ),
        Row("function-keys", "it was given"),
        Row("event-encoding", canary),
        Row(
            "delegation-key",
            "a source was read by one" if read else "no source was read",
        ),
        *(Row("spans", seen) for seen in traced),
    ]


def _network(told: Mapping[str, str], found: Sequence[Finding]) -> list[Row]:
    way = "private endpoints" if told.get("PRIVATE_ENDPOINTS") == "true" else "service endpoints"
    existing = '"account"' in told.get("SHARING_ROUTES", "")
    engines = f"{summary('sync', found) or 'sync not used'}; {summary('async', found) or 'async not used'}"
    lines = [
        Row(
            "closed-copies",
            f"over {way}, {'existing accounts among them' if existing else 'trusted services off'}: {engines}",
        ),
        Row(
            "closed-events",
            f"its delivery: {summary('canary', found)}; its dead letters were not tried",
        ),
        Row(
            "closed-state",
            f"over {way}: {summary('health', found)}",
        ),
    ]
    scope = Row("copy-scope", engines)
    return lines if existing else [*lines, scope]


def _scale(found: Sequence[Finding]) -> list[Row]:
    started = f"{summary('health', found)}; {summary('canary', found)}"
    return [
        Row(
            "scheduler",
            started,
        ),
        Row(
            "scheduler-api",
            f"restart: {summary('replay', found)}; the others were not tried",
        ),
        Row("scheduler-role", started),
    ]

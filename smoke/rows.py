"""What a run proves, or refutes, of what docs/unproven.md lists: rows to paste into an issue. No name of anything in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smoke.findings import Finding, Result, summary


@dataclass(frozen=True, slots=True)
class Row:
    """A row of that page, in its words, and what was seen of it."""

    unproven: str
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
        "| unproven | seen |",
        "| --- | --- |",
        *(f"| {row.unproven} | {row.seen} |" for row in lines),
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
            "a clean clone becomes a working system, and azd asks for subscription and region alone",
            f"{summary('health', found)}; {canary}; what azd asked was not seen",
        ),
        Row("the key can be asked for although `/admin` is isolated", "it was given"),
        Row(
            "how Event Grid encodes, and how the trigger and its scaling use the identity's connection `EVENTS`", canary
        ),
        Row(
            "user-delegation keys: an account key signs on the local stack",
            "a source was read by one" if read else "no source was read",
        ),
        *(Row("the host's spans of an orchestration arrive in Application Insights", seen) for seen in traced),
    ]


def _network(told: Mapping[str, str], found: Sequence[Finding]) -> list[Row]:
    way = "private endpoints" if told.get("PRIVATE_ENDPOINTS") == "true" else "service endpoints"
    existing = '"account"' in told.get("SHARING_ROUTES", "")
    engines = f"{summary('sync', found) or 'sync not used'}; {summary('async', found) or 'async not used'}"
    lines = [
        Row(
            "`sync` and `async` between closed accounts over service endpoints, over private endpoints, and with trusted services off",
            f"over {way}, {'existing accounts among them' if existing else 'trusted services off'}: {engines}",
        ),
        Row(
            "Event Grid delivers to the closed queue, and writes its dead letters, with roles on the events account alone",
            f"its delivery: {summary('canary', found)}; its dead letters were not tried",
        ),
        Row(
            "the host starts with its three roles on the closed state account, and takes its package from there",
            f"over {way}: {summary('health', found)}",
        ),
    ]
    scope = Row("`allowedCopyScope: AAD` refuses neither engine within a tenant", engines)
    return lines if existing else [*lines, scope]


def _scale(found: Sequence[Finding]) -> list[Row]:
    started = f"{summary('health', found)}; {summary('canary', found)}"
    return [
        Row(
            "the scheduler with the extension bundle of `host.json`, and with the other values of `storageProvider` left in",
            started,
        ),
        Row(
            "lists, cancel, restart, purge and the watchdog answer from the scheduler as from storage",
            f"restart: {summary('replay', found)}; the others were not tried",
        ),
        Row("the scheduler's role on the task hub alone is enough", started),
    ]

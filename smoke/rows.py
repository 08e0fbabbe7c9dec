"""What a run proves, or refutes, of the list in docs/unproven.md: by stable keys, without the names of accounts or blobs."""

from collections.abc import Mapping, Sequence

from smoke.findings import Finding, Result, summary


def rows(env: Mapping[str, str], found: Sequence[Finding]) -> dict[str, str]:
    """Return by key what was seen: on open accounts nothing about closed ones, on the local stack nothing."""
    if not env:  # the local stack
        return {}
    canary, started = summary("canary", found), summary("health", found)
    read = any(finding.result is Result.LET_THROUGH for finding in found)
    seen = {
        "deployment": f"{started}; {canary}; what azd asked was not seen",
        "function-key": "it was given",
        "event-delivery": canary,
        "user-delegation-key": "a source was read by one" if read else "no source was read",
    }
    seen |= {finding.what: finding.seen for finding in found if finding.what == "spans"}
    if env.get("APP_SUBNET"):
        existing = '"account"' in env.get("SHARING_ROUTES", "")
        accounts = "existing accounts among them" if existing else "trusted services off"
        engines = "; ".join(summary(name, found) or f"{name} not used" for name in ("sync", "async"))
        seen["engines-closed-accounts"] = f"over {_network(env)}, {accounts}: {engines}"
        seen["event-delivery-closed"] = f"its delivery: {canary}; its dead letters were not tried"
        seen["host-closed-state"] = f"over {_network(env)}: {started}"
        seen |= {} if existing else {"copy-scope": engines}
    if env.get("DURABLE_BACKEND") == "scheduler":
        seen["scheduler-start"] = seen["scheduler-role"] = f"{started}; {canary}"
        seen["scheduler-api"] = f"restart: {summary('replay', found)}; the others were not tried"
    return seen


def about(env: Mapping[str, str], version: str, date: str) -> dict[str, str]:
    """Return what the rows depend on."""
    return {
        "version": version,
        "date": date,
        "region": env.get("AZURE_LOCATION", "unknown"),
        "network": _network(env),
        "durable backend": env.get("DURABLE_BACKEND", "storage"),
    }


def _network(env: Mapping[str, str]) -> str:
    if not env.get("APP_SUBNET"):
        return "open to all networks"
    return "private endpoints" if env.get("PRIVATE_ENDPOINTS") == "true" else "service endpoints"


def markdown(about: Mapping[str, str], seen: Mapping[str, str]) -> list[str]:
    """Return a Markdown table for an issue."""
    head = [
        "",
        ", ".join(f"{name} {value}" for name, value in about.items()),
        "",
        "| unproven | seen |",
        "| --- | --- |",
    ]
    return [*head, *(f"| {key} | {text} |" for key, text in seen.items())]

"""The results of a run for the rows of docs/unproven.md, by the keys of the rows. They name no account and no blob."""

from collections.abc import Mapping, Sequence

from smoke.findings import Finding, Result, summary


def rows(env: Mapping[str, str], found: Sequence[Finding]) -> dict[str, str]:
    """Return a result for each row that the run tested.

    The local stack tests none of them. Accounts without a firewall test none of the rows about closed accounts.
    """
    if not env:  # the local stack
        return {}
    canary, started = summary("canary", found), summary("health", found)
    read = any(finding.result is Result.LET_THROUGH for finding in found)
    seen = {
        "deployment": f"{started}; {canary}; the test does not see the questions of azd",
        "function-key": "Azure Resource Manager returned it",
        "event-delivery": canary,
        "user-delegation-key": "a source was read with it" if read else "no source was read",
    }
    seen |= {finding.what: finding.seen for finding in found if finding.what == "spans"}
    if env.get("APP_SUBNET"):
        existing = '"account"' in env.get("SHARING_ROUTES", "")
        accounts = "existing accounts among them" if existing else "trusted services off"
        names = ("sync", "async", *(["blocks"] if summary("blocks", found) else []))
        engines = "; ".join(summary(name, found) or f"{name} not used" for name in names)
        seen["engines-closed-accounts"] = f"over {_network(env)}, {accounts}: {engines}"
        seen["event-delivery-closed"] = f"delivery: {canary}; undelivered events: not tested"
        seen["host-closed-state"] = f"over {_network(env)}: {started}"
        seen |= {} if existing else {"copy-scope": engines}
    if env.get("DURABLE_BACKEND") == "scheduler":
        seen["scheduler-start"] = seen["scheduler-role"] = f"{started}; {canary}"
        seen["scheduler-api"] = f"restart: {summary('replay', found)}; lists, cancel, purge and watchdog: not tested"
    return seen


def about(env: Mapping[str, str], version: str, date: str) -> dict[str, str]:
    """Return the version and the configuration for which the rows hold."""
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

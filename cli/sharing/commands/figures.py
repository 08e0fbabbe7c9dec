"""Routes, health, the ledger, and the page."""

import time
import webbrowser
from collections.abc import Mapping
from typing import Any

import click

from sharing.failure import DONE, FAILED, NOT_FOUND, Failure
from sharing.output import ago, seconds, size
from sharing.session import Session, command


@command("sharing routes", "sharing routes reports-to-partner")
@click.argument("name", required=False, metavar="[ROUTE]")
@click.pass_obj
def routes(session: Session, name: str | None) -> int:
    """Show the routes, or one in detail. `today` is the day in UTC."""
    answer = session.client.ask("GET", "/routes")
    found = [each for each in answer["routes"] if name in {None, each["route"]}]
    if name is not None and not found:
        known = ", ".join(each["route"] for each in answer["routes"])
        raise Failure(f"there is no route {name!r}", NOT_FOUND, f"use one of: {known}" if known else "")
    if name is not None and not session.out.as_json:
        session.out.fields(_route_fields(found[0]))
    else:
        width = max((len(each["route"]) for each in found), default=5)
        heads = {"ROUTE": width, "STATE": 11, "RUNNING": 7, "TODAY": 8, "      SIZE": 10, "P95": 6, "DEAD LETTERS": 0}
        session.out.rows(heads, found, _route_cells)
    if answer["updated_at"] is None:
        session.out.say("the figures are not counted yet; they are within minutes of a start")
    return DONE


def _route_cells(route: dict[str, Any]) -> tuple[str, ...]:
    today = route["today"]
    return (
        route["route"],
        route["state"],
        str(route["running"]["count"]),
        str(today["verified"]),
        size(today["bytes"]).rjust(10),
        seconds(route["latency"]["day"]["p95"]),
        str(sum(route["dead_letters"].values())),
    )


def _route_fields(route: dict[str, Any]) -> dict[str, object]:
    running, objective, budget, egress = (route[name] for name in ("running", "objective", "budget", "egress"))
    oldest = f", oldest {ago(running['oldest_at'])}" if running["oldest_at"] else ""
    return {
        "route": route["route"],
        "state": route["state"],
        "source": route["source"],
        "target": route["target"],
        "running": f"{running['count']} ({size(running['bytes'])}{oldest})",
        "today": _counts(route["today"]),
        "total": _counts(route["total"]),
        "last hour": _latency(route["latency"]["hour"]),
        "last day": _latency(route["latency"]["day"]),
        "letters": ", ".join(f"{count} {reason}" for reason, count in route["dead_letters"].items()) or "none",
        "objective": objective
        and f"{objective['percentile']}% within {seconds(objective['within'])}: {100 * objective['share']:.2f}%, "
        f"{'met' if objective['met'] else 'NOT met'}, {100 * objective['budget_left']:.0f}% of the error budget left",
        "budget": budget
        and f"{size(budget['used'])} of {size(budget['daily_bytes'])} used, resets at {budget['resets_at']}",
        "egress": egress
        and f"{egress['today']:.2f} {egress['currency']} today, {egress['price_per_gib']} {egress['currency']} a GiB",
    }


def _counts(counts: Mapping[str, int]) -> str:
    rest = ", ".join(
        f"{count} {state}" for state, count in counts.items() if count and state not in {"verified", "bytes"}
    )
    return f"{counts['verified']} verified ({size(counts['bytes'])}){', ' if rest else ''}{rest}"


def _latency(latency: Mapping[str, Any]) -> str:
    figures = ", ".join(f"{name} {seconds(latency[name])}" for name in ("p50", "p95", "p99"))
    return f"{latency['count']} transfers, {figures}"


@command("sharing health")
@click.pass_obj
def health(session: Session) -> int:
    """Check what the app uses. The exit code is 1 if a check fails."""
    return _health(session, "/health")


@command("sharing doctor")
@click.pass_obj
def doctor(session: Session) -> int:
    """Try everything that each route needs. The exit code is 1 if a check fails."""
    return _health(session, "/health/deep")


def _health(session: Session, path: str) -> int:
    found = session.client.ask("GET", path, accept=503)
    if session.out.as_json:
        session.out.json(found)
    else:
        for check in sorted(found["checks"], key=lambda each: not each["ok"]):  # the failing ones last, where one looks
            state, detail = _state_of(check), check["detail"]
            passed = f": {detail}" if check["ok"] and detail else ""
            session.out.line((state, 5), (f"{check['name']}{passed}", 0))
            if not check["ok"]:
                session.out.fields({"  detail": detail})
                session.out.steps("  fix", check["fix"])
        failing = sum(not check["ok"] for check in found["checks"])
        session.out.say(f"{session.client.url}, version {found['version']}: failing checks: {failing}")
    return DONE if found["up"] else FAILED


def _state_of(check: Mapping[str, Any]) -> str:
    if not check["ok"]:
        return "FAILS"
    return "-" if check["detail"].startswith("not tried") else "ok"


@command("sharing ledger default", "sharing ledger default --day 2026-11-30 --json")
@click.argument("route")
@click.option("--day", metavar="YYYY-MM-DD", help="The day in UTC. Default: today.")
@click.pass_obj
def ledger(session: Session, route: str, day: str | None) -> int:
    """Print what ended on a route on a day, oldest first."""
    items = session.client.pages("/ledger", route=route, day=day or time.strftime("%Y-%m-%d", time.gmtime()))
    heads = {"ENDED (UTC)": 12, "STATE": 13, "      SIZE": 10, "LATENCY": 7, "NAME": 0}
    if not session.out.rows(heads, items, _entry_cells):
        session.out.say("no entries")
    return DONE


def _entry_cells(entry: dict[str, Any]) -> tuple[str, ...]:
    clock = entry["ended_at"].partition("T")[2].removesuffix("Z")
    return (clock, entry["state"], size(entry["size"]).rjust(10), seconds(entry["latency"]), entry["name"])


@command("sharing open", name="open")
@click.pass_obj
def open_page(session: Session) -> int:
    """Open the page of the app in the browser."""
    url = f"{session.client.url}/api/dashboard"
    if session.out.as_json:
        session.out.json({"url": url})
    else:
        session.out.line((url, 0))
    webbrowser.open(url)
    return DONE

"""Transfers: list, show, watch, share, cancel, notify."""

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import click

from sharing.bulk import print_job
from sharing.client import is_job, path_of
from sharing.failure import DONE, FAILED, NOT_FOUND, Failure
from sharing.follow import code_of, follow_job, name_of, watch
from sharing.output import ago, size
from sharing.session import Session, command

STATES = ("accepted", "copying", "verified", "superseded", "dead_lettered", "cancelled")
# An event arrives within seconds.
EVENT_SECONDS, EVENT_PAUSE = 30.0, 1.0


def _state(transfer: dict[str, Any]) -> str:
    if transfer["state"] == "copying" and transfer["total"]:
        return f"copying {100 * transfer['copied'] // transfer['total']}%"
    return str(transfer["state"])


def _print_list(session: Session, transfers: Iterable[dict[str, Any]], *, with_route: bool) -> None:
    heads = {"ID": 33, "STATE": 13, "      SIZE": 10, **({"ROUTE": 12} if with_route else {}), "NAME": 0}

    def cells(each: dict[str, Any]) -> tuple[str, ...]:
        route = (str(each["route"] or "-"),) if with_route else ()
        return (each["id"], _state(each), size(each["total"]).rjust(10), *route, name_of(each))

    if not session.out.rows(heads, transfers, cells):
        session.out.say("no transfers")


@command("sharing ls --route default --state copying", "sharing ls --route default --name 2026/report.csv", name="ls")
@click.option("--route", metavar="ROUTE", help="Only transfers of this route.")
@click.option("--state", type=click.Choice(STATES), help="Only transfers in this state.")
@click.option("--name", metavar="NAME", help="The transfer of this blob's current version; needs --route.")
@click.option("--limit", "-n", type=click.IntRange(1), metavar="N", help="At most N transfers.")
@click.pass_obj
def list_transfers(session: Session, route: str | None, state: str | None, name: str | None, limit: int | None) -> int:
    """List transfers, in no promised order."""
    if name is not None:
        if route is None or state is not None:
            raise click.UsageError("--name needs --route, and excludes --state")
        found: Iterable[dict[str, Any]] = [by_name(session, route, name)]
    else:
        page = min(limit or 500, 500)
        found = islice(session.client.pages("/transfers", route=route, state=state, limit=page), limit)
    _print_list(session, found, with_route=route is None)
    return DONE


def by_name(session: Session, route: str, name: str, wait: float = 0) -> dict[str, Any]:
    """Return the transfer of a blob's current version. While there is none, ask again for `wait` seconds."""
    end = time.monotonic() + wait
    while True:
        try:
            found: dict[str, Any] = session.client.ask("GET", "/transfers", route=route, name=name)
        except Failure as failure:
            if failure.code != NOT_FOUND or time.monotonic() > end:
                raise
        else:
            return found
        time.sleep(EVENT_PAUSE)


@command("sharing show 37a8eec1-6c69c15a3740fbd3581a7d8d", "sharing show default 2026/report.csv")
@click.argument("what", nargs=-1, required=True, metavar="ID | ROUTE NAME")
@click.pass_obj
def show(session: Session, what: tuple[str, ...]) -> int:
    """Show a transfer, by its id or its blob, a job or a message."""
    if len(what) > 2:  # noqa: PLR2004  # a route and a name
        raise click.UsageError("give one id, or a route and a name")
    [first, *rest] = what
    found = by_name(session, first, rest[0]) if rest else session.client.ask("GET", path_of(first))
    if session.out.as_json:
        session.out.json(found)
    elif "counts" in found:
        print_job(session, found)
    elif "attempts" in found:
        session.out.fields(_message_fields(found))
    else:
        session.out.fields(_fields(found))
    return DONE


def _message_fields(letter: dict[str, Any]) -> dict[str, object]:
    return {
        "message": letter["id"],
        "state": letter["state"],
        "failed": f"{letter['last_failed_at']} ({ago(letter['last_failed_at'])} ago)",
        "reason": letter["reason"],
        "detail": letter["detail"],
        "hint": letter["hint"],
        "body": letter["message"],
    }


def _fields(transfer: dict[str, Any]) -> dict[str, object]:
    source, target = transfer["source"] or {}, transfer["target"] or {}
    copied, total = transfer["copied"], transfer["total"]
    progress = f", {size(copied)} of {size(total)}" if transfer["state"] == "copying" else ""
    accepted, letter = transfer["accepted_at"], transfer["letter"] or {}
    return {
        "transfer": transfer["id"],
        "state": _state(transfer) + progress + (", cancelling" if transfer["cancelling"] else ""),
        "ending": transfer["ending"],
        "reason": transfer["reason"],
        "detail": transfer["detail"],
        "hint": transfer["hint"],
        "letter": letter.get("state"),
        "route": transfer["route"],
        "name": source.get("name"),
        "size": size(total),
        "source": source.get("url"),
        "target": target.get("url"),
        "etag": source.get("etag"),
        "engine": transfer["engine"],
        "attempt": f"{transfer['attempt']}, {transfer['tries']} tries, {transfer['resumes']} resumes",
        "accepted": accepted and f"{accepted} ({ago(accepted)} ago)",
        "updated": transfer["updated_at"],
        "next check": transfer["next_check_at"],
        "successor": (transfer["successor"] or {}).get("id"),
        "trace": transfer["trace_url"] or transfer["trace_id"],
    }


@command("sharing watch --route default", "sharing watch --route default --name hello.txt", name="watch")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--route", metavar="ROUTE", help="Everything that runs on this route now or starts meanwhile.")
@click.option("--name", metavar="NAME", help="The current version of this blob; needs --route. Waits for its event.")
@click.pass_obj
def watch_command(session: Session, ids: tuple[str, ...], route: str | None, name: str | None) -> int:
    """Follow transfers and jobs until all have ended."""
    if bool(ids) == bool(route) or (name and not route):
        raise click.UsageError("give ids, or --route, or --route and --name")
    if route is not None and name is None:
        return watch(session, route=route)
    code = DONE
    jobs = [each for each in ids if is_job(each)]
    transfers = [each for each in ids if each not in jobs]
    for each in jobs:
        job = follow_job(session, each)
        print_job(session, job)
        code = max(code, code_of(job))
    if route is not None and name is not None:
        transfers = [by_name(session, route, name, EVENT_SECONDS)["id"]]
    return max(code, watch(session, transfers) if transfers else DONE)


@command("sharing share default 2026/report.csv --wait")
@click.argument("route")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--wait", is_flag=True, help="Follow the transfers until they have ended.")
@click.pass_obj
def share(session: Session, route: str, names: tuple[str, ...], wait: bool) -> int:  # noqa: FBT001  # click passes it
    """Share blobs now, also if they were shared before."""
    started = []
    for name in names:
        answer = session.client.ask("POST", "/transfers", {"route": route, "name": name})
        started += accepted(session, answer, quiet=wait)
    return watch(session, started) if wait else DONE


def accepted(session: Session, answer: dict[str, Any], *, quiet: bool) -> list[str]:
    """Print the transfers that a request started unless `quiet`, and return their ids."""
    for each in () if quiet else answer["transfers"]:
        if session.out.as_json:
            session.out.json(each)
        else:
            session.out.line((each["id"], 0))
    return [str(each["id"]) for each in answer["transfers"]]


@command("sharing cancel 37a8eec1-6c69c15a3740fbd3581a7d8d")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.pass_obj
def cancel(session: Session, ids: tuple[str, ...]) -> int:
    """Cancel transfers and jobs. Transfers that a job started continue."""
    code = DONE
    for each in ids:
        try:
            found = session.client.ask("DELETE", _cancellable(each))
        except Failure as failure:
            if len(ids) == 1 or failure.code not in {FAILED, NOT_FOUND}:
                raise
            session.out.fail(f"{each}: {failure.message}", failure.fix, failure.code)
            code = FAILED
            continue
        if session.out.as_json:
            session.out.json(found)
        else:
            state = "cancelling" if found["cancelling"] and found["state"] != "cancelled" else found["state"]
            session.out.line((each, 34), (state, 10))
    return code


def _cancellable(identity: str) -> str:
    path = path_of(identity)
    if path.startswith("/dead-letters"):
        raise click.UsageError("a message cannot be cancelled; to resolve it: sharing discard ID")
    return path


@command("sharing notify 37a8eec1-6c69c15a3740fbd3581a7d8d")
@click.argument("identity", metavar="ID")
@click.pass_obj
def notify(session: Session, identity: str) -> int:
    """Repeat the notification of a verified transfer."""
    path = path_of(identity)
    if not path.startswith("/transfers"):
        raise click.UsageError("only a transfer has a notification")
    accepted(session, session.client.ask("POST", f"{path}/notify"), quiet=False)
    return DONE

"""Dead letters: list, replay, discard."""

from collections import Counter
from typing import Any

import click

from sharing import bulk
from sharing.client import path_of
from sharing.commands.transfers import accepted
from sharing.failure import DONE
from sharing.follow import watch
from sharing.output import ago
from sharing.session import Session, command

REASONS = (
    "malformed",
    "not_allowed",
    "invalid_name",
    "source_unreadable",
    "source_archived",
    "unsupported_blob",
    "target_unwritable",
    "target_conflict",
    "throttled",
    "copy_failed",
    "deadline_exceeded",
    "not_notified",
    "internal",
)
REASON = click.option("--reason", type=click.Choice(REASONS), metavar="REASON", help="Only with this reason.")
ROUTE = click.option("--route", metavar="ROUTE", help="Only of this route.")


class Group:
    """The open dead letters with one reason."""

    def __init__(self, reason: str, hint: str) -> None:
        self.reason, self.hint = reason, hint
        self.routes: Counter[str] = Counter()
        self.last = ""

    def add(self, letter: dict[str, Any]) -> None:
        """Count a dead letter."""
        self.routes[letter["route"] or "no route"] += 1
        self.last = max(self.last, letter["last_failed_at"])


@command("sharing letters", "sharing letters --reason throttled --list")
@REASON
@ROUTE
@click.option("--name", metavar="NAME", help="Only of this blob.")
@click.option("--list", "listed", is_flag=True, help="A line for each dead letter instead of the groups.")
@click.pass_obj
def letters(session: Session, reason: str | None, route: str | None, name: str | None, listed: bool) -> int:  # noqa: FBT001
    """Show the open dead letters, grouped by reason."""
    found = session.client.pages("/dead-letters", reason=reason, route=route, name=name, limit=500)
    if listed:
        heads = {"ID": 33, "REASON": 17, "FAILED": 7, "NAME": 0}
        cells = lambda it: (it["id"], it["reason"], ago(it["last_failed_at"]), _name(it))  # noqa: E731  # one line
        if not session.out.rows(heads, found, cells):
            session.out.say("no open dead letters")
        return DONE
    groups: dict[str, Group] = {}
    for letter in found:
        groups.setdefault(letter["reason"], Group(letter["reason"], letter["hint"])).add(letter)
    for group in sorted(groups.values(), key=lambda group: -group.routes.total()):
        _print_group(session, group)
    if not groups:
        session.out.say("no open dead letters")
    return DONE


def _name(letter: dict[str, Any]) -> str:
    return f"{letter['route']} {letter['name']}" if letter["name"] is not None else "-"


def _print_group(session: Session, group: Group) -> None:
    count = group.routes.total()
    if session.out.as_json:
        about = {"reason": group.reason, "count": count, "routes": dict(group.routes)}
        session.out.json({**about, "last_failed_at": group.last, "hint": group.hint})
        return
    routes = ", ".join(f"{number} {route}" for route, number in group.routes.most_common())
    session.out.line((group.reason, 20), (f"{count} ({routes}), last {ago(group.last)} ago", 0), style="bold")
    session.out.fields({"  hint": group.hint})


def _filters(function: bulk.F) -> bulk.F:
    times = "An RFC 3339 time, such as 2026-11-24T19:02:44Z."
    for option in (
        click.option("--until", metavar="TIME", help="Failed last before this time."),
        click.option("--since", metavar="TIME", help=f"Failed last after this time. {times}"),
        click.option("--all", "everything", is_flag=True, help="All open dead letters."),
        ROUTE,
        REASON,
    ):
        function = option(function)
    return function


def _check(identity: str | None, everything: bool, filters: dict[str, Any]) -> None:  # noqa: FBT001
    chosen = (identity is not None) + everything + any(filters.values())
    if chosen != 1:
        raise click.UsageError("give one id, or filters, or --all")


@command(
    "sharing replay 37a8eec1-6c69c15a3740fbd3581a7d8d --wait",
    "sharing replay --reason target_unwritable --dry-run",
    "sharing replay --route partner --rate 5 --yes --wait",
)
@click.argument("identity", required=False, metavar="[ID]")
@_filters
@bulk.options
@click.pass_obj
def replay(session: Session, /, identity: str | None, everything: bool, **options: Any) -> int:  # noqa: FBT001
    """Replay one dead letter, or all that match the filters."""
    body, rest = _split(options)
    _check(identity, everything, body)
    if identity is None:
        return bulk.run(session, "replays", {**body, "max_per_second": options["rate"]}, **rest)
    _only_wait(options)
    answer = session.client.ask("POST", f"{_letter(identity)}/replay")
    started = accepted(session, answer, quiet=options["wait"])
    return watch(session, started) if options["wait"] and started else DONE


@command("sharing discard message-0f63a3a5b06d5f2d7bd2a6a5", "sharing discard --reason malformed")
@click.argument("identity", required=False, metavar="[ID]")
@_filters
@bulk.options
@click.pass_obj
def discard(session: Session, /, identity: str | None, everything: bool, **options: Any) -> int:  # noqa: FBT001
    """Discard one dead letter, or all that match the filters."""
    body, rest = _split(options)
    _check(identity, everything, body)
    if identity is None:
        return bulk.run(session, "discards", {**body, "max_per_second": options["rate"]}, **rest)
    _only_wait(options)
    letter = session.client.ask("DELETE", _letter(identity))
    if session.out.as_json:
        session.out.json(letter)
    else:
        session.out.line((letter["id"], 33), (letter["resolved_as"] or letter["state"], 0))
    return DONE


def _letter(identity: str) -> str:
    path = path_of(identity)
    if path.split("/")[1] not in {"transfers", "dead-letters"}:
        raise click.UsageError("a job is not a dead letter; its commands are watch, jobs and cancel")
    return f"/dead-letters/{identity}"


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the filters, and how to run the job."""
    return (
        {name: options[name] for name in ("reason", "route", "since", "until")},
        {name: options[name] for name in ("dry_run", "yes", "wait")},
    )


def _only_wait(options: dict[str, Any]) -> None:
    if options["dry_run"] or options["rate"]:
        raise click.UsageError("--dry-run and --rate are for many dead letters; an id names one")

"""Starting a job: a dry run shows what it would do, then a question, then the job."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from sharing.failure import DONE, FAILED, USAGE, Failure
from sharing.follow import code_of, follow_job
from sharing.output import ago, shown, size
from sharing.session import Session

F = TypeVar("F", bound=Callable[..., Any])
VERBS = {"replays": "Replay", "discards": "Permanently discard", "reconciles": "Share"}


def options(function: F) -> F:
    """Add the options of a command that starts a job."""
    for option in (
        click.option("--wait", is_flag=True, help="Wait for the end of the job, and print its counts."),
        click.option("--rate", type=click.IntRange(1, 100), metavar="N", help="At most N per second. Default: 20."),
        click.option("--yes", "-y", is_flag=True, help="Do not look first, and do not ask."),
        click.option("--dry-run", is_flag=True, help="Only show what the job would do."),
    ):
        function = option(function)
    return function


def run(session: Session, kind: str, body: dict[str, Any], *, dry_run: bool, yes: bool, wait: bool) -> int:  # noqa: PLR0913  # the options
    """Start a job of this kind unless the user declines. Return the exit code."""
    if not (dry_run or yes or sys.stdin.isatty()):
        raise Failure("the command asks first, and stdin is not a terminal", USAGE, "add --yes, or --dry-run")
    if dry_run or not yes:
        plan = follow_job(session, _start(session, kind, {**body, "dry_run": True}))
        if dry_run or plan["state"] != "done" or not plan["counts"]["found"]:
            print_job(session, plan)
            return code_of(plan)
        session.out.say(f"{_totals(plan)} (dry run {plan['id']})")
        question = f"{VERBS[kind]} {plan['counts']['found']} ({size(plan['counts']['bytes'])}) at {session.client.url}?"
        if not click.confirm(shown(question), err=True):
            session.out.say("nothing was changed")
            return FAILED
    identity = _start(session, kind, body)
    if not wait:
        if session.out.as_json:
            session.out.json({"id": identity})
        else:
            session.out.line((identity, 0))
            session.out.say(f"started; to follow it: sharing watch {identity}")
        return DONE
    job = follow_job(session, identity)
    print_job(session, job)
    return code_of(job)


def _start(session: Session, kind: str, body: dict[str, Any]) -> str:
    fields = {name: value for name, value in body.items() if value not in {None, ""}}
    return str(session.client.ask("POST", f"/{kind}", fields)["id"])


def _totals(job: dict[str, Any]) -> str:
    counts = {name: count for name, count in job["counts"].items() if count and name not in {"found", "bytes"}}
    found = f"found {job['counts']['found']} ({size(job['counts']['bytes'])})"
    return ", ".join([found, *(f"{count} {name}" for name, count in counts.items())])


def print_job(session: Session, job: dict[str, Any]) -> None:
    """Print a job with its counts."""
    if session.out.as_json:
        session.out.json(job)
        return
    what = {name: job.get(name) for name in ("route", "prefix", "reason", "since", "until")}
    phase = f", phase {job['phase']}" if job["phase"] else ""
    session.out.fields(
        {
            "job": job["id"],
            "state": f"{job['state']}{phase}{', cancelling' if job['cancelling'] and phase else ''}",
            **what,
            "dry run": "yes" if job["dry_run"] else None,
            "counts": _totals(job),
            "detail": job["detail"],
            "created": f"{job['created_at']} ({ago(job['created_at'])} ago)",
            "updated": job["updated_at"],
        }
    )

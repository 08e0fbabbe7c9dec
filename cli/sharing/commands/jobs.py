"""Jobs: reconcile, list, report."""

from collections.abc import Iterator
from typing import Any

import click

from sharing import bulk
from sharing.client import JOBS, is_job, path_of
from sharing.failure import DONE
from sharing.output import ago, size
from sharing.session import Session, command

CLASSES = ("match", "missing", "stale", "extra", "error")
RESULTS = ("started", "discarded", "running", "skipped", "refused", "failed")


@command(
    "sharing reconcile default --dry-run",
    "sharing reconcile default --prefix archive/2026/ --yes --wait",
)
@click.argument("route")
@click.option("--prefix", metavar="PREFIX", help="Only names that begin with this.")
@bulk.options
@click.pass_obj
def reconcile(session: Session, /, route: str, prefix: str | None, rate: int | None, **options: bool) -> int:
    """Share what is missing or stale at the target of a route."""
    return bulk.run(session, "reconciles", {"route": route, "prefix": prefix, "max_per_second": rate}, **options)


@command("sharing jobs", "sharing jobs reconcile-47041ecaee18a22900398936 --class missing")
@click.argument("identity", required=False, metavar="[ID]")
@click.option("--class", "finding", type=click.Choice(CLASSES), help="Only lines of this class.")
@click.option("--result", type=click.Choice(RESULTS), help="Only lines with this result.")
@click.pass_obj
def jobs(session: Session, identity: str | None, finding: str | None, result: str | None) -> int:
    """List the jobs, or print the report of one."""
    if identity is None:
        if finding or result:
            raise click.UsageError("--class and --result are for the report of one job: give its id")
        heads = {"ID": 34, "STATE": 10, "STARTED": 8, "FOUND": 8, "ROUTE": 0}
        count = session.out.rows(heads, _all(session), _job_cells)
    else:
        if not is_job(identity):
            raise click.UsageError("this is not the id of a job")
        # `class` is a keyword of Python.
        filters: dict[str, Any] = {"class": finding, "result": result}
        lines = session.client.pages(f"{path_of(identity)}/report", **filters)
        heads = {"CLASS, RESULT": 13, "      SIZE": 10, "NAME": 0}
        count = session.out.rows(heads, lines, _line_cells)
    if not count:
        session.out.say("no jobs" if identity is None else "no lines")
    return DONE


def _all(session: Session) -> Iterator[dict[str, Any]]:
    for kind in JOBS:
        yield from session.client.pages(f"/{kind}", limit=500)


def _job_cells(job: dict[str, Any]) -> tuple[str, ...]:
    state = job["state"] + (" (dry)" if job["dry_run"] and job["state"] != "cancelled" else "")
    what = " ".join(str(job[name]) for name in ("route", "prefix", "reason") if job.get(name))
    return (job["id"], state, ago(job["created_at"]), str(job["counts"]["found"]), what or "all")


def _line_cells(line: dict[str, Any]) -> tuple[str, ...]:
    detail = f": {line['detail']}" if line.get("detail") else ""
    return (
        str(line.get("class") or line.get("result") or "found"),
        (size(line["size"]) if "size" in line else "").rjust(10),
        f"{line.get('name') or line.get('id')}{detail}",
    )

"""`python -m smoke`: test a deployment, and find out which copy engine its network lets through."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from azure.identity import AzureCliCredential, AzureDeveloperCliCredential, ChainedTokenCredential
from rich.console import Console

from smoke import app, report, rows, spans, values
from smoke.arm import Arm
from smoke.cleaning import SECONDS as CLEANING_SECONDS
from smoke.cleaning import clean
from smoke.places import Route
from smoke.steps import PATIENCE, Smoke
from smoke.storage import EMULATOR_KEY, Storage
from smoke.trouble import Trouble
from smoke.values import Values

EPILOG = """\
What it does: calls GET /api/health; puts three blobs of 4 KB into the source of each route, named
<prefix>blob-data-sharing-smoke-<random>-<kind><suffix>; follows them and compares bytes; reports for `sync` and `async`
whether the target's service could read the source; makes one blob a dead letter (its metadata is too long), fixes it and
replays it; deletes all its blobs, also after a failure and after Ctrl-C; looks for the spans of a canary in Application
Insights. The alert on dead letters fires for the one that the test makes. On Azure the test takes three to eight minutes;
right after `azd up` up to ten minutes more, until your own role takes effect.

Exit codes: 0 everything that the routes need works (an engine that is refused where the app can use the other one is
reported, but is not a failure); 1 something does not work, or the test could not start; 2 wrong arguments; 130 Ctrl-C.

The test reads the function key through Azure Resource Manager as the user of `azd auth login`, or else of `az login`. It
never shows the key.
"""


def main() -> int:
    """Do what was asked; the exit code."""
    arguments = _parser().parse_args()
    # Make and `kill` stop with SIGTERM: what was put is taken away in the same way as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _run(arguments)
    except Trouble as trouble:
        Console(stderr=True).print(f"smoke: {trouble}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m smoke",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--values",
        type=Path,
        metavar="FILE",
        help="a saved output of `azd env get-values --output json`, instead of calling azd",
    )
    where.add_argument("--local", action="store_true", help="test the local stack that `make run` starts")
    parser.add_argument("--route", metavar="NAME", help="test only this route (default: all routes)")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=900,
        metavar="SECONDS",
        help=f"total wait time (900: retries of a failing copy end after 13 minutes), plus {CLEANING_SECONDS} to clean up",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON; all other output goes to stderr")
    parser.add_argument(
        "--arm",
        default="https://management.azure.com",
        metavar="URL",
        help="the Azure Resource Manager endpoint; different in a sovereign cloud",
    )
    return parser


def _seconds(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text[:6]) <= 86_400):  # noqa: PLR2004  # a day
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 86,400")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    console = Console(stderr=arguments.json)
    console = console if console.is_terminal else Console(stderr=arguments.json, width=120)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    known = _values(arguments)
    routes = _chosen(known.routes, arguments.route)
    credential = _credential(known.told.get("AZURE_TENANT_ID", ""))
    arm = Arm(arguments.arm, credential)
    key = app.key(known.function, arm) if known.function else None
    with (
        closing(app.App(known.api, key)) as api,
        closing(Storage(credential, os.environ.get("DEVHOST_KEY") or EMULATOR_KEY)) as storage,
    ):
        smoke = Smoke(api, storage, routes, time.monotonic() + arguments.timeout, say)
        smoke.patience = PATIENCE if known.function else 0  # on the local stack no role has to spread
        try:
            smoke.play()
        finally:
            _clean(smoke, known)
    if known.workspace and (shared := smoke.shared):
        smoke.findings.append(spans.find(arm, known.workspace, shared, say))
    about = rows.about(known.told, smoke.version, datetime.now(UTC).date().isoformat())
    lines = rows.rows(known.told, smoke.findings)
    if arguments.json:
        sys.stdout.write(json.dumps(report.document(about, smoke.findings, lines), indent=1) + "\n")
    else:
        console.print(report.table(smoke.findings))
        for line in (*report.verdict(smoke.findings), report.KEPT, *_pasted(about, lines)):
            say(line)
    return 0 if all(finding.works for finding in smoke.findings) else 1


def _values(arguments: argparse.Namespace) -> Values:
    if arguments.local:
        return values.of_local_stack(os.environ)
    return values.of_file(arguments.values) if arguments.values else values.of_azd()


def _chosen(routes: Sequence[Route], name: str | None) -> Sequence[Route]:
    chosen = [route for route in routes if name in {None, route.name}]
    if not chosen:
        raise Trouble(f"unknown route {name!r}. Fix: use one of {', '.join(route.name for route in routes)}")
    return chosen


def _credential(tenant: str) -> ChainedTokenCredential:
    """Who `azd auth login` logged in, else who `az login` did."""
    azd = AzureDeveloperCliCredential(tenant_id=tenant, process_timeout=60)
    return ChainedTokenCredential(azd, AzureCliCredential(tenant_id=tenant, process_timeout=60))


def _clean(smoke: Smoke, known: Values) -> None:
    try:
        clean(smoke, known.routes)
    except (KeyboardInterrupt, SystemExit):
        smoke.say(f"   stopped: blobs that are left have {smoke.name} in their names")
        raise


def _pasted(about: dict[str, str], lines: list[rows.Row]) -> list[str]:
    if not lines:
        return ["The local stack proves nothing of the list in docs/unproven.md."]
    return [
        "",
        "Results for the list in docs/unproven.md, if the azd environment matches the deployment. Paste them into an issue;",
        "they contain no names and no secrets.",
        "",
        *rows.markdown(about, lines),
    ]


if __name__ == "__main__":
    sys.exit(main())

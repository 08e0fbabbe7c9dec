"""`python -m smoke`: test a deployment, and find out which copy engine its network lets through."""

import argparse
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from azure.identity import AzureCliCredential, AzureDeveloperCliCredential, ChainedTokenCredential
from rich.console import Console

from smoke import deployment, findings, rows
from smoke.api import NO_SPANS, SPAN_SECONDS, App, Arm
from smoke.deployment import Blob, Deployment, Route, SmokeError
from smoke.findings import Finding, Result
from smoke.storage import EMULATOR_KEY, Storage
from smoke.story import ACCESS_SECONDS, Sample, Story

SIZE = 4096
# Within the service's limit of 8 KB, and beyond it with the app's receipt: the app refuses the blob at once, with both engines.
TOO_LONG = dict.fromkeys("abcd", "x" * 2033)
EPILOG = """\
The test puts three blobs of 4 KB into the source of each route, named
<prefix>blob-data-sharing-smoke-<random>-<route>-<kind><suffix>, follows them and compares bytes. One of them becomes a dead
letter (its metadata is too long), is fixed and replayed; the alert on dead letters fires for it. All blobs are deleted at the
end, also after a failure and after Ctrl-C. On Azure the test takes three to eight minutes; right after `azd up` up to ten
minutes more, until your own role takes effect. It reads the function key through Azure Resource Manager, as the user of
`azd auth login` or else of `az login`, and never shows it.

Exit codes: 0 everything that the routes need works (an engine that is refused where the app can use the other one is
reported, but is not a failure); 1 something does not work, or the test could not start; 2 wrong arguments; 130 Ctrl-C.
"""
KEPT = """Kept: histories for 30 days, a resolved dead letter of each route for 90 days; and deleted blobs where soft delete \
or versioning is on (SOFT_DELETE_DAYS at the target)."""
PASTE = """
Results for the list in docs/unproven.md, if the azd environment matches the deployment. Paste them into an issue;
they contain no names and no secrets."""


def main() -> int:
    """Run the test and return the exit code."""
    arguments = _parser().parse_args()
    # Make and `kill` send SIGTERM: clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _run(arguments)
    except SmokeError as error:
        Console(stderr=True).print(f"smoke: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m smoke", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where, add = parser.add_mutually_exclusive_group(), parser.add_argument
    saved = "a saved output of `azd env get-values --output json`, instead of calling azd"
    where.add_argument("--values", type=Path, metavar="FILE", help=saved)
    where.add_argument("--local", action="store_true", help="test the local stack that `make run` starts")
    add("--route", metavar="NAME", help="test only this route (default: all routes)")
    total = "total wait time (900: retries of a failing copy end after 13 minutes), plus up to 240 to clean up"
    add("--timeout", type=_seconds, default=900, metavar="SECONDS", help=total)
    add("--json", action="store_true", help="print the report as JSON; all other output goes to stderr")
    sovereign = "the Azure Resource Manager endpoint; different in a sovereign cloud"
    add("--arm", default="https://management.azure.com", metavar="URL", help=sovereign)
    return parser


def _seconds(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text[:6]) <= 86_400):  # noqa: PLR2004  # a day
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 86,400")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    console = Console(stderr=arguments.json)
    console = console if console.is_terminal else Console(stderr=arguments.json, width=120)
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if arguments.local:
        target = deployment.from_local_stack(os.environ)
    else:
        target = deployment.from_file(arguments.values) if arguments.values else deployment.from_azd()
    routes = [route for route in target.routes if arguments.route in {None, route.name}]
    if not routes:
        known = ", ".join(route.name for route in target.routes)
        raise SmokeError(f"unknown route {arguments.route!r}. Fix: use one of {known}")
    tenant = target.env.get("AZURE_TENANT_ID", "")
    azd = AzureDeveloperCliCredential(tenant_id=tenant, process_timeout=60)
    credential = ChainedTokenCredential(azd, AzureCliCredential(tenant_id=tenant, process_timeout=60))
    arm = Arm(arguments.arm, credential)
    key = arm.function_key(target.function) if target.function else None
    patience = ACCESS_SECONDS if target.function else 0  # roles exist only on Azure
    emulator_key = os.environ.get("DEVHOST_KEY") or EMULATOR_KEY
    with closing(App(target.api, key)) as app, closing(Storage(credential, emulator_key)) as storage:
        story = Story(app, storage, time.monotonic() + arguments.timeout, say, patience)
        version, found = _test(story, target, routes)
    shared = [sample.transfer["id"] for sample in story.samples if sample.verified]
    if target.workspace and shared:
        story.step(f"Look for the canaries' spans in Application Insights, for at most {SPAN_SECONDS // 60} minutes")
        found.append(find_spans(arm, target.workspace, shared))
        say(f"   {found[-1].seen}")
    about = rows.about(target.env, version, datetime.now(UTC).date().isoformat())
    seen = rows.rows(target.env, found)
    works = all(finding.works for finding in found)
    if arguments.json:
        report = {"works": works, "about": about, "findings": [asdict(finding) for finding in found], "rows": seen}
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        console.print(findings.table(found))
        local = ["The local stack proves nothing of the list in docs/unproven.md."]
        pasted = [PASTE, *rows.markdown(about, seen)] if seen else local
        for line in (*findings.verdict(found), KEPT, *pasted):
            say(line)
    return 0 if works else 1


def _test(story: Story, target: Deployment, routes: Sequence[Route]) -> tuple[str, list[Finding]]:
    """Run all steps on some routes; return the app's version and the findings."""
    run = f"blob-data-sharing-smoke-{secrets.token_hex(4)}"
    found: list[Finding] = []
    try:
        story.step("Check the app, and access to both ends")
        version, failing = _health(story)
        found.append(findings.health(failing, [route.name for route in routes]))
        for route in routes:
            story.check_access(route, run)
        story.step("Put canaries: a small blob, a blob that sync cannot copy, a blob that cannot be copied")
        story.put(_canaries(story.storage, run, routes))
        story.step(f"Watch them arrive, for at most {story.end - time.monotonic():.0f} s; Ctrl-C deletes everything")
        story.watch()
        story.step("Read the dead letter, fix the blob, replay it")
        story.replay()
        found += [finding for route in routes for finding in findings.judge(route, story.samples)]
    finally:
        if story.samples:
            found.append(_clean(story, run, target.routes))
    return version, found


def _clean(story: Story, run: str, routes: Sequence[Route]) -> Finding:
    story.step("Clean up")
    try:
        problems = story.clean(run, routes)
    except (KeyboardInterrupt, SystemExit):
        story.say(f"   stopped: blobs that are left have {run} in their names")
        raise
    for line in problems or [f"deleted {len(story.samples)} blobs and their copies; none is left"]:
        story.say(f"   {line}")
    return findings.check("clean", "", "; ".join(problems) or "no blob is left", works=not problems)


def _health(story: Story) -> tuple[str, list[str]]:
    answer = story.app.ask("GET", "/health")
    if "checks" not in answer.body:
        fix = "run azd deploy, then try again in a minute; for the local stack, run make run in another terminal"
        raise SmokeError(f"the app did not report its health ({answer}). Fix: {fix}")
    failing = [check for check in answer.body["checks"] if not check["ok"]]
    story.say(f"   version {answer.body['version']}, {'not up' if failing else 'up'}")
    for check in failing:
        story.say(f"   {check['name']}: {check['detail']}. {check['fix']}")
    return answer.body["version"], [check["name"] for check in failing]


def find_spans(arm: Arm, workspace: str, transfers: Sequence[str]) -> Finding:
    """Look for spans. No route depends on them: a failed query is reported, but is not a failure of the app."""
    try:
        count = arm.wait_for_spans(workspace, transfers)
    except SmokeError as error:
        return Finding("spans", "", Result.UNSEEN, str(error), works=True)
    seen, result = (f"{count} spans of the canaries", Result.OK) if count else (NO_SPANS, Result.UNSEEN)
    return Finding("spans", "", result, seen, works=True)


def _canaries(storage: Storage, run: str, routes: Sequence[Route]) -> list[Sample]:
    def shorten(blob: Blob) -> str:
        storage.set_metadata(blob, {})
        return "shortened the metadata"

    def of(route: Route, kind: str, **more: Any) -> Sample:
        return Sample.of(route, f"{run}-{route.name}-{kind}", secrets.token_bytes(SIZE), kind=kind, **more)

    return [
        *(of(route, "broken", metadata=TOO_LONG, fix=shorten) for route in routes),
        *(of(route, "small") for route in routes),
        *(of(route, "append", append=True) for route in routes if route.engine != "sync"),
    ]


if __name__ == "__main__":
    sys.exit(main())

"""The last step: delete every blob of the run, whatever happened before."""

import time
from collections.abc import Iterable
from http import HTTPStatus

from smoke.deployment import Blob, Route, SmokeError, journey
from smoke.findings import Finding, check
from smoke.story import Story

# A cancelled transfer settles for 90 seconds: docs/protocol.md.
SECONDS = 240
POLL = 1


def clean(story: Story, run: str, routes: Iterable[Route]) -> Finding:
    """Delete the sources, wait for every transfer and dead letter to end, delete the targets, then list what is left.

    Sources go first, so that a transfer that starts now finds nothing to copy; targets go last, since running transfers may
    still write them. `run` is in every blob's name. `routes` are all routes: another route may copy a blob, too.
    """
    story.step("Clean up")
    reached = [step for sample in story.samples for step in journey(routes, sample.blob)]
    sources, targets = [sample.blob for sample in story.samples], [target for _, target in reached]
    problems = _delete(story, sources)
    problems += _end_transfers(story, run, sorted({route.name for route, _ in reached}))
    problems += _delete(story, targets)
    problems += _left(story, run, [*sources, *targets])
    seen = problems or [f"deleted {len(sources)} source blobs and {len(targets)} target blobs; none is left"]
    for line in seen:
        story.say(f"   {line}")
    return check("clean", "", "; ".join(seen), works=not problems)


def _delete(story: Story, blobs: Iterable[Blob]) -> list[str]:
    problems = []
    for blob in dict.fromkeys(blobs):
        try:
            story.storage.delete(blob)
        except SmokeError as error:
            problems.append(f"{blob.name}: {error}")
    return problems


def _end_transfers(story: Story, run: str, routes: list[str]) -> list[str]:
    """Cancel running transfers and replay dead letters, which without their source end superseded, until there are none."""
    end = time.monotonic() + SECONDS
    handled = set[str]()
    try:
        while time.monotonic() < end:
            running, dead_letters = _running(story, run, routes), _dead_letters(story, run, routes)
            if not running and not dead_letters:
                return []
            if not handled:
                count = len(running | dead_letters)
                story.say(f"   {count} transfers must end first; on Azure this takes two minutes")
            for transfer in running - handled:
                answer = story.app.ask("DELETE", f"/transfers/{transfer}")
                if answer.status in {HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT}:  # cancelled, or about to end anyway
                    handled.add(transfer)
            for dead_letter in dead_letters:
                story.app.ask("POST", f"/dead-letters/{dead_letter}/replay")
            handled |= dead_letters  # a replay is not cancelled: it ends by itself
            time.sleep(POLL)
    except SmokeError as error:
        return [str(error)]
    return [f"transfers were still running after {SECONDS} s"]


def _running(story: Story, run: str, routes: list[str]) -> set[str]:
    return {
        item["id"]
        for route in routes
        for state in ("accepted", "copying")
        for item in story.app.pages("/transfers", route=route, state=state)
        if item["source"] and run in item["source"]["name"]
    }


def _dead_letters(story: Story, run: str, routes: list[str]) -> set[str]:
    items = [item for route in routes for item in story.app.pages("/dead-letters", route=route)]
    return {item["id"] for item in items if run in (item["name"] or "")}


def _left(story: Story, run: str, blobs: Iterable[Blob]) -> list[str]:
    """List the names that contain the run's name, at every place that was reached."""
    left = []
    for prefix in {Blob(each.endpoint, each.container, each.name.partition(run)[0] + run): None for each in blobs}:
        try:
            left += [f"{prefix.container}/{name} is left" for name in story.storage.names(prefix)]
        except SmokeError as error:
            left.append(str(error))
    return left

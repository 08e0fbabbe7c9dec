"""The last step: nothing that was put stays, whatever happened before."""

import time
from collections.abc import Iterable
from http import HTTPStatus

from smoke.findings import Finding, Result
from smoke.places import Blob, Route, journey
from smoke.steps import Smoke
from smoke.trouble import Trouble

# Of a transfer that is cancelled, settle alone is 90 seconds: docs/protocol.md.
SECONDS = 240
POLL = 1
# It will be cancelled, or it ends anyhow.
TAKEN = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT})


def clean(smoke: Smoke, routes: Iterable[Route]) -> None:
    """Delete the sources, let every transfer end and every dead letter be resolved, delete the targets; then look.

    Sources go first, so that what begins now finds nothing to copy; targets last, for what runs may still write them.
    `routes` are all there are: another route may carry a canary, too.
    """
    if not smoke.canaries:
        return
    smoke.say("\n5. Clean up")
    reached = [there for canary in smoke.canaries for there in journey(routes, canary.blob)]
    sources, targets = [canary.blob for canary in smoke.canaries], [target for _, target in reached]
    cannot = _deleted(smoke, sources)
    cannot += _ended(smoke, sorted({route.name for route, _ in reached}))
    cannot += _deleted(smoke, targets)
    cannot += _left(smoke, [*sources, *targets])
    seen = cannot or [f"deleted {len(sources)} source blobs and {len(targets)} target blobs; none is left"]
    for line in seen:
        smoke.say(f"   {line}")
    smoke.findings.append(
        Finding("clean", "", Result.FAILED if cannot else Result.OK, "; ".join(seen), works=not cannot)
    )


def _deleted(smoke: Smoke, blobs: Iterable[Blob]) -> list[str]:
    """Delete each; what could not be."""
    cannot = []
    for blob in dict.fromkeys(blobs):
        try:
            smoke.storage.delete(blob)
        except Trouble as trouble:
            cannot.append(f"{blob.name}: {trouble}")
    return cannot


def _ended(smoke: Smoke, routes: list[str]) -> list[str]:
    """Cancel what runs and replay what failed, which without its source ends superseded; until there is neither."""
    end = time.monotonic() + SECONDS
    told, asked = False, set[str]()
    try:
        while time.monotonic() < end:
            running, letters = _running(smoke, routes), _letters(smoke, routes)
            if not running and not letters:
                return []
            if not told:
                smoke.say(f"   {len(running | letters)} transfers must end first; on Azure this takes two minutes")
                told = True
            for transfer in running - asked:
                if smoke.app.ask("DELETE", f"/transfers/{transfer}").status in TAKEN:
                    asked.add(transfer)
            for letter in letters:
                smoke.app.ask("POST", f"/dead-letters/{letter}/replay")
            asked |= letters  # what runs of them from now on is a replay, which is to end by itself
            time.sleep(POLL)
    except Trouble as trouble:
        return [str(trouble)]
    return [f"transfers were still running after {SECONDS} s"]


def _running(smoke: Smoke, routes: list[str]) -> set[str]:
    return {
        item["id"]
        for route in routes
        for state in ("accepted", "copying")
        for item in smoke.app.pages("/transfers", route=route, state=state)
        if item["source"] and smoke.name in item["source"]["name"]
    }


def _letters(smoke: Smoke, routes: list[str]) -> set[str]:
    return {
        item["id"]
        for route in routes
        for item in smoke.app.pages("/dead-letters", route=route)
        if smoke.name in (item["name"] or "")
    }


def _left(smoke: Smoke, blobs: Iterable[Blob]) -> list[str]:
    """Look: every name with the run's name in it, at every place that was reached."""
    prefixes = {
        Blob(blob.endpoint, blob.container, blob.name.partition(smoke.name)[0] + smoke.name): None for blob in blobs
    }
    left = []
    for prefix in prefixes:
        try:
            left += [f"{prefix.container}/{name} is left" for name in smoke.storage.names(prefix)]
        except Trouble as trouble:
            left.append(str(trouble))
    return left

"""The steps that `make smoke` and `make demo` share: upload blobs, follow their transfers, fix and replay failures."""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from smoke.api import App
from smoke.deployment import Blob, Route, SmokeError, all_targets
from smoke.storage import TEMPORARY, Storage

POLL = 0.5
ACCESS_SECONDS, ACCESS_PAUSE = 600, 15
CLEAN_SECONDS = 240  # a cancelled transfer settles for 90 seconds: docs/protocol.md
RUNNING = ("accepted", "copying")
CANCELLED = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT})  # cancelled, or about to end anyway
FINAL = frozenset({"verified", "superseded", "dead_lettered", "cancelled"})
MIB = 1024 * 1024


@dataclass
class Sample:
    """A blob of a run, its target, and its transfer as the API last returned it (empty before the first answer).

    `fix` is set on a blob that must fail first: it removes the cause of the failure and returns what it did.
    """

    route: Route
    blob: Blob
    target: Blob
    data: bytes = field(default=b"", repr=False)
    kind: str = ""
    append: bool = False
    metadata: dict[str, str] | None = None
    fix: Callable[[Blob], str] | None = None
    transfer: Mapping[str, Any] = field(default_factory=dict)
    equal: bool = False
    problem: str = ""

    @classmethod
    def of(cls, route: Route, name: str, data: bytes, **more: Any) -> "Sample":
        """Return a sample with this name below the route's source prefix."""
        source, target = (replace(end, name=f"{end.name}{name}{route.suffix}") for end in (route.source, route.target))
        return cls(route, source, target, data, **more)

    @property
    def label(self) -> str:
        """The names of the route and of the blob."""
        return f"{self.route.name}: {self.blob.name}"

    @property
    def verified(self) -> bool:
        """Whether the app reports the blob as shared."""
        return self.transfer.get("state") == "verified"

    @property
    def arrived(self) -> bool:
        """Whether the blob is shared: by the app's report, and by its bytes at the target."""
        return self.verified and self.equal and not self.problem

    @property
    def seconds(self) -> float:
        """The time from the acceptance of the event to the end of the transfer, as the API reports it."""
        accepted, ended = (datetime.fromisoformat(self.transfer[key]) for key in ("accepted_at", "updated_at"))
        return (ended - accepted).total_seconds()

    def __str__(self) -> str:
        shown = self.problem or self.outcome()
        return f"{shown}; {'bytes equal' if self.equal else 'BYTES DIFFER'}" if self.verified else shown

    def outcome(self) -> str:
        """Return the state of the transfer, in one line."""
        transfer = self.transfer
        if "state" not in transfer:
            return "no transfer: its event has not arrived"
        if self.verified:
            return f"verified by {transfer['engine'] or 'an unknown engine'} in {self.seconds:.1f} s"
        copied = f"{size(transfer['copied'])} of {size(len(self.data))}" if transfer["state"] == "copying" else ""
        failed = f"failed {transfer['tries']} times" if transfer["reason"] and transfer["tries"] else ""
        return ": ".join(filter(None, (transfer["state"], copied, failed, transfer["reason"], transfer["detail"])))


class Story:
    """The steps, each with a heading. They wait until `time.monotonic()` is `end`; `say` prints a line.

    A new role takes minutes to take effect. So a call that the service refuses is repeated for up to `patience` seconds in
    total, and each wait moves `end` back.
    """

    def __init__(self, app: App, storage: Storage, end: float, say: Callable[[str], None], patience: float = 0) -> None:
        self.app, self.storage, self.end, self.say, self.patience = app, storage, end, say, patience
        self.samples: list[Sample] = []
        self._steps = 0

    def step(self, title: str) -> None:
        """Print the heading of the next step."""
        self._steps += 1
        self.say(f"\n{self._steps}. {title}")

    def check_access(self, route: Route, name: str) -> None:
        """Read both ends of a route, before anything is written."""
        for end in (route.source, route.target):
            self._with_patience(self.storage.names, replace(end, name=end.name + name))
        self.say(f"   access to both ends of {route.name}")

    def put(self, samples: Iterable[Sample]) -> None:
        """Put blobs into the sources."""
        for sample in samples:
            self.samples.append(sample)
            self.say(f"   put {sample.label} ({size(len(sample.data))})")
            self._with_patience(self.storage.put, sample.blob, sample.data, sample.metadata, append=sample.append)
            if sample.append:  # an event may precede the bytes of an append blob, so the transfer is requested
                body = {"route": sample.route.name, "name": sample.blob.name}
                answer = self.app.insist("POST", "/transfers", self.end, body)
                if answer.status == HTTPStatus.ACCEPTED:
                    sample.transfer = {"id": answer.body["transfers"][0]["id"]}
                else:
                    self.say(f"   POST /api/transfers -> {answer}")

    def watch(self) -> None:
        """Follow every transfer that is expected to succeed."""
        for sample in self.samples:
            if not sample.fix:
                self._follow(sample)

    def replay(self) -> None:
        """Read the dead letter of each blob that was made to fail, fix the cause, replay, and follow the transfer."""
        for sample in self.samples:
            if sample.fix:
                self._follow(sample)
                sample.problem = self._replay_one(sample, sample.fix)

    def clean(self, run: str, routes: Iterable[Route]) -> list[str]:
        """Delete every blob of the run; return the problems and the names of the blobs that are left.

        Sources are deleted first, so that a transfer that starts now finds nothing to copy. Targets are deleted last, since
        running transfers may still write them. `run` is part of every blob's name. `routes` are all routes of the app,
        because untested routes may copy the blobs too.
        """
        reached = [step for sample in self.samples for step in all_targets(routes, sample.blob)]
        sources, targets = [sample.blob for sample in self.samples], [target for _, target in reached]
        problems = self._delete(sources)
        problems += self._end_transfers(run, sorted({route.name for route, _ in reached}))
        problems += self._delete(targets)
        for prefix in {Blob(it.endpoint, it.container, it.name.partition(run)[0] + run) for it in (*sources, *targets)}:
            try:
                problems += [f"{prefix.container}/{name} is left" for name in self.storage.names(prefix)]
            except SmokeError as error:
                problems.append(str(error))
        return problems

    def _delete(self, blobs: Iterable[Blob]) -> list[str]:
        problems = []
        for blob in set(blobs):
            try:
                self.storage.delete(blob)
            except SmokeError as error:
                problems.append(f"{blob.name}: {error}")
        return problems

    def _end_transfers(self, run: str, routes: list[str]) -> list[str]:
        """Cancel running transfers, and replay dead letters, which without their source end `superseded`."""
        end, handled = time.monotonic() + CLEAN_SECONDS, set[str]()
        try:
            while time.monotonic() < end:
                pages = [self.app.pages("/transfers", route=each, state=state) for each in routes for state in RUNNING]
                running = {it["id"] for page in pages for it in page if it["source"] and run in it["source"]["name"]}
                pages = [self.app.pages("/dead-letters", route=each) for each in routes]
                dead_letters = {it["id"] for page in pages for it in page if run in (it["name"] or "")}
                if not running | dead_letters:
                    return []
                if not handled:
                    count = len(running | dead_letters)
                    self.say(f"   {count} transfers must end first; on Azure this takes two minutes")
                for transfer in running - handled:
                    if self.app.ask("DELETE", f"/transfers/{transfer}").status in CANCELLED:
                        handled.add(transfer)
                for dead_letter in dead_letters:
                    self.app.ask("POST", f"/dead-letters/{dead_letter}/replay")
                handled |= dead_letters  # a replayed transfer needs no cancel: without its source it ends `superseded`
                time.sleep(2 * POLL)
        except SmokeError as error:
            return [str(error)]
        return [f"transfers were still running after {CLEAN_SECONDS} s"]

    def _replay_one(self, sample: Sample, fix: Callable[[Blob], str]) -> str:
        """Fix and replay one blob; return the problem, empty if there is none."""
        if sample.transfer.get("state") != "dead_lettered":
            return f"expected a dead letter: {sample.outcome()}"
        failed = sample.transfer["id"]
        dead_letter = self.app.ask("GET", f"/dead-letters/{failed}")
        if dead_letter.status != HTTPStatus.OK:
            return f"the dead letter cannot be read: {dead_letter}"
        for name in ("id", "reason", "detail", "hint"):
            self.say(f"   {name:8}{dead_letter.body[name]}")
        self.say(f"   fixed: {fix(sample.blob)}")
        answer = self.app.insist("POST", f"/dead-letters/{failed}/replay", self.end)
        self.say(f"   POST /api/dead-letters/{failed}/replay -> {answer.status}")
        if answer.status != HTTPStatus.ACCEPTED:
            return f"unexpected answer to the replay: {answer}"
        sample.transfer = {}  # the fix may have created another version, so the transfer is looked up by name
        self._follow(sample)
        return ""

    def _follow(self, sample: Sample) -> None:
        """Print each change of a transfer until it has ended or the time is up, then compare the bytes."""
        shown = ""
        while True:
            known = sample.transfer.get("id")  # before that is known, the transfer is looked up by the blob's name
            query = {} if known else {"route": sample.route.name, "name": sample.blob.name}
            answer = self.app.ask("GET", f"/transfers/{known}" if known else "/transfers", **query)
            if answer.status == HTTPStatus.OK:
                sample.transfer = answer.body
            waiting = "waiting for its event" if answer.status == HTTPStatus.NOT_FOUND else str(answer)
            if (line := sample.outcome() if "state" in sample.transfer else waiting) != shown:
                shown = line
                self.say(f"   {sample.label}: {line}")
            if sample.transfer.get("state") in FINAL or time.monotonic() > self.end:
                break
            time.sleep(POLL)
        sample.equal = sample.verified and self.storage.digest(sample.target) == hashlib.sha256(sample.data).hexdigest()

    def _with_patience(self, call: Callable[..., object], *arguments: Any, **options: Any) -> None:
        """Repeat a call while a role may not have taken effect."""
        while True:
            try:
                call(*arguments, **options)
            except SmokeError as error:
                if error.code not in TEMPORARY or self.patience <= 0:
                    raise
                most = f"waiting for at most {-(-self.patience // 60):.0f} min"
                self.say(f"   no access yet ({error.code}): roles take minutes to take effect; {most} ...")
                time.sleep(ACCESS_PAUSE)
                self.patience -= ACCESS_PAUSE
                self.end += ACCESS_PAUSE
            else:
                return


def size(count: int) -> str:
    """Return a number of bytes as text, in B or MiB."""
    return f"{count:,} B" if count < MIB else f"{count / MIB:,.0f} MiB"

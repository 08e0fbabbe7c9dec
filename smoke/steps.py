"""The steps, in their order. What is put has one name in it, by which all of it can be found and taken away again."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from smoke import findings
from smoke.app import App
from smoke.findings import FINAL, End, Finding, Result, Transfer, outcome
from smoke.places import Blob, Route
from smoke.storage import Storage
from smoke.trouble import SPREADING, Trouble

POLL = 0.5
# The person's own role, and the rule for their address, may be minutes old: how long Azure takes to heed them is not published.
PATIENCE, PAUSE = 600, 15
SIZE = 4096
# Within the 8 KB that the service allows, and past them with the receipt: the app refuses it at once, on both engines.
TOO_LONG = dict.fromkeys("abcd", "x" * 2033)


@dataclass
class Canary:
    """One blob that is put on purpose: where, where its route takes it, and what became of it."""

    route: Route
    kind: str
    blob: Blob
    target: Blob
    data: bytes = field(default_factory=lambda: secrets.token_bytes(SIZE), repr=False)
    transfer: Transfer = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.route.name}: {self.blob.name}"


class Smoke:
    """One run along some routes. Waiting ends when `time.monotonic` shows `end`; `say` takes a line for a person.

    `patience` is how many seconds a refusal may be that of a role which has not spread yet; they are not part of the waiting.
    """

    patience: float = 0

    def __init__(
        self, app: App, storage: Storage, routes: Sequence[Route], end: float, say: Callable[[str], None]
    ) -> None:
        self.app, self.storage, self.routes, self.end, self.say = app, storage, routes, end, say
        self.name = f"blob-data-sharing-smoke-{secrets.token_hex(4)}"
        self.version = ""
        self.canaries: list[Canary] = []
        self.findings: list[Finding] = []

    @property
    def shared(self) -> list[str]:
        """The ids of the canaries' transfers that were verified."""
        ended = [canary.transfer for canary in self.canaries]
        return [transfer["id"] for transfer in ended if transfer.get("state") == "verified"]

    def play(self) -> None:
        """All steps but the last one, which is `smoke.cleaning`.

        Raises:
            Trouble: the person who runs this is not let in, or nobody answers.
        """
        self.say("\n1. Check the app, and access to both ends")
        self._ask_health()
        for route in self.routes:
            self._look(route)
        self.say("\n2. Put canaries: a small blob, a blob that only async can copy, a blob that cannot be copied")
        broken = [self._put(route, "broken", TOO_LONG) for route in self.routes]
        small = [self._put(route, "small") for route in self.routes]
        append = [self._append(route) for route in self.routes if route.engine != "sync"]
        self.say(f"\n3. Watch them arrive, for at most {self.end - time.monotonic():.0f} s; Ctrl-C deletes everything")
        ends = {(canary.route.name, canary.kind): self._end(canary) for canary in (*small, *append)}
        for route in self.routes:
            self._judge(route, ends[route.name, "small"], ends.get((route.name, "append")))
        self.say("\n4. Read the dead letter, fix the blob, replay it")
        for canary in broken:
            self._find("replay", canary.route, self._mended(canary))

    def _ask_health(self) -> None:
        answer = self.app.ask("GET", "/health")
        if "checks" not in answer.body:
            fix = "run azd deploy, then try again in a minute; for the local stack, run make run in another terminal"
            raise Trouble(f"the app did not report its health ({answer}). Fix: {fix}")
        self.version = answer.body["version"]
        failing = [check for check in answer.body["checks"] if not check["ok"]]
        self.say(f"   version {self.version}, {'not up' if failing else 'up'}")
        for check in failing:
            self.say(f"   {check['name']}: {check['detail']}. {check['fix']}")
        ours = [check["name"] for check in failing if self._concerns(check["name"])]
        seen = "not up: " + ", ".join(ours) if ours else "up"
        self.findings.append(Finding("health", "", Result.FAILED if ours else Result.OK, seen, works=not ours))

    def _concerns(self, check: str) -> bool:
        """Whether a check is about the whole app, or about one of the routes that are tried: `target of route x`."""
        _, found, route = check.rpartition(" route ")
        return not found or route in {each.name for each in self.routes}

    def _look(self, route: Route) -> None:
        """May the person read both ends? Better known before anything is written."""
        for end in (route.source, route.target):
            self._patiently(partial(self.storage.names, replace(end, name=end.name + self.name)))
        self.say(f"   access to both ends of {route.name}")

    def _patiently(self, act: Callable[[], object]) -> None:
        """Do it, again and again while the person's role may not have spread; what that takes is added to the end."""
        while True:
            try:
                act()
            except Trouble as trouble:
                if trouble.code not in SPREADING or self.patience <= 0:
                    raise
                minutes = -(-self.patience // 60)
                self.say(
                    f"   no access yet ({trouble.code}): roles take minutes to take effect; waiting for at most {minutes:.0f} min ..."
                )
                time.sleep(PAUSE)
                self.patience -= PAUSE
                self.end += PAUSE
            else:
                return

    def _canary(self, route: Route, kind: str) -> Canary:
        name = f"{self.name}-{kind}{route.suffix}"
        blob, target = (replace(end, name=end.name + name) for end in (route.source, route.target))
        canary = Canary(route, kind, blob, target)
        self.canaries.append(canary)
        self.say(f"   put           {canary}")
        return canary

    def _put(self, route: Route, kind: str, metadata: dict[str, str] | None = None) -> Canary:
        """A small block blob; its event does the rest."""
        canary = self._canary(route, kind)
        self._patiently(partial(self.storage.put, canary.blob, canary.data, metadata))
        return canary

    def _append(self, route: Route) -> Canary:
        """A small append blob. It is asked for: whether Event Grid announces one before its bytes are there is not said."""
        canary = self._canary(route, "append")
        self._patiently(partial(self.storage.append, canary.blob, canary.data))
        body = {"route": route.name, "name": canary.blob.name}
        answer = self.app.insist("POST", "/transfers", self.end, body)
        if answer.status == HTTPStatus.ACCEPTED:
            canary.transfer = {"id": answer.body["transfers"][0]["id"]}
        else:
            self.say(f"   POST /api/transfers -> {answer}")
        return canary

    def _end(self, canary: Canary) -> End:
        """What became of a canary, once it has ended or the time is up; each news is a line."""
        told = ""
        while True:
            if (now := self._progress(canary)) != told:
                told = now
                self.say(f"   {told}")
            if canary.transfer.get("state") in FINAL or time.monotonic() > self.end:
                break
            time.sleep(POLL)
        return End(canary.transfer, self.storage.read(canary.target) == canary.data)

    def _progress(self, canary: Canary) -> str:
        """Look once: by its id where that is known, else by its blob."""
        known = canary.transfer.get("id")
        query = {} if known else {"route": canary.route.name, "name": canary.blob.name}
        answer = self.app.ask("GET", f"/transfers/{known}" if known else "/transfers", **query)
        if answer.status == HTTPStatus.OK:
            canary.transfer = answer.body
        if "state" in canary.transfer:
            return f"{canary}: {outcome(canary.transfer)}"
        return f"{canary}: waiting for its event" if answer.status == HTTPStatus.NOT_FOUND else f"{canary}: {answer}"

    def _judge(self, route: Route, small: End, append: End | None) -> None:
        self.findings += [
            findings.canary(route, small),
            findings.sync(route, small),
            findings.asynchronous(route, append),
        ]

    def _find(self, what: str, route: Route, end: End | str) -> None:
        works = isinstance(end, End) and end.arrived
        self.findings.append(Finding(what, route.name, Result.OK if works else Result.FAILED, str(end), works))

    def _mended(self, canary: Canary) -> End | str:
        """What the replay of the mended blob comes to; a line, if it does not come so far.

        Shorter metadata make another version, and no event announces those: that the replay finds it is what is tried.
        """
        self._end(canary)
        if canary.transfer.get("state") != "dead_lettered":
            return f"expected a dead letter: {outcome(canary.transfer)}"
        failed = canary.transfer["id"]
        letter = self.app.ask("GET", f"/dead-letters/{failed}")
        if letter.status != HTTPStatus.OK:
            return f"the dead letter cannot be read: {letter}"
        for name in ("id", "reason", "detail", "hint"):
            self.say(f"   {name:8}{letter.body[name]}")
        self.storage.set_metadata(canary.blob, {})
        answer = self.app.insist("POST", f"/dead-letters/{failed}/replay", self.end)
        self.say(f"   fixed; POST /api/dead-letters/{failed}/replay -> {answer.status}")
        if answer.status != HTTPStatus.ACCEPTED:
            return f"unexpected answer to the replay: {answer}"
        canary.transfer = {}  # that of the blob's current version, which the replay leads to
        return self._end(canary)

"""Injected faults: a rule matches requests, and delays, drops or answers them before or after they take effect."""

import asyncio
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from devhost.storage.answers import Answer, error
from devhost.storage.operations import Operation, source_of
from devhost.storage.strictness import SOURCE_ANSWER_SINCE, SourceAnswer, cannot_verify_source

PATTERNS = ("path", "blob", "source", "user_agent")
ACTIONS = {"when", "delay", "hold", "drop", "status", "code", "source_status", "source_code", "clock"}
WORDS = ("method", "operation", "account", "container")


class DroppedError(Exception):
    """The connection must close without an answer."""


@dataclass(slots=True)
class Fault:
    """A rule. In `match`, WORDS are compared and PATTERNS searched; a missing key matches every request."""

    id: int
    match: dict[str, str]
    times: int = 1
    """The number of further requests that it matches."""
    when: str = "before"
    """With `after` the request takes effect and only its answer changes."""
    delay: float = 0
    hold: bool = False
    drop: bool = False
    status: int = 0
    code: str = "InternalError"
    source_status: int = 503
    source_code: str = ""
    """The simulated error of a copy's source. If set, the response is CannotVerifyCopySource."""
    clock: float = 0
    """By how many seconds the service's clock is ahead in the answer."""
    met: int = 0
    waiting: int = 0
    """The number of requests that it holds now."""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self) -> Answer | None:
        """Wait, then drop the request (DroppedError), answer it, or return None to let it continue."""
        await asyncio.sleep(self.delay)
        if self.hold:
            self.waiting += 1
            await self.released.wait()
            self.waiting -= 1
        if self.drop:
            raise DroppedError
        if self.source_code:
            source_answer = SourceAnswer(self.source_status, self.source_code, "An injected fault.")
            return cannot_verify_source(source_answer, SOURCE_ANSWER_SINCE, self.status)
        return error(self.status, self.code, "An injected fault.") if self.status else None

    def describe(self) -> dict[str, Any]:
        """Return the rule as JSON."""
        names = ("id", "match", "times", "when", "delay", "hold", "drop", "status", "code", "met", "waiting")
        return {name: getattr(self, name) for name in names}


class Faults:
    """The active rules. Only the first that matches a request applies to it."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._ids = itertools.count(1)

    def add(self, rule: Mapping[str, Any]) -> Fault:
        """Add a rule `{match, action, times}`; raise ValueError for an invalid one."""
        match, action = dict(rule.get("match", {})), dict(rule.get("action", {}))
        if unknown := [name for name in match if name not in (*PATTERNS, *WORDS)] + sorted(action.keys() - ACTIONS):
            raise ValueError(f"unknown: {', '.join(unknown)}")
        if action.get("when", "before") not in {"before", "after"}:
            raise ValueError("when is before or after")
        for pattern in (match[name] for name in PATTERNS if name in match):
            re.compile(pattern)
        fault = Fault(next(self._ids), match, int(rule.get("times", 1)), **action)
        self._faults[fault.id] = fault
        return fault

    def take(self, request: web.BaseRequest, wanted: Operation) -> Fault | None:
        """Return the rule that matches this request, if any, and count it."""
        facts = {
            "method": request.method,
            "operation": wanted.name,
            "account": wanted.account,
            "container": wanted.container,
            "path": wanted.path,
            "blob": wanted.blob,
            "source": unquote(source_of(request.headers.get("x-ms-copy-source", ""))[0]),
            "user_agent": request.headers.get("User-Agent", ""),
        }
        fault = next((fault for fault in self._faults.values() if fault.times and _fits(fault.match, facts)), None)
        if fault:
            fault.times -= 1
            fault.met += 1
        return fault

    def remove(self, number: int | None = None) -> None:
        """Remove one rule, or all, and release the requests that they hold."""
        for fault in [fault for fault in self._faults.values() if number in {None, fault.id}]:
            fault.released.set()
            del self._faults[fault.id]

    def describe(self) -> list[dict[str, Any]]:
        """Return all rules as JSON, including exhausted ones."""
        return [fault.describe() for fault in self._faults.values()]


def _fits(match: Mapping[str, str], facts: Mapping[str, str]) -> bool:
    return all(
        re.search(wanted, facts[name]) if name in PATTERNS else wanted == facts[name] for name, wanted in match.items()
    )

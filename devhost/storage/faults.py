"""Faults on request: a rule says which requests it meets and what happens to them, before or after they are applied."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from devhost.storage.answers import Answer, error
from devhost.storage.operations import source_of
from devhost.storage.strictness import SAYS_WHAT_THE_SOURCE_SAID as NEWEST
from devhost.storage.strictness import Said, unverified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from devhost.storage.operations import Operation

PATTERNS = ("path", "blob", "source", "user_agent")
ACTIONS = ("delay", "hold", "drop", "status", "code", "source_status", "source_code")
WORDS = ("method", "operation", "account", "container")


class DroppedError(Exception):
    """The connection is to break without an answer."""


@dataclass(slots=True)
class Fault:
    """One rule. `match`: WORDS are compared, PATTERNS searched; what is left out fits everything."""

    id: int
    match: dict[str, str]
    times: int
    """How many requests it still meets."""
    when: Literal["before", "after"]
    """`after`: the service does what it was asked, only the answer suffers."""
    delay: float
    hold: bool
    drop: bool
    status: int
    code: str
    source: Said | None
    """What the source of a copy is to have said; then the error is that the copy's source could not be read."""
    met: int = 0
    waiting: int = 0
    """How many requests it holds now."""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def strike(self) -> Answer | None:
        """Wait, then drop or answer in place of the service; None: the request goes on."""
        await asyncio.sleep(self.delay)
        if self.hold:
            await self._wait()
        if self.drop:
            raise DroppedError
        if self.source:
            return unverified(self.source, NEWEST, self.status)
        return error(self.status, self.code, "An injected fault.") if self.status else None

    async def _wait(self) -> None:
        self.waiting += 1
        await self.released.wait()
        self.waiting -= 1

    def describe(self) -> dict[str, Any]:
        """Return it as JSON."""
        names = ("id", "match", "times", "when", "delay", "hold", "drop", "status", "code", "met", "waiting")
        return {name: getattr(self, name) for name in names}


class Faults:
    """The rules in force; the first that fits meets a request, and no other."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._ids = itertools.count(1)

    def add(self, rule: Mapping[str, Any]) -> Fault:
        """Add a rule `{match, action, times}`; raise ValueError for one that cannot be understood."""
        match, action = dict(rule.get("match", {})), dict(rule.get("action", {}))
        times = int(rule.get("times", 1))
        when = action.pop("when", "before")
        _check(match, action, when)
        fault = Fault(
            next(self._ids),
            match,
            times,
            when,
            delay=float(action.get("delay", 0)),
            hold=bool(action.get("hold")),
            drop=bool(action.get("drop")),
            status=int(action.get("status", 0)),
            code=str(action.get("code", "InternalError")),
            source=_said(action),
        )
        self._faults[fault.id] = fault
        return fault

    def take(self, request: web.BaseRequest, wanted: Operation) -> Fault | None:
        """Return the rule that meets this request, if any, and count it."""
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
        """Take back one rule, or all, and let go what they hold."""
        for fault in [fault for fault in self._faults.values() if number in {None, fault.id}]:
            fault.released.set()
            del self._faults[fault.id]

    def describe(self) -> list[dict[str, Any]]:
        """Return all rules as JSON, used up or not."""
        return [fault.describe() for fault in self._faults.values()]


def _said(action: Mapping[str, Any]) -> Said | None:
    if "source_code" not in action:
        return None
    return Said(int(action.get("source_status", 503)), str(action["source_code"]), "An injected fault.")


def _fits(match: Mapping[str, str], facts: Mapping[str, str]) -> bool:
    return all(
        re.search(wanted, facts[name]) if name in PATTERNS else wanted == facts[name] for name, wanted in match.items()
    )


def _check(match: Mapping[str, str], action: Mapping[str, Any], when: str) -> None:
    unknown = [name for name in match if name not in (*PATTERNS, *WORDS)]
    unknown += [name for name in action if name not in ACTIONS]
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}")
    if when not in {"before", "after"}:
        raise ValueError("when is before or after")
    for pattern in (match[name] for name in PATTERNS if name in match):
        re.compile(pattern)

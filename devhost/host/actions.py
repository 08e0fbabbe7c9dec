"""The actions that the SDK returns for an orchestrator (`actionType`) and the decisions that the host makes of them."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

Action = dict[str, Any]
Trace = dict[str, Any]
"""A ParentTraceContext."""


class ActionType(IntEnum):
    """The values of `actionType`. `replay` rejects those that it does not name."""

    CALL_ACTIVITY = 0
    CALL_ACTIVITY_WITH_RETRY = 1
    CALL_SUB_ORCHESTRATOR = 2
    CALL_SUB_ORCHESTRATOR_WITH_RETRY = 3
    CONTINUE_AS_NEW = 4
    CREATE_TIMER = 5
    WAIT_FOR_EXTERNAL_EVENT = 6
    CALL_ENTITY = 7
    CALL_HTTP = 8
    SIGNAL_ENTITY = 9
    SCHEDULED_SIGNAL_ENTITY = 10
    WHEN_ANY = 11
    WHEN_ALL = 12


@dataclass(frozen=True)
class Activity:
    """An activity to call."""

    number: int
    name: str
    data: str
    trace: Trace | None = None


@dataclass(frozen=True)
class Timer:
    """A timer to set."""

    number: int
    fire_at: str


@dataclass(frozen=True)
class Child:
    """A sub-orchestration to start."""

    number: int
    name: str
    data: str
    instance: str | None
    version: str | None
    trace: Trace | None = None


Decision = Activity | Timer | Child

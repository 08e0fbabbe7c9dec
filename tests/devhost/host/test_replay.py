"""The replay of an action list: ids, retries, compound actions, events, open tasks, non-deterministic histories."""

from typing import Any

import pytest

from devhost.host import events
from devhost.host.actions import Activity, Child, Timer
from devhost.host.events import Event, Kind
from devhost.host.replay import NonDeterministicError, Outcome, Replay

AT = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T01:00:00Z"
BEGIN = [
    events.event(Kind.ORCHESTRATOR_STARTED, AT),
    events.execution_started(AT, "orchestrator", "id", "execution", data=None),
]


def activity(name: str = "echo") -> dict[str, Any]:
    return {"actionType": 0, "functionName": name, "input": "1"}


def timer(*, cancelled: bool = False) -> dict[str, Any]:
    return {"actionType": 5, "fireAt": LATER, "isCanceled": cancelled}


def event(name: str) -> dict[str, Any]:
    return {"actionType": 6, "externalEventName": name, "reason": "ExternalEvent"}


def retried(attempts: int) -> dict[str, Any]:
    """Return the action of an activity with retries, wrapped as the SDK sends it."""
    options = {"firstRetryIntervalInMilliseconds": 500, "maxNumberOfAttempts": attempts}
    return every({"actionType": 1, "functionName": "echo", "input": "1", "retryOptions": options})


def first(*actions: dict[str, Any]) -> dict[str, Any]:
    return {"actionType": 11, "compoundActions": list(actions)}


def every(*actions: dict[str, Any]) -> dict[str, Any]:
    return {"actionType": 12, "compoundActions": list(actions)}


def replay(actions: list[dict[str, Any]], *history: Event) -> Outcome:
    return Replay().run(actions, [*BEGIN, *history])


def scheduled(number: int) -> Event:
    return events.task_scheduled(AT, number, "echo")


def done(number: int) -> Event:
    return events.task_completed(AT, number, "1")


def failed(number: int) -> Event:
    return events.task_failed(AT, number, "reason", "details")


def test_numbers_are_assigned_in_order_of_scheduling() -> None:
    """Activities, timers and children take one each; waits for events take none."""
    child = {"actionType": 2, "functionName": "child", "input": "null", "instanceId": None, "version": None}
    outcome = replay([every(activity(), event("go"), timer(), child)])
    assert outcome.decisions == [Activity(0, "echo", "1"), Timer(1, LATER), Child(2, "child", "null", None, None)]
    assert not outcome.finished


def test_only_work_that_the_history_lacks_is_scheduled() -> None:
    """The second action, once the first is done."""
    outcome = replay([activity(), activity("other")], scheduled(0), done(0))
    assert outcome.decisions == [Activity(1, "other", "1")]


def test_the_last_failure_is_followed_by_a_timer_that_is_due_at_once() -> None:
    """The SDK waits for it; numbers of retries interleave with later actions."""
    history = [scheduled(0), failed(0), events.timer_created(AT, 1, LATER), events.timer_fired(AT, 1, LATER),
               scheduled(2), failed(2)]  # fmt: skip
    assert replay([retried(2)], *history).decisions == [Timer(3, AT)]
    over = [*history, events.timer_created(AT, 3, AT), events.timer_fired(AT, 3, AT)]
    assert replay([retried(2), activity()], *over).decisions == [Activity(4, "echo", "1")]


def test_when_all_waits_for_the_siblings_of_a_failure() -> None:
    """The SDK continues at the first failure, the host does not."""
    actions, both = [every(activity(), activity()), activity()], [scheduled(0), scheduled(1), failed(0)]
    assert replay(actions, *both).decisions == []
    assert replay(actions, *both, done(1)).decisions == [Activity(2, "echo", "1")]


def test_the_loser_of_when_any_stays_open() -> None:
    """The list is complete, but the execution is not."""
    history = [events.timer_created(AT, 0, LATER), scheduled(1), done(1)]
    outcome = replay([first(timer(), activity())], *history)
    assert (outcome.finished, outcome.open) == (True, True)


def test_a_cancelled_timer_holds_nothing_open_but_keeps_its_number() -> None:
    history = [events.timer_created(AT, 0, LATER), events.event_raised(AT, "go", "1")]
    outcome = replay([first(timer(cancelled=True), event("go")), activity()], *history)
    assert (outcome.open, outcome.decisions) == (True, [Activity(1, "echo", "1")])


def test_events_match_without_case_and_are_kept_for_their_wait() -> None:
    early = [events.event_raised(AT, "TWO", "1"), events.event_raised(AT, "one", "1")]
    assert replay([event("one"), event("two")], *early).finished
    assert not replay([event("one"), event("one")], early[1]).finished


def test_suspension_and_termination_are_seen() -> None:
    suspended = events.event(Kind.EXECUTION_SUSPENDED, AT, Reason="why")
    resumed = events.event(Kind.EXECUTION_RESUMED, AT, Reason="go")
    assert replay([activity()], suspended).suspended == "why"
    assert replay([activity()], suspended, resumed).suspended is None
    assert replay([activity()], events.event(Kind.EXECUTION_TERMINATED, AT, Input="enough")).terminated == "enough"


@pytest.mark.parametrize("now", [[], [activity("other")], [timer()]])
def test_another_sequence_of_actions_is_found_out(now: list[dict[str, Any]]) -> None:
    """This happens when a deployment changes a running orchestration."""
    with pytest.raises(NonDeterministicError, match="Non-Deterministic workflow detected: "):
        replay(now, scheduled(0))

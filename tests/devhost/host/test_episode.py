"""One episode: the orchestrator's trigger, and the result of its answer."""

import json
from typing import Any

from devhost.host import episode, events, tracing
from devhost.host.episode import OrchestratorError, Result
from devhost.host.events import Event, Kind

AT = "2026-01-01T00:00:00Z"
BEGUN = tracing.of_start({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
STARTED = events.execution_started(AT, "orchestrator", "id", "execution", data='"{\\"n\\": 1}"', version="1.0")
TIMER = {"actionType": 5, "fireAt": AT, "isCanceled": False}


def play(state: dict[str, Any] | str, history: list[Event] | None = None, *inbound: Event, again: bool = False) -> Any:
    """Run an episode whose orchestrator answers or raises `state`; return the trigger and the result."""
    seen: list[Any] = []

    def call(_name: str, trigger: str) -> str:
        seen.append(json.loads(trigger))
        if isinstance(state, str):
            raise OrchestratorError(state)
        return json.dumps({"actions": [[]], "isDone": False} | state)

    result = episode.run(history or [], list(inbound) or [STARTED], call, continued=again)
    return seen[0], result


def kinds(found: list[Event]) -> list[int]:
    return [event["EventType"] for event in found]


def test_the_first_episode_is_not_a_replay() -> None:
    """Its input is a string that holds JSON, as start_new made it."""
    trigger, result = play({})
    assert (trigger["isReplaying"], trigger["input"], kinds(trigger["history"])) == (False, '{"n": 1}', [12, 0])
    assert (result.status, kinds(result.new)) == ("Running", [12, 0, 13])


def test_inbound_events_count_as_played_afterwards() -> None:
    _, first = play({"actions": [[TIMER]]})
    assert [event["IsPlayed"] for event in first.new] == [False, True, False, False]
    trigger, _ = play({"actions": [[TIMER]]}, first.new, events.timer_fired(AT, 0, AT))
    assert trigger["isReplaying"]
    assert kinds(trigger["history"]) == [12, 0, 10, 13, 12, 11]
    assert not trigger["history"][-1]["IsPlayed"]


def test_an_execution_continued_as_new_begins_with_an_extra_event() -> None:
    """Event types 12, 0, 13; same instance and version, another execution, no generation."""
    _, result = play({"actions": [[{"actionType": 4, "input": "2"}]], "isDone": True})
    assert result.continued
    assert (result.continued["Input"], result.continued["Version"]) == ('"2"', "1.0")
    trigger, following = play({}, None, result.continued, again=True)
    assert kinds(trigger["history"]) == [12, 0, 13]
    assert following.new[2]["IsPlayed"]


def test_output_waits_for_open_tasks() -> None:
    """A timer that is not cancelled keeps the instance running."""
    lost = {"actionType": 11, "compoundActions": [TIMER, {"actionType": 6, "externalEventName": "go"}]}
    raised = [events.timer_created(AT, 0, AT), events.event_raised(AT, "go", "1")]
    _, result = play({"actions": [[lost]], "isDone": True, "output": 1}, [], STARTED, *raised)
    assert (result.status, result.output) == ("Running", None)


def test_the_error_in_the_sdks_exception_fails_the_instance() -> None:
    """The SDK puts the state behind a label in the exception's text."""
    state = json.dumps({"actions": [[]], "isDone": False, "error": "broken", "customStatus": 1})
    _, result = play(f"Exception: broken\n\n$OutOfProcData$:{state}")
    assert result.output == "\"Orchestrator function 'orchestrator' failed: broken\""
    assert (result.status, result.custom, kinds(result.new)) == ("Failed", "1", [12, 0, 1, 13])


def test_a_custom_status_is_measured_in_utf_16() -> None:
    """Including the quotes, 8,192 units are accepted."""
    assert status_of("x" * 8190).status == "Running"
    assert status_of("x" * 8191).status == "Failed"


def status_of(custom: Any) -> Result:
    found: Result = play({"customStatus": custom})[1]
    return found


def test_suspension_holds_back_new_work_and_nothing_else() -> None:
    """A suspended orchestrator can still complete."""
    suspended = events.event(Kind.EXECUTION_SUSPENDED, AT, Reason="why")
    _, held = play({"actions": [[TIMER]]}, [], STARTED, suspended)
    assert (held.status, held.output, held.decisions) == ("Suspended", '"why"', [])
    _, ended = play({"isDone": True, "output": 1}, [], STARTED, suspended)
    assert ended.status == "Completed"


def test_every_call_is_a_span_below_its_execution() -> None:
    """The decision and the history have the same span; without a trace neither has one."""
    child = {"actionType": 2, "functionName": "child", "input": "null"}
    calls = [{"actionType": 0, "functionName": "echo", "input": "1"}, child, TIMER]
    actions = {"actions": [[{"actionType": 12, "compoundActions": calls}]]}
    _, result = play(actions, [], STARTED | {"ParentTraceContext": BEGUN})
    activity, called = result.new[2:4]
    assert result.decisions[0].trace == activity["ParentTraceContext"]
    assert called["ClientSpanId"] == tracing.span_id(result.decisions[1].trace)
    texts = [decision.trace["TraceParent"] for decision in result.decisions[:2]]
    assert {(text[:36], text[-2:]) for text in texts} == {(f"00-{'a' * 32}-", "01")}
    assert len({*texts, BEGUN["TraceParent"], BEGUN["Id"]}) == 4
    _, untraced = play(actions)
    assert [event.get("ParentTraceContext") for event in untraced.new] == [None] * len(untraced.new)
    assert untraced.new[3]["ClientSpanId"] is None


def test_the_trace_stays_over_continue_as_new() -> None:
    """The execution keeps its span."""
    again = {"actions": [[{"actionType": 4, "input": "2"}]], "isDone": True}
    _, result = play(again, [], STARTED | {"ParentTraceContext": BEGUN})
    assert result.continued["ParentTraceContext"] == BEGUN

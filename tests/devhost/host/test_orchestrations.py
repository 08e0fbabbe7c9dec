"""The real SDK on the stand-in, over HTTP: the course of orchestrations and the answers to clients."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any


def test_a_chain_runs_in_order_and_sees_its_version_and_input(host: Any) -> None:
    """Each activity receives the result before; the version comes from host.json."""
    assert host.start("chain", "chain", {"a": 1}) == "chain"
    ended = host.wait("chain")
    assert ended["output"] == {"result": [{"n": 1}, "ü"], "version": "1.0", "input": {"a": 1}}
    assert ended["input"] == '{"a": 1}', "start_new encodes twice: the input is a JSON string"


def test_a_fan_returns_in_order_of_the_calls(host: Any) -> None:
    host.start("fan", "fan")
    assert host.wait("fan")["output"] == [0, 1, 2]


def test_the_history_after_retries_ends_with_the_timer_that_is_due_at_once(host: Any) -> None:
    """Two attempts, two timers, one more activity, with interleaved ids as in DTFx."""
    host.start("retries", "retries")
    assert host.wait("retries")["output"] == "Activity function 'fails' failed: ValueError: no 1 \n {\"$type\":"[:60]
    history = host.status("retries", "?showHistory=true&showHistoryOutput=true")["historyEvents"]
    kinds = [event["EventType"] for event in history]
    failed = ["TaskFailed", "TimerCreated", "TimerFired"]
    assert kinds == ["ExecutionStarted", *failed, *failed, "TaskCompleted", "ExecutionCompleted"]


def test_an_orchestrator_that_raises_fails_with_the_texts_of_the_real_host(host: Any) -> None:
    """The status query answers 500 only on request."""
    host.start("breaks", "breaks")
    assert host.wait("breaks")["output"] == "Orchestrator function 'breaks' failed: broken"
    assert host.durable("GET", "/instances/breaks?returnInternalServerErrorOnFailure=true")[0] == 500


def test_continue_as_new_begins_another_execution(host: Any) -> None:
    """Only the last execution's history and input remain."""
    host.start("again", "again")
    ended = host.wait("again")
    assert (ended["output"], ended["input"], ended["customStatus"]) == (2, '{"n": 2}', {"round": 2})
    history = host.status("again", "?showHistory=true")["historyEvents"]
    assert [event["EventType"] for event in history] == ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]
    assert history[0]["Generation"] is None


def test_an_event_wins_over_a_timer(host: Any) -> None:
    """A raw JSON event keeps its type; the cancelled timer keeps nothing open."""
    host.start("waits", "waits-event")
    assert host.durable("POST", "/instances/waits-event/raiseEvent/go", {"k": [1]})[0] == 202
    assert host.wait("waits-event")["output"] == {"k": [1]}


def test_a_timer_wins_without_an_event(host: Any) -> None:
    host.start("waits", "waits-timer", 1)
    assert host.wait("waits-timer")["output"] == "too late"


def test_sub_orchestrations_return_or_fail_into_their_parent(host: Any) -> None:
    """A child without an id gets its parent's execution id and a number."""
    host.start("parent", "parent")
    assert host.wait("parent")["output"] == [[{"n": 1}, "ü"], "Orchestrator function 'breaks' failed: broken"]
    child = host.status("parent-child")
    assert (child["runtimeStatus"], child["parentInstanceId"], child["version"]) == ("Failed", "parent", "1.0")
    assert "parentInstanceId" not in host.status("parent")
    ends = host.status("parent", "?showHistory=true")["historyEvents"]
    assert [one["InstanceId"] for one in ends if one["EventType"] == "SubOrchestrationInstanceFailed"] == [
        "parent-child"
    ]


def test_a_custom_status_above_16_kb_fails_the_orchestration(host: Any) -> None:
    host.start("boasts", "boasts")
    assert host.wait("boasts")["runtimeStatus"] == "Failed"


def test_an_activity_that_does_not_exist_leaves_it_running(host: Any) -> None:
    """No error, no end: as on the real host."""
    host.start("calls_unknown_activity", "calls_unknown_activity")
    assert host.wait("calls_unknown_activity", "Running")["output"] is None


def test_an_orchestrator_that_does_not_exist_fails_the_instance(host: Any) -> None:
    assert host.durable("POST", "/orchestrators/unknown/unknown-1")[0] == 202
    assert "The function 'unknown' doesn't exist, is disabled" in host.wait("unknown-1")["output"]


def test_a_live_instance_refuses_a_second_start_and_an_ended_one_is_replaced(host: Any) -> None:
    """The 409 has the text that users of the SDK match on."""
    host.start("waits", "twice")
    host.wait("twice", "Running")
    refusal = "{'Message': 'An Orchestration instance with the status Running already exists.'}"
    assert host.start("waits", "twice") == refusal
    host.durable("POST", "/instances/twice/terminate?reason=enough")
    assert host.wait("twice")["output"] == "enough"
    assert host.start("chain", "twice") == "twice"
    assert host.wait("twice", "Completed")["name"] == "chain"
    history = host.status("twice", "?showHistory=true")["historyEvents"]
    assert history[0]["Generation"] == 1


def test_a_start_is_not_atomic(host: Any) -> None:
    """Several of twelve concurrent starts are accepted, and one runs."""
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: host.durable("POST", "/orchestrators/late/at-once"), range(12)))
    assert {status for status, _, _ in answers} <= {202, 409}
    assert {body["id"] for status, body, _ in answers if status == 202} == {"at-once"}
    assert host.wait("at-once")["output"] == "at-once"
    assert host.notes("echo").count("at-once") == 1


def test_a_suspended_instance_waits_for_its_resumption(host: Any) -> None:
    """While suspended, its output is the reason. A second suspension is a 500."""
    host.start("waits", "paused")
    host.wait("paused", "Running")
    assert host.durable("POST", "/instances/paused/suspend?reason=a%20reason")[0] == 202
    assert host.wait("paused", "Suspended")["output"] == "a reason"
    assert host.durable("POST", "/instances/paused/suspend")[0] == 500
    assert host.durable("POST", "/instances/paused/resume")[0] == 202
    host.wait("paused", "Running")
    host.durable("POST", "/instances/paused/raiseEvent/GO", 1)  # the host matches it, the SDK does not
    host.durable("POST", "/instances/paused/terminate")
    assert host.wait("paused")["runtimeStatus"] == "Terminated"
    assert host.durable("POST", "/instances/paused/terminate")[0] == 410


def test_a_failed_instance_is_rewound_and_an_ended_one_restarted(host: Any) -> None:
    """Only failed instances can be rewound. By default a restart uses a new id."""
    host.start("breaks", "again-please")
    host.wait("again-please")
    status, body, _ = host.durable("POST", "/instances/again-please/restart")
    assert (status, host.wait(body["id"])["runtimeStatus"]) == (202, "Failed")
    assert host.durable("POST", "/instances/again-please/rewind?reason=x")[0] == 202
    assert host.wait("again-please")["runtimeStatus"] == "Failed"
    host.start("chain", "fine")
    host.wait("fine")
    assert host.durable("POST", "/instances/fine/rewind")[0] == 412
    assert host.durable("POST", "/instances/unknown/restart")[0] == 400


def test_pages_follow_the_token_and_garbage_filters_nothing(host: Any) -> None:
    """Pages are in order of ids; an invalid filter is ignored."""
    for n in range(5):
        host.start("fan", f"page-{n}")
        host.wait(f"page-{n}")
    query, ids, token = "/instances?top=2&instanceIdPrefix=page-", [], ""
    while True:
        _, found, headers = host.durable("GET", query, x_ms_continuation_token=token)
        ids += [one["instanceId"] for one in found]
        if not (token := headers.get("x-ms-continuation-token", "")):
            break
    assert ids == [f"page-{n}" for n in range(5)]
    assert host.durable("GET", "/instances?runtimeStatus=Nonsense&createdTimeFrom=yesterday&top=1")[1]
    assert host.durable("GET", "/instances?top=0")[1] == []
    assert host.durable("GET", "/instances?top=-1")[0] == 500
    assert host.durable("GET", "/instances?createdTimeFrom=2100-01-01T00:00:00Z")[1] == []
    assert host.durable("GET", "/instances", x_ms_continuation_token="no token!")[:2] == (200, [])


def test_a_list_hides_the_inputs_only_under_a_filter(host: Any) -> None:
    host.start("chain", "with-input", {"a": 1})
    host.wait("with-input")
    query = "/instances?instanceIdPrefix=with-input&showInput=false"
    assert [one["input"] for one in host.durable("GET", query)[1]] == [None]
    shown = {one["instanceId"]: one["input"] for one in host.durable("GET", "/instances?showInput=false&top=1000")[1]}
    assert shown["with-input"] == '{"a": 1}'


def test_only_ended_instances_are_purged(host: Any) -> None:
    """404 for unknown instances, 412 for live ones, 400 for a filter without a time."""
    host.start("chain", "rubbish")
    host.wait("rubbish")
    host.start("waits", "alive")
    assert host.durable("DELETE", "/instances/rubbish")[1] == {"instancesDeleted": 1}
    assert host.status("rubbish") is None
    assert host.durable("DELETE", "/instances/rubbish")[0] == 404
    assert host.durable("DELETE", "/instances/alive")[0] == 412
    assert host.durable("DELETE", "/instances?instanceIdPrefix=x")[0] == 400

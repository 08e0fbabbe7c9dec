"""The status of a transfer, while it runs and afterwards."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.codec import stamp
from rules.errors import Reason
from rules.orchestrations import recovery
from rules.orchestrations import status as orchestration_status
from rules.orchestrations.instance import Instance
from rules.orchestrations.recovery import LOST_ACTIVITY
from rules.routes.model import Engine
from rules.transfers import identity, policies
from rules.transfers import status as transfer_status
from rules.transfers.model import Ending, Run, Step, Successor
from rules.transfers.policies import MAX_RESUMES
from rules.transfers.states import FINAL, State
from tests.unit.samples import ETAG, NAME, NEWER, NOW, RUN, SOURCE_HOST, TARGET_HOST, TRANSFER, after, quick, runs

COPYING = replace(
    RUN, state=State.COPYING, engine=Engine.ASYNC, size=1_000, copied=250, copy_attempts=1, updated_at=after(seconds=8)
)
FIELDS = [
    "id",
    "trace_id",
    "route",
    "source",
    "target",
    "accepted_at",
    "state",
    "engine",
    "copied",
    "total",
    "target_etag",
    "attempt",
    "tries",
    "resumes",
    "cancelling",
    "ending",
    "reason",
    "detail",
    "successor",
    "verified_at",
    "updated_at",
    "next_check_at",
    "letter",
    "trace_url",
    "hint",
]

BUSY = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy")
HOST = "the language worker exited"


def instance(run: Run | None, shown: str = "Running", live: Run | None = COPYING, output: Any = None) -> Instance:
    """An orchestration whose status shows the run `live`."""
    custom = {} if live is None else json.loads(json.dumps(transfer_status.progress(live, after(seconds=20))))
    return Instance(TRANSFER.id, shown, run, custom, output, NOW)


def test_the_progress_of_a_copy() -> None:
    assert transfer_status.progress(COPYING, after(seconds=20)) == {
        "state": "copying",
        "engine": "async",
        "copied": 250,
        "total": 1_000,
        "target_etag": None,
        "attempt": 0,
        "tries": 1,
        "resumes": 0,
        "cancelling": False,
        "ending": None,
        "reason": None,
        "detail": "",
        "successor": None,
        "verified_at": None,
        "updated_at": "2026-11-24T19:02:52.120Z",
        "first_look_at": None,
        "next_check_at": "2026-11-24T19:03:04.120Z",
    }


def test_a_verified_transfer_shows_its_size_as_copied_and_its_note() -> None:
    ending = Ending(State.VERIFIED)
    verified = replace(COPYING, state=State.VERIFIED, ending=ending, note="without tags", target_etag="0x1")
    shown = transfer_status.progress(verified)
    assert shown["target_etag"] == "0x1"
    assert (shown["copied"], shown["total"], shown["detail"]) == (1_000, 1_000, "without tags")


def test_the_last_failure_is_shown_until_the_final_state_is_reached() -> None:
    ending = Ending(State.DEAD_LETTERED, reason=Reason.COPY_FAILED, detail="gave up")
    run = replace(COPYING, reason=Reason.THROTTLED, detail="busy", ending=ending)
    assert (transfer_status.progress(run)["reason"], transfer_status.progress(run)["detail"]) == ("throttled", "busy")
    ended = transfer_status.progress(replace(run, state=State.DEAD_LETTERED))
    assert (ended["reason"], ended["detail"]) == ("copy_failed", "gave up")


@pytest.mark.parametrize(
    ("successor", "shown"),
    [
        (Successor(NEWER), {"id": identity.sibling(TRANSFER, NEWER).id, "etag": NEWER}),
        (Successor(None), {"id": None, "etag": None}),
        (None, None),
    ],
)
def test_a_superseded_transfer_shows_its_successor(successor: Successor | None, shown: object) -> None:
    ending = Ending(State.SUPERSEDED, successor=successor)
    assert transfer_status.progress(replace(RUN, state=State.SUPERSEDED, ending=ending))["successor"] == shown
    assert transfer_status.progress(replace(RUN, ending=ending))["successor"] is None


def test_a_transfer_as_the_api_answers_it() -> None:
    shown = orchestration_status.view(instance(RUN, live=replace(COPYING, resumes=2)))
    assert list(shown) == FIELDS
    assert shown["trace_id"] == TRANSFER.id.replace("-", "")
    assert shown["source"] == {"url": f"{SOURCE_HOST}/source/{NAME}", "name": NAME, "etag": ETAG, "size": 1_000}
    assert shown["target"] == {"url": f"{TARGET_HOST}/target/out/2026/report.csv"}
    assert (shown["state"], shown["accepted_at"], shown["hint"]) == ("copying", "2026-11-24T19:02:44.120Z", None)
    assert (shown["resumes"], shown["next_check_at"]) == (2, "2026-11-24T19:03:04.120Z")


def test_a_transfer_before_its_first_step_is_shown_from_its_input() -> None:
    shown = orchestration_status.view(instance(replace(RUN, attempt=3, resumes=2), "Pending", None))
    assert (shown["state"], shown["attempt"], shown["resumes"]) == ("accepted", 3, 2)
    assert shown["updated_at"] == "2026-11-24T19:02:44.120Z"


def test_a_resumed_transfer_keeps_its_state_before_its_first_step() -> None:
    assert orchestration_status.view(instance(replace(COPYING, resumes=1), "Pending", None))["state"] == "copying"


def test_a_broken_transfer_keeps_its_state_and_shows_when_it_is_resumed() -> None:
    shown = orchestration_status.view(instance(COPYING, "Failed", output=HOST))
    assert list(shown) == FIELDS
    assert (shown["state"], shown["ending"], shown["reason"], shown["hint"]) == ("copying", None, None, None)
    assert (shown["copied"], shown["cancelling"]) == (250, False)
    assert shown["detail"] == "the orchestration was Failed: the language worker exited"
    assert shown["next_check_at"] == stamp(after(seconds=policies.resume_pause(0, TRANSFER.id)))


def test_a_transfer_that_broke_before_its_first_step_is_accepted() -> None:
    shown = orchestration_status.view(instance(replace(RUN, attempt=2, resumes=1), "Failed", None, HOST))
    assert (shown["state"], shown["attempt"], shown["resumes"]) == ("accepted", 2, 1)


@pytest.mark.parametrize(
    ("run", "live", "shown", "output", "expected"),
    [
        (COPYING, COPYING, "Terminated", LOST_ACTIVITY, (None, None, False)),
        (COPYING, COPYING, "Terminated", "by hand", ("dead_lettered", "internal", False)),
        (replace(COPYING, resumes=MAX_RESUMES), COPYING, "Failed", HOST, ("dead_lettered", "internal", False)),
        (
            replace(COPYING, first_look_at=NOW - timedelta(days=9)),
            COPYING,
            "Failed",
            HOST,
            ("dead_lettered", "internal", False),
        ),
        (COPYING, replace(COPYING, cancelling=True), "Failed", HOST, ("cancelled", None, True)),
        (replace(COPYING, cancelling=True), COPYING, "Failed", HOST, ("cancelled", None, True)),
        (COPYING, replace(COPYING, cancelling=True), "Terminated", "by hand", ("cancelled", None, True)),
        (
            replace(COPYING, ending=BUSY, step=Step.CLEAN),
            COPYING,
            "Failed",
            HOST,
            ("dead_lettered", "throttled", False),
        ),
    ],
)
def test_a_broken_transfer_shows_its_decided_end(
    run: Run, live: Run, shown: str, output: str, expected: tuple[str | None, str | None, bool]
) -> None:
    found = orchestration_status.view(instance(run, shown, live, output))
    assert (found["ending"], found["reason"], found["cancelling"]) == expected
    assert (found["state"], found["detail"]) == ("copying", f"the orchestration was {shown}: {output}")
    assert found["hint"] == (Reason(found["reason"]).hint if found["reason"] else None)


@pytest.mark.parametrize("shown", ["Failed", "Terminated"])
def test_a_broken_transfer_with_an_unreadable_input_ends_dead_lettered(shown: str) -> None:
    found = orchestration_status.view(instance(None, shown, output="sig=Zm9v"))
    assert (found["state"], found["ending"], found["reason"]) == ("copying", "dead_lettered", "internal")
    assert (found["route"], found["next_check_at"], found["hint"]) == (None, None, Reason.INTERNAL.hint)
    assert "cannot read its input" in found["detail"]


def test_a_secret_in_the_failure_text_is_not_shown() -> None:
    found = orchestration_status.view(instance(COPYING, "Failed", output="GET https://a/b?sv=1&sig=Zm9vYmFy failed"))
    assert "Zm9vYmFy" not in json.dumps(found)
    assert "sig=REMOVED" in found["detail"]


def test_a_transfer_with_an_unreadable_input_is_shown_by_its_id() -> None:
    custom = {"state": "copying", "reason": "weather", "newer": 1}
    shown = orchestration_status.view(Instance("x", "Running", None, custom, None, NOW))
    assert list(shown) == FIELDS
    assert (shown["id"], shown["route"], shown["reason"], shown["hint"]) == ("x", None, "weather", None)


@quick
@given(runs())
def test_a_status_is_json_without_the_blob_name(run: Run) -> None:
    found = replace(run, transfer=replace(TRANSFER, name="in/very-secret-name"))
    assert "very-secret-name" not in json.dumps(transfer_status.progress(found, NOW))
    assert list(orchestration_status.view(instance(run, live=run))) == FIELDS


@quick
@given(
    run=runs().filter(lambda run: run.state not in FINAL and run.step is not None),
    shown=st.sampled_from(["Failed", "Terminated"]),
    output=st.sampled_from([HOST, LOST_ACTIVITY, None]),
)
def test_a_broken_transfer_is_shown_with_its_recovery_plan(run: Run, shown: str, output: str | None) -> None:
    there = instance(run, shown, run, output)
    found, plan = orchestration_status.view(there), recovery.plan(there)
    assert plan is not None
    assert isinstance(plan.input, Run)
    assert found["state"] == run.state
    assert found["ending"] == (plan.input.ending and plan.input.ending.state)
    assert (found["next_check_at"], found["cancelling"]) == (stamp(plan.due), plan.input.cancelling)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("state", "successor", "deleted"),
    [
        (State.SUPERSEDED, Successor(None), True),
        (State.SUPERSEDED, Successor(NEWER), False),
        (State.SUPERSEDED, None, False),
        (State.CANCELLED, None, False),
    ],
)
def test_which_transfers_ended_because_the_source_was_deleted(
    state: State, successor: Successor | None, *, deleted: bool
) -> None:
    """An echo has no successor either."""
    ending = Ending(state, successor=successor)
    output = json.loads(json.dumps(transfer_status.progress(replace(COPYING, state=state, ending=ending))))
    assert orchestration_status.ended_as_deleted(instance(COPYING, "Completed", None, output)) is deleted
    assert not orchestration_status.ended_as_deleted(instance(COPYING, "Running", COPYING, output))

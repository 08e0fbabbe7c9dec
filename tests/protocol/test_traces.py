"""The traces that broke simpler rules, by name. Each passes now, and fails with the simpler rule."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rules.routes.model import EnginePreference
from rules.transfers.policies import Times
from tests.protocol import checker, simpler
from tests.protocol.checker import Violation
from tests.protocol.scenarios import APPENDED, ASYNC, BLOCKS, RENAMED, SYNC
from tests.protocol.simpler import Simpler
from tests.protocol.state import Scenario, TwoBlocks
from tests.protocol.trace_runner import TraceRunner

Trace = Callable[[TraceRunner], None]


def test_cleanup_deletes_good_blob(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleaning that is delayed until the replay is verified finds nothing incomplete."""

    def trace(runner: TraceRunner) -> None:
        _fail_at_deadline(runner, "1 clean twice")
        runner.run("1 clean")
        runner.take("1 close dead_letters.write", "replay 1")
        runner.run("1#1 start")
        runner.take("copy ends", "1#1 pause")
        runner.run("1#1")
        runner.take("1 clean late begins")
        runner.run("1 clean")

    runner = _run(trace, _scenario("deadline 1", "replay 1", faults=1))
    assert runner.finish() == ["verified"]
    assert runner.complete_version() == 1
    _assert_broken_by(
        simpler.incomplete_is_not_success, trace, runner, monkeypatch, "version 1 was complete and is lost"
    )


def test_same_version_two_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A route was renamed: the second transfer of one version waits for the copy of the first."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1@route")
        runner.run("1@route start")
        runner.take("event 1@renamed")
        runner.run("1@renamed start")
        runner.run("1@route ")

    runner = _run(trace, _scenario(routes=RENAMED))
    assert runner.finish() == ["verified", "verified"]
    assert [label for label in runner.path if "abort" in label] == []
    _assert_broken_by(
        simpler.only_own_copies_are_waited_for, trace, runner, monkeypatch, "a version was copied 2 times"
    )


def test_own_copy_of_a_stale_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer that fails after its source has changed still aborts its own copy."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start")
        runner.take("overwrite", "deadline 1", "1 pause")
        runner.run("1 ")

    runner = _run(trace, Scenario(ASYNC, script=("overwrite", "deadline 1"), lost=frozenset({2}), unreduced=True))
    assert runner.finish() == ["dead_lettered", None]
    assert "1 clean target.delete" in runner.path
    _assert_broken_by(simpler.stale_copies_are_not_cleaned, trace, runner, monkeypatch, "an incomplete target stays")


def test_cleanup_against_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The late cleaning of an old attempt aborts one copy of the replay, but not the next one."""

    def trace(runner: TraceRunner) -> None:
        _fail_at_deadline(runner, "1 clean twice")
        runner.run("1 clean")
        runner.take("1 close dead_letters.write", "replay 1")
        runner.run("1#1 start")
        runner.take("1 clean late begins")
        for _ in range(3):
            if runner.take_if_possible("1 clean target.head") and runner.take_if_possible("1 clean target.abort"):
                runner.run("1#1 ")
        runner.run("1 clean")

    runner = _run(trace, _scenario("deadline 1", "replay 1", faults=1))
    assert runner.finish() == ["verified"]
    assert _aborts_of_the_late_cleaning(runner) == 1
    with monkeypatch.context() as patched:
        simpler.every_copy_is_aborted(patched)
        assert _aborts_of_the_late_cleaning(_run(trace, runner.model.scenario)) == 4


def test_cancel_during_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer is cancelled while a second run of `start` is about to copy: the cleaning waits for that copy."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1", "1 start twice", "1 start source.head", "1 start dead_letters.read_ended")
        runner.take(
            "1 start late begins", "cancel 1", "1 start source.head unsent", "1 record dead_letters.write_ended"
        )
        runner.run("1 settled")
        runner.run("1 clean")
        runner.run("1 close")
        runner.take("1 start target.copy", "fail")

    runner = _run(trace, _scenario("cancel 1", "fail", faults=2))
    assert runner.finish() == ["cancelled"]
    assert runner.path.index("1 start target.copy") < runner.path.index("1 settled")
    _assert_broken_by(simpler.settle_is_too_short, trace, runner, monkeypatch, "an incomplete target stays")


def test_late_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of `start` read that there is no target, and is delayed until its transfer has ended: it does not act."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1", "1 start source.head", "1 start dead_letters.read_ended asleep after")
        runner.take(
            "1 start late begins", "cancel 1", "1 start source.head unsent", "1 record dead_letters.write_ended"
        )
        runner.run("1 settled")
        runner.run("1 clean")
        runner.run("1 close")
        runner.take("1 start late wakes")
        runner.run("1 start")
        runner.take_if_possible("fail")

    runner = _run(trace, _scenario("cancel 1", "fail", faults=2))
    assert runner.finish() == ["cancelled"]
    assert "1 start target.copy" not in runner.path
    _assert_broken_by(simpler.no_window, trace, runner, monkeypatch, "an incomplete target stays")
    _assert_broken_by(simpler.ended_is_not_read, trace, runner, monkeypatch, "an incomplete target stays")


def test_absent_has_no_etag(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy in flight found no target; two newer versions follow, one is cancelled: the target must not be removed before that copy."""

    def trace(runner: TraceRunner) -> None:
        runner.take(
            "event 1", "1 start source.head", "1 start dead_letters.read_ended", "overwrite once read", "event 2"
        )
        runner.run("2 start")
        runner.take("copy ends", "2 pause")
        runner.run("2 ")
        runner.take("overwrite", "event 3")
        runner.run("3 start")
        runner.take("cancel 3", "3 record dead_letters.write_ended")
        runner.run("3 settled")
        runner.run("3 clean")
        runner.take("1 start target.copy")
        runner.take_if_possible("copy ends once read")

    runner = _run(trace, _scenario("overwrite", "overwrite", "cancel 3", versions=3))
    assert runner.finish() == ["superseded", "verified", "cancelled"]
    assert runner.path.index("1 start target.copy") < runner.path.index("3 settled")
    _assert_broken_by(simpler.settle_is_too_short, trace, runner, monkeypatch, "goes back from version 2 to 1")


def test_duplicate_start_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second delivery saw no instance, and starts one after the transfer was cancelled: it stays cancelled."""

    def trace(runner: TraceRunner) -> None:
        runner.take(
            "event 1", "redeliver 1", "- accept instances.find", "- accept instances.find", "- accept instances.start"
        )
        runner.run("1 start")
        runner.take("cancel 1")
        runner.run("1 ")
        runner.take("- accept instances.start")
        runner.run("1#1")
        runner.take_if_possible("copy ends")

    runner = _run(
        trace, Scenario(ASYNC, versions=1, script=("redeliver 1", "cancel 1"), interleaved=True, unreduced=True)
    )
    assert runner.finish() == ["cancelled"]
    assert "1#1 start target.copy" not in runner.path
    _assert_broken_by(simpler.ended_is_not_read, trace, runner, monkeypatch, "copied 2 times")


def test_letter_written_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run of `close` is delayed until the replay is verified: it does not reopen the dead letter."""

    def trace(runner: TraceRunner) -> None:
        _fail_at_deadline(runner)
        runner.run("1 clean")
        runner.take("1 close twice", "1 close dead_letters.write", "replay 1")
        runner.run("1#1 start")
        runner.take("copy ends", "1#1 pause")
        runner.run("1#1")
        runner.take("1 close late begins", "1 close dead_letters.write")

    runner = _run(trace, _scenario("deadline 1", "replay 1", faults=1))
    assert runner.finish() == ["verified"]
    _assert_broken_by(
        simpler.last_write_of_a_dead_letter_wins,
        trace,
        runner,
        monkeypatch,
        "transfer 1 is verified, its open dead letter is DeadLetter",
    )


def test_size_zero_without_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy failed, and a change of properties removed its status: the empty blob is not a receipt."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start")
        runner.take("fail", "touch", "1 pause", "1 check target.head")
        runner.run("1 start")

    runner = _run(trace, _scenario("fail", "touch"))
    assert runner.finish() == ["verified"]
    assert runner.path.count("1 start target.copy") == 2
    _assert_broken_by(
        simpler.receipt_ignores_size, trace, runner, monkeypatch, "called verified and was never complete"
    )


def test_receipt_of_a_pending_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is killed after the service accepted a copy: the target has the metadata, and no content."""

    def trace(runner: TraceRunner) -> None:
        runner.take(
            "event 1",
            "1 start source.head",
            "1 start dead_letters.read_ended",
            "1 start target.copy crash after",
            "1 pause",
        )
        runner.run("1 start")

    runner = _run(trace, _scenario(faults=1))
    assert runner.finish() == ["verified"]
    assert runner.path.count("copy ends") == 1
    _assert_broken_by(simpler.receipt_is_metadata, trace, runner, monkeypatch, "called verified and was never complete")


def test_abort_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An abort did not reach the service: the cleaning repeats it."""

    def trace(runner: TraceRunner) -> None:
        _fail_at_deadline(runner, "1 clean target.head", "1 clean target.abort unsent")
        runner.run("1 clean")
        runner.take("1 close dead_letters.write", "fail")

    runner = _run(trace, _scenario("deadline 1", "fail", faults=1), lenient=True)
    assert runner.finish() == ["dead_lettered"]
    assert runner.path.count("1 clean target.abort") == 1
    _assert_broken_by(simpler.an_abort_is_never_repeated, trace, runner, monkeypatch, "an incomplete target stays")


def test_deletion_beside_a_late_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob is deleted; the copy of a failed execution arrives after the resumed one has looked: it is cleaned."""

    def trace(runner: TraceRunner) -> None:
        runner.take(
            "event 1",
            "1 start source.head",
            "1 start dead_letters.read_ended",
            "remove once read",
            "1 failed",
            "1 resume",
        )
        runner.run("1#1")
        runner.take("1 start target.copy")
        runner.run("1 settled")
        runner.run("1#1")
        runner.take_if_possible("fail")

    runner = _run(trace, _scenario("remove", "fail", failures=1))
    assert runner.finish() == ["superseded"]
    assert "1#1 clean target.abort" in runner.path
    _assert_broken_by(
        simpler.superseded_cleans_only_what_is_visible, trace, runner, monkeypatch, "an incomplete target stays"
    )


def test_record_dropped_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed execution found its copy complete, and drops the record of the end after the resumed one has written it."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start")
        runner.take("copy ends", "1 pause", "overwrite", "cancel 1", "1 check target.head")
        runner.take(
            "1 record dead_letters.write_ended", "1 settled", "1 clean target.head", "1 clean target.clear_copy"
        )
        runner.take("event 2")
        runner.run("2 start")
        runner.take(
            "1 failed",
            "1 resume",
            "1#1 record dead_letters.write_ended",
            "1 close dead_letters.drop_ended",
            "1 settled",
        )
        runner.run("1#1")

    runner = _run(trace, _scenario("overwrite", "cancel 1", versions=2, failures=1))
    assert runner.finish() == ["cancelled", "verified"]
    _assert_broken_by(simpler.resumes_do_not_rank, trace, runner, monkeypatch, "the record of its end says None")


def test_letter_of_a_failed_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed execution writes its dead letter late, while the resumed one is cancelled: the sweep resolves it."""

    def trace(runner: TraceRunner) -> None:
        _fail_at_deadline(runner)
        runner.run("1 clean")
        runner.take("1 failed", "cancel 1", "1 close dead_letters.write")
        runner.run("1#1 record")
        runner.run("1 settled")
        runner.run("1#1")

    runner = _run(trace, _scenario("deadline 1", "cancel 1", failures=1))
    assert runner.finish() == ["cancelled"]
    assert "sweep" in runner.path
    _assert_broken_by(
        simpler.dead_letters_are_not_swept, trace, runner, monkeypatch, "its open dead letter is DeadLetter"
    )


def test_deleted_on_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service answers BlobNotFound once for an existing blob: a second look finds it."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1", "1 start dead_letters.read_ended", "1 start source.head unseen")

    runner = _run(trace, Scenario(SYNC, versions=1, faults=1, unreduced=True))
    assert runner.finish() == ["verified"]
    message = "version 1 is called superseded and is the source's"
    _assert_broken_by(simpler.one_look_finds_a_deletion, trace, runner, monkeypatch, message)


def test_removed_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older version's copy is in flight while a target of another blob type is about to be removed: it must find a target."""

    def trace(runner: TraceRunner) -> None:
        runner.take(
            "event 1", "1 start dead_letters.read_ended", "1 start source.head", "overwrite once read", "event 2"
        )
        runner.run("2 start")
        runner.take("copy ends", "2 pause")
        runner.run("2 ")
        runner.take(
            "overwrite", "event 3", "3 start dead_letters.read_ended", "3 start source.head", "3 start target.copy"
        )
        runner.take("3 start target.head", "3 start dead_letters.read_ended", "3 start source.head")
        runner.take_if_possible("3 start target.delete")
        runner.take("1 start target.copy")
        runner.take_if_possible("copy ends once read")

    scenario = Scenario(ASYNC, versions=3, kinds=APPENDED, script=("overwrite", "overwrite"), unreduced=True)
    runner = _run(trace, scenario)
    assert runner.finish() == ["superseded", "verified", "verified"]
    assert "3 start target.delete" in runner.path
    _assert_broken_by(
        simpler.another_type_is_removed_immediately,
        trace,
        runner,
        monkeypatch,
        "the target goes back from version 2 to 1",
    )


def test_discarded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter is discarded, and its retention ends: the sweep does not write it again."""

    def trace(runner: TraceRunner) -> None:
        _fail_at_deadline(runner)
        runner.run("1 clean")
        runner.take("1 close dead_letters.write", "discard 1", "forget 1", "sweep")
        runner.run("1#1")

    runner = _run(trace, _scenario("deadline 1", "discard 1", "forget 1", "sweep"))
    assert runner.finish() == ["dead_lettered"]
    _assert_broken_by(
        simpler.discarded_dead_letters_are_missing,
        trace,
        runner,
        monkeypatch,
        "its dead letter was discarded, its open dead letter is",
    )


def test_lost_beside_its_discard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter is lost between the read and the write of a discard: nothing was discarded, and the sweep writes it."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("- accept")
        runner.run("1 start")
        runner.take("deadline 1", "1 pause", "1 check target.head", "1 record dead_letters.write_ended", "1 settled")
        runner.run("1 clean")
        runner.take(
            "1 close dead_letters.write",
            "discard 1",
            "- discard dead_letters.read",
            "- discard instances.find",
            "lose 1",
        )
        runner.run("- discard")

    script = ("deadline 1", "discard 1", "lose 1")
    runner = _run(trace, Scenario(ASYNC, versions=1, script=script, interleaved=True, unreduced=True))
    assert runner.finish() == ["dead_lettered"]
    assert "sweep" in runner.path
    with monkeypatch.context() as patched:
        simpler.discard_is_marked_first(patched)
        broken = _run(trace, runner.model.scenario)
        broken.take("sweep")
        broken.run("- sweep")
        with pytest.raises(Violation, match="dead_lettered, its open dead letter is None"):
            checker.check_final_state(broken.model, broken.state)


def test_blocks_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of version 1 are staged when version 2 stages its own: neither commits a block of the other."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start target.stage")
        runner.run("1 start dead_letters")
        runner.run("1 start source.head")
        runner.take("1 start target.staged", "1 start target.stage", "1 start target.stage", "overwrite", "event 2")
        runner.run("2 ")

    runner = _run(trace, Scenario(BLOCKS, sizes=TwoBlocks(), unreduced=True))
    assert runner.finish() == ["superseded", "verified"]
    assert runner.complete_version() == 2
    _assert_broken_by(simpler.blocks_have_no_version, trace, runner, monkeypatch, "not what its receipt says")


def test_late_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late activity stages a block that it had found missing, after the source changed and before the commit."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start")
        runner.take("1 stage dead_letters.read_ended", "1 stage target.staged asleep after", "1 stage late begins")
        runner.run("1 stage")
        _look(runner)
        runner.take("1 start target.staged")
        _look(runner)
        runner.take("overwrite", "1 stage late wakes")
        runner.run("1 stage")
        runner.take("1 start target.commit")

    sizes = TwoBlocks(in_lanes=True)
    runner = _run(trace, Scenario(BLOCKS, sizes=sizes, faults=1, unreduced=True))
    assert runner.finish() == ["verified", "verified"]
    _assert_broken_by(simpler.blocks_are_not_pinned, trace, runner, monkeypatch, "not what its receipt says")


def test_slow_copy_of_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host fails an orchestration that replaces a slow copy: its late `start` does not abort the copy of the resumed one."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start")
        runner.take("1 pause", "1 check target.head")
        _look(runner)
        runner.take("1 start target.abort", "1 failed", "1 resume")
        runner.run("1#1 start")
        runner.run("1 start")

    monkeypatch.setattr(Times, "patience", timedelta())
    settings: dict[str, Any] = {
        "sizes": TwoBlocks(),
        "same_account": True,
        "slow": True,
        "failures": 1,
        "unreduced": True,
    }
    runner = _run(trace, Scenario(EnginePreference.AUTO, versions=1, script=(), **settings))
    assert runner.finish() == ["verified"]
    assert runner.path.count("1 start target.abort") == 1
    with monkeypatch.context() as patched:
        simpler.every_pending_copy_is_given_up(patched)
        assert _run(trace, runner.model.scenario).path.count("1 start target.abort") == 2


def test_late_copy_after_a_rename_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of another version was read before the file was renamed back, and arrives after a lookup has found a match."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start")
        runner.take("overwrite", "event 2")
        runner.take("2 start dead_letters.read_ended", "2 start source.head", "2 start target.copy")
        runner.take("2 start target.head", "2 start dead_letters.read_ended", "2 start source.head")
        runner.take("return once read", "lookup", "2 start target.copy")

    runner = _run(trace, Scenario(SYNC, script=("overwrite", "return")))
    assert runner.finish() == ["verified", "verified"]
    assert runner.complete_version() == 1
    _assert_broken_by(simpler.a_match_is_final, trace, runner, monkeypatch, "verified and is not at the target")


def test_renamed_back_while_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is renamed back while its transfer ends as superseded by the version that had replaced it."""

    def trace(runner: TraceRunner) -> None:
        runner.take("overwrite", "event 1")
        runner.take("1 start dead_letters.read_ended", "1 start source.head")
        runner.take("return", "lookup")

    runner = _run(trace, Scenario(SYNC, script=("overwrite", "return"), unreduced=True))
    assert runner.finish()[0] == "verified"
    assert runner.complete_version() == 1
    _assert_broken_by(simpler.a_running_transfer_is_enough, trace, runner, monkeypatch, "called superseded")


def test_verified_past_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host fails a transfer that is verified and has not notified its recipient, after its deadline and an overwrite."""

    def trace(runner: TraceRunner) -> None:
        runner.take("event 1")
        runner.run("1 start")
        runner.take("overwrite", "event 2", "deadline 1")
        runner.run("2 start")
        runner.run("2 notify")
        runner.take("1 failed")

    runner = _run(trace, Scenario(SYNC, script=("overwrite", "deadline 1"), notify=True, failures=1, unreduced=True))
    assert runner.finish() == ["verified", "verified"]
    _assert_broken_by(
        simpler.a_verified_transfer_has_a_deadline, trace, runner, monkeypatch, "shown as verified, then its transfer"
    )


def _look(runner: TraceRunner) -> None:
    runner.take("1 start target.head", "1 start dead_letters.read_ended", "1 start source.head")


def _scenario(
    *script: str, faults: int = 0, failures: int = 0, versions: int = 1, routes: tuple[str, ...] = ("route",)
) -> Scenario:
    return Scenario(
        ASYNC, versions=versions, script=script, faults=faults, failures=failures, routes=routes, unreduced=True
    )


def _fail_at_deadline(runner: TraceRunner, *then: str) -> None:
    """Start a copy, pass the deadline, and stop before the cleaning."""
    runner.take("event 1")
    runner.run("1 start")
    runner.take("deadline 1", "1 pause", "1 check target.head", "1 record dead_letters.write_ended", "1 settled", *then)


def _aborts_of_the_late_cleaning(runner: TraceRunner) -> int:
    return runner.path[runner.path.index("1 clean late begins") :].count("1 clean target.abort")


def _run(trace: Trace, scenario: Scenario, *, lenient: bool = False) -> TraceRunner:
    runner = TraceRunner(scenario, lenient=lenient)
    trace(runner)
    return runner


def _assert_broken_by(
    rule: Simpler, trace: Trace, passed: TraceRunner, patch: pytest.MonkeyPatch, message: str
) -> None:
    """Assert that the same trace breaks a guarantee with the simpler rule."""
    with patch.context() as patched:
        rule(patched)
        runner = TraceRunner(passed.model.scenario, lenient=True)
        with pytest.raises(Violation, match=message):
            _to_the_end(trace, runner)


def _to_the_end(trace: Trace, runner: TraceRunner) -> None:
    trace(runner)
    runner.finish()

"""The traces that broke simpler rules, by their names. Each is harmless now, and with the simpler rule it is not."""

from collections.abc import Callable

import pytest

from tests.protocol import checker, simpler
from tests.protocol.checker import Violation
from tests.protocol.play import Play
from tests.protocol.scenarios import APPENDED, ASYNC, RENAMED, SYNC
from tests.protocol.simpler import Simpler
from tests.protocol.state import Scenario

Trace = Callable[[Play], None]


def test_cleanup_deletes_good_blob(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleaning that sleeps until the replay is verified, and its copy's status cleared, finds nothing half-made."""

    def trace(play: Play) -> None:
        _given_up(play, "1 clean twice")
        play.run("1 clean")
        play.do("1 close dead_letters.write", "replay 1")
        play.run("1#1 start")
        play.do("copy ends", "1#1 pause")
        play.run("1#1")
        play.do("1 clean late wakes")
        play.run("1 clean")

    play = _played(trace, _scenario("deadline 1", "replay 1", faults=1))
    assert play.finish() == ["verified"]
    assert play.whole() == 1
    _bites(simpler.half_made_is_not_success, trace, play, monkeypatch, "version 1 was whole and is lost")


def test_same_version_two_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A route was renamed: the second transfer of one version waits for the copy of the first."""

    def trace(play: Play) -> None:
        play.do("event 1@route")
        play.run("1@route start")
        play.do("event 1@renamed")
        play.run("1@renamed start")
        play.run("1@route ")

    play = _played(trace, _scenario(routes=RENAMED))
    assert play.finish() == ["verified", "verified"]
    assert [label for label in play.path if "abort" in label] == []
    _bites(simpler.only_own_copies_are_waited_for, trace, play, monkeypatch, "a version was copied 2 times")


def test_own_copy_of_a_stale_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer gives up after the source has changed: its copy is its own to abort, whatever the source shows."""

    def trace(play: Play) -> None:
        play.do("event 1")
        play.run("1 start")
        play.do("overwrite", "deadline 1", "1 pause")
        play.run("1 ")

    play = _played(trace, Scenario(ASYNC, script=("overwrite", "deadline 1"), lost=frozenset({2}), exact=True))
    assert play.finish() == ["dead_lettered", None]
    assert "1 clean target.delete" in play.path
    _bites(simpler.stale_copies_are_not_cleaned, trace, play, monkeypatch, "something half-made stays")


def test_cleanup_against_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old attempt's late cleaning aborts one copy of the replay, and not the next one."""

    def trace(play: Play) -> None:
        _given_up(play, "1 clean twice")
        play.run("1 clean")
        play.do("1 close dead_letters.write", "replay 1")
        play.run("1#1 start")
        play.do("1 clean late wakes")
        for _ in range(3):
            if play.may("1 clean target.head") and play.may("1 clean target.abort"):
                play.run("1#1 ")
        play.run("1 clean")

    play = _played(trace, _scenario("deadline 1", "replay 1", faults=1))
    assert play.finish() == ["verified"]
    assert _aborts_of_the_late(play) == 1
    with monkeypatch.context() as bent:
        simpler.every_copy_is_aborted(bent)
        assert _aborts_of_the_late(_played(trace, play.model.scenario)) == 4


def test_cancel_during_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer is cancelled while one of two runs of `start` is on its way to copy: the cleaning waits for that copy."""

    def trace(play: Play) -> None:
        play.do("event 1", "1 start twice", "1 start source.head", "1 start dead_letters.read_ended")
        play.do("1 start late wakes", "cancel 1", "1 start source.head unsent", "1 record dead_letters.write_ended")
        play.run("1 settled")
        play.run("1 clean")
        play.run("1 close")
        play.do("1 start target.copy", "fail")

    play = _played(trace, _scenario("cancel 1", "fail", faults=2))
    assert play.finish() == ["cancelled"]
    assert play.path.index("1 start target.copy") < play.path.index("1 settled")
    _bites(simpler.settle_is_too_short, trace, play, monkeypatch, "something half-made stays")


def test_late_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of `start` has read that there is no target, and sleeps until its transfer has ended: it does not act."""

    def trace(play: Play) -> None:
        play.do("event 1", "1 start source.head", "1 start dead_letters.read_ended asleep after")
        play.do("1 start late wakes", "cancel 1", "1 start source.head unsent", "1 record dead_letters.write_ended")
        play.run("1 settled")
        play.run("1 clean")
        play.run("1 close")
        play.do("1 start late wakes")
        play.run("1 start")
        play.may("fail")

    play = _played(trace, _scenario("cancel 1", "fail", faults=2))
    assert play.finish() == ["cancelled"]
    assert "1 start target.copy" not in play.path
    _bites(simpler.no_window, trace, play, monkeypatch, "something half-made stays")
    _bites(simpler.ended_is_not_read, trace, play, monkeypatch, "something half-made stays")


def test_absent_has_no_etag(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy is on its way that found no target; two newer ones come, one is cancelled: only then may the target be absent."""

    def trace(play: Play) -> None:
        play.do("event 1", "1 start source.head", "1 start dead_letters.read_ended", "overwrite once read", "event 2")
        play.run("2 start")
        play.do("copy ends", "2 pause")
        play.run("2 ")
        play.do("overwrite", "event 3")
        play.run("3 start")
        play.do("cancel 3", "3 record dead_letters.write_ended")
        play.run("3 settled")
        play.run("3 clean")
        play.do("1 start target.copy")
        play.may("copy ends once read")

    play = _played(trace, _scenario("overwrite", "overwrite", "cancel 3", versions=3))
    assert play.finish() == ["superseded", "verified", "cancelled"]
    assert play.path.index("1 start target.copy") < play.path.index("3 settled")
    _bites(simpler.settle_is_too_short, trace, play, monkeypatch, "goes back from version 2 to 1")


def test_duplicate_start_race(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second delivery saw no instance, and starts one after the first one's transfer was cancelled: it stays cancelled."""

    def trace(play: Play) -> None:
        play.do(
            "event 1", "redeliver 1", "- accept instances.find", "- accept instances.find", "- accept instances.start"
        )
        play.run("1 start")
        play.do("cancel 1")
        play.run("1 ")
        play.do("- accept instances.start")
        play.run("1#1")
        play.may("copy ends")

    play = _played(trace, Scenario(ASYNC, versions=1, script=("redeliver 1", "cancel 1"), fine=True, exact=True))
    assert play.finish() == ["cancelled"]
    assert "1#1 start target.copy" not in play.path
    _bites(simpler.ended_is_not_read, trace, play, monkeypatch, "copied 2 times")


def test_letter_written_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run of `close` sleeps until the replay is verified: it does not open the letter again."""

    def trace(play: Play) -> None:
        _given_up(play)
        play.run("1 clean")
        play.do("1 close twice", "1 close dead_letters.write", "replay 1")
        play.run("1#1 start")
        play.do("copy ends", "1#1 pause")
        play.run("1#1")
        play.do("1 close late wakes", "1 close dead_letters.write")

    play = _played(trace, _scenario("deadline 1", "replay 1", faults=1))
    assert play.finish() == ["verified"]
    _bites(
        simpler.letters_are_simply_written,
        trace,
        play,
        monkeypatch,
        "transfer 1 is verified, its open letter is DeadLetter",
    )


def test_size_zero_without_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy failed, and somebody's change of properties took its status away: what is left is no receipt."""

    def trace(play: Play) -> None:
        play.do("event 1")
        play.run("1 start")
        play.do("fail", "touch", "1 pause", "1 check target.head")
        play.run("1 start")

    play = _played(trace, _scenario("fail", "touch"))
    assert play.finish() == ["verified"]
    assert play.path.count("1 start target.copy") == 2
    _bites(simpler.receipt_ignores_size, trace, play, monkeypatch, "called verified and never was whole")


def test_receipt_of_a_pending_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is killed once the service has accepted a copy: our metadata is there, and no byte."""

    def trace(play: Play) -> None:
        play.do(
            "event 1",
            "1 start source.head",
            "1 start dead_letters.read_ended",
            "1 start target.copy crash after",
            "1 pause",
        )
        play.run("1 start")

    play = _played(trace, _scenario(faults=1))
    assert play.finish() == ["verified"]
    assert play.path.count("copy ends") == 1
    _bites(simpler.receipt_is_metadata, trace, play, monkeypatch, "called verified and never was whole")


def test_abort_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An abort never reached the service: the cleaning aborts that copy again, for nobody else will."""

    def trace(play: Play) -> None:
        _given_up(play, "1 clean target.head", "1 clean target.abort unsent")
        play.run("1 clean")
        play.do("1 close dead_letters.write", "fail")

    play = _played(trace, _scenario("deadline 1", "fail", faults=1), bent=True)
    assert play.finish() == ["dead_lettered"]
    assert play.path.count("1 clean target.abort") == 1
    _bites(simpler.an_abort_is_never_repeated, trace, play, monkeypatch, "something half-made stays")


def test_deletion_beside_a_late_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob is deleted; a failed execution's copy lands after the resumed one has looked: it is cleaned all the same."""

    def trace(play: Play) -> None:
        play.do(
            "event 1",
            "1 start source.head",
            "1 start dead_letters.read_ended",
            "remove once read",
            "1 failed",
            "1 resume",
        )
        play.run("1#1")
        play.do("1 start target.copy")
        play.run("1 settled")
        play.run("1#1")
        play.may("fail")

    play = _played(trace, _scenario("remove", "fail", failures=1))
    assert play.finish() == ["superseded"]
    assert "1#1 clean target.abort" in play.path
    _bites(simpler.superseded_settles_where_something_is_seen, trace, play, monkeypatch, "something half-made stays")


def test_record_dropped_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed execution found its copy complete; it drops the record of the end after the resumed one has written it."""

    def trace(play: Play) -> None:
        play.do("event 1")
        play.run("1 start")
        play.do("copy ends", "1 pause", "overwrite", "cancel 1", "1 check target.head")
        play.do("1 record dead_letters.write_ended", "1 settled", "1 clean target.head", "1 clean target.clear_copy")
        play.do("event 2")
        play.run("2 start")
        play.do(
            "1 failed",
            "1 resume",
            "1#1 record dead_letters.write_ended",
            "1 close dead_letters.drop_ended",
            "1 settled",
        )
        play.run("1#1")

    play = _played(trace, _scenario("overwrite", "cancel 1", versions=2, failures=1))
    assert play.finish() == ["cancelled", "verified"]
    _bites(simpler.resumes_do_not_rank, trace, play, monkeypatch, "the record of its end says None")


def test_letter_of_a_failed_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed execution writes its dead letter late, while the resumed one is cancelled: the sweep resolves it."""

    def trace(play: Play) -> None:
        _given_up(play)
        play.run("1 clean")
        play.do("1 failed", "cancel 1", "1 close dead_letters.write")
        play.run("1#1 record")
        play.run("1 settled")
        play.run("1#1")

    play = _played(trace, _scenario("deadline 1", "cancel 1", failures=1))
    assert play.finish() == ["cancelled"]
    assert "sweep" in play.path
    _bites(simpler.letters_are_not_swept, trace, play, monkeypatch, "its open letter is DeadLetter")


def test_deleted_on_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service answers BlobNotFound once for a blob that is there: it is looked for once more."""

    def trace(play: Play) -> None:
        play.do("event 1", "1 start dead_letters.read_ended", "1 start source.head unseen")

    play = _played(trace, Scenario(SYNC, versions=1, faults=1, exact=True))
    assert play.finish() == ["verified"]
    why = "version 1 is called superseded and is the source's"
    _bites(simpler.one_look_finds_a_deletion, trace, play, monkeypatch, why)


def test_removed_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older version's copy is in flight while a target of another blob type is to be removed: it finds no free name."""

    def trace(play: Play) -> None:
        play.do("event 1", "1 start dead_letters.read_ended", "1 start source.head", "overwrite once read", "event 2")
        play.run("2 start")
        play.do("copy ends", "2 pause")
        play.run("2 ")
        play.do("overwrite", "event 3", "3 start dead_letters.read_ended", "3 start source.head", "3 start target.copy")
        play.do("3 start target.head", "3 start dead_letters.read_ended", "3 start source.head")
        play.may("3 start target.delete")
        play.do("1 start target.copy")
        play.may("copy ends once read")

    scenario = Scenario(ASYNC, versions=3, kinds=APPENDED, script=("overwrite", "overwrite"), exact=True)
    play = _played(trace, scenario)
    assert play.finish() == ["superseded", "verified", "verified"]
    assert "3 start target.delete" in play.path
    _bites(
        simpler.another_type_is_removed_at_once, trace, play, monkeypatch, "the target goes back from version 2 to 1"
    )


def test_discarded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter is discarded, and the retention of what is resolved ends: the sweep does not take it for missing."""

    def trace(play: Play) -> None:
        _given_up(play)
        play.run("1 clean")
        play.do("1 close dead_letters.write", "discard 1", "forget 1", "sweep")
        play.run("1#1")

    play = _played(trace, _scenario("deadline 1", "discard 1", "forget 1", "sweep"))
    assert play.finish() == ["dead_lettered"]
    _bites(simpler.discarded_letters_are_owed, trace, play, monkeypatch, "its letter was discarded, its open letter is")


def test_lost_beside_its_discard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter is lost between the look of a discard and its write: nothing was discarded, and the sweep writes it."""

    def trace(play: Play) -> None:
        play.do("event 1")
        play.run("- accept")
        play.run("1 start")
        play.do("deadline 1", "1 pause", "1 check target.head", "1 record dead_letters.write_ended", "1 settled")
        play.run("1 clean")
        play.do(
            "1 close dead_letters.write",
            "discard 1",
            "- discard dead_letters.read",
            "- discard instances.find",
            "lose 1",
        )
        play.run("- discard")

    script = ("deadline 1", "discard 1", "lose 1")
    play = _played(trace, Scenario(ASYNC, versions=1, script=script, fine=True, exact=True))
    assert play.finish() == ["dead_lettered"]
    assert "sweep" in play.path
    with monkeypatch.context() as bent:
        simpler.said_before_it_is_resolved(bent)
        bitten = _played(trace, play.model.scenario)
        bitten.do("sweep")
        bitten.run("- sweep")
        with pytest.raises(Violation, match="dead_lettered, its open letter is None"):
            checker.finished(bitten.model, bitten.state)


def _scenario(
    *script: str, faults: int = 0, failures: int = 0, versions: int = 1, routes: tuple[str, ...] = ("route",)
) -> Scenario:
    return Scenario(
        ASYNC, versions=versions, script=script, faults=faults, failures=failures, routes=routes, exact=True
    )


def _given_up(play: Play, *then: str) -> None:
    """Transfer 1 begins a copy, its deadline comes, and it is about to be cleaned."""
    play.do("event 1")
    play.run("1 start")
    play.do("deadline 1", "1 pause", "1 check target.head", "1 record dead_letters.write_ended", "1 settled", *then)


def _aborts_of_the_late(play: Play) -> int:
    return play.path[play.path.index("1 clean late wakes") :].count("1 clean target.abort")


def _played(trace: Trace, scenario: Scenario, *, bent: bool = False) -> Play:
    play = Play(scenario, bent=bent)
    trace(play)
    return play


def _bites(rule: Simpler, trace: Trace, played: Play, patch: pytest.MonkeyPatch, why: str) -> None:
    """With the simpler rule the same trace breaks a promise."""
    with patch.context() as bent:
        rule(bent)
        play = Play(played.model.scenario, bent=True)
        with pytest.raises(Violation, match=why):
            _to_the_end(trace, play)


def _to_the_end(trace: Trace, play: Play) -> None:
    trace(play)
    play.finish()

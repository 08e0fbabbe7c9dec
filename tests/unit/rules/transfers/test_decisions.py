"""The tables of `rules.transfers.decisions`."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import Reason
from rules.routes.filters import FILTERED
from rules.transfers import identity
from rules.transfers.decisions import (
    ECHO,
    Act,
    Cleaning,
    CopyStatus,
    SourceBlob,
    TargetBlob,
    choose_cleaning,
    decide,
    holds_version,
    is_echo,
    is_filtered,
    is_given_up,
    is_in_progress,
    is_in_the_way,
    is_incomplete,
    is_ours,
)
from rules.transfers.model import Ended, Ending, Kind, Outcome, Run, Successor, Verdict
from rules.transfers.states import State
from tests.unit.samples import ETAG, NEWER, ROUTE, RUN, SOURCE, TARGET, TRANSFER, quick

PENDING, SUCCESS, ABORTED, FAILED = CopyStatus.PENDING, CopyStatus.SUCCESS, CopyStatus.ABORTED, CopyStatus.FAILED
SIZE = SOURCE.size
KNOWN = replace(RUN, size=SIZE)
OURS = TRANSFER.id
THEIRS = "00000000-000000000000000000000000"


@pytest.mark.parametrize(
    ("source_etag", "copy_status", "size", "receipt"),
    [
        (ETAG, SUCCESS, SIZE, True),
        (ETAG, None, SIZE, True),
        (ETAG, PENDING, SIZE, False),
        (ETAG, FAILED, SIZE, False),
        (ETAG, ABORTED, SIZE, False),
        (ETAG, SUCCESS, SIZE - 1, False),
        (ETAG, None, 0, False),
        (NEWER, SUCCESS, SIZE, False),
        (None, None, SIZE, False),
    ],
)
@pytest.mark.parametrize("owner", [OURS, THEIRS, None])
def test_a_receipt_counts_only_for_a_whole_copy_of_this_version(
    owner: str | None, source_etag: str | None, copy_status: CopyStatus | None, size: int, *, receipt: bool
) -> None:
    """Rule 1: whichever transfer it names."""
    target = replace(TARGET, transfer_id=owner, source_etag=source_etag, copy_status=copy_status, size=size)
    assert holds_version(target, ETAG, SIZE) is receipt


def test_a_receipt_does_not_count_while_the_size_is_unknown() -> None:
    """A copy starts, and an aborted one ends, with size 0."""
    assert not holds_version(replace(TARGET, size=0), ETAG, None)
    assert holds_version(replace(TARGET, size=0), ETAG, 0)


@pytest.mark.parametrize(
    ("owner", "copy_status", "size", "version_size", "incomplete"),
    [
        (THEIRS, PENDING, 0, SIZE, False),
        (None, FAILED, 0, SIZE, False),
        (OURS, PENDING, 0, None, True),
        (OURS, ABORTED, 0, 0, True),
        (OURS, FAILED, SIZE, SIZE, True),
        (OURS, SUCCESS, 0, SIZE, True),
        (OURS, None, 0, SIZE, True),
        (OURS, None, 0, None, False),
        (OURS, None, 0, 0, False),
        (OURS, SUCCESS, SIZE, SIZE, False),
        (OURS, None, SIZE - 1, SIZE, False),
    ],
)
def test_which_targets_are_incomplete(
    owner: str | None, copy_status: CopyStatus | None, size: int, version_size: int | None, *, incomplete: bool
) -> None:
    """Rule 7: a status other than success is not enough."""
    target = replace(TARGET, transfer_id=owner, copy_status=copy_status, size=size)
    assert is_incomplete(target, TRANSFER, version_size) is incomplete


def test_a_pending_copy_of_the_version_is_in_progress_whichever_client_started_it() -> None:
    assert is_in_progress(replace(TARGET, copy_status=PENDING, transfer_id=THEIRS), ETAG)
    assert not is_in_progress(replace(TARGET, copy_status=PENDING, source_etag=NEWER), ETAG)
    assert not is_in_progress(replace(TARGET, copy_status=SUCCESS), ETAG)
    assert not is_in_progress(None, ETAG)


def ended(attempt: int) -> Ended:
    return Ended(TRANSFER.id, attempt, Ending(State.CANCELLED))


OVERWRITTEN = replace(SOURCE, etag=NEWER)
OTHER = replace(TARGET, source_etag=NEWER)
SUPERSEDED = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(NEWER)), size=SIZE)
DELETED = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(None)), size=SIZE)
NOT_YET = Outcome(
    Verdict.RETRYABLE,
    reason=Reason.SOURCE_UNREADABLE,
    detail="the source is itself the target of a pending copy",
    size=SIZE,
)
ARCHIVED = Outcome(
    Verdict.PERMANENT, reason=Reason.SOURCE_ARCHIVED, detail="the source is in the archive tier", size=SIZE
)

GONE = Outcome(Verdict.GONE, detail="the source does not show the blob; the app looks once more", size=SIZE)
APPENDED = TargetBlob("0x1", 5, Kind.APPEND)

DECISIONS: list[tuple[str, SourceBlob | None, TargetBlob | None, Act | Outcome]] = [
    ("absent, and the target whole", None, TARGET, Outcome(Verdict.VERIFIED, size=SIZE)),
    ("overwritten, and the target whole", OVERWRITTEN, TARGET, Outcome(Verdict.VERIFIED, size=SIZE)),
    ("absent, no target", None, None, GONE),
    ("absent, another version at the target", None, OTHER, GONE),
    ("overwritten, no target", OVERWRITTEN, None, SUPERSEDED),
    ("overwritten, the target pending", OVERWRITTEN, replace(OTHER, copy_status=PENDING), SUPERSEDED),
    ("overwritten while archived", replace(OVERWRITTEN, archived=True), None, SUPERSEDED),
    (
        "overwritten, and it grows",
        replace(OVERWRITTEN, kind=Kind.APPEND),
        None,
        replace(SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(NEWER, growing=True))),
    ),
    ("there, and the target whole", SOURCE, TARGET, Act.CONFIRM),
    ("archived meanwhile, and the target whole", replace(SOURCE, archived=True), TARGET, Act.CONFIRM),
    ("there, and another version pending", SOURCE, replace(OTHER, copy_status=PENDING), Act.ABORT),
    ("itself the target of a pending copy", replace(SOURCE, copy_status=PENDING), None, NOT_YET),
    (
        "itself the target of a pending copy, another version at the target",
        replace(SOURCE, copy_status=PENDING),
        OTHER,
        NOT_YET,
    ),
    ("archived", replace(SOURCE, archived=True), None, ARCHIVED),
    ("there, no target", SOURCE, None, Act.COPY),
    ("itself a finished copy, no target", replace(SOURCE, copy_status=SUCCESS), None, Act.COPY),
    ("there, another version at the target", SOURCE, OTHER, Act.COPY),
    ("there, a blob of another client at the target", SOURCE, TargetBlob("0x1", 5), Act.COPY),
    ("there, our copy failed", SOURCE, replace(TARGET, copy_status=FAILED, size=0), Act.COPY),
    ("there, a blob of the same type at the target", SOURCE, replace(OTHER, kind=SOURCE.kind), Act.COPY),
    ("there, a pending copy of another type", SOURCE, replace(APPENDED, copy_status=PENDING), Act.ABORT),
    ("archived, another type at the target", replace(SOURCE, archived=True), APPENDED, ARCHIVED),
    ("there, our copy aborted", SOURCE, replace(TARGET, copy_status=ABORTED, size=0), Act.COPY),
]
CASES = pytest.mark.parametrize(
    ("source", "target", "decision"), [row[1:] for row in DECISIONS], ids=[row[0] for row in DECISIONS]
)


@CASES
@pytest.mark.parametrize("record", [None, ended(6)], ids=["not ended", "an earlier attempt ended"])
def test_decisions_from_target_and_source(
    record: Ended | None, source: SourceBlob | None, target: TargetBlob | None, decision: Act | Outcome
) -> None:
    """The table of `decide` (rule 2)."""
    assert decide(replace(KNOWN, attempt=7), source, target, record) == decision


@CASES
@pytest.mark.parametrize("attempt", [7, 8])
def test_a_record_of_the_end_overrides_every_decision(
    attempt: int, source: SourceBlob | None, target: TargetBlob | None, decision: Act | Outcome
) -> None:
    """Rule 5."""
    found = decide(replace(KNOWN, attempt=7), source, target, ended(attempt))
    assert found != decision
    assert found == Outcome(Verdict.ENDED, ending=Ending(State.CANCELLED), size=SIZE)


def test_a_recorded_end_keeps_its_reason() -> None:
    record = Ended(TRANSFER.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED, "busy"))
    found = decide(RUN, SOURCE, None, record)
    assert found == Outcome(Verdict.ENDED, ending=Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="busy"))


def test_a_version_of_unknown_size_is_superseded_and_not_verified() -> None:
    """`size_zero_without_status`: the size is part of the receipt."""
    assert decide(replace(RUN, gone=True), None, replace(TARGET, size=0), None) == Outcome(
        Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=Successor(None))
    )


@pytest.mark.parametrize("target", [None, OTHER, APPENDED, replace(OTHER, copy_status=PENDING)])
def test_a_source_counts_as_deleted_only_after_two_looks(target: TargetBlob | None) -> None:
    assert decide(KNOWN, None, target, None) == GONE
    assert decide(replace(KNOWN, gone=True), None, target, None) == DELETED


def test_a_target_of_another_type_is_removed_after_settle() -> None:
    """`removed_too_soon`: a late request of an older version would find the name free."""
    waiting = decide(KNOWN, SOURCE, APPENDED, None, in_the_way=True)
    assert isinstance(waiting, Outcome)
    assert (waiting.verdict, waiting.reason) == (Verdict.OCCUPIED, Reason.TARGET_CONFLICT)
    assert decide(replace(KNOWN, settled=True), SOURCE, APPENDED, None, in_the_way=True) is Act.REMOVE
    assert decide(replace(KNOWN, settled=True), SOURCE, None, None) is Act.COPY
    assert decide(replace(KNOWN, settled=True), OVERWRITTEN, APPENDED, None, in_the_way=True) == SUPERSEDED


def test_only_the_copy_that_was_too_slow_is_given_up() -> None:
    pending = TargetBlob("0x1", 0, Kind.BLOCK, copy_status=CopyStatus.PENDING, copy_id="slow")
    assert is_given_up(replace(KNOWN, slow_copy="slow"), pending)
    assert not is_given_up(replace(KNOWN, slow_copy="slow"), replace(pending, copy_id="newer"))
    assert not is_given_up(KNOWN, replace(pending, copy_id=""))


@pytest.mark.parametrize(
    ("target", "kind", "refuses_blocks", "in_the_way"),
    [
        (None, Kind.BLOCK, None, False),
        (APPENDED, Kind.BLOCK, None, True),
        (APPENDED, Kind.APPEND, None, False),
        (APPENDED, Kind.APPEND, APPENDED.etag, True),
        (APPENDED, Kind.APPEND, "0xother", False),
        (replace(APPENDED, kind=None), Kind.BLOCK, None, False),
    ],
)
def test_what_is_in_the_way_of_a_copy(
    *, target: TargetBlob | None, kind: Kind, refuses_blocks: str | None, in_the_way: bool
) -> None:
    """The table of `is_in_the_way`: another type, or a file that refused a block."""
    assert is_in_the_way(target, kind, refuses_blocks) is in_the_way


# The source is a copy of the target's version NEWER, along a route of another name.
BACK = identity.transfer_id("back", TRANSFER.target_blob.url, NEWER, TRANSFER.source_blob.url)
ECHO_SOURCE = replace(
    SOURCE, md5="md5", metadata={"Source_Etag": f'"{NEWER}"', "TRANSFER_ID": BACK, "owner": "finance"}
)
ORIGINAL = TargetBlob(NEWER, SIZE, Kind.BLOCK, md5="md5")
OLDER_COPY = TargetBlob(
    "0x9",
    SIZE,
    Kind.BLOCK,
    source_etag="0x7",
    transfer_id=identity.sibling(TRANSFER, "0x7").id,
    copy_status=SUCCESS,
)
EDITED = replace(ECHO_SOURCE, size=SIZE + 1)

ECHOES: dict[str, tuple[SourceBlob, TargetBlob | None, bool]] = {
    "a copy of what the target shows": (ECHO_SOURCE, ORIGINAL, True),
    "without a digest on one side": (replace(ECHO_SOURCE, md5=None), ORIGINAL, True),
    "without a digest on the other side": (ECHO_SOURCE, replace(ORIGINAL, md5=None), True),
    "the target has changed since": (EDITED, replace(ORIGINAL, etag="0x9"), True),
    "the target is gone": (EDITED, None, True),
    "an empty one, as an unfinished copy leaves it": (replace(ECHO_SOURCE, size=0), ORIGINAL, True),
    "itself the target of a pending copy": (replace(EDITED, copy_status=PENDING), ORIGINAL, True),
    "itself a failed copy": (replace(EDITED, copy_status=FAILED), ORIGINAL, True),
    "the target is an older copy, and so is the source": (replace(EDITED, copy_status=SUCCESS), OLDER_COPY, True),
    "the target is an older copy that another client wrote to": (EDITED, replace(OLDER_COPY, copy_status=None), True),
    "edited: another size": (EDITED, ORIGINAL, False),
    "edited: another digest": (replace(ECHO_SOURCE, md5="other"), ORIGINAL, False),
    "edited again: the target is an untouched older copy": (EDITED, OLDER_COPY, False),
    "an edit whose own copy failed": (EDITED, replace(TARGET, etag="0x9", source_etag=ETAG, copy_status=FAILED), False),
    "no receipt": (SOURCE, ORIGINAL, False),
    "half a receipt": (replace(SOURCE, metadata={"source_etag": NEWER}), ORIGINAL, False),
    "a receipt of another version": (
        replace(ECHO_SOURCE, metadata={"source_etag": ETAG, "transfer_id": BACK}),
        ORIGINAL,
        False,
    ),
    "a receipt from elsewhere": (
        replace(ECHO_SOURCE, metadata={"source_etag": NEWER, "transfer_id": THEIRS}),
        ORIGINAL,
        False,
    ),
    "the receipt of a shorter id": (
        replace(ECHO_SOURCE, metadata={"source_etag": NEWER, "transfer_id": BACK[9:]}),
        ORIGINAL,
        False,
    ),
}


@pytest.mark.parametrize("case", ECHOES)
def test_a_copy_of_the_target_is_not_copied_back(case: str) -> None:
    """Rule 19."""
    source, target, echo = ECHOES[case]
    assert is_echo(TRANSFER, source, target) is echo
    decision = decide(RUN, source, target, None)
    ended_as_echo = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, detail=ECHO), size=source.size)
    assert (decision == ended_as_echo) is echo


FILTERED_OUT = Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, detail=FILTERED), size=SIZE)


@CASES
def test_the_filters_prevent_every_act_but_a_confirmation(
    source: SourceBlob | None, target: TargetBlob | None, decision: Act | Outcome
) -> None:
    """Rule 21. They do not change what follows from another version, or from a whole target."""
    is_version = source is not None and source.etag == ETAG
    expected = FILTERED_OUT if is_version and decision is not Act.CONFIRM else decision
    assert decide(KNOWN, source, target, None, filtered=True) == expected
    assert decide(KNOWN, source, target, ended(0), filtered=True) == decide(KNOWN, source, target, ended(0))


def test_an_echo_that_the_filters_exclude_is_not_copied_either() -> None:
    assert decide(KNOWN, ECHO_SOURCE, ORIGINAL, None, filtered=True) == FILTERED_OUT


@pytest.mark.parametrize(
    ("name", "source", "filtered"),
    [
        ("in/a", SOURCE, False),
        ("in/a.tmp", SOURCE, True),
        ("in/a", replace(SOURCE, size=9), True),
        ("in/a", replace(SOURCE, size=SIZE + 1), True),
        ("in/a", replace(SOURCE, size=0, copy_status=SUCCESS), True),
        ("in/a", replace(SOURCE, size=0, copy_status=PENDING), False),
        ("in/a.tmp", replace(SOURCE, size=0, copy_status=PENDING), True),
    ],
)
def test_which_sources_the_filters_exclude(name: str, source: SourceBlob, *, filtered: bool) -> None:
    route = replace(ROUTE, exclude=("*.tmp",), min_size=10, max_size=SIZE)
    assert is_filtered(route, name, source) is filtered
    assert not is_filtered(ROUTE, name, source)


def test_an_edit_that_the_target_already_holds_is_confirmed() -> None:
    target = replace(TARGET, size=EDITED.size)
    assert decide(RUN, EDITED, target, None) is Act.CONFIRM


def gave_up(state: State) -> Run:
    return replace(KNOWN, ending=Ending(state))


@pytest.mark.parametrize(
    ("target", "aborted", "decision"),
    [
        (None, False, Cleaning.NOTHING),
        (replace(TARGET, transfer_id=THEIRS), False, Cleaning.NOTHING),
        (replace(TARGET, transfer_id=THEIRS, copy_status=PENDING), False, Cleaning.NOTHING),
        (replace(TARGET, copy_status=PENDING, size=0), True, Cleaning.NOTHING),
        (replace(TARGET, copy_status=PENDING, size=0), False, Cleaning.ABORT),
        (replace(TARGET, copy_status=ABORTED, size=0), True, Cleaning.DELETE),
        (replace(TARGET, copy_status=FAILED, size=0), False, Cleaning.DELETE),
        (replace(TARGET, size=0), False, Cleaning.DELETE),
        (TARGET, False, Cleaning.COMPLETE),
        (replace(TARGET, copy_status=SUCCESS), True, Cleaning.COMPLETE),
        (replace(TARGET, size=SIZE + 1), False, Cleaning.NOTHING),
    ],
)
@pytest.mark.parametrize("state", [State.CANCELLED, State.DEAD_LETTERED])
def test_what_clean_does_with_a_target(
    state: State, target: TargetBlob | None, decision: Cleaning, *, aborted: bool
) -> None:
    """The table of `choose_cleaning` (rule 7)."""
    assert choose_cleaning(gave_up(state), target, aborted=aborted) is decision


def test_a_superseded_version_stays_superseded_even_if_the_target_is_whole() -> None:
    assert choose_cleaning(gave_up(State.SUPERSEDED), TARGET, aborted=False) is Cleaning.NOTHING
    assert choose_cleaning(KNOWN, TARGET, aborted=False) is Cleaning.NOTHING


def test_cleanup_deletes_good_blob() -> None:
    """The trace of this name: the replay has cleared the copy status of its verified blob."""
    assert (
        choose_cleaning(gave_up(State.DEAD_LETTERED), replace(TARGET, copy_status=None), aborted=True)
        is not Cleaning.DELETE
    )


def targets() -> st.SearchStrategy[TargetBlob]:
    return st.builds(
        TargetBlob,
        st.just("0x1"),
        st.sampled_from([0, 1, SIZE]),
        source_etag=st.sampled_from([None, ETAG, NEWER]),
        transfer_id=st.sampled_from([None, OURS, THEIRS]),
        copy_status=st.none() | st.sampled_from(CopyStatus),
    )


def sources() -> st.SearchStrategy[SourceBlob]:
    return st.builds(
        SourceBlob,
        st.sampled_from([ETAG, NEWER]),
        st.sampled_from([0, SIZE]),
        st.sampled_from(Kind),
        st.just({}),
        copy_status=st.none() | st.sampled_from(CopyStatus),
        archived=st.booleans(),
    )


@quick
@given(st.none() | sources(), st.none() | targets(), st.sampled_from([None, 0, SIZE]))
def test_every_act_needs_the_version_at_the_source_and_success_needs_a_receipt(
    source: SourceBlob | None, target: TargetBlob | None, size: Any
) -> None:
    decision = decide(replace(RUN, size=size), source, target, None)
    if isinstance(decision, Act):
        assert source is not None
        assert source.etag == ETAG
        assert decision is Act.COPY or target is not None
    elif decision.verdict is Verdict.VERIFIED:
        assert target is not None
        assert holds_version(target, ETAG, size)


@quick
@given(targets(), st.sampled_from([None, 0, SIZE]), st.booleans(), st.sampled_from([*State, None]))
def test_only_incomplete_targets_of_this_transfer_are_deleted(
    target: TargetBlob, size: Any, aborted: Any, state: Any
) -> None:
    ending = state and Ending(state)
    decision = choose_cleaning(replace(RUN, size=size, ending=ending), target, aborted=aborted)
    assert not (is_incomplete(target, TRANSFER, size) and holds_version(target, ETAG, size))
    if decision is not Cleaning.NOTHING:
        assert is_ours(target, TRANSFER)
    if decision is Cleaning.DELETE:
        assert is_incomplete(target, TRANSFER, size)

"""Errors and reasons."""

import pytest

from rules.errors import HINTS, Failure, LookAgain, Permanent, Reason, Rejected, Retryable, StorageError


def test_the_reasons_never_change() -> None:
    """Dead letters store them: a reason may be added, but not renamed."""
    assert list(Reason) == [
        "malformed",
        "not_allowed",
        "invalid_name",
        "source_unreadable",
        "source_archived",
        "unsupported_blob",
        "target_unwritable",
        "target_conflict",
        "throttled",
        "copy_failed",
        "deadline_exceeded",
        "not_notified",
        "internal",
    ]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_hint_of_one_line(reason: Reason) -> None:
    assert reason.hint == HINTS[reason]
    assert reason.hint.endswith(".")
    assert "\n" not in reason.hint


@pytest.mark.parametrize("kind", [Retryable, Permanent])
def test_a_failure_holds_reason_operation_code_and_status(kind: type[Failure]) -> None:
    failure = kind(Reason.THROTTLED, "source.head", "the server is busy", code="ServerBusy", status=503)
    assert str(failure) == "source.head: the server is busy"
    assert (failure.reason, failure.code, failure.status) == (Reason.THROTTLED, "ServerBusy", 503)
    assert (failure.operation, failure.detail) == ("source.head", "the server is busy")


def test_look_again_has_no_reason() -> None:
    error = LookAgain("target.copy", "no answer")
    assert isinstance(error, StorageError)
    assert not isinstance(error, Failure)
    assert (error.code, error.status) == ("", 0)


def test_a_refusal_with_an_unknown_code_can_become_permanent() -> None:
    error = Rejected(Reason.UNSUPPORTED_BLOB, "target.copy", "409 New", code="New", status=409)
    assert isinstance(error, LookAgain)
    final = error.final()
    assert (type(final), final.reason, str(final)) == (Permanent, Reason.UNSUPPORTED_BLOB, "target.copy: 409 New")
    assert (final.code, final.status) == ("New", 409)


@pytest.mark.parametrize(
    ("reason", "words"),
    [(Reason.UNSUPPORTED_BLOB, "customer-provided encryption key"), (Reason.TARGET_UNWRITABLE, "`tier`")],
)
def test_a_hint_names_its_less_obvious_causes(reason: Reason, words: str) -> None:
    assert words in reason.hint

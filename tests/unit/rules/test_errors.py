"""What can go wrong, and what a person may do about it."""

import pytest

from rules.errors import HINTS, Failure, LookAgain, Permanent, Reason, Rejected, Retryable, StorageError


def test_the_reasons_are_a_closed_list() -> None:
    """They are stored in dead letters: adding one is a decision, renaming one is not possible."""
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
        "internal",
    ]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_tells_the_operator_what_to_do(reason: Reason) -> None:
    """One line, whole sentences."""
    assert reason.hint == HINTS[reason]
    assert reason.hint.endswith(".")
    assert "\n" not in reason.hint


@pytest.mark.parametrize("kind", [Retryable, Permanent])
def test_a_failure_has_its_reason_and_says_what_was_asked(kind: type[Failure]) -> None:
    """And the code and status of the service, for who must tell them apart."""
    failure = kind(Reason.THROTTLED, "source.head", "the server is busy", code="ServerBusy", status=503)
    assert str(failure) == "source.head: the server is busy"
    assert (failure.reason, failure.code, failure.status) == (Reason.THROTTLED, "ServerBusy", 503)
    assert (failure.operation, failure.detail) == ("source.head", "the server is busy")


def test_look_again_is_no_verdict() -> None:
    """Nobody knows what happened: there is no reason to give."""
    error = LookAgain("target.copy", "no answer")
    assert isinstance(error, StorageError)
    assert not isinstance(error, Failure)
    assert (error.code, error.status) == ("", 0)


def test_a_refusal_of_an_unknown_code_is_final_once_nothing_has_changed() -> None:
    """Until then it is looked at again, like any answer that leaves something open."""
    error = Rejected(Reason.UNSUPPORTED_BLOB, "target.copy", "409 New", code="New", status=409)
    assert isinstance(error, LookAgain)
    final = error.final()
    assert (type(final), final.reason, str(final)) == (Permanent, Reason.UNSUPPORTED_BLOB, "target.copy: 409 New")
    assert (final.code, final.status) == ("New", 409)


@pytest.mark.parametrize(
    ("reason", "words"),
    [(Reason.UNSUPPORTED_BLOB, "customer-provided encryption key"), (Reason.TARGET_UNWRITABLE, "`tier`")],
)
def test_a_hint_names_what_the_service_does_not_take(reason: Reason, words: str) -> None:
    """A key of the owner's; a tier that the account does not have."""
    assert words in reason.hint

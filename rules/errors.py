"""What can go wrong, and what the caller may do about it.

An error of storage is one of three: `Retryable` (later, as it is), `Permanent` (never, as it is), `LookAgain` (nobody knows
what happened: read both sides before saying anything). The first two carry a reason out of the closed list below.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a transfer or a message became a dead letter; each with a hint for the operator."""

    MALFORMED = "malformed"
    NOT_ALLOWED = "not_allowed"
    INVALID_NAME = "invalid_name"
    SOURCE_UNREADABLE = "source_unreadable"
    SOURCE_ARCHIVED = "source_archived"
    UNSUPPORTED_BLOB = "unsupported_blob"
    TARGET_UNWRITABLE = "target_unwritable"
    TARGET_CONFLICT = "target_conflict"
    THROTTLED = "throttled"
    COPY_FAILED = "copy_failed"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    INTERNAL = "internal"

    @property
    def hint(self) -> str:
        """One line for the operator: what to look at and how to mend it."""
        return HINTS[self]


HINTS: dict[Reason, str] = {
    Reason.MALFORMED: "The message is not a BlobCreated event. Find out what writes to the queue blob-events; only Event Grid should.",
    Reason.NOT_ALLOWED: "No route allows the blob that the event names. To share it, correct ROUTES, then replay.",
    Reason.INVALID_NAME: "The blob's name cannot be carried safely (see docs/rules.md, Names). Copy the blob to another name at the source.",
    Reason.SOURCE_UNREADABLE: "Check that the source container exists, that the app's identity has Storage Blob Data Reader on it "
    "and Storage Blob Delegator on its account, and that the account's firewall lets the copy in; then replay.",
    Reason.SOURCE_ARCHIVED: "The source blob is in the archive tier. Rehydrate it to the hot, cool or cold tier, then replay.",
    Reason.UNSUPPORTED_BLOB: "The blob cannot be copied as it is; the detail says why. Set the route's engine to auto, or have the blob's owner "
    "rewrite it with shorter metadata in ASCII and without a customer-provided encryption key; then replay.",
    Reason.TARGET_UNWRITABLE: "Check that the target container exists, that the app's identity has Storage Blob Data Contributor on it, "
    "that its account offers the route's `tier`, and that no immutability policy or archive tier protects the blob; then replay.",
    Reason.TARGET_CONFLICT: "The target blob is leased, is being written by another client, has an unfinished upload or is of another blob type. "
    "Break the lease, stop the writer or delete the blob; then replay.",
    Reason.THROTTLED: "The storage service throttled or failed the requests for too long. Check its health and limits, then replay.",
    Reason.COPY_FAILED: "The service started the copy, then gave it up. Its message is in the detail. Fix the cause, then replay.",
    Reason.DEADLINE_EXCEEDED: "The copy did not end before the route's deadline. Raise the deadline, then replay.",
    Reason.INTERNAL: "The app failed (see the detail and the host's log). Fix the host, then replay.",
}


ALREADY_EXISTS, CANNOT_VERIFY_SOURCE = "BlobAlreadyExists", "CannotVerifyCopySource"
# What odd data raises in code that did not expect it: the fault of one item. Anything else is infrastructure.
UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)


class StorageError(Exception):
    """A request to storage did not do what was asked. The message holds no URL, no key and no SAS."""

    def __init__(self, operation: str, detail: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(f"{operation}: {detail}")
        self.operation = operation
        self.detail = detail
        self.code = code
        self.status = status


class LookAgain(StorageError):
    """No answer, or an answer that leaves open whether the act happened: read both sides, then decide anew."""


class Rejected(LookAgain):
    """A refusal whose code is not known. If the next look finds nothing changed, it is a refusal of this blob, for this reason."""

    def __init__(self, reason: Reason, operation: str, detail: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(operation, detail, code=code, status=status)
        self.reason = reason

    def final(self) -> "Permanent":
        """The verdict once a look has found nothing changed."""
        return Permanent(self.reason, self.operation, self.detail, code=self.code, status=self.status)


class Failure(StorageError):
    """A verdict on the request, with its reason."""

    def __init__(self, reason: Reason, operation: str, detail: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(operation, detail, code=code, status=status)
        self.reason = reason


class Retryable(Failure):
    """The same request may succeed later."""


class Permanent(Failure):
    """The same request will fail until somebody changes something."""

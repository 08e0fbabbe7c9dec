"""Errors, grouped by what the caller may do about them.

An error of storage is one of three: `Retryable` (repeat it later), `Permanent` (repeating it is useless), `LookAgain`
(the effect is unknown: read both sides, then decide). The first two carry a `Reason`.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a transfer or a message became a dead letter. Dead letters store these values."""

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
    NOT_NOTIFIED = "not_notified"
    INTERNAL = "internal"

    @property
    def hint(self) -> str:
        """One line for the operator: what to check and how to fix it."""
        return HINTS[self]


HINTS: dict[Reason, str] = {
    Reason.MALFORMED: "The message is not a BlobCreated event. Find out what writes to the queue blob-events; only Event Grid should.",
    Reason.NOT_ALLOWED: "No route allows the blob that the event names. To share it, correct ROUTES, then replay.",
    Reason.INVALID_NAME: "The blob's name cannot be carried safely (see docs/rules.md, Names). Copy the blob to another name at the source.",
    Reason.SOURCE_UNREADABLE: "Check that the source container exists, that the app's identity has Storage Blob Data Reader on it "
    "and Storage Blob Delegator on its account, and that the account's firewall lets the copy in; then replay.",
    Reason.SOURCE_ARCHIVED: "The source blob is in the archive tier. Rehydrate it to the hot, cool or cold tier: the app then replays by "
    "itself. If it does not, replay.",
    Reason.UNSUPPORTED_BLOB: "The blob cannot be copied as it is; the detail says why. Set the route's engine to auto, or have the blob's owner "
    "rewrite it with shorter metadata in ASCII and without a customer-provided encryption key; then replay.",
    Reason.TARGET_UNWRITABLE: "Check that the target container exists, that the app's identity has Storage Blob Data Contributor on it "
    "(in another tenant the app registration, see docs/partners.md), that its account offers the route's `tier`, and that no immutability policy or archive tier protects the blob; then replay.",
    Reason.TARGET_CONFLICT: "The target blob is leased, is being written by another client, has an unfinished upload or is of another blob type. "
    "Break the lease, stop the writer or delete the blob; then replay.",
    Reason.THROTTLED: "The storage service throttled or failed the requests for too long. Check its health and limits, then replay.",
    Reason.COPY_FAILED: "The service started the copy, then gave it up. Its message is in the detail. Fix the cause, then replay.",
    Reason.DEADLINE_EXCEEDED: "The copy did not end before the route's deadline. Raise the deadline, then replay.",
    Reason.NOT_NOTIFIED: "The blob is shared, but its recipient was not notified. Check that the queue or topic of the route's `notify` exists, and "
    "that the app has Storage Queue Data Message Sender on the queue, or EventGrid Data Sender on the topic; then replay.",
    Reason.INTERNAL: "The app failed (see the detail and the host's log). Fix the host, then replay.",
}

ALREADY_EXISTS, CANNOT_VERIFY_SOURCE = "BlobAlreadyExists", "CannotVerifyCopySource"
# The start of the detail of a request without a response.
NO_ANSWER = "no answer"
# The service's refusals of blocks for a file that the Data Lake API or SFTP made; they end when the file is deleted.
NO_BLOCKS = frozenset({"BlobOperationNotSupported", "BlobOperationNotSupportedForBlobCreatedBySftp"})
# Exceptions that unexpected data of one item causes. Any other exception is a fault of the infrastructure.
UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)


class StorageError(Exception):
    """A failed request to storage. The message holds no URL, no key and no SAS."""

    def __init__(self, operation: str, detail: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(f"{operation}: {detail}")
        self.operation = operation
        self.detail = detail
        self.code = code
        self.status = status


class LookAgain(StorageError):
    """The effect of the request is unknown: read both sides, then decide again."""


class Rejected(LookAgain):
    """A refusal with an unknown code. If the next look finds nothing changed, it is permanent, with this reason."""

    def __init__(self, reason: Reason, operation: str, detail: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(operation, detail, code=code, status=status)
        self.reason = reason

    def final(self) -> "Permanent":
        """Return the permanent error to raise once a look has found nothing changed."""
        return Permanent(self.reason, self.operation, self.detail, code=self.code, status=self.status)


class Failure(StorageError):
    """A request that failed without effect, and the reason."""

    def __init__(self, reason: Reason, operation: str, detail: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(operation, detail, code=code, status=status)
        self.reason = reason


class Retryable(Failure):
    """The same request may succeed later."""


class Permanent(Failure):
    """The same request will fail until the cause is fixed."""

"""What the storage services' error codes mean to us: two tables, code → meaning and meaning → verdict.

Codes: https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes, .../blob-service-error-codes and
.../queue-service-error-codes. A code that is not here is judged by its status. A 409 or a 412 with such a code does not mean
that something changed: most 409s say that the blob cannot be copied at all, however often it is tried.
"""

from enum import StrEnum
from http import HTTPStatus

from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Permanent, Reason, Rejected, Retryable, StorageError


class Side(StrEnum):
    """Whose storage was asked."""

    SOURCE = "source"
    TARGET = "target"
    STATE = "state"


class Meaning(StrEnum):
    """What an answer means, in the words that a dead letter shows."""

    BUSY = "the service is busy or failed"
    REFUSED = "the app's access is refused"
    AWAY = "the account, container or queue is not available"
    NO_CONTAINER = "the container or queue does not exist"
    NO_BLOB = "the blob does not exist"
    CHANGED = "it is not in the expected state"
    LEASED = "another client holds a lease"
    PROTECTED = "a policy, a legal hold or its tier protects the blob"
    OTHER_TYPE = "the existing blob is of another type"
    SNAPSHOTS = "the blob has snapshots, or is an incremental copy"
    DIRECTORY = "a directory already has this name"
    TOO_MUCH = "the service does not accept these properties"
    OWN_KEY = "the blob is encrypted with a customer-provided key"
    NOT_OFFERED = "the account does not support this operation for the blob"
    NO_TIER = "the account does not offer the route's tier"
    UNSAYABLE = "the service does not accept this name"
    UNVERIFIED = "the target's service could not read the source"
    UNKNOWN = "the service refused the request"


CODES: dict[Meaning, tuple[str, ...]] = {
    Meaning.BUSY: (
        "ServerBusy",
        "InternalError",
        "OperationTimedOut",
        "TooManyRequests",
        "SnapshotOperationRateExceeded",
    ),
    Meaning.REFUSED: (
        "AuthenticationFailed",
        "AuthorizationFailure",
        "AuthorizationPermissionMismatch",
        "AuthorizationProtocolMismatch",
        "AuthorizationResourceTypeMismatch",
        "AuthorizationServiceMismatch",
        "AuthorizationSourceIPMismatch",
        "InsufficientAccountPermissions",
        "InvalidAuthenticationInfo",
        "KeyBasedAuthenticationNotPermitted",
        "NoAuthenticationInformation",
        "PublicAccessNotPermitted",
        "UnauthorizedBlobOverwrite",
    ),
    Meaning.AWAY: (
        "AccountBeingCreated",
        "AccountIsDisabled",
        "ContainerBeingDeleted",
        "ContainerDisabled",
        "QueueBeingDeleted",
        "QueueDisabled",
        "ResourceNotFound",
        "SystemInUse",
    ),
    Meaning.NO_CONTAINER: ("ContainerNotFound", "QueueNotFound"),
    Meaning.NO_BLOB: ("BlobNotFound",),
    Meaning.CHANGED: (
        "BlobAlreadyExists",
        "BlobOverwritten",
        "ConditionNotMet",
        "CopyIdMismatch",
        # The kind of a source changes with its version alone: a look at the source tells more.
        "InvalidSourceBlobType",
        "NoPendingCopyOperation",
        "PendingCopyOperation",
        "SourceConditionNotMet",
        "TargetConditionNotMet",
    ),
    Meaning.LEASED: (
        "InfiniteLeaseDurationRequired",
        "LeaseAlreadyPresent",
        "LeaseIdMismatchWithBlobOperation",
        "LeaseIdMismatchWithContainerOperation",
        "LeaseIdMissing",
        "LeaseIsBreakingAndCannotBeAcquired",
        "LeaseLost",
        "LeaseNotPresentWithBlobOperation",
    ),
    Meaning.PROTECTED: (
        "BlobArchived",
        "BlobBeingRehydrated",
        "BlobImmutableDueToLegalHold",
        "BlobImmutableDueToPolicy",
        "CannotChangeToLowerTier",
        "ContainerImmutableDueToPolicy",
    ),
    # A look shows the type, and what follows from it.
    Meaning.OTHER_TYPE: ("InvalidBlobType", "ResourceTypeMismatch"),
    Meaning.SNAPSHOTS: (
        "IncrementalCopyBlobMismatch",
        "OperationNotAllowedOnIncrementalCopyBlob",
        # Only the blob with all its snapshots could be deleted, and those are somebody's.
        "SnapshotsPresent",
    ),
    Meaning.DIRECTORY: ("OperationNotSupportedOnDirectory",),
    Meaning.TOO_MUCH: (
        "ContentLengthLargerThanTierLimit",
        "CopyAcrossAccountsNotSupported",
        "EmptyMetadataKey",
        "InvalidHeaderValue",
        "InvalidInput",
        "InvalidMetadata",
        "InvalidTag",
        "MaxBlobSizeConditionNotMet",
        "MetadataTooLarge",
        "RequestBodyTooLarge",
    ),
    Meaning.OWN_KEY: ("BlobUsesCustomerSpecifiedEncryption",),
    Meaning.NOT_OFFERED: (
        "BlobOperationNotSupported",
        "BlobOperationNotSupportedForBlobCreatedBySftp",
        "BlobTypeNotSupported",
        "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
        "OperationNotAllowedInCurrentState",
    ),
    Meaning.NO_TIER: (
        "BlobAccessTierNotSupportedForAccountType",
        "BlobTierInadequateForContentLength",
        "InvalidBlobTier",
    ),
    Meaning.UNSAYABLE: (
        "InvalidQueryParameterValue",
        "InvalidResourceName",
        "InvalidSourceBlobUrl",
        "InvalidUri",
        "OutOfRangeInput",
        "RequestUriTooLong",
        "RequestUrlFailedToParse",
    ),
    Meaning.UNVERIFIED: (CANNOT_VERIFY_SOURCE,),
}
STATUSES: dict[int, Meaning] = {
    HTTPStatus.UNAUTHORIZED: Meaning.REFUSED,
    HTTPStatus.FORBIDDEN: Meaning.REFUSED,
    HTTPStatus.NOT_FOUND: Meaning.AWAY,
    HTTPStatus.REQUEST_TIMEOUT: Meaning.BUSY,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Meaning.TOO_MUCH,
    HTTPStatus.REQUEST_URI_TOO_LONG: Meaning.UNSAYABLE,
    HTTPStatus.TOO_MANY_REQUESTS: Meaning.BUSY,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Meaning.TOO_MUCH,
}
MEANINGS: dict[str, Meaning] = {code: meaning for meaning, codes in CODES.items() for code in codes}

Verdict = tuple[type[StorageError], Reason]

# Roles take minutes to spread and accounts come back: what is refused or away is retryable. Permanent is what somebody has
# to change first. Nothing about the app's own state is one blob's fault.
VERDICTS: dict[Side, dict[Meaning, Verdict]] = {
    Side.SOURCE: {
        Meaning.BUSY: (Retryable, Reason.THROTTLED),
        Meaning.REFUSED: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.AWAY: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.NO_CONTAINER: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.NO_BLOB: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.CHANGED: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.LEASED: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.PROTECTED: (Permanent, Reason.SOURCE_ARCHIVED),
        Meaning.OTHER_TYPE: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.SNAPSHOTS: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.DIRECTORY: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.TOO_MUCH: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.OWN_KEY: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.NOT_OFFERED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.NO_TIER: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.UNSAYABLE: (Permanent, Reason.INVALID_NAME),
        Meaning.UNVERIFIED: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.UNKNOWN: (Retryable, Reason.SOURCE_UNREADABLE),
    },
    # LookAgain is for acts; a mere look that is answered so is retryable, with this reason.
    Side.TARGET: {
        Meaning.BUSY: (Retryable, Reason.THROTTLED),
        Meaning.REFUSED: (Retryable, Reason.TARGET_UNWRITABLE),
        Meaning.AWAY: (Retryable, Reason.TARGET_UNWRITABLE),
        Meaning.NO_CONTAINER: (Permanent, Reason.TARGET_UNWRITABLE),
        Meaning.NO_BLOB: (LookAgain, Reason.TARGET_CONFLICT),
        Meaning.CHANGED: (LookAgain, Reason.TARGET_CONFLICT),
        Meaning.LEASED: (Retryable, Reason.TARGET_CONFLICT),
        Meaning.PROTECTED: (Permanent, Reason.TARGET_UNWRITABLE),
        Meaning.OTHER_TYPE: (Rejected, Reason.TARGET_CONFLICT),
        Meaning.SNAPSHOTS: (Permanent, Reason.TARGET_CONFLICT),
        Meaning.DIRECTORY: (Permanent, Reason.TARGET_CONFLICT),
        Meaning.TOO_MUCH: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.OWN_KEY: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.NOT_OFFERED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.NO_TIER: (Permanent, Reason.TARGET_UNWRITABLE),
        Meaning.UNSAYABLE: (Permanent, Reason.INVALID_NAME),
        Meaning.UNVERIFIED: (LookAgain, Reason.SOURCE_UNREADABLE),
        # An act that is refused so is `Rejected`.
        Meaning.UNKNOWN: (Retryable, Reason.TARGET_UNWRITABLE),
    },
    Side.STATE: {what: (Retryable, Reason.THROTTLED if what is Meaning.BUSY else Reason.INTERNAL) for what in Meaning},
}


# What the source's own code says, where the target's service could not read it.
SOURCE_SAYS = {
    "AuthenticationFailed": "the source did not accept the SAS",
    "AuthorizationFailure": "the source's firewall blocks the target's service",
    "AuthorizationPermissionMismatch": "the app's role on the source does not allow the read",
    "AuthorizationSourceIPMismatch": "the source's firewall blocks the target's service",
    "BlobNotFound": "the source blob is gone",
    "ContainerNotFound": "the source's container is gone",
}


def meaning(status: int, code: str, source_status: int = 0, source_code: str = "") -> Meaning:
    """What an answer means: its code says so, else its status.

    A source that was busy is not a source that cannot be read: another engine would not help. The service says so by its
    own status, or by what it tells of the source's answer.
    """
    if code == CANNOT_VERIFY_SOURCE:
        said = MEANINGS.get(source_code) or _by_status(source_status)
        return Meaning.BUSY if Meaning.BUSY in {_by_status(status), said} else Meaning.UNVERIFIED
    return MEANINGS.get(code) or _by_status(status)


def _by_status(status: int) -> Meaning:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Meaning.BUSY
    return STATUSES.get(status, Meaning.UNKNOWN)

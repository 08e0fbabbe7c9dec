"""Two tables for the error codes of the storage services: code → meaning, and meaning → verdict per side.

Codes: https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes, .../blob-service-error-codes and
.../queue-service-error-codes. An unlisted code is classified by its status. An unlisted 409 or 412 does not count as CHANGED:
most 409s are permanent refusals, which a retry does not remove.
"""

from enum import StrEnum
from http import HTTPStatus

from adapters.credentials import NO_ASSERTION
from rules.errors import CANNOT_VERIFY_SOURCE, LookAgain, Permanent, Reason, Rejected, Retryable, StorageError


class Side(StrEnum):
    """The storage that a request goes to."""

    SOURCE = "source"
    TARGET = "target"
    STATE = "state"
    RECIPIENT = "recipient"


class Meaning(StrEnum):
    """The meaning of an error. The values are the text that a dead letter shows."""

    BUSY = "the service is busy or failed"
    REFUSED = "the app's access is refused"
    NO_ROLE = "the app has no role that allows this on the container"
    FIREWALL = "the account's firewall does not let the app in"
    COPY_REFUSED = "the account's allowedCopyScope or firewall does not let this copy in (docs/partners.md)"
    WRONG_TENANT = "the account does not accept the app's token: check in which tenant it is, and the route's `tenant`"
    NO_TENANT = "the route's `tenant` does not exist in this cloud"
    NO_PRINCIPAL = (
        "the route's `tenant` has no active service principal of the app registration: check SHARING_CLIENT_ID, and have the "
        "partner run `az ad sp create --id <SHARING_CLIENT_ID>`"
    )
    FEDERATION = (
        "the app registration does not trust the app's identity: compare issuer, subject and audience of its federated "
        "credential, and register it in the tenant of the identity (docs/partners.md)"
    )
    NO_ASSERTION = "the app's managed identity gave no token for the exchange: give the app a user-assigned identity"
    EXCHANGE_REFUSED = "Entra ID gave no token for the route's `tenant`; the log has its message (docs/partners.md)"
    UNAVAILABLE = "the account, container or queue is not available"
    NO_CONTAINER = "the container or queue does not exist"
    NO_BLOB = "the blob does not exist"
    CHANGED = "it is not in the expected state"
    LEASED = "another client holds a lease"
    PROTECTED = "a policy, a legal hold or its tier protects the blob"
    OTHER_TYPE = "the existing blob is of another type"
    HAS_SNAPSHOTS = "the blob has snapshots, or is an incremental copy"
    DIRECTORY = "a directory already has this name"
    PROPERTIES_REFUSED = "the service does not accept these properties"
    BLOCKS_REFUSED = "the blob has an unfinished upload of another client"
    CUSTOMER_KEY = "the blob is encrypted with a customer-provided key"
    NOT_SUPPORTED = "the account does not support this operation for the blob"
    TIER_NOT_SUPPORTED = "the account does not offer the route's tier"
    INVALID_NAME = "the service does not accept this name"
    SOURCE_NOT_VERIFIED = "the target's service could not read the source"
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
        "AuthorizationProtocolMismatch",
        "AuthorizationResourceTypeMismatch",
        "AuthorizationServiceMismatch",
        "KeyBasedAuthenticationNotPermitted",
        "NoAuthenticationInformation",
        "PublicAccessNotPermitted",
        "UnauthorizedBlobOverwrite",
    ),
    Meaning.NO_ROLE: ("AuthorizationPermissionMismatch", "InsufficientAccountPermissions"),
    Meaning.FIREWALL: ("AuthorizationFailure", "AuthorizationSourceIPMismatch"),
    Meaning.WRONG_TENANT: ("InvalidAuthenticationInfo",),
    Meaning.UNAVAILABLE: (
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
        # A block is no longer staged: another client wrote the blob, or a week has passed.
        "InvalidBlockList",
        # A source's type changes only with its version, so a look at the source decides.
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
    # A look at the target shows the type and decides.
    Meaning.OTHER_TYPE: ("InvalidBlobType", "ResourceTypeMismatch"),
    Meaning.HAS_SNAPSHOTS: (
        "IncrementalCopyBlobMismatch",
        "OperationNotAllowedOnIncrementalCopyBlob",
        # The blob could be deleted only with its snapshots, which the app did not create.
        "SnapshotsPresent",
    ),
    Meaning.DIRECTORY: ("OperationNotSupportedOnDirectory",),
    Meaning.PROPERTIES_REFUSED: (
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
    Meaning.BLOCKS_REFUSED: (
        "BlockCountExceedsLimit",
        # All staged blocks of a blob have ids of one length.
        "InvalidBlobOrBlock",
        "RequestEntityTooLargeBlockCountExceedsLimit",
    ),
    Meaning.CUSTOMER_KEY: ("BlobUsesCustomerSpecifiedEncryption",),
    Meaning.NOT_SUPPORTED: (
        "BlobOperationNotSupported",
        "BlobOperationNotSupportedForBlobCreatedBySftp",
        "BlobTypeNotSupported",
        "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
        "OperationNotAllowedInCurrentState",
    ),
    Meaning.TIER_NOT_SUPPORTED: (
        "BlobAccessTierNotSupportedForAccountType",
        "BlobTierInadequateForContentLength",
        "InvalidBlobTier",
    ),
    Meaning.INVALID_NAME: (
        "InvalidQueryParameterValue",
        "InvalidResourceName",
        "InvalidSourceBlobUrl",
        "InvalidUri",
        "OutOfRangeInput",
        "RequestUriTooLong",
        "RequestUrlFailedToParse",
    ),
    Meaning.SOURCE_NOT_VERIFIED: (CANNOT_VERIFY_SOURCE,),
}
# Entra ID's answers to the exchange of a token for a partner's tenant (https://learn.microsoft.com/entra/identity-platform/
# reference-error-codes). Any other number is EXCHANGE_REFUSED.
ENTRA_CODES: dict[str, Meaning] = {
    NO_ASSERTION: Meaning.NO_ASSERTION,
    "AADSTS90002": Meaning.NO_TENANT,
    "AADSTS700016": Meaning.NO_PRINCIPAL,  # the application is not found in the tenant
    "AADSTS7000112": Meaning.NO_PRINCIPAL,  # it is disabled there
    "AADSTS7000229": Meaning.NO_PRINCIPAL,  # its service principal is missing
    "AADSTS70021": Meaning.FEDERATION,  # an older number of the next three
    "AADSTS700211": Meaning.FEDERATION,  # issuer
    "AADSTS700212": Meaning.FEDERATION,  # audience
    "AADSTS700213": Meaning.FEDERATION,  # subject
    "AADSTS7002138": Meaning.FEDERATION,  # subject in another case
    "AADSTS700226": Meaning.FEDERATION,  # the assertion is not of a managed identity
    "AADSTS700236": Meaning.FEDERATION,  # the registration is not in the identity's tenant
}
STATUSES: dict[int, Meaning] = {
    HTTPStatus.UNAUTHORIZED: Meaning.REFUSED,
    HTTPStatus.FORBIDDEN: Meaning.REFUSED,
    HTTPStatus.NOT_FOUND: Meaning.UNAVAILABLE,
    HTTPStatus.REQUEST_TIMEOUT: Meaning.BUSY,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Meaning.PROPERTIES_REFUSED,
    HTTPStatus.REQUEST_URI_TOO_LONG: Meaning.INVALID_NAME,
    HTTPStatus.TOO_MANY_REQUESTS: Meaning.BUSY,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: Meaning.PROPERTIES_REFUSED,
}
MEANINGS: dict[str, Meaning] = {code: meaning for meaning, codes in CODES.items() for code in codes}

Verdict = tuple[type[StorageError], Reason]

# The app gets no access. New roles, service principals and firewall rules take minutes to become effective.
ACCESS = (
    Meaning.REFUSED,
    Meaning.NO_ROLE,
    Meaning.FIREWALL,
    Meaning.COPY_REFUSED,
    Meaning.WRONG_TENANT,
    Meaning.NO_TENANT,
    Meaning.NO_PRINCIPAL,
    Meaning.FEDERATION,
    Meaning.NO_ASSERTION,
    Meaning.EXCHANGE_REFUSED,
)

# An outage ends too, so ACCESS and UNAVAILABLE are retryable. Permanent means
# that an operator or owner must change something first. An error of the state account is never caused by one blob.
VERDICTS: dict[Side, dict[Meaning, Verdict]] = {
    Side.SOURCE: {
        Meaning.BUSY: (Retryable, Reason.THROTTLED),
        **dict.fromkeys(ACCESS, (Retryable, Reason.SOURCE_UNREADABLE)),
        Meaning.UNAVAILABLE: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.NO_CONTAINER: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.NO_BLOB: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.CHANGED: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.LEASED: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.PROTECTED: (Permanent, Reason.SOURCE_ARCHIVED),
        Meaning.OTHER_TYPE: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.HAS_SNAPSHOTS: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.DIRECTORY: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.PROPERTIES_REFUSED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.BLOCKS_REFUSED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.CUSTOMER_KEY: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.NOT_SUPPORTED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.TIER_NOT_SUPPORTED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.INVALID_NAME: (Permanent, Reason.INVALID_NAME),
        Meaning.SOURCE_NOT_VERIFIED: (Retryable, Reason.SOURCE_UNREADABLE),
        Meaning.UNKNOWN: (Retryable, Reason.SOURCE_UNREADABLE),
    },
    # LookAgain and Rejected apply to acts only. For a read the error is Retryable with this reason.
    Side.TARGET: {
        Meaning.BUSY: (Retryable, Reason.THROTTLED),
        **dict.fromkeys(ACCESS, (Retryable, Reason.TARGET_UNWRITABLE)),
        Meaning.UNAVAILABLE: (Retryable, Reason.TARGET_UNWRITABLE),
        Meaning.NO_CONTAINER: (Permanent, Reason.TARGET_UNWRITABLE),
        Meaning.NO_BLOB: (LookAgain, Reason.TARGET_CONFLICT),
        Meaning.CHANGED: (LookAgain, Reason.TARGET_CONFLICT),
        Meaning.LEASED: (Retryable, Reason.TARGET_CONFLICT),
        Meaning.PROTECTED: (Permanent, Reason.TARGET_UNWRITABLE),
        Meaning.OTHER_TYPE: (Rejected, Reason.TARGET_CONFLICT),
        Meaning.HAS_SNAPSHOTS: (Permanent, Reason.TARGET_CONFLICT),
        Meaning.DIRECTORY: (Permanent, Reason.TARGET_CONFLICT),
        Meaning.PROPERTIES_REFUSED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.BLOCKS_REFUSED: (Rejected, Reason.TARGET_CONFLICT),
        Meaning.CUSTOMER_KEY: (Permanent, Reason.UNSUPPORTED_BLOB),
        # Stage and commit get Rejected instead: another engine may write the blob.
        Meaning.NOT_SUPPORTED: (Permanent, Reason.UNSUPPORTED_BLOB),
        Meaning.TIER_NOT_SUPPORTED: (Permanent, Reason.TARGET_UNWRITABLE),
        Meaning.INVALID_NAME: (Permanent, Reason.INVALID_NAME),
        Meaning.SOURCE_NOT_VERIFIED: (LookAgain, Reason.SOURCE_UNREADABLE),
        # An act gets Rejected with `unsupported_blob` instead.
        Meaning.UNKNOWN: (Retryable, Reason.TARGET_UNWRITABLE),
    },
    # A role takes minutes to become effective. The other refusals need a change of the route or of the recipient.
    Side.RECIPIENT: dict.fromkeys(Meaning, (Permanent, Reason.NOT_NOTIFIED))
    | dict.fromkeys((Meaning.BUSY, *ACCESS), (Retryable, Reason.NOT_NOTIFIED)),
    Side.STATE: {
        meaning: (Retryable, Reason.THROTTLED if meaning is Meaning.BUSY else Reason.INTERNAL) for meaning in Meaning
    },
}

# Explanations of the error code that the source returned to the target's service.
SOURCE_CODE_TEXTS = {
    "AuthenticationFailed": "the source did not accept the SAS",
    "AuthorizationFailure": "the source's firewall blocks the target's service",
    "AuthorizationPermissionMismatch": "the app's role on the source does not allow the read",
    "AuthorizationSourceIPMismatch": "the source's firewall blocks the target's service",
    "BlobNotFound": "the source blob is gone",
    "ContainerNotFound": "the source's container is gone",
}


def meaning_of(status: int, code: str, source_status: int = 0, source_code: str = "") -> Meaning:
    """Return the meaning of an error by its code, or by its status if the code is not listed.

    `CannotVerifyCopySource` with a busy status, its own or the source's, means BUSY and not SOURCE_NOT_VERIFIED: the other
    engine would not help.
    """
    if code == CANNOT_VERIFY_SOURCE:
        source_meaning = MEANINGS.get(source_code) or _by_status(source_status)
        is_busy = Meaning.BUSY in {_by_status(status), source_meaning}
        return Meaning.BUSY if is_busy else Meaning.SOURCE_NOT_VERIFIED
    return MEANINGS.get(code) or _by_status(status)


def _by_status(status: int) -> Meaning:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Meaning.BUSY
    return STATUSES.get(status, Meaning.UNKNOWN)

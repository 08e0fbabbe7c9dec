"""The translation of errors: one verdict for each code and status, on each side."""

import asyncio
from typing import Any

import aiohttp
import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest

from adapters.codes import MEANINGS, Meaning
from adapters.translation import (
    DEAD_LETTERS_WRITE,
    SOURCE_HEAD,
    TARGET_COMMIT,
    TARGET_COPY,
    TARGET_HEAD,
    TARGET_STAGE,
    error_for_answer,
    request_scope,
    translate_error,
)
from rules.errors import CANNOT_VERIFY_SOURCE, Failure, LookAgain, Permanent, Rejected, Retryable, StorageError
from tests.contract.helpers import Answer

SECRET = "https://a.blob.core.windows.net/source/blob?sv=2026&sig=c2VjcmV0"

# code, status: a read of the source | an act on the target | a read of the target | a write of the app's state
TABLE = """
ServerBusy 503: R throttled | R throttled | R throttled | R throttled
InternalError 500: R throttled | R throttled | R throttled | R throttled
OperationTimedOut 500: R throttled | R throttled | R throttled | R throttled
TooManyRequests 429: R throttled | R throttled | R throttled | R throttled
SnapshotOperationRateExceeded 409: R throttled | R throttled | R throttled | R throttled
AuthenticationFailed 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AuthorizationFailure 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AuthorizationPermissionMismatch 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AuthorizationProtocolMismatch 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AuthorizationResourceTypeMismatch 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AuthorizationServiceMismatch 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AuthorizationSourceIPMismatch 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
InsufficientAccountPermissions 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
InvalidAuthenticationInfo 401: R source_unreadable | R target_unwritable | R target_unwritable | R internal
KeyBasedAuthenticationNotPermitted 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
NoAuthenticationInformation 401: R source_unreadable | R target_unwritable | R target_unwritable | R internal
PublicAccessNotPermitted 409: R source_unreadable | R target_unwritable | R target_unwritable | R internal
UnauthorizedBlobOverwrite 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AccountBeingCreated 409: R source_unreadable | R target_unwritable | R target_unwritable | R internal
AccountIsDisabled 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
ContainerBeingDeleted 409: R source_unreadable | R target_unwritable | R target_unwritable | R internal
ContainerDisabled 409: R source_unreadable | R target_unwritable | R target_unwritable | R internal
QueueBeingDeleted 409: R source_unreadable | R target_unwritable | R target_unwritable | R internal
QueueDisabled 409: R source_unreadable | R target_unwritable | R target_unwritable | R internal
ResourceNotFound 404: R source_unreadable | R target_unwritable | R target_unwritable | R internal
SystemInUse 409: R source_unreadable | R target_unwritable | R target_unwritable | R internal
ContainerNotFound 404: R source_unreadable | P target_unwritable | P target_unwritable | R internal
QueueNotFound 404: R source_unreadable | P target_unwritable | P target_unwritable | R internal
BlobNotFound 404: R source_unreadable | L | R target_conflict | R internal
BlobAlreadyExists 409: R source_unreadable | L | R target_conflict | R internal
BlobOverwritten 409: R source_unreadable | L | R target_conflict | R internal
ConditionNotMet 412: R source_unreadable | L | R target_conflict | R internal
CopyIdMismatch 409: R source_unreadable | L | R target_conflict | R internal
InvalidSourceBlobType 409: R source_unreadable | L | R target_conflict | R internal
NoPendingCopyOperation 409: R source_unreadable | L | R target_conflict | R internal
PendingCopyOperation 409: R source_unreadable | L | R target_conflict | R internal
SourceConditionNotMet 412: R source_unreadable | L | R target_conflict | R internal
InvalidBlockList 400: R source_unreadable | L | R target_conflict | R internal
BlockCountExceedsLimit 409: P unsupported_blob | L target_conflict | R target_conflict | R internal
InvalidBlobOrBlock 400: P unsupported_blob | L target_conflict | R target_conflict | R internal
RequestEntityTooLargeBlockCountExceedsLimit 409: P unsupported_blob | L target_conflict | R target_conflict | R internal
RequestEntityTooLargeBlockCountExceedsLimit 413: P unsupported_blob | L target_conflict | R target_conflict | R internal
TargetConditionNotMet 412: R source_unreadable | L | R target_conflict | R internal
MemoryExtentStoreAtSizeLimit 409: R source_unreadable | L unsupported_blob | R target_unwritable | R internal
SomethingNew 409: R source_unreadable | L unsupported_blob | R target_unwritable | R internal
SomethingNew 412: R source_unreadable | L unsupported_blob | R target_unwritable | R internal
InfiniteLeaseDurationRequired 412: R source_unreadable | R target_conflict | R target_conflict | R internal
LeaseAlreadyPresent 409: R source_unreadable | R target_conflict | R target_conflict | R internal
LeaseIdMismatchWithBlobOperation 409: R source_unreadable | R target_conflict | R target_conflict | R internal
LeaseIdMismatchWithContainerOperation 409: R source_unreadable | R target_conflict | R target_conflict | R internal
LeaseIdMissing 412: R source_unreadable | R target_conflict | R target_conflict | R internal
LeaseIsBreakingAndCannotBeAcquired 409: R source_unreadable | R target_conflict | R target_conflict | R internal
LeaseLost 412: R source_unreadable | R target_conflict | R target_conflict | R internal
LeaseNotPresentWithBlobOperation 412: R source_unreadable | R target_conflict | R target_conflict | R internal
BlobAccessTierNotSupportedForAccountType 400: P unsupported_blob | P target_unwritable | P target_unwritable | R internal
BlobArchived 409: P source_archived | P target_unwritable | P target_unwritable | R internal
BlobBeingRehydrated 409: P source_archived | P target_unwritable | P target_unwritable | R internal
BlobImmutableDueToLegalHold 409: P source_archived | P target_unwritable | P target_unwritable | R internal
BlobImmutableDueToPolicy 409: P source_archived | P target_unwritable | P target_unwritable | R internal
BlobTierInadequateForContentLength 409: P unsupported_blob | P target_unwritable | P target_unwritable | R internal
ContainerImmutableDueToPolicy 409: P source_archived | P target_unwritable | P target_unwritable | R internal
CannotChangeToLowerTier 409: P source_archived | P target_unwritable | P target_unwritable | R internal
InvalidBlobTier 400: P unsupported_blob | P target_unwritable | P target_unwritable | R internal
IncrementalCopyBlobMismatch 409: P unsupported_blob | P target_conflict | P target_conflict | R internal
InvalidBlobType 409: P unsupported_blob | L target_conflict | R target_conflict | R internal
OperationNotAllowedOnIncrementalCopyBlob 409: P unsupported_blob | P target_conflict | P target_conflict | R internal
OperationNotSupportedOnDirectory 400: P unsupported_blob | P target_conflict | P target_conflict | R internal
ResourceTypeMismatch 409: P unsupported_blob | L target_conflict | R target_conflict | R internal
SnapshotsPresent 409: P unsupported_blob | P target_conflict | P target_conflict | R internal
BlobUsesCustomerSpecifiedEncryption 409: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
BlobOperationNotSupported 409: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
BlobOperationNotSupportedForBlobCreatedBySftp 409: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
BlobTypeNotSupported 400: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
FeatureNotYetSupportedForHierarchicalNamespaceAccounts 409: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
OperationNotAllowedInCurrentState 409: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
ContentLengthLargerThanTierLimit 409: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
CopyAcrossAccountsNotSupported 409: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
EmptyMetadataKey 400: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
InvalidHeaderValue 400: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
InvalidInput 400: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
InvalidTag 400: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
MaxBlobSizeConditionNotMet 412: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
InvalidMetadata 400: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
MetadataTooLarge 400: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
RequestBodyTooLarge 413: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
InvalidQueryParameterValue 400: P invalid_name | P invalid_name | P invalid_name | R internal
InvalidResourceName 400: P invalid_name | P invalid_name | P invalid_name | R internal
InvalidSourceBlobUrl 409: P invalid_name | P invalid_name | P invalid_name | R internal
InvalidUri 400: P invalid_name | P invalid_name | P invalid_name | R internal
OutOfRangeInput 400: P invalid_name | P invalid_name | P invalid_name | R internal
RequestUriTooLong 414: P invalid_name | P invalid_name | P invalid_name | R internal
RequestUrlFailedToParse 400: P invalid_name | P invalid_name | P invalid_name | R internal
CannotVerifyCopySource 401: R source_unreadable | L | R source_unreadable | R internal
CannotVerifyCopySource 403: R source_unreadable | L | R source_unreadable | R internal
CannotVerifyCopySource 404: R source_unreadable | L | R source_unreadable | R internal
CannotVerifyCopySource 409: R source_unreadable | L | R source_unreadable | R internal
CannotVerifyCopySource 408: R throttled | R throttled | R throttled | R throttled
CannotVerifyCopySource 429: R throttled | R throttled | R throttled | R throttled
CannotVerifyCopySource 500: R throttled | R throttled | R throttled | R throttled
CannotVerifyCopySource 502: R throttled | R throttled | R throttled | R throttled
CannotVerifyCopySource 503: R throttled | R throttled | R throttled | R throttled
CannotVerifyCopySource 504: R throttled | R throttled | R throttled | R throttled
SomethingNew 400: R source_unreadable | L unsupported_blob | R target_unwritable | R internal
SomethingNew 403: R source_unreadable | R target_unwritable | R target_unwritable | R internal
SomethingNew 501: R throttled | R throttled | R throttled | R throttled
SomethingNew 599: R throttled | R throttled | R throttled | R throttled
- 400: R source_unreadable | L unsupported_blob | R target_unwritable | R internal
- 401: R source_unreadable | R target_unwritable | R target_unwritable | R internal
- 404: R source_unreadable | R target_unwritable | R target_unwritable | R internal
- 408: R throttled | R throttled | R throttled | R throttled
- 409: R source_unreadable | L unsupported_blob | R target_unwritable | R internal
- 412: R source_unreadable | L unsupported_blob | R target_unwritable | R internal
- 413: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
- 414: P invalid_name | P invalid_name | P invalid_name | R internal
- 431: P unsupported_blob | P unsupported_blob | P unsupported_blob | R internal
- 500: R throttled | R throttled | R throttled | R throttled
- 502: R throttled | R throttled | R throttled | R throttled
- 504: R throttled | R throttled | R throttled | R throttled
"""
KINDS = {"R": Retryable, "P": Permanent, "L": LookAgain}
REQUESTS = (SOURCE_HEAD, TARGET_COPY, TARGET_HEAD, DEAD_LETTERS_WRITE)


def rows() -> list[tuple[str, int, list[str]]]:
    """Return the table's rows: code, status, and the four verdicts."""
    lines = [line.partition(": ") for line in TABLE.strip().splitlines()]
    answers = [answer.split() for answer, _, _ in lines]
    verdicts = [expected.split(" | ") for _, _, expected in lines]
    return [(code.strip("-"), int(status), row) for (code, status), row in zip(answers, verdicts, strict=True)]


def verdict_of(error: StorageError) -> str:
    """Return an error as the table writes it."""
    letter = next(letter for letter, kind in KINDS.items() if isinstance(error, kind))
    return f"{letter} {error.reason}" if isinstance(error, Failure | Rejected) else letter


@pytest.mark.parametrize(("code", "status", "verdicts"), rows())
def test_every_code_has_its_verdict(code: str, status: int, verdicts: list[str]) -> None:
    """For every class of the SDK's error. Code and status are kept, its message is not."""
    for request, verdict in zip(REQUESTS, verdicts, strict=True):
        for kind in (HttpResponseError, ResourceNotFoundError, ResourceExistsError):
            error = translate_error(kind(message=SECRET, response=Answer(status, code)), request)  # type: ignore[arg-type]
            assert verdict_of(error) == verdict
            assert (error.operation, error.status, error.code) == (request.name, status, code)
            assert error.detail.startswith(f"{status} {code}".strip())
            assert not any(part in str(error) for part in ("http", "sig", "c2VjcmV0"))
            assert repr(error_for_answer(request, status, code)) == repr(error)


# The verdicts on stage and commit that differ from those on a copy.
@pytest.mark.parametrize("code", ["BlobOperationNotSupported", "BlobOperationNotSupportedForBlobCreatedBySftp"])
def test_blocks_that_are_not_supported_are_rejected(code: str) -> None:
    for request in (TARGET_STAGE, TARGET_COMMIT):
        error = error_for_answer(request, 409, code)
        assert (verdict_of(error), error.code) == ("L unsupported_blob", code)


@pytest.mark.parametrize(("code", "status", "verdicts"), rows())
def test_other_verdicts_on_blocks_are_those_on_an_act(code: str, status: int, verdicts: list[str]) -> None:
    if MEANINGS.get(code) is not Meaning.NOT_SUPPORTED:
        for request in (TARGET_STAGE, TARGET_COMMIT):
            assert verdict_of(error_for_answer(request, status, code)) == verdicts[REQUESTS.index(TARGET_COPY)]


SOURCES = [
    (403, "AuthorizationFailure", "L", "the source's firewall blocks the target's service"),
    (403, "AuthorizationPermissionMismatch", "L", "the app's role on the source does not allow the read"),
    (403, "AuthenticationFailed", "L", "the source did not accept the SAS"),
    (404, "BlobNotFound", "L", "the source blob is gone"),
    (404, "ContainerNotFound", "L", "the source's container is gone"),
    (418, "SomethingNew", "L", "418 SomethingNew"),
    (503, "ServerBusy", "R throttled", "503 ServerBusy"),
    (500, "OperationTimedOut", "R throttled", "500 OperationTimedOut"),
    (500, "InternalError", "R throttled", "500 InternalError"),
    (503, "", "R throttled", "503"),
]


@pytest.mark.parametrize("by", ["headers", "elements"])
@pytest.mark.parametrize(("status", "code", "verdict", "words"), SOURCES)
def test_a_refused_copy_reports_the_error_of_the_source(
    status: int, code: str, verdict: str, words: str, by: str
) -> None:
    """From the headers, else from the elements of the body."""
    answer = Answer(403, CANNOT_VERIFY_SOURCE)
    error = HttpResponseError(message=SECRET, response=answer)  # type: ignore[arg-type]
    if by == "headers":
        answer.headers |= {"x-ms-copy-source-status-code": str(status), "x-ms-copy-source-error-code": code}
    else:
        error.additional_info = {"copysourcestatuscode": str(status), "copysourceerrorcode": code}  # type: ignore[attr-defined]
    found = translate_error(error, TARGET_COPY)
    assert (verdict_of(found), found.code) == (verdict, CANNOT_VERIFY_SOURCE)
    assert f"{status} {code}".strip() in found.detail
    assert words in found.detail


def test_a_malformed_error_of_the_source_is_dropped() -> None:
    """A proxy may write these headers."""
    answer = Answer(403, CANNOT_VERIFY_SOURCE)
    answer.headers |= {"x-ms-copy-source-status-code": SECRET, "x-ms-copy-source-error-code": SECRET}
    found = translate_error(HttpResponseError(response=answer), TARGET_COPY)  # type: ignore[arg-type]
    assert found.detail == "403 CannotVerifyCopySource: the target's service could not read the source"


def test_the_table_has_every_code() -> None:
    assert set(MEANINGS) <= {code for code, _, _ in rows()}


@pytest.mark.parametrize(
    "error",
    [
        ServiceRequestError(SECRET),
        ServiceResponseError(SECRET),
        DecodeError(SECRET, response=Answer(200)),  # type: ignore[arg-type]
        HttpResponseError(SECRET),
        AzureError(SECRET),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(SECRET),
        TimeoutError(SECRET),
        ConnectionResetError(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_an_answer_an_act_is_open_and_a_read_is_retryable(error: Exception) -> None:
    assert verdict_of(translate_error(error, SOURCE_HEAD)) == "R throttled"
    assert verdict_of(translate_error(error, DEAD_LETTERS_WRITE)) == "R throttled"
    act = translate_error(error, TARGET_COPY)
    assert (verdict_of(act), act.code, act.status) == ("L", "", 0)
    assert verdict_of(translate_error(error, TARGET_COMMIT)) == "L"
    assert verdict_of(translate_error(error, TARGET_STAGE)) == "R throttled"
    assert "c2VjcmV0" not in str(act)


def test_a_failed_token_request_is_a_refusal() -> None:
    """The response of this error is Entra ID's, not the service's."""
    for response in (None, Answer(400)):
        error = ClientAuthenticationError(SECRET, response=response)  # type: ignore[arg-type]
        assert verdict_of(translate_error(error, TARGET_COPY)) == "R target_unwritable"


async def test_a_host_that_does_not_exist_is_named_as_the_cause() -> None:
    """The SDK wraps the error of the real connector."""

    class Nowhere(aiohttp.abc.AbstractResolver):
        async def resolve(self, *_: object, **__: object) -> list[Any]:
            raise OSError("Name or service not known")

        async def close(self) -> None:
            pass

    connector = aiohttp.TCPConnector(resolver=Nowhere())
    async with AioHttpTransport(session=aiohttp.ClientSession(connector=connector)) as transport:
        with pytest.raises(Retryable, match="no answer: the name of the host cannot be resolved"):
            async with request_scope(SOURCE_HEAD, 5):
                await transport.send(HttpRequest("HEAD", "https://nosuch.blob.core.windows.net/a/b"))


def test_a_malformed_code_is_dropped() -> None:
    error = translate_error(HttpResponseError(response=Answer(400, SECRET)), SOURCE_HEAD)  # type: ignore[arg-type]
    assert (error.code, "c2VjcmV0" in str(error)) == ("", False)


async def test_a_request_that_hangs_is_stopped() -> None:
    with pytest.raises(LookAgain) as refusal:
        async with request_scope(TARGET_COPY, 0.001):
            await asyncio.Event().wait()
    assert refusal.value.__suppress_context__


async def test_other_exceptions_pass() -> None:
    with pytest.raises(KeyError):
        async with request_scope(TARGET_COPY, 1):
            raise KeyError

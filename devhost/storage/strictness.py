"""Refusals and answers of the service where Azurite is more lenient or answers differently.

The answers of copies are those of recordings: Azure/azure-sdk-for-cpp (CPP), -for-net (NET), -for-python (PY22) and the live
tests of -for-js (JST).
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from multidict import CIMultiDict

from devhost.storage.answers import XML_START, Answer, error
from devhost.storage.operations import Operation, has_credentials, is_short_enough, is_valid, parts, source_of
from devhost.storage.upstream import Upstream

SYNC_LIMIT = 256 * 1024 * 1024
SOURCE_ANSWER_SINCE = "2024-02-04"
NOT_MODIFIED = 304
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, PRECONDITION_FAILED = 200, 401, 403, 404, 409, 412
RANGE_NOT_SATISFIABLE = 416
CANNOT_VERIFY = "CannotVerifyCopySource"
_CONDITIONS = ("match", "none-match", "modified-since", "unmodified-since")
_SNAPSHOT = re.compile(r"(\d{4}-\d\d-\d\dT[0-9:.]+Z)?")
_RANGE_START = re.compile(r"bytes=(\d+)-")
# Azurite's code for a wrong signature. On the service it is the code of a firewall, which Azurite does not have.
_WRONG_SIGNATURE = "AuthorizationFailure"
_SIGNATURE_MESSAGE = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the"
    " signature."
)
_DECLARATION = re.compile(r"\ufeff?<\?xml[^>]*\?>\s*")


def invalid_request(request: web.BaseRequest, wanted: Operation) -> Answer | None:
    """Refuse names and empty blocks that Azurite accepts and the service does not."""
    if not is_valid(wanted.path) or not is_short_enough(wanted.blob):
        return error(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
    if wanted.name == "HeadBlob" and not _SNAPSHOT.fullmatch(wanted.query.get("snapshot", "")):
        reason = "Value for one of the query parameters specified in the request URI is invalid."
        return Answer(400, CIMultiDict(), reason=reason)  # without a code (ASP test_get_blob_properties_fail)
    if wanted.name == "PutBlock" and request.headers.get("Content-Length") == "0":
        return _empty_block()
    return None


def _empty_block() -> Answer:
    more = {"HeaderName": "Content-Length", "HeaderValue": "0"}
    return error(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format.", more)


async def correct(upstream: Upstream, request: web.BaseRequest, wanted: Operation, answer: Answer) -> Answer:
    """Replace Azurite's answer by the service's where they differ."""
    if answer.status in {FORBIDDEN, NOT_FOUND} and wanted.account and not has_credentials(request):
        answer.drop()
        return unauthenticated("NoAuthenticationInformation")
    if answer.status == FORBIDDEN and request.headers.get("Authorization", "").startswith("Bearer "):
        answer.drop()
        return unauthenticated("InvalidAuthenticationInfo")
    if answer.code == _WRONG_SIGNATURE:
        answer.drop()
        return error(FORBIDDEN, "AuthenticationFailed", _SIGNATURE_MESSAGE)
    if answer.status == PRECONDITION_FAILED and answer.code == "ConditionNotMet" and wanted.name == "CopyBlob":
        answer.drop()
        message = "The target condition specified using HTTP conditional header(s) is not met."
        return error(PRECONDITION_FAILED, "TargetConditionNotMet", message)
    if answer.status == PRECONDITION_FAILED and _is_taken(request, wanted):
        answer.drop()
        return error(CONFLICT, "BlobAlreadyExists", "The specified blob already exists.")
    if wanted.name == "GetBlockList" and answer.headers.get("x-ms-blob-content-length") == "0":
        await _hide_uncommitted(upstream, wanted, answer)
    if wanted.name in {"GetBlockList", "GetTags"} and answer.ok:
        body = _DECLARATION.sub("", (await answer.read()).decode(), count=1).replace("/>", " />")
        answer.replace((XML_START + ("\n" if wanted.name == "GetTags" else "") + body).encode())
    if wanted.name in {"HeadBlob", "GetBlob"}:
        _show_tier(answer)
    return answer


def _show_tier(answer: Answer) -> None:
    """Correct the tier: it is inferred until it is set, and has a time from then on; append and page blobs have none."""
    hidden = {"x-ms-access-tier-inferred"}
    if answer.headers.get("x-ms-blob-type") in {"AppendBlob", "PageBlob"}:
        hidden = {"x-ms-access-tier", "x-ms-access-tier-inferred", "x-ms-access-tier-change-time"}
    elif answer.headers.get("x-ms-access-tier-inferred") == "true":
        hidden = {"x-ms-access-tier-change-time"}
    for name in hidden:
        answer.headers.pop(name, None)


def _is_taken(request: web.BaseRequest, wanted: Operation) -> bool:
    return wanted.name in {"PutBlob", "PutBlockList"} and request.headers.get("If-None-Match") == "*"


async def _hide_uncommitted(upstream: Upstream, wanted: Operation, answer: Answer) -> None:
    """Hide the ETag of staged blocks, which are not a blob yet."""
    if (await upstream.ask("HEAD", wanted.path)).status == NOT_FOUND:
        for name in ("ETag", "Last-Modified"):
            answer.headers.pop(name, None)


def unauthenticated(code: str) -> Answer:
    """Refuse a request without valid credentials."""
    message = (
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."
    )
    answer = error(UNAUTHORIZED, code, message)
    answer.headers["WWW-Authenticate"] = (
        "Bearer authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize"
        " resource_id=https://storage.azure.com"
    )
    return answer


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """The answer of a copy's source to the service."""

    status: int
    code: str
    message: str = "The source refused to be read."


def cannot_verify_source(source_answer: SourceAnswer, version: str, status: int = 0) -> Answer:
    """Refuse a copy because of its source; clients of a newer version see the source's answer (JST)."""
    shown = version >= SOURCE_ANSWER_SINCE
    elements = {
        "CopySourceStatusCode": str(source_answer.status),
        "CopySourceErrorCode": source_answer.code,
        "CopySourceErrorMessage": source_answer.message,
    }
    answer = error(
        status or source_answer.status, CANNOT_VERIFY, "Could not verify the copy source.", elements if shown else None
    )
    if answer.status == NOT_MODIFIED:
        answer.replace(b"")
    if shown:
        answer.headers["x-ms-copy-source-status-code"] = str(source_answer.status)
        answer.headers["x-ms-copy-source-error-code"] = source_answer.code
    return answer


async def copy_refusal(upstream: Upstream, request: web.BaseRequest, wanted: Operation) -> Answer | None:
    """Refuse a copy, or the copy of a block, because of its source. Azurite handles sources outside this stack."""
    source = request.headers["x-ms-copy-source"]
    version = request.headers.get("x-ms-version", "")
    if not upstream.serves(source, request.headers.get("Host", "")):
        return None
    sync, same = wanted.name != "CopyBlob", parts(source_of(source)[0])[0] == wanted.account
    head = await _read(upstream, source, by_key=same and not sync)
    source_answer = _source_answer(source, head, request.headers)
    if source_answer is not None:
        if not sync and source_answer.status in {NOT_MODIFIED, PRECONDITION_FAILED}:
            message = "The source condition specified using HTTP conditional header(s) is not met."
            return error(PRECONDITION_FAILED, "SourceConditionNotMet", message)
        if not sync and same and source_answer.status == NOT_FOUND:
            return error(NOT_FOUND, "BlobNotFound", "The specified blob does not exist.")
        return cannot_verify_source(source_answer, version)
    if wanted.name == "PutBlockFromUrl":
        return _range_refusal(int(head.headers["Content-Length"]), request, version)
    return _sync_refusal(head, version) if sync else None


async def _read(upstream: Upstream, source: str, *, by_key: bool) -> Answer:
    """Read a source's properties with the rights in its URL, or with the account's key (`by_key`)."""
    if "sig=" in source or not by_key:
        return await upstream.read_as(source)
    return await upstream.ask("HEAD", *source_of(source))


def _source_answer(source: str, head: Answer, headers: Mapping[str, str]) -> SourceAnswer | None:
    if head.ok:
        status = condition(head, headers, "x-ms-source-if-")
        return SourceAnswer(status, "ConditionNotMet") if status else None
    if "sig=" not in source:
        return SourceAnswer(UNAUTHORIZED, "NoAuthenticationInformation")
    if head.status == FORBIDDEN and _is_expired(source):
        return SourceAnswer(FORBIDDEN, "AuthenticationFailed", "Signature not valid in the specified time frame")
    if head.code == _WRONG_SIGNATURE:
        return SourceAnswer(FORBIDDEN, "AuthenticationFailed", _SIGNATURE_MESSAGE)
    return SourceAnswer(head.status, head.code)


def condition(head: Answer, headers: Mapping[str, str], prefix: str) -> int:
    """Return the status of the first condition on a blob that does not hold; 0 if all do."""
    etag, changed = head.etag.strip('"'), _time(head.headers.get("Last-Modified", ""))
    wanted = {name: headers.get(f"{prefix}{name}", "") for name in _CONDITIONS}
    if wanted["match"] not in {"", "*"} and wanted["match"].strip('"') != etag:
        return PRECONDITION_FAILED
    if wanted["unmodified-since"] and changed > _time(wanted["unmodified-since"]):
        return PRECONDITION_FAILED
    if wanted["none-match"].strip('"') in {etag, "*"}:
        return NOT_MODIFIED
    return NOT_MODIFIED if wanted["modified-since"] and changed <= _time(wanted["modified-since"]) else 0


def _time(text: str) -> float:
    return parsedate_to_datetime(text).timestamp()


def _is_expired(source: str) -> bool:
    (expiry,) = parse_qs(urlsplit(source).query).get("se", [""])
    try:
        return datetime.fromisoformat(expiry).timestamp() < time.time()
    except ValueError:
        return False


def _range_refusal(size: int, request: web.BaseRequest, version: str) -> Answer | None:
    """Refuse a block without bytes. Azurite stages an empty one."""
    start = _RANGE_START.match(request.headers.get("x-ms-source-range", ""))
    if start and int(start[1]) >= size:
        return cannot_verify_source(SourceAnswer(RANGE_NOT_SATISFIABLE, "InvalidRange"), version)
    return None if size else _empty_block()


def _sync_refusal(head: Answer, version: str) -> Answer | None:
    """Refuse sources other than block blobs up to 256 MiB. The code for another type is not documented: it is a guess."""
    if head.headers["x-ms-blob-type"] != "BlockBlob":
        return error(CONFLICT, "InvalidSourceBlobType", "The copy source blob type is invalid for this operation.")
    if int(head.headers["Content-Length"]) > SYNC_LIMIT:
        return cannot_verify_source(SourceAnswer(CONFLICT, "InvalidSourceBlobSize"), version, CONFLICT)
    return None

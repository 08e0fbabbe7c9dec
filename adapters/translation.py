"""Every error of the Azure SDK becomes one of ours here, by its error code and status.

Never by class or message: the SDK calls a 403 with CannotVerifyCopySource a ResourceNotFoundError, and its messages show
URLs. The classes count only where there is no answer to judge.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from azure.core.exceptions import AzureError, ClientAuthenticationError

from adapters.codes import SOURCE_SAYS, VERDICTS, Meaning, Side, meaning
from rules.errors import Failure, LookAgain, Reason, Rejected, Retryable, StorageError

# A HEAD's answer has no body: its code is in this header alone.
CODE_HEADER = "x-ms-error-code"
STATUS = re.compile(r"[1-5]\d\d", re.ASCII)
CODE = re.compile(r"[A-Za-z0-9]{1,80}")
# What the source answered to the target's service: a header, or the element of the body that the SDK names so.
SOURCE_STATUS = ("x-ms-copy-source-status-code", "copysourcestatuscode")
SOURCE_CODE = ("x-ms-copy-source-error-code", "copysourceerrorcode")


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of request. An act changes a target: when it goes unanswered, nobody knows what happened."""

    name: str
    side: Side
    act: bool = False


SOURCE_HEAD = Request("source.head", Side.SOURCE)
SOURCE_LIST = Request("source.list", Side.SOURCE)
SOURCE_TAGS = Request("source.tags", Side.SOURCE)
SOURCE_SIGN = Request("source.sign", Side.SOURCE)
TARGET_HEAD = Request("target.head", Side.TARGET)
TARGET_LIST = Request("target.list", Side.TARGET)
TARGET_COPY = Request("target.copy", Side.TARGET, act=True)
TARGET_ABORT = Request("target.abort", Side.TARGET, act=True)
TARGET_CLEAR = Request("target.clear", Side.TARGET, act=True)
TARGET_DELETE = Request("target.delete", Side.TARGET, act=True)
# Writes to the app's own state are conditional or harmless when doubled, so they are simply done again.
LETTERS_READ = Request("letters.read", Side.STATE)
LETTERS_WRITE = Request("letters.write", Side.STATE)
LETTERS_LIST = Request("letters.list", Side.STATE)
EVENTS_PUT = Request("events.put", Side.STATE)
EVENTS_POISON = Request("events.poison", Side.STATE)
EVENTS_CONSUMED = Request("events.consumed", Side.STATE)
EVENTS_UNDELIVERED = Request("events.undelivered", Side.STATE)
EVENTS_DELIVERED = Request("events.delivered", Side.STATE)
EVENTS_DEPTH = Request("events.depth", Side.STATE)
REPORTS_READ = Request("reports.read", Side.STATE)
REPORTS_WRITE = Request("reports.write", Side.STATE)
INSTANCES_FIND = Request("instances.find", Side.STATE)
INSTANCES_START = Request("instances.start", Side.STATE)
INSTANCES_CANCEL = Request("instances.cancel", Side.STATE)
INSTANCES_TERMINATE = Request("instances.terminate", Side.STATE)
INSTANCES_PURGE = Request("instances.purge", Side.STATE)
INSTANCES_PAGE = Request("instances.page", Side.STATE)
INSTANCES_OLDEST = Request("instances.oldest", Side.STATE)
OUTSIDER_PUT = Request("outsider.put", Side.TARGET, act=True)


def translate_error(error: Exception, request: Request) -> StorageError:
    """Turn whatever the SDK raised into what the caller may do about it."""
    response = getattr(error, "response", None)
    status, code = getattr(response, "status_code", 0), code_of(error)
    if isinstance(error, ClientAuthenticationError) and not code:
        return error_for(request, Meaning.REFUSED)  # the identity got no token: storage was never asked
    if status < HTTPStatus.BAD_REQUEST:
        return error_for_no_answer(request)
    source = source_answer(error)
    return error_for(request, meaning(status, code, *source), status, code, _said(*source))


def source_answer(error: Exception) -> tuple[int, str]:
    """Status and code of what the source answered, where a copy says so; 0 and empty where it does not."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    elements = getattr(error, "additional_info", None) or {}

    def found(header: str, element: str) -> str:
        return str(headers.get(header) or elements.get(element) or "").strip()

    status, code = found(*SOURCE_STATUS), found(*SOURCE_CODE)
    return int(status) if STATUS.fullmatch(status) else 0, code if CODE.fullmatch(code) else ""


def _said(status: int, code: str) -> str:
    """What the source answered, in words."""
    answer = f"{status or ''} {code}".strip()
    return ": ".join(part for part in (answer, SOURCE_SAYS.get(code, "")) if part)


def code_of(error: Exception) -> str:
    """The service's error code; empty if the error carries none."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    code = headers.get(CODE_HEADER) or getattr(error, "error_code", None) or ""
    code = str(getattr(code, "value", code))
    return code if CODE.fullmatch(code) else ""


def error_for_answer(request: Request, status: int, code: str) -> StorageError:
    """What an answer of this status and code means for the caller."""
    return error_for(request, meaning(status, code), status, code)


def error_for_no_answer(request: Request) -> StorageError:
    """No answer, or none that can be understood: an act may have happened."""
    if request.act:
        return LookAgain(request.name, "no answer")
    return Retryable(Reason.THROTTLED, request.name, "no answer")


def error_for(request: Request, what: Meaning, status: int = 0, code: str = "", source: str = "") -> StorageError:
    """The verdict of the table. The detail is ours: status, code and our own words, and what the source answered."""
    kind, reason = VERDICTS[request.side][what]
    answer = f"{status or ''} {code}".strip()
    detail = (f"{answer}: {what}" if answer else what.value) + (f" ({source})" if source else "")
    if request.act and what is Meaning.UNKNOWN:
        return Rejected(Reason.UNSUPPORTED_BLOB, request.name, detail, code=code, status=status)
    if issubclass(kind, Failure):
        return kind(reason, request.name, detail, code=code, status=status)
    if not request.act:
        return Retryable(reason, request.name, detail, code=code, status=status)
    if kind is Rejected:
        return Rejected(reason, request.name, detail, code=code, status=status)
    return LookAgain(request.name, detail, code=code, status=status)


@asynccontextmanager
async def request_scope(request: Request, seconds: float) -> AsyncIterator[None]:
    """Give what is asked inside so much time, retries included, and translate what goes wrong."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (AzureError, aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        raise translate_error(error, request) from None

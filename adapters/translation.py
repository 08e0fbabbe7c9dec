"""Translation of the Azure SDK's errors to the app's, by error code and status.

Class and message are not reliable: the SDK raises ResourceNotFoundError for a 403 with CannotVerifyCopySource, and its
messages contain URLs. The class counts only if there is no response.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from azure.core.exceptions import AzureError, ClientAuthenticationError

from adapters.codes import ENTRA_CODES, SOURCE_CODE_TEXTS, VERDICTS, Meaning, Side, meaning_of
from adapters.credentials import PartnerRefused
from rules.errors import NO_ANSWER, Failure, LookAgain, Reason, Rejected, Retryable, StorageError

# The response to a HEAD has no body, so only this header shows the error code.
CODE_HEADER = "x-ms-error-code"
STATUS = re.compile(r"[1-5]\d\d", re.ASCII)
CODE = re.compile(r"[A-Za-z0-9]{1,80}")
# The source's response to the target's service: a header, or the SDK's name for the element of the body.
SOURCE_STATUS = ("x-ms-copy-source-status-code", "copysourcestatuscode")
SOURCE_CODE = ("x-ms-copy-source-error-code", "copysourceerrorcode")


@dataclass(frozen=True, slots=True)
class Request:
    """A kind of request.

    An act changes a target: without an answer, its effect is unknown. An act that is `repeatable` is sent again instead.
    An act on `blocks` that the service does not support for a blob is Rejected.
    """

    name: str
    side: Side
    act: bool = False
    repeatable: bool = False
    blocks: bool = False


SOURCE_HEAD = Request("source.head", Side.SOURCE)
SOURCE_LIST = Request("source.list", Side.SOURCE)
SOURCE_TAGS = Request("source.tags", Side.SOURCE)
SOURCE_SIGN = Request("source.sign", Side.SOURCE)
TARGET_HEAD = Request("target.head", Side.TARGET)
TARGET_LIST = Request("target.list", Side.TARGET)
TARGET_COPY = Request("target.copy", Side.TARGET, act=True)
TARGET_STAGED = Request("target.staged", Side.TARGET)
TARGET_STAGE = Request("target.stage", Side.TARGET, act=True, repeatable=True, blocks=True)
TARGET_COMMIT = Request("target.commit", Side.TARGET, act=True, blocks=True)
# The requests that a target's allowedCopyScope may refuse.
COPIES = frozenset({TARGET_COPY, TARGET_STAGE})
TARGET_ABORT = Request("target.abort", Side.TARGET, act=True)
TARGET_CLEAR = Request("target.clear", Side.TARGET, act=True)
TARGET_DELETE = Request("target.delete", Side.TARGET, act=True)
# The blob is the doctor's own, so its effect does not matter.
TARGET_PROBE = Request("target.probe", Side.TARGET)
# Writes to the app's own state are conditional or harmless when repeated, so they can be retried.
DEAD_LETTERS_READ = Request("dead_letters.read", Side.STATE)
DEAD_LETTERS_WRITE = Request("dead_letters.write", Side.STATE)
DEAD_LETTERS_LIST = Request("dead_letters.list", Side.STATE)
EVENTS_PUT = Request("events.put", Side.STATE)
EVENTS_POISON = Request("events.poison", Side.STATE)
EVENTS_CONSUMED = Request("events.consumed", Side.STATE)
EVENTS_UNDELIVERED = Request("events.undelivered", Side.STATE)
EVENTS_DELIVERED = Request("events.delivered", Side.STATE)
EVENTS_DEPTH = Request("events.depth", Side.STATE)
# A recipient removes duplicates, so a notification can be sent again.
RECIPIENT_SEND = Request("recipient.send", Side.RECIPIENT)
FEED_PUT = Request("feed.put", Side.STATE)
FEED_RECEIVE = Request("feed.receive", Side.STATE)
FEED_DELETE = Request("feed.delete", Side.STATE)
FEED_DEPTH = Request("feed.depth", Side.STATE)
FIGURES_READ = Request("figures.read", Side.STATE)
FIGURES_WRITE = Request("figures.write", Side.STATE)
LEDGER_READ = Request("ledger.read", Side.STATE)
LEDGER_WRITE = Request("ledger.write", Side.STATE)
REPORTS_READ = Request("reports.read", Side.STATE)
REPORTS_WRITE = Request("reports.write", Side.STATE)
INSTANCES_FIND = Request("instances.find", Side.STATE)
INSTANCES_START = Request("instances.start", Side.STATE)
INSTANCES_CANCEL = Request("instances.cancel", Side.STATE)
INSTANCES_TERMINATE = Request("instances.terminate", Side.STATE)
INSTANCES_PURGE = Request("instances.purge", Side.STATE)
INSTANCES_PAGE = Request("instances.page", Side.STATE)
INSTANCES_OLDEST = Request("instances.oldest", Side.STATE)

# Why there is no response. The classes of errors without a connection come first: some are time-outs, too.
NO_ANSWER_CAUSES: dict[type[Exception], str] = {
    aiohttp.ClientConnectorDNSError: "the name of the host cannot be resolved",
    aiohttp.ConnectionTimeoutError: "the host cannot be reached",
    aiohttp.ClientConnectorError: "the host refuses connections",
    TimeoutError: "the time is up",
}


def translate_error(error: Exception, request: Request) -> StorageError:
    """Translate an error of the SDK to one of `rules.errors`, whose class decides whether and how the caller retries."""
    response = getattr(error, "response", None)
    status, code = getattr(response, "status_code", 0), code_of(error)
    if isinstance(error, PartnerRefused):
        return error_for(request, ENTRA_CODES.get(error.code, Meaning.EXCHANGE_REFUSED), code=error.code)
    if isinstance(error, ClientAuthenticationError) and not code:
        return error_for(request, Meaning.REFUSED)  # the identity got no token: no request reached storage
    if status < HTTPStatus.BAD_REQUEST:
        return error_for_no_answer(request, _cause(error))
    source = source_answer(error)
    return error_for(request, meaning_of(status, code, *source), status, code, _source_text(*source))


def source_answer(error: Exception) -> tuple[int, str]:
    """Return the status and code of the source's response to a copy; 0 and "" if the error has none."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    elements = getattr(error, "additional_info", None) or {}

    def value_of(header: str, element: str) -> str:
        return str(headers.get(header) or elements.get(element) or "").strip()

    status, code = value_of(*SOURCE_STATUS), value_of(*SOURCE_CODE)
    return int(status) if STATUS.fullmatch(status) else 0, code if CODE.fullmatch(code) else ""


def _source_text(status: int, code: str) -> str:
    answer = f"{status or ''} {code}".strip()
    return ": ".join(part for part in (answer, SOURCE_CODE_TEXTS.get(code, "")) if part)


def code_of(error: Exception) -> str:
    """Return the service's error code; "" if the error has none."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    code = headers.get(CODE_HEADER) or getattr(error, "error_code", None) or ""
    code = str(getattr(code, "value", code))
    return code if CODE.fullmatch(code) else ""


def error_for_answer(request: Request, status: int, code: str) -> StorageError:
    """Return the error for a response with this status and code."""
    return error_for(request, meaning_of(status, code), status, code)


def error_for_no_answer(request: Request, cause: str = "") -> StorageError:
    """Return the error for a missing or unreadable response: LookAgain for an act, which may have taken effect."""
    detail = f"{NO_ANSWER}: {cause}" if cause else NO_ANSWER
    if request.act and not request.repeatable:
        return LookAgain(request.name, detail)
    reason = Reason.NOT_NOTIFIED if request.side is Side.RECIPIENT else Reason.THROTTLED
    return Retryable(reason, request.name, detail)


def _cause(error: Exception) -> str:
    """Return why there is no response, if the network says so."""
    error = getattr(error, "inner_exception", None) or error
    return next((text for kind, text in NO_ANSWER_CAUSES.items() if isinstance(error, kind)), "")


def error_for(request: Request, meaning: Meaning, status: int = 0, code: str = "", source: str = "") -> StorageError:
    """Return the error that `VERDICTS` lists. Its detail shows the status, the code, the meaning and the source's response."""
    if meaning is Meaning.FIREWALL and request in COPIES:
        meaning = Meaning.COPY_REFUSED  # the target was read before, so it is probably not the firewall
    kind, reason = VERDICTS[request.side][meaning]
    answer = f"{status or ''} {code}".strip()
    detail = (f"{answer}: {meaning}" if answer else meaning.value) + (f" ({source})" if source else "")
    if request.act and (meaning is Meaning.UNKNOWN or (request.blocks and meaning is Meaning.NOT_SUPPORTED)):
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
    """Limit the enclosed requests, with their retries, to `seconds`, and translate their errors."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (AzureError, aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        raise translate_error(error, request) from None

"""The answers to a client: Azurite's, and those of the proxy in the same form."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import ClientError, ClientResponse, web
from multidict import CIMultiDict

XML_START = '\ufeff<?xml version="1.0" encoding="utf-8"?>'
"""The start of each body of the service, with its byte order mark."""
# `Expect` belongs to the hop as well, because the proxy answers it.
_OF_THIS_HOP = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Leave out the headers that concern a single connection."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OF_THIS_HOP)


# The content headers of a blob, and those of a request that sets them.
_CONTENT = {
    "Content-Type": "x-ms-blob-content-type",
    "Content-Encoding": "x-ms-blob-content-encoding",
    "Content-Language": "x-ms-blob-content-language",
    "Content-Disposition": "x-ms-blob-content-disposition",
    "Cache-Control": "x-ms-blob-cache-control",
}


@dataclass(slots=True)
class Answer:
    """A status, headers, and a body that may not be read yet."""

    status: int
    headers: CIMultiDict[str]
    body: bytes = b""
    upstream: ClientResponse | None = None
    reason: str = ""
    """The reason phrase: the service's error message, or HTTP's own phrase if empty."""

    @classmethod
    def of(cls, upstream: ClientResponse) -> Self:
        """Wrap Azurite's answer without reading its body."""
        return cls(upstream.status, end_to_end(upstream.headers), upstream=upstream)

    @property
    def ok(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300  # noqa: PLR2004  # HTTP's successes

    @property
    def code(self) -> str:
        """The service's error code, if any."""
        return self.headers.get("x-ms-error-code", "")

    @property
    def etag(self) -> str:
        """The ETag with its quotes."""
        return self.headers.get("ETag", "")

    @property
    def metadata(self) -> dict[str, str]:
        """The headers that write a blob's metadata again."""
        return {name: value for name, value in self.headers.items() if name.lower().startswith("x-ms-meta-")}

    @property
    def content(self) -> dict[str, str]:
        """The headers that write a blob's content type, encoding, language, disposition and cache control again."""
        return {_CONTENT[name]: self.headers[name] for name in _CONTENT if name in self.headers}

    def drop(self) -> None:
        """Close Azurite's answer without sending it."""
        if self.upstream:
            self.upstream.close()
            self.upstream = None

    async def read(self) -> bytes:
        """Read the whole body and return it."""
        if self.upstream:
            self.body = await self.upstream.read()
            self.drop()
        return self.body

    def replace(self, body: bytes) -> None:
        """Replace the body."""
        self.body = body
        self.headers["Content-Length"] = str(len(body))

    async def send(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send the answer, chunk by chunk as Azurite sends it; if either side disconnects, disconnect the other."""
        if request.method == "HEAD" and not self.ok:
            self.headers.pop("Content-Length", None)  # the service sends none
        response = web.StreamResponse(status=self.status, reason=self.reason or None, headers=self.headers)
        try:
            await response.prepare(request)
            await self._send_body(request, response)
            await response.write_eof()
        except (ClientError, ConnectionError):
            await hang_up(request)
        finally:
            self.drop()
        return response

    async def _send_body(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        if request.method == "HEAD":
            return
        if self.body:
            await response.write(self.body)
        if self.upstream:
            async for chunk in self.upstream.content.iter_any():
                await response.write(chunk)


def error(status: int, code: str, message: str, more: Mapping[str, str] | None = None) -> Answer:
    """Make an error of the service: the code in a header, and in an XML body together with the elements `more`."""
    request_id = str(uuid.uuid4())
    time = datetime.now(UTC).isoformat().replace("+00:00", "0Z")
    elements = {"Code": code, "Message": f"{message}\nRequestId:{request_id}\nTime:{time}", **(more or {})}
    answer = Answer(status, CIMultiDict({"x-ms-error-code": code, "x-ms-request-id": request_id}), reason=message)
    answer.headers["Content-Type"] = "application/xml"
    answer.replace(_error_body(elements))
    return answer


async def format_error(answer: Answer) -> None:
    """Write Azurite's error as the service does: a byte order mark, one line, the message as the reason phrase."""
    if answer.upstream is None or not answer.code:
        return
    try:
        root = ET.fromstring(await answer.read())  # noqa: S314  # Azurite's own
    except ET.ParseError:
        return  # the answer to a HEAD has no body
    elements = {element.tag: element.text or "" for element in root}
    answer.reason = elements.get("Message", "").partition("\n")[0]
    answer.replace(_error_body(elements))


def _error_body(elements: Mapping[str, str]) -> bytes:
    inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
    return f"{XML_START}<Error>{inside}</Error>".encode()


async def hang_up(request: web.BaseRequest) -> None:
    """Close the connection without an answer, as a failing network does."""
    if request.transport:
        request.transport.abort()
    await asyncio.sleep(0)  # lets aiohttp notice, so that it does not answer either

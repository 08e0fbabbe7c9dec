"""What a client is told: Azurite's answer, or the proxy's own in the same words."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import ClientError, web
from multidict import CIMultiDict

from devhost.storage.wire import end_to_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import ClientResponse

XML_START = '\ufeff<?xml version="1.0" encoding="utf-8"?>'
"""Of every body of the service, byte order mark included."""


@dataclass(slots=True)
class Answer:
    """A status and headers that may still be changed, and a body that may still be on its way."""

    status: int
    headers: CIMultiDict[str]
    body: bytes = b""
    upstream: ClientResponse | None = None
    reason: str = ""
    """The words beside the status; the service's own error message, HTTP's own words if empty."""

    @classmethod
    def of(cls, upstream: ClientResponse) -> Answer:
        """Azurite's answer, its body not yet read."""
        return cls(upstream.status, end_to_end(upstream.headers), upstream=upstream)

    @property
    def ok(self) -> bool:
        """Whether the service did what it was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004  # what HTTP calls success

    @property
    def code(self) -> str:
        """The service's error code, if any."""
        return self.headers.get("x-ms-error-code", "")

    @property
    def etag(self) -> str:
        """The ETag, in its quotes."""
        return self.headers.get("ETag", "")

    def drop(self) -> None:
        """Give up the rest of Azurite's answer: this one is not sent."""
        if self.upstream:
            self.upstream.close()
            self.upstream = None

    async def read(self) -> bytes:
        """Return the body, once the whole of it is there."""
        if self.upstream:
            self.body = await self.upstream.read()
            self.drop()
        return self.body

    def replace(self, body: bytes) -> None:
        """Answer with another body."""
        self.body = body
        self.headers["Content-Length"] = str(len(body))

    async def send(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send it, chunk by chunk as Azurite sends it; a side that goes away ends both."""
        if request.method == "HEAD" and not self.ok:
            self.headers.pop("Content-Length", None)  # the service gives none
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
    """Refuse as the service does: the code in a header, and in an XML body of one line; `more` are its other elements."""
    request_id = str(uuid.uuid4())
    time = datetime.now(UTC).isoformat().replace("+00:00", "0Z")
    elements = {"Code": code, "Message": f"{message}\nRequestId:{request_id}\nTime:{time}", **(more or {})}
    answer = Answer(status, CIMultiDict({"x-ms-error-code": code, "x-ms-request-id": request_id}), reason=message)
    answer.headers["Content-Type"] = "application/xml"
    answer.replace(_error_body(elements))
    return answer


async def in_the_services_form(answer: Answer) -> None:
    """Write Azurite's error as the service does: a byte order mark, one line; the reason phrase is the message."""
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
    """Break the connection without a word, as a failing network does."""
    if request.transport:
        request.transport.abort()
    await asyncio.sleep(0)  # lets aiohttp notice, so that it does not answer either

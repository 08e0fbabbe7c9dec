"""Bytes on the wire stay what they were: headers are signed, so nothing may be added, lost or written differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import http_writer
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger
from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping

# `Expect` belongs to the hop as well: it is answered here.
_OF_THIS_HOP = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)


def end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Leave out what two neighbours say to each other."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OF_THIS_HOP)


def keep_header_bytes() -> None:
    """Make aiohttp write header bytes as it read them.

    It reads bytes that are not UTF-8 as surrogates, and cannot write those; the SDK sends metadata beyond ASCII as
    Latin-1, so such metadata would be refused (403, its signature no longer fits). No public hook exists.
    """
    http_writer._serialize_headers = _serialize  # noqa: SLF001


def keep_requests_out_of_the_log() -> None:
    """Stop aiohttp from printing request lines that it cannot read: they may hold a signature."""
    server_logger.addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
    )


def _serialize(status_line: str, headers: CIMultiDict[str]) -> bytes:
    lines = (status_line, *(f"{name}: {value}" for name, value in headers.items()))
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")

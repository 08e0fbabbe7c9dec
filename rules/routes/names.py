"""Which blob names can be carried (rule 13), and how a name is written into a URL.

What exists at the source can be carried, byte for byte, unless it cannot be said safely. `REFUSALS` is the whole list,
with `HIERARCHICAL` for accounts whose names are real folders.
"""

import re
from collections.abc import Callable
from urllib.parse import quote

MAX_UNITS = 1_024
MAX_SEGMENTS = 254
# Where names are real folders: measured, not documented.
MAX_FOLDERS = 61
MAX_SOURCE_URL = 2_048
# A user-delegation SAS for one blob is about 400 characters; the copy source URL may have 2 KiB with it.
SAS_LENGTH = 512
DELETE = 0x7F
SURROGATES = range(0xD800, 0xE000)
NON_CHARACTERS = frozenset(range(0xFDD0, 0xFDF0)) | {
    plane | last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
}


def percent_encoded(name: str) -> str:
    """Percent-encode a raw name once, exactly as the storage SDK writes it into a URL."""
    return quote(name, safe="/~")


def _has_dot_segment(name: str) -> bool:
    # The SDK normalises `.` and `..` when it signs with a SAS or a token: `../other/x` would leave the container.
    return any(segment in {".", ".."} for segment in name.replace("\\", "/").split("/"))


def _has_trailing_dot(name: str) -> bool:
    # `out./x` is stored as `out/x`: a route's prefix would not be where the checks for loops believe it to be.
    return any(segment.endswith(".") for segment in name.split("/"))


def _has_control_character(name: str) -> bool:
    # U+0001 or U+FFFE in a name is refused, or accepted, and then every list of the container fails. XML carries U+0080 to U+009F.
    return any(c < " " or ord(c) == DELETE or ord(c) in NON_CHARACTERS for c in name)


def _has_surrogate(name: str) -> bool:
    return any(ord(c) in SURROGATES for c in name)


def utf16_length(name: str) -> int:
    """The length of a name as the service counts it: in UTF-16 units."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2


REFUSALS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda name: not name, "the name is empty"),
    (lambda name: "\\" in name, "a backslash: the service stores it as /"),
    (_has_dot_segment, "a segment that is . or .."),
    (_has_trailing_dot, "a segment that ends with a dot: the service drops the dot"),
    (_has_surrogate, "a lone surrogate"),
    (_has_control_character, "a control character or a non-character"),
    (lambda name: utf16_length(name) > MAX_UNITS, "more than 1,024 UTF-16 units"),
    (lambda name: name.count("/") >= MAX_SEGMENTS, "more than 254 segments"),
)


def refusal(name: str) -> str | None:
    """Why this name cannot be carried, in words; None if it can. Total: never raises."""
    return next((why for refused, why in REFUSALS if refused(name)), None)


HIERARCHICAL: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda name: "" in name.split("/"), "an empty segment: accounts with a hierarchical namespace drop it"),
    (
        lambda name: name.count("/") >= MAX_FOLDERS,
        "more than 61 segments: the limit of accounts with a hierarchical namespace",
    ),
)


def hierarchical_refusal(name: str) -> str | None:
    """Why an account with a hierarchical namespace cannot have a blob of exactly this name; None for nearly every name."""
    return next((why for refused, why in HIERARCHICAL if refused(name)), None)


def collapse_slashes(prefix: str) -> str:
    """A prefix as an account with a hierarchical namespace stores it: the slash at its end may begin the next segment."""
    return re.sub("/+", "/", prefix).removeprefix("/")


def source_url_refusal(url: str) -> str | None:
    """Why a blob at this canonical URL cannot be a copy source: with its SAS the URL may have 2 KiB."""
    return "a copy source URL of more than 2 KiB, SAS included" if len(url) + SAS_LENGTH > MAX_SOURCE_URL else None

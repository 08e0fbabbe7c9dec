"""Which blob names can be carried, byte for byte (rule 13), and how a name is encoded in a URL.

`REFUSALS` is the whole list of names that cannot; `HIERARCHICAL` adds those of accounts with a hierarchical
namespace.
"""

import re
from collections.abc import Callable
from urllib.parse import quote

MAX_UNITS = 1_024
MAX_SEGMENTS = 254
# The limit with a hierarchical namespace: measured, not documented.
MAX_FOLDERS = 61
MAX_SOURCE_URL = 2_048
# A user-delegation SAS for one blob has about 400 characters. The limit of the copy source URL includes it.
SAS_LENGTH = 512
DELETE = 0x7F
SURROGATES = range(0xD800, 0xE000)
NON_CHARACTERS = frozenset(range(0xFDD0, 0xFDF0)) | {
    plane | last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
}


# The doctor writes blobs of this name to find out whether a target can be written, and deletes them. No route shares them.
PROBE = ".blob-data-sharing-probe-"


def is_probe(name: str) -> bool:
    """Whether the doctor has reserved this name."""
    return name.rpartition("/")[2].startswith(PROBE)


def percent_encoded(name: str) -> str:
    """Percent-encode a raw name once, exactly as the storage SDK does."""
    return quote(name, safe="/~")


def _has_dot_segment(name: str) -> bool:
    # The SDK resolves `.` and `..` when it signs a request, so `../other/x` would leave the container.
    return any(segment in {".", ".."} for segment in name.replace("\\", "/").split("/"))


def _has_trailing_dot(name: str) -> bool:
    # `out./x` is stored as `out/x`, so the checks for loops and overlaps would compare wrong prefixes.
    return any(segment.endswith(".") for segment in name.split("/"))


def _has_control_character(name: str) -> bool:
    # The service refuses these, or stores them and then fails every list. XML can hold U+0080 to U+009F.
    return any(c < " " or ord(c) == DELETE or ord(c) in NON_CHARACTERS for c in name)


def _has_surrogate(name: str) -> bool:
    return any(ord(c) in SURROGATES for c in name)


def utf16_length(name: str) -> int:
    """Return the length of a name in UTF-16 units, as the service counts."""
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
    """Return why this name cannot be carried; None if it can. Never raises."""
    return next((why for refused, why in REFUSALS if refused(name)), None)


HIERARCHICAL: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda name: "" in name.split("/"), "an empty segment: accounts with a hierarchical namespace drop it"),
    (
        lambda name: name.count("/") >= MAX_FOLDERS,
        "more than 61 segments: the limit of accounts with a hierarchical namespace",
    ),
)


def hierarchical_refusal(name: str) -> str | None:
    """Return why an account with a hierarchical namespace cannot store exactly this name; None if it can."""
    return next((why for refused, why in HIERARCHICAL if refused(name)), None)


def collapse_slashes(prefix: str) -> str:
    """Return a prefix as an account with a hierarchical namespace stores it, without empty segments."""
    return re.sub("/+", "/", prefix).removeprefix("/")


def source_url_refusal(url: str) -> str | None:
    """Return why a blob at this canonical URL cannot be a copy source; None if the URL and its SAS fit into 2 KiB."""
    return "a copy source URL of more than 2 KiB, SAS included" if len(url) + SAS_LENGTH > MAX_SOURCE_URL else None

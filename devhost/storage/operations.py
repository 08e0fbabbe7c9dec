"""Recognizes the operation of a request to the blob service from its request line and headers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

from aiohttp import web

_BLOB = {
    ("HEAD", ""): "HeadBlob",
    ("GET", ""): "GetBlob",
    ("HEAD", "metadata"): "GetMetadata",
    ("GET", "metadata"): "GetMetadata",
    ("GET", "blocklist"): "GetBlockList",
    ("GET", "pagelist"): "GetPageRanges",
    ("GET", "tags"): "GetTags",
    ("POST", "query"): "QueryBlob",
    ("DELETE", ""): "DeleteBlob",
    ("PUT", ""): "PutBlob",
    ("PUT", "block"): "PutBlock",
    ("PUT", "blocklist"): "PutBlockList",
    ("PUT", "appendblock"): "AppendBlock",
    ("PUT", "page"): "PutPage",
    ("PUT", "copy"): "AbortCopy",
    ("PUT", "lease"): "LeaseBlob",
    ("PUT", "metadata"): "SetMetadata",
    ("PUT", "properties"): "SetProperties",
    ("PUT", "snapshot"): "SnapshotBlob",
    ("PUT", "tags"): "SetTags",
    ("PUT", "tier"): "SetTier",
}
_CONTAINER = {
    ("PUT", ""): "CreateContainer",
    ("GET", ""): "GetContainer",
    ("HEAD", ""): "GetContainer",
    ("DELETE", ""): "DeleteContainer",
    ("GET", "list"): "ListBlobs",
}
_SERVICE = {("GET", "list"): "ListContainers"}
# The Data Lake Storage API, by the parameter `resource` or `action`.
_LAKE = {
    ("PUT", "file"): "CreateFile",
    ("PUT", "directory"): "CreateDirectory",
    ("PATCH", "append"): "AppendFile",
    ("PATCH", "flush"): "FlushFile",
}
LAKE = frozenset({*_LAKE.values(), "RenamePath", "DeletePath"})
READS = frozenset({"HeadBlob", "GetBlob", "GetMetadata", "GetBlockList", "GetPageRanges", "GetTags", "QueryBlob"})

LONGEST_NAME, MOST_SEGMENTS = 1_024, 255

Key = tuple[str, str, str]
"""Account, container and decoded name of a blob."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation of a request; `container` and `blob` are empty if the path has none."""

    name: str
    account: str
    container: str
    blob: str
    path: str
    """The path without the query, as the client encoded it. If the service stores another name, the path of that name."""
    query: Mapping[str, str]

    @property
    def key(self) -> Key:
        """The key of its blob."""
        return self.account, self.container, self.blob

    @property
    def writes_a_blob(self) -> bool:
        """Whether it may change a blob."""
        return bool(self.blob) and self.name not in READS


def operation(method: str, target: str, headers: Mapping[str, str]) -> Operation:
    """Name the operation of a request; `target` is the path with the query, as sent."""
    path, _, query_string = target.partition("?")
    path = stored(path)
    query = _query(query_string)
    account, container, blob = parts(path)
    return Operation(_name(method, container, blob, query, headers), account, container, blob, path, query)


def parts(path: str) -> Key:
    """Split an encoded path into account, container and blob name, decoded.

    Azurite stores a backslash as a slash, so both name the same blob here too.
    """
    pieces = [unquote(piece) for piece in path.split("/", 3)[1:]]
    account, container, blob = (*pieces, "", "", "")[:3]
    return account, container, blob.replace("\\", "/")


def stored(path: str, *, folds: bool = False) -> str:
    """Return the path under which the service stores a blob: without the dots at the end of each segment of the name.

    A hierarchical namespace also drops empty segments (`folds`); there a name of slashes is the root directory.
    """
    account, container, blob = parts(path)
    segments = (segment.rstrip(".") or segment for segment in blob.split("/"))
    kept = "/".join(segment for segment in segments if segment or not folds) or blob[:1]
    return path if kept == blob else f"/{quote(account)}/{quote(container)}/{quote(kept)}"


def is_inside(key: Key, root: Key) -> bool:
    """Whether a blob is `root` or, if that is a directory, below it."""
    return key[:2] == root[:2] and f"{key[2]}/".startswith(f"{root[2]}/")


def is_valid(path: str) -> bool:
    """Whether the service accepts a path: UTF-8 without control characters."""
    text = unquote_to_bytes(path)
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return not any(byte < ord(" ") or byte == 0x7F for byte in text)  # noqa: PLR2004  # DEL


def is_short_enough(name: str) -> bool:
    """Whether the service accepts a name of this length: 1,024 UTF-16 units, 255 segments."""
    return len(name.encode("utf-16-le", "surrogatepass")) // 2 <= LONGEST_NAME and name.count("/") < MOST_SEGMENTS


def source_of(url: str) -> tuple[str, str]:
    """Return the encoded path of a copy source, and the part of its query that names a snapshot or version."""
    path, _, query = url.partition("://")[2].partition("?")
    snapshot = [pair for pair in query.split("&") if pair.lower().startswith(("snapshot=", "versionid="))]
    return "/" + path.partition("/")[2], "&".join(snapshot)


def origin(url: str) -> str:
    """Return a URL's scheme and host."""
    scheme, divider, rest = url.partition("://")
    return scheme + divider + rest.partition("/")[0]


def has_credentials(request: web.BaseRequest) -> bool:
    """Whether a request has credentials."""
    return "Authorization" in request.headers or bool(re.search("[?&]sig=", request.raw_path))


def _query(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split("&") if pair)
    return {unquote(name).lower(): unquote(value) for name, _, value in pairs}


def _name(method: str, container: str, blob: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    if blob and (lake := _lake_name(method, query, headers)):
        return lake
    table = _BLOB if blob else _CONTAINER if container else _SERVICE
    comp = query.get("comp", "")
    name = table.get((method, comp)) or f"{method} {comp}".strip()
    return _from_url(name, headers) if "x-ms-copy-source" in headers else name


def _lake_name(method: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Name an operation of the Data Lake Storage API; empty for the Blob API, which has the same URLs on loopback."""
    if method == "PUT" and "x-ms-rename-source" in headers:
        return "RenamePath"
    if method == "DELETE" and "recursive" in query:
        return "DeletePath"
    return _LAKE.get((method, query.get("resource") or query.get("action", "")), "")


def _from_url(name: str, headers: Mapping[str, str]) -> str:
    """Distinguish the requests with a source. Only CopyBlob is asynchronous."""
    if name != "PutBlob":
        return f"{name}FromUrl"
    if "x-ms-blob-type" in headers:
        return "PutBlobFromUrl"
    return "CopyBlobFromUrl" if headers.get("x-ms-requires-sync", "").lower() == "true" else "CopyBlob"

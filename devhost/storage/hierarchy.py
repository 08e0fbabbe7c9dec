"""The behaviour of accounts with a hierarchical namespace that matters to the app: directories, changed names, refusals.

A directory is stored as a blob without bytes, created with the first blob in it, so that lists and HEADs show it. Sources of
the facts (docs/service-answers.md explains the abbreviations): BOR (names, lists, snapshots), JSD (the HEAD of a directory),
azure-cli issue 21566 (copy of a directory), azure-sdk-for-net issue 39065 (its deletion), trino pull requests 20897 and 27278
and cloudpathlib issue 470 (the root), [doc] blob-service-error-codes and azcopy issue 2706 (blocks).
"""

from urllib.parse import quote

from aiohttp import web

from devhost.storage.answers import Answer, error
from devhost.storage.operations import Key, Operation, is_inside, parts, source_of
from devhost.storage.upstream import Upstream

MAX_SLASHES = 61
ROOT = "/"
FOLDER = "x-ms-meta-hdi_isfolder"
_CREATES = frozenset({"PutBlob", "PutBlobFromUrl", "PutBlockList", "CopyBlob", "CopyBlobFromUrl"})
_BLOCKS = frozenset({"PutBlock", "PutBlockFromUrl", "PutBlockList"})
_ROOT = {
    FOLDER: "true",
    "ETag": '"0x8DF000000000000"',
    "Last-Modified": "Mon, 30 Nov 2026 08:00:00 GMT",
    "x-ms-blob-type": "BlockBlob",
}
OK = 200
_NOT_YET = "FeatureNotYetSupportedForHierarchicalNamespaceAccounts"


class Hierarchy:
    """Answers for the accounts in `Upstream.hierarchical`."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._directories: set[Key] = set()

    def refusal(self, request: web.BaseRequest, wanted: Operation) -> Answer | None:
        """Refuse a request that such an account does not support."""
        source = self._upstream.stored(source_of(request.headers.get("x-ms-copy-source", ""))[0])
        if parts(source) in self._directories:
            return error(409, "OperationNotAllowedInCurrentState", "The operation is not allowed in the current state.")
        return self._refusal(request, wanted) if self._upstream.is_hierarchical(wanted.path) else None

    def _refusal(self, request: web.BaseRequest, wanted: Operation) -> Answer | None:
        if wanted.blob.count("/") >= MAX_SLASHES or (wanted.blob == ROOT and wanted.writes_a_blob):
            return error(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
        if wanted.name == "SnapshotBlob" or "x-ms-tags" in request.headers:
            return error(409, _NOT_YET, "This feature is not yet supported for hierarchical namespace accounts.")
        if wanted.name in {"GetTags", "SetTags", "GET tier"}:
            return error(400, "InvalidQueryParameterValue", "Value for one of the query parameters is invalid.")
        if wanted.name in _BLOCKS and wanted.key in self._upstream.made_by_lake:
            return error(409, "BlobOperationNotSupported", "Blob operation is not supported.")
        if wanted.name == "DeleteBlob" and wanted.key in self._directories:
            return error(400, "OperationNotSupportedOnDirectory", "The operation is not supported on a directory.")
        return None

    async def complete(self, request: web.BaseRequest, wanted: Operation, answer: Answer) -> None:
        """Create the directories of a new blob, and add the type to the answer about a blob or directory."""
        if not self._upstream.is_hierarchical(wanted.path):
            return
        if wanted.blob == ROOT and answer.code == "BlobNotFound":
            _show_root(answer)
        if not answer.ok:
            return
        if wanted.name in _CREATES:
            await self.add(wanted, folder=request.headers.get(FOLDER, "") == "true")
        elif wanted.name == "DeleteBlob":
            self._upstream.made_by_lake.discard(wanted.key)
        elif wanted.name in {"HeadBlob", "GetBlob"}:
            is_directory = wanted.blob == ROOT or wanted.key in self._directories
            answer.headers["x-ms-resource-type"] = "directory" if is_directory else "file"
        elif wanted.query.get("comp") == "properties" and wanted.query.get("restype") == "account":
            answer.headers["x-ms-is-hns-enabled"] = "true"

    def listed(self, key: Key, properties: dict[str, str]) -> dict[str, str]:
        """Add the type to a blob in a list. A directory has no content type."""
        if not self._upstream.is_hierarchical(f"/{key[0]}/"):
            return properties
        if key not in self._directories:
            return properties | {"ResourceType": "file"}
        return properties | {"ResourceType": "directory", "Content-Type": "", "Content-MD5": ""}

    async def add(self, wanted: Operation, *, folder: bool) -> None:
        """Record a new blob or directory, and create the directories above it."""
        segments = wanted.blob.split("/")[:-1]
        for end in range(1, len(segments) + 1):
            name = "/".join(segments[:end])
            path = f"/{wanted.account}/{wanted.container}/{quote(name)}"
            headers = {"x-ms-blob-type": "BlockBlob", "Content-Length": "0", FOLDER: "true", "If-None-Match": "*"}
            if (await self._upstream.ask("PUT", path, "", headers)).ok:
                self._directories.add((wanted.account, wanted.container, name))
        self._directories.discard(wanted.key)
        if folder:
            self._directories.add(wanted.key)

    def move(self, source: Key, target: Key) -> None:
        """Record that a blob or directory was renamed."""
        for keys in (self._directories, self._upstream.made_by_lake):
            moved = {key for key in keys if is_inside(key, source)}
            keys.difference_update([key for key in keys if is_inside(key, target)], moved)
            keys.update((*target[:2], target[2] + key[2].removeprefix(source[2])) for key in moved)

    def remove(self, root: Key) -> None:
        """Record that a blob or directory was deleted."""
        for keys in (self._directories, self._upstream.made_by_lake):
            keys.difference_update([key for key in keys if is_inside(key, root)])


def _show_root(answer: Answer) -> None:
    """Describe the root directory of a container. Permission to read blobs is enough (trino pull requests 20897, 27278)."""
    answer.drop()
    answer.status, answer.reason = OK, ""
    for name in ("x-ms-error-code", "Content-Type", "Transfer-Encoding"):
        answer.headers.pop(name, None)
    answer.headers.update(_ROOT)
    answer.replace(b"")

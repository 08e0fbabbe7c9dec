"""The Data Lake Storage API (dfs), as far as its SDK and Hadoop's driver write files: create, append, flush, rename, delete.

On loopback its URLs are those of the Blob API, which serves everything else. A file is a block blob: each append stages a
block whose id is its position, and each flush commits a longer list of blocks. Sources of the facts: [doc]
data-lake-storage-gen2 path-create, path-update and path-delete; arrow `azurefs.cc` (a rename onto a directory); hadoop
`AzureBlobFileSystem.java` (a rename keeps the ETag); [doc] event-schema-blob-storage (a flat account raises no event).
"""

import asyncio
import base64
import binascii
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote
from xml.etree import ElementTree as ET

from aiohttp import web
from multidict import CIMultiDict

from devhost.storage.answers import Answer, error
from devhost.storage.config import HOST
from devhost.storage.events import Caller, Events
from devhost.storage.hierarchy import FOLDER, Hierarchy
from devhost.storage.operations import Operation, has_credentials, is_inside, operation, parts
from devhost.storage.strictness import condition, unauthenticated
from devhost.storage.upstream import Upstream, ask_for_body

OK, CREATED, ACCEPTED = 200, 201, 202
_OF_A_TREE = {"x-devhost-tree": "true"}  # for `trees.cjs`
_CONTENT = (
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "content-md5",
    "cache-control",
)
_CODES = {"ContainerNotFound": "FilesystemNotFound", "BlobNotFound": "PathNotFound"}


class RefusedError(Exception):
    """The service refuses the call."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.answer = error(status, code, message)


@dataclass(frozen=True)
class Call:
    """A call of this API, or one of an SFTP client that does the same."""

    wanted: Operation
    headers: Mapping[str, str]
    caller: Caller
    body: bytes = b""

    @property
    def position(self) -> int:
        """The position at which to append, or up to which to flush."""
        return int(self.wanted.query.get("position", ""))

    def content(self) -> dict[str, str]:
        """Return the content headers and metadata of the call as the Blob API wants them."""
        names = [name for name in _CONTENT if f"x-ms-{name}" in self.headers]
        metadata = [pair.partition("=") for pair in self.headers.get("x-ms-properties", "").split(",") if pair]
        return {f"x-ms-blob-{name}": self.headers[f"x-ms-{name}"] for name in names} | {
            f"x-ms-meta-{name.strip()}": base64.b64decode(value).decode() for name, _, value in metadata
        }


@dataclass(slots=True)
class Blocks:
    """The blocks of a file as (position, size), in order."""

    committed: list[tuple[int, int]] = field(default_factory=list)
    staged: list[tuple[int, int]] = field(default_factory=list)

    def up_to(self, end: int) -> list[str] | None:
        """Return the blocks up to a position, as elements of a block list; None if they leave a gap or end elsewhere."""
        length, elements = 0, []
        for tag, blocks in ("Committed", self.committed), ("Uncommitted", self.staged):
            for position, size in blocks:
                if position == length < end:
                    length += size
                    elements.append(f"<{tag}>{_id(position)}</{tag}>")
        return elements if length == end and len(elements) >= len(self.committed) else None


class Lake:
    """Serves one call after the other, so that what a call checks still holds when it acts."""

    def __init__(self, upstream: Upstream, hierarchy: Hierarchy, events: Events) -> None:
        self._upstream = upstream
        self._hierarchy = hierarchy
        self._events = events
        self._lock = asyncio.Lock()
        self._acts = {
            "CreateFile": self._create_file,
            "CreateDirectory": self._create_directory,
            "AppendFile": self._append,
            "FlushFile": self._flush,
            "RenamePath": self._rename,
            "DeletePath": self._delete,
        }

    async def serve(self, request: web.BaseRequest, wanted: Operation) -> Answer:
        """Serve a client. Only the presence of its credentials is checked."""
        if not has_credentials(request):
            return unauthenticated("NoAuthenticationInformation")
        caller = Caller("", str(uuid.uuid4()), request.headers.get("x-ms-client-request-id", ""))
        await ask_for_body(request)
        return await self.act(Call(wanted, request.headers, caller, await request.content.read()))

    async def act(self, call: Call) -> Answer:
        """Serve a call. Its event is queued before this returns."""
        try:
            async with self._lock:
                answer = await self._acts[call.wanted.name](call)
        except RefusedError as refusal:
            answer = refusal.answer
        if not answer.ok:
            message = {"code": answer.code, "message": answer.reason}
            answer.headers["Content-Type"] = "application/json;charset=utf-8"
            answer.replace(json.dumps({"error": message}).encode())
        answer.headers["x-ms-request-id"] = call.caller.request_id
        return answer

    async def sftp(self, api: str, path: str, data: bytes = b"", to: str = "") -> Answer:
        """Act as an SFTP client on `account/container/encoded name`; `to` is the new `container/name` of a rename.

        A write and a commit append the data to what is there.
        """
        caller = Caller(api, str(uuid.uuid4()), identity="localuser")
        if api == "SftpRename":
            target = f"/{path.partition('/')[0]}/{to}"
            headers = CIMultiDict({"x-ms-rename-source": f"/{path.partition('/')[2]}"})
            return await self.act(Call(operation("PUT", target, headers), headers, caller))
        if api == "SftpCreate":
            return await self.act(Call(operation("PUT", f"/{path}?resource=file", {}), CIMultiDict(), caller))
        if api not in {"SftpWrite", "SftpCommit"}:
            raise ValueError("api is SftpCreate, SftpWrite, SftpCommit or SftpRename")
        size = int((await self._find(f"/{path}")).headers.get("Content-Length", "0"))
        append = operation("PATCH", f"/{path}?action=append&position={size}", {})
        flush = operation("PATCH", f"/{path}?action=flush&close=true&position={size + len(data)}", {})
        appended = await self.act(Call(append, CIMultiDict(), caller, data))
        return await self.act(Call(flush, CIMultiDict(), caller)) if appended.ok else appended

    async def _create_file(self, call: Call) -> Answer:
        found = await self._find(call.wanted.path)
        if _is_directory(found):
            raise RefusedError(
                409, "PathConflict", "The path exists and its resource type is invalid for this operation."
            )
        return await self._create(call, found)

    async def _create_directory(self, call: Call) -> Answer:
        self._require_hierarchy(call.wanted)
        found = await self._find(call.wanted.path)
        if found.ok and not _is_directory(found):
            raise RefusedError(409, "PathAlreadyExists", "The specified path already exists.")
        return await self._create(call, found, directory=True)

    async def _create(self, call: Call, found: Answer, *, directory: bool = False) -> Answer:
        _check(found, call.headers)
        folder = {FOLDER: "true"} if directory else {}
        headers = call.content() | folder | {"x-ms-blob-type": "BlockBlob", "Content-Length": "0"}
        made = _accepted(await self._upstream.ask("PUT", call.wanted.path, "", headers))
        if self._upstream.is_hierarchical(call.wanted.path):
            await self._hierarchy.add(call.wanted, folder=directory)
            if not directory:
                self._upstream.made_by_lake.add(call.wanted.key)
                await self._raise_created(call, "CreateFile", made)
        return _answer(CREATED, made)

    async def _append(self, call: Call) -> Answer:
        await self._blocks(call.wanted.path)
        headers = {"Content-Length": str(len(call.body))}
        query = f"comp=block&blockid={quote(_id(call.position), safe='')}"
        return _answer(
            ACCEPTED, _accepted(await self._upstream.ask("PUT", call.wanted.path, query, headers, call.body))
        )

    async def _flush(self, call: Call) -> Answer:
        blocks = await self._blocks(call.wanted.path)
        found = await self._find(call.wanted.path)
        _check(found, call.headers, taken=False)
        elements = blocks.up_to(call.position)
        if elements is None:
            message = "The data is not contiguous, or the position is not the length of the file with this data."
            raise RefusedError(400, "InvalidFlushPosition", message)
        body = f"<BlockList>{''.join(elements)}</BlockList>".encode()
        headers = found.metadata | found.content | call.content() | {"Content-Length": str(len(body))}
        flushed = _accepted(await self._upstream.ask("PUT", call.wanted.path, "comp=blocklist", headers, body))
        is_closed = call.wanted.query.get("close", "").lower() == "true"
        if is_closed and self._upstream.is_hierarchical(call.wanted.path):
            await self._raise_created(call, "FlushWithClose", flushed)
        return _answer(OK, flushed)

    async def _rename(self, call: Call) -> Answer:
        wanted = call.wanted
        sent = call.headers["x-ms-rename-source"].partition("?")[0]
        path = self._upstream.stored(f"/{quote(wanted.account)}{sent}")
        source, found = parts(path), await self._find(path)
        if not found.ok:
            code = "FilesystemNotFound" if found.code == "ContainerNotFound" else "SourcePathNotFound"
            raise RefusedError(404, code, "The source path for a rename operation does not exist.")
        if condition(found, call.headers, "x-ms-source-if-"):
            raise RefusedError(412, "SourceConditionNotMet", "The condition on the source is not met.")
        if is_inside(wanted.key, source):
            raise RefusedError(409, "InvalidRenameSourcePath", "The destination is the source, or inside of it.")
        directory = _is_directory(found)
        await self._check_destination(call, directory=directory)
        headers = {"x-ms-copy-source": f"http://{HOST}{path}", "Content-Length": "0"} | _OF_A_TREE
        renamed = _accepted(await self._upstream.ask("PUT", wanted.path, "", headers))
        self._hierarchy.move(source, wanted.key)
        if self._upstream.is_hierarchical(wanted.path):
            caller = _named(call.caller, "RenameDirectory" if directory else "RenameFile")
            await self._events.renamed(source, wanted.key, caller, directory=directory)
        return _answer(CREATED, renamed)

    async def _check_destination(self, call: Call, *, directory: bool) -> None:
        wanted = call.wanted
        if directory:
            self._require_hierarchy(wanted)
        target = await self._find(wanted.path)
        _check(target, call.headers)
        if target.ok and _is_directory(target) != directory:
            message = "The source and destination resource type must be identical."
            raise RefusedError(409, "InvalidSourceOrDestinationResourceType", message)
        if directory and target.ok and not await self._is_empty(wanted):
            raise RefusedError(409, "PathAlreadyExists", "The specified path already exists.")
        parent = wanted.path.rpartition("/")[0]
        if (
            "/" in wanted.blob
            and self._upstream.is_hierarchical(parent)
            and not _is_directory(await self._find(parent))
        ):
            message = "The parent directory of the destination path does not exist."
            raise RefusedError(404, "RenameDestinationParentPathNotFound", message)

    async def _delete(self, call: Call) -> Answer:
        wanted = call.wanted
        found = _accepted(await self._find(wanted.path))
        _check(found, call.headers, taken=False)
        if _is_directory(found):
            self._require_hierarchy(wanted)
            if wanted.query["recursive"].lower() != "true" and not await self._is_empty(wanted):
                message = "The recursive query parameter value must be true to delete a non-empty directory."
                raise RefusedError(409, "DirectoryNotEmpty", message)
        _accepted(await self._upstream.ask("DELETE", wanted.path, "", _OF_A_TREE))
        self._hierarchy.remove(wanted.key)
        return Answer(OK, CIMultiDict({"Content-Length": "0"}))

    async def _find(self, path: str) -> Answer:
        return await self._upstream.ask("HEAD", path)

    async def _is_empty(self, directory: Operation) -> bool:
        prefix = quote(f"{directory.blob}/", safe="")
        query = f"restype=container&comp=list&maxresults=1&prefix={prefix}"
        listed = await self._upstream.ask("GET", f"/{directory.account}/{directory.container}", query)
        return b"<Name>" not in listed.body

    async def _blocks(self, path: str) -> Blocks:
        """Return the blocks of a file; refuse one that the Blob API wrote."""
        listed = _accepted(await self._upstream.ask("GET", path, "comp=blocklist&blocklisttype=all"))
        root = ET.fromstring(listed.body)  # noqa: S314  # Azurite's own
        try:
            blocks = Blocks(_read(root, "CommittedBlocks"), _read(root, "UncommittedBlocks"))
        except (binascii.Error, ValueError):
            blocks = Blocks()
        if sum(size for _, size in blocks.committed) != int(listed.headers["x-ms-blob-content-length"]):
            message = "The resource was created or modified by the Blob Service API and cannot be written to."
            raise RefusedError(409, "InvalidFlushOperation", message)
        return blocks

    async def _raise_created(self, call: Call, api: str, made: Answer) -> None:
        await self._events.created(call.wanted, made.etag, _named(call.caller, api))

    def _require_hierarchy(self, wanted: Operation) -> None:
        """Refuse directories in a flat account. Azure imitates some of this, with events of no kind."""
        if not self._upstream.is_hierarchical(wanted.path):
            raise RefusedError(400, "HierarchicalNamespaceNotEnabled", "The account has no hierarchical namespace.")


def _named(caller: Caller, api: str) -> Caller:
    """Name the call, unless an SFTP client has named it."""
    return replace(caller, api=caller.api or api)


def _is_directory(found: Answer) -> bool:
    return found.headers.get(FOLDER) == "true"


def _check(found: Answer, headers: Mapping[str, str], *, taken: bool = True) -> None:
    """Refuse a call whose conditions do not hold. With `taken`, `If-None-Match: *` means that the path must be new."""
    status = condition(found, headers, "If-") if found.ok else int("If-Match" in headers)
    if status and taken and headers.get("If-None-Match") == "*":
        raise RefusedError(409, "PathAlreadyExists", "The specified path already exists.")
    if status:
        raise RefusedError(
            412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met."
        )


def _accepted(answer: Answer) -> Answer:
    """Return Azurite's answer if it is a success; else refuse the call likewise."""
    if not answer.ok:
        raise RefusedError(answer.status, _CODES.get(answer.code, answer.code), "The operation failed.")
    return answer


def _answer(status: int, made: Answer) -> Answer:
    kept = {name: made.headers[name] for name in ("ETag", "Last-Modified", "x-ms-version") if name in made.headers}
    return Answer(status, CIMultiDict(kept | {"Content-Length": "0"}))


def _id(position: int) -> str:
    return base64.b64encode(f"{position:020}".encode()).decode()


def _read(root: ET.Element, tag: str) -> list[tuple[int, int]]:
    found = ((block.findtext("Name", ""), block.findtext("Size", "")) for block in root.iterfind(f"{tag}/Block"))
    return sorted((int(base64.b64decode(name, validate=True)), int(size)) for name, size in found)

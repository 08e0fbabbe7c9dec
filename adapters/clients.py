"""The SDK's clients: one per endpoint and manner, made once per process, never per call.

Two manners: `reads` are tried again within their time; `acts` are sent once, for only a look tells what became of one.
"""

from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies
from xml.etree import ElementTree as ET

import aiohttp
from azure.core import MatchConditions
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob import BlobProperties, ContentSettings
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient, ExponentialRetry
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from adapters.codes import Meaning, Side
from adapters.translation import Request, code_of, error_for, request_scope
from rules.errors import UNREADABLE, Permanent, Reason
from rules.routes import names
from rules.routes.config import is_loopback
from rules.routes.model import Blob, Place
from rules.transfers.policies import Times

T = TypeVar("T")
RETRIES = 2
# aiohttp reads less by itself. All metadata together has 8 KB, in one header or in many.
MAX_HEADER, MAX_HEADERS = 16 * 1024, 8 * 1024
CONNECT_SECONDS = 10.0


# Where names are real folders; the SDK hides both.
RESOURCE_TYPE, LISTED_TYPE, DIRECTORY = "x-ms-resource-type", "ResourceType", "directory"
# The directory at the top of every container of such an account; elsewhere a blob has this name, or none.
ROOT, FOLDER = "/", "hdi_isfolder"

# The last answer in this context. A hook of one request alone is forgotten by the SDK when it makes that request again.
ANSWER: ContextVar[Any] = ContextVar("ANSWER")


class Backoff(ExponentialRetry):
    """The SDK's own first retry waits 15 ± 3 s; this one a fifteenth of the window, then twice that."""

    def __init__(self, first: float, retries: int) -> None:
        super().__init__(retry_total=retries)
        self._first = first

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Seconds before the next try; `count` is 0 before the first one."""
        return float(self._first * 2 ** settings["count"])


class Clients:
    """Everything that talks to storage. Use it within one event loop; `aclose` ends it.

    `key` is the emulator's account key, for loopback alone; elsewhere the app's identity is used: the user-assigned one of
    `client_id`, else the system-assigned one, else whatever a developer is logged in with.
    """

    def __init__(self, key: str | None, times: Times, user_agent: str, client_id: str | None = None) -> None:
        self.times = times
        self._key = key
        self._user_agent = user_agent
        self._client_id = client_id
        self._identity: AsyncTokenCredential | None = None
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._services: dict[tuple[str, bool], BlobServiceClient] = {}
        self._queues: dict[str, QueueServiceClient] = {}
        self._hierarchical: dict[str, bool] = {}

    async def aclose(self) -> None:
        """Close every connection, and the identity's."""
        for session in self._sessions.values():
            await session.close()
        if self._identity is not None:
            await self._identity.close()
        self._sessions, self._services, self._queues, self._identity = {}, {}, {}, None

    def request_scope(self, request: Request) -> AbstractAsyncContextManager[None]:
        """Give a request the protocol's timeout and translate what goes wrong."""
        return request_scope(request, self.times.timeout)

    def service(self, endpoint: str, *, act: bool = False) -> BlobServiceClient:
        """The client of a blob service."""
        if (endpoint, act) not in self._services:
            self._services[endpoint, act] = BlobServiceClient(endpoint, **self._options(endpoint, act=act))
        return self._services[endpoint, act]

    def container(self, endpoint: str, name: str) -> ContainerClient:
        """The client of a container, for reading."""
        return self.service(endpoint).get_container_client(name)

    def blob(self, blob: Blob, *, act: bool = False) -> BlobClient:
        """The client of a blob. From its raw name: `from_blob_url` loses trailing slashes."""
        return self.service(blob.endpoint, act=act).get_blob_client(blob.container, blob.name)

    async def head(self, request: Request, blob: Blob) -> BlobProperties | None:
        """One HEAD of a blob; None where there is none, and only there: a missing container is an error.

        A directory is not a blob: there is none at the source, and at the target none can be written.
        """
        await self.check_name(request, blob)
        found, is_directory = await self._seen(request, blob)
        if is_directory and request.side is Side.TARGET:
            raise error_for(request, Meaning.DIRECTORY)
        return None if is_directory else found

    async def check_name(self, request: Request, blob: Blob) -> None:
        """Refuse a name that this account would store as another one: what is there is another blob.

        Whether its namespace is hierarchical is asked once per process, and only for such a name: by a look at the root
        directory, which the roles on a container allow. Get Account Information says it too, but needs a role on the account
        (`blobServices/getInfo/action`). Where it cannot be asked, the name is not guessed at: the look fails as any other.

        Raises:
            Permanent: with the reason `invalid_name`.
        """
        why = names.hierarchical_refusal(blob.name)
        if why is None:
            return
        if blob.endpoint not in self._hierarchical:
            root, is_directory = await self._seen(request, Blob(blob.endpoint, blob.container, ROOT))
            self._hierarchical[blob.endpoint] = is_directory or bool(root and root.metadata.get(FOLDER) == "true")
        if self._hierarchical[blob.endpoint]:
            raise Permanent(Reason.INVALID_NAME, request.name, why)

    async def _seen(self, request: Request, blob: Blob) -> tuple[BlobProperties | None, bool]:
        """What one HEAD shows, and whether that is a directory."""
        async with self.request_scope(request):
            try:
                found = await self.blob(blob).get_blob_properties()
            except HttpResponseError as error:
                if code_of(error) == "BlobNotFound":
                    return None, False
                raise
        return found, ANSWER.get().headers.get(RESOURCE_TYPE) == DIRECTORY

    async def page(
        self, request: Request, place: Place, limit: int, marker: str | None
    ) -> tuple[list[BlobProperties], str | None]:
        """One page of a place's blobs, with metadata and copy properties; the next page's marker, None at the end.

        Where names are real folders, a directory is listed as an empty blob that says so: it is none, and left out. Where they
        are not, an empty blob with the metadata `hdi_isfolder` is a blob like any other.
        """
        ANSWER.set(None)
        async with self.request_scope(request):
            pages = (
                self.container(place.endpoint, place.container)
                .list_blobs(name_starts_with=place.prefix, include=["metadata", "copy"], results_per_page=limit)
                .by_page(marker)
            )
            try:
                items = [item async for item in await anext(pages)]
                following = getattr(pages, "continuation_token", None)
            except UNREADABLE:  # the SDK gives up a page for one item
                if ANSWER.get() is None:
                    raise
                items, following = _names_alone(ANSWER.get().body())
        return _without_directories(items, ANSWER.get().body()), following or None

    def queue(self, endpoint: str, name: str) -> QueueClient:
        """The client of a queue. Its messages are raw text."""
        if endpoint not in self._queues:
            self._queues[endpoint] = QueueServiceClient(endpoint, **self._options(endpoint, act=False))
        return self._queues[endpoint].get_queue_client(name)

    def key_for(self, endpoint: str) -> str | None:
        """The account key that opens this endpoint; None where the identity is to be used.

        Raises:
            Permanent: there is a key and the endpoint is not on this machine, or the other way round.
        """
        local = is_loopback(urlsplit(endpoint).hostname or "")
        if local and self._key is None:
            raise _refused(
                "the endpoint is a local emulator, but the state account is on Azure, so the app has no account key"
            )
        if not local and self._key is not None:
            raise _refused("an account key is used only with the local emulator, but the endpoint is not local")
        return self._key

    def _options(self, endpoint: str, *, act: bool) -> dict[str, Any]:
        return {
            "credential": self._credential(endpoint),
            "transport": AioHttpTransport(
                session=self._session(act=act),
                session_owner=False,
                connection_timeout=CONNECT_SECONDS,
                # A read has time for its retries; an act has all of it.
                read_timeout=self.times.timeout if act else self.times.window,
            ),
            "retry_policy": Backoff(self.times.window / 15, 0 if act else RETRIES),
            "user_agent": self._user_agent,
            "raw_response_hook": lambda error_for_answer: ANSWER.set(error_for_answer.http_response),
        }

    def _credential(self, endpoint: str) -> AsyncTokenCredential | dict[str, str]:
        key = self.key_for(endpoint)
        if key is not None:
            return {"account_name": Place(endpoint, "").account, "account_key": key}
        self._identity = self._identity or DefaultAzureCredential(managed_identity_client_id=self._client_id)
        return self._identity

    def _session(self, *, act: bool) -> aiohttp.ClientSession:
        if act not in self._sessions:
            session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_field_size=MAX_HEADER,
                max_headers=MAX_HEADERS,
                # aiohttp then looks for a proxy and reads ~/.netrc at each request, in threads: only where there is a proxy.
                trust_env=bool(getproxies()),
            )
            # aiohttp itself sends a PUT again when a kept connection breaks. There is no public switch.
            session._retry_connection = not act  # noqa: SLF001
            self._sessions[act] = session
        return self._sessions[act]


def _names_alone(body: bytes) -> tuple[list[BlobProperties], str | None]:
    """A page that the SDK cannot read: what its blobs are called, and where the list goes on."""
    page = ET.fromstring(body)  # noqa: S314  # the SDK has read it as XML
    return [BlobProperties(name=_name(blob.find("Name"))) for blob in page.iter("Blob")], page.findtext("NextMarker")


def _name(element: ET.Element | None) -> str:
    text = "" if element is None else element.text or ""
    return unquote(text) if element is not None and element.get("Encoded") == "true" else text


def _without_directories(items: list[BlobProperties], body: bytes) -> list[BlobProperties]:
    """The blobs of a page. Most pages have no directory, and are not read twice."""
    if f"<{LISTED_TYPE}>{DIRECTORY}<".encode() not in body:
        return items
    listed = ET.fromstring(body).iter("Blob")  # noqa: S314  # the SDK has just read the same bytes in the same way
    types = [blob.findtext(f"Properties/{LISTED_TYPE}") for blob in listed]
    return [item for item, kind in zip(items, types, strict=True) if kind != DIRECTORY]


def understood(request: Request, properties: BlobProperties, read: Callable[[BlobProperties], T]) -> T:
    """What a blob's properties say.

    Raises:
        Permanent: they lack what every blob has, or say what no blob says.
    """
    try:
        return read(properties)
    except UNREADABLE as error:
        raise _odd(request, type(error).__name__) from None


def each(
    request: Request, items: list[BlobProperties], read: Callable[[BlobProperties], T]
) -> list[tuple[str, T | Permanent]]:
    """The blobs of a page by their names; an error in place of one that cannot be understood."""

    def one(item: BlobProperties) -> T | Permanent:
        if item["etag"] is None or item["size"] is None:
            return _odd(request, "no ETag or no size")
        try:
            return understood(request, item, read)
        except Permanent as odd:
            return odd

    return [(item.name or "", one(item)) for item in items]


def _odd(request: Request, why: str) -> Permanent:
    detail = f"the app cannot read the service's answer about the blob ({why})"
    return Permanent(Reason.UNSUPPORTED_BLOB, request.name, detail)


def md5(settings: ContentSettings) -> str | None:
    """The Content-MD5 header as the service wrote it, in base64; None where there is none."""
    return b64encode(settings.content_md5).decode() if settings.content_md5 else None


def condition(etag: str | None) -> dict[str, Any]:
    """The SDK's words for If-Match, or for If-None-Match: * where there is no ETag (it takes no None beside that)."""
    if etag is None:
        return {"match_condition": MatchConditions.IfMissing}
    return {"match_condition": MatchConditions.IfNotModified, "etag": quoted_etag(etag)}


def quoted_etag(etag: str) -> str:
    """An ETag as HTTP writes it; the SDK sends what it is given."""
    return f'"{etag}"'


def _refused(why: str) -> Permanent:
    return Permanent(Reason.INTERNAL, "clients", why)

"""The SDK's clients: one per endpoint and use, made once per process.

The SDK retries requests within their timeout, except acts. An act changes a target and is sent once: if its response is lost,
only a read of the target shows whether it took effect. The caller retries the staging of blocks.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from enum import Enum, auto
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies
from xml.etree import ElementTree as ET

import aiohttp
from azure.core import MatchConditions
from azure.core.credentials import AzureKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.eventgrid.aio import EventGridPublisherClient
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob import BlobProperties, ContentSettings
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient, ExponentialRetry
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from adapters.codes import Meaning, Side
from adapters.credentials import Cloud, Partner, PartnerCredential, cloud_of
from adapters.requests import Requests, blob_properties
from adapters.translation import Request, code_of, error_for, request_scope
from rules.errors import UNREADABLE, Permanent, Reason
from rules.routes import names
from rules.routes.config import is_loopback
from rules.routes.model import Blob, Place
from rules.transfers.policies import STAGE_TIMEOUT, Times

S = TypeVar("S")
T = TypeVar("T")
SCOPE = "https://storage.azure.com/.default"
RETRIES = 2
# aiohttp's defaults are lower. A blob's metadata has up to 8 KB, in one header or in many.
MAX_HEADER, MAX_HEADERS = 16 * 1024, 8 * 1024
CONNECT_SECONDS = 10.0
HEADERS = ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control")


class Use(Enum):
    """What a client is used for: reads, acts, or to stage blocks, which takes long and happens many times at once."""

    READ = auto()
    ACT = auto()
    STAGE = auto()


# The connections that a process may have for each use. For blocks they are the process's limit of requests in flight (rule 20).
MOST_CONNECTIONS = {Use.READ: 100, Use.ACT: 100, Use.STAGE: 128}

# Only accounts with a hierarchical namespace send these. The SDK exposes neither.
RESOURCE_TYPE, LISTED_TYPE, DIRECTORY = "x-ms-resource-type", "ResourceType", "directory"
# The root directory of a container in such an account; in other accounts this is an ordinary blob name.
ROOT, FOLDER = "/", "hdi_isfolder"

# The latest response in this context. A hook on the client sets it: the SDK drops a hook on a request when it retries.
LAST_RESPONSE: ContextVar[Any] = ContextVar("LAST_RESPONSE")


class Backoff(ExponentialRetry):
    """Wait `first` seconds before the first retry, then double it. The SDK's own first retry waits 15 ± 3 s."""

    def __init__(self, first: float, retries: int) -> None:
        super().__init__(retry_total=retries)
        self._first = first

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Return the seconds before the next retry; `count` is 0 before the first one."""
        return float(self._first * 2 ** settings["count"])


class Clients:
    """The storage clients of a process. Use them in one event loop, and close them with `aclose`.

    `key` is the emulator's account key, which only loopback endpoints get. Other endpoints get the app's identity: the
    user-assigned one of `client_id`, else the system-assigned one, else the developer's login. The endpoints in `partners`
    are in other tenants and get the app registration that trusts this identity.
    """

    def __init__(
        self,
        key: str | None,
        times: Times,
        user_agent: str,
        client_id: str | None = None,
        partners: Mapping[str, Partner] | None = None,
    ) -> None:
        self.times = times
        self._key = key
        self._user_agent = user_agent
        self._client_id = client_id
        self._partners = partners or {}
        self._identity: AsyncTokenCredential | None = None
        self._exchanges: dict[tuple[Partner, Cloud], PartnerCredential] = {}
        self._sessions: dict[Use, aiohttp.ClientSession] = {}
        self._services: dict[tuple[str, Use], BlobServiceClient] = {}
        self._requests: dict[tuple[str, Use], Requests] = {}
        self._queues: dict[str, QueueServiceClient] = {}
        self._topics: dict[str, EventGridPublisherClient] = {}
        self._hierarchical: dict[str, bool] = {}

    async def aclose(self) -> None:
        """Close every connection, including those of the credentials."""
        for session in self._sessions.values():
            await session.close()
        for exchange in self._exchanges.values():
            await exchange.close()
        if self._identity is not None:
            await self._identity.close()
        self._sessions, self._services, self._requests, self._queues, self._topics = {}, {}, {}, {}, {}
        self._exchanges, self._identity = {}, None

    def request_scope(self, request: Request, seconds: float | None = None) -> AbstractAsyncContextManager[None]:
        """Limit the enclosed requests to the protocol's timeout, and translate their errors to those of `rules.errors`."""
        return request_scope(request, seconds or self.times.timeout)

    def service(self, endpoint: str, use: Use = Use.READ) -> BlobServiceClient:
        """Return the client of a blob service."""
        if (endpoint, use) not in self._services:
            self._services[endpoint, use] = BlobServiceClient(endpoint, **self._options(endpoint, use))
        return self._services[endpoint, use]

    def container(self, endpoint: str, name: str) -> ContainerClient:
        """Return the client of a container, for reading."""
        return self.service(endpoint).get_container_client(name)

    def blob(self, blob: Blob, use: Use = Use.READ) -> BlobClient:
        """Return the client of a blob, made from its raw name: `from_blob_url` drops trailing slashes."""
        return self.service(blob.endpoint, use).get_blob_client(blob.container, blob.name)

    def requests(self, endpoint: str, use: Use = Use.READ) -> Requests:
        """Return the sender of the requests that every transfer needs."""
        if (endpoint, use) not in self._requests:
            service = self.service(endpoint, use)
            self._requests[endpoint, use] = Requests(
                service, self._options(endpoint, use), self._signing(endpoint, service)
            )
        return self._requests[endpoint, use]

    async def head(self, request: Request, blob: Blob) -> BlobProperties | None:
        """Send a HEAD for a blob. Return None only if the blob does not exist: a missing container is an error.

        A directory is not a blob: at the source it counts as no blob, at the target it is an error.
        """
        await self.check_name(request, blob)
        properties, is_directory = await self._properties(request, blob)
        if is_directory and request.side is Side.TARGET:
            raise error_for(request, Meaning.DIRECTORY)
        return None if is_directory else properties

    async def check_name(self, request: Request, blob: Blob) -> None:
        """Refuse a name that this account would store as another name, and so as another blob.

        Only an account with a hierarchical namespace does so. The first such name of an account costs one HEAD of the root
        directory, which shows the kind of namespace. Get Account Information would show it too, but needs a role on the
        account (`blobServices/getInfo/action`). If the HEAD fails, this call raises its error.

        Raises:
            Permanent: with the reason `invalid_name`.
        """
        refusal = names.hierarchical_refusal(blob.name)
        if refusal is None:
            return
        if blob.endpoint not in self._hierarchical:
            root, is_directory = await self._properties(request, Blob(blob.endpoint, blob.container, ROOT))
            self._hierarchical[blob.endpoint] = is_directory or bool(root and root.metadata.get(FOLDER) == "true")
        if self._hierarchical[blob.endpoint]:
            raise Permanent(Reason.INVALID_NAME, request.name, refusal)

    async def _properties(self, request: Request, blob: Blob) -> tuple[BlobProperties | None, bool]:
        """Send a HEAD; return the properties, and whether they are of a directory."""
        async with self.request_scope(request):
            try:
                response = await self.requests(blob.endpoint).send("HEAD", blob.url)
            except HttpResponseError as error:
                if code_of(error) == "BlobNotFound":
                    return None, False
                raise
        return convert(request, response, blob_properties), response.headers.get(RESOURCE_TYPE) == DIRECTORY

    async def page(
        self, request: Request, place: Place, limit: int, marker: str | None
    ) -> tuple[list[BlobProperties], str | None]:
        """List one page of blobs with metadata and copy properties; return it with the next marker, None at the end.

        An account with a hierarchical namespace lists a directory as an empty blob of resource type `directory`. The page
        leaves it out. In other accounts an empty blob with the metadata `hdi_isfolder` is an ordinary blob.
        """
        LAST_RESPONSE.set(None)
        async with self.request_scope(request):
            pages = (
                self.container(place.endpoint, place.container)
                .list_blobs(name_starts_with=place.prefix, include=["metadata", "copy"], results_per_page=limit)
                .by_page(marker)
            )
            try:
                items = [item async for item in await anext(pages)]
                next_marker = getattr(pages, "continuation_token", None)
            except UNREADABLE:  # one unreadable item makes the SDK fail the whole page
                if LAST_RESPONSE.get() is None:
                    raise
                items, next_marker = _parse_names(LAST_RESPONSE.get().body())
        return _without_directories(items, LAST_RESPONSE.get().body()), next_marker or None

    def queue(self, endpoint: str, name: str) -> QueueClient:
        """Return the client of a queue. Its messages are raw text."""
        if endpoint not in self._queues:
            self._queues[endpoint] = QueueServiceClient(endpoint, **self._options(endpoint, Use.READ))
        return self._queues[endpoint].get_queue_client(name)

    def topic(self, url: str) -> EventGridPublisherClient:
        """Return the client of an Event Grid topic."""
        if url not in self._topics:
            options = self._options(url, Use.READ)
            credential = options.pop("credential")
            del options["retry_policy"]
            if isinstance(credential, dict):
                credential = AzureKeyCredential(credential["account_key"])
            # This SDK makes its own retry policy, and does not use one that is passed.
            options |= {
                "retry_total": RETRIES,
                "retry_backoff_factor": self.times.window / 30,
                "permit_redirects": False,
            }
            self._topics[url] = EventGridPublisherClient(url, credential, **options)
        return self._topics[url]

    def key_for(self, endpoint: str) -> str | None:
        """Return the account key for this endpoint; None if the identity is used.

        Raises:
            Permanent: the app has a key but the endpoint is not local, or the endpoint is local but the app has no key.
        """
        local = is_loopback(urlsplit(endpoint).hostname or "")
        if local and self._key is None:
            raise _wrong_endpoint(
                "the endpoint is a local emulator, but the state account is on Azure, so the app has no account key"
            )
        if not local and self._key is not None:
            raise _wrong_endpoint("an account key is used only with the local emulator, but the endpoint is not local")
        return self._key

    def _options(self, endpoint: str, use: Use) -> dict[str, Any]:
        # A read leaves time for its retries; the others may use the whole timeout.
        timeouts = {Use.READ: self.times.window, Use.ACT: self.times.timeout, Use.STAGE: STAGE_TIMEOUT}
        return {
            "credential": self._credential(endpoint),
            "transport": AioHttpTransport(
                session=self._session(use),
                session_owner=False,
                connection_timeout=CONNECT_SECONDS,
                read_timeout=timeouts[use],
            ),
            "retry_policy": Backoff(self.times.window / 15, RETRIES if use is Use.READ else 0),
            "user_agent": self._user_agent,
            "raw_response_hook": lambda response: LAST_RESPONSE.set(response.http_response),
        }

    def _credential(self, endpoint: str) -> AsyncTokenCredential | dict[str, str]:
        key = self.key_for(endpoint)
        if key is not None:
            return {"account_name": Place(endpoint, "").account, "account_key": key}
        self._identity = self._identity or DefaultAzureCredential(managed_identity_client_id=self._client_id)
        if endpoint not in self._partners:
            return self._identity
        partner, cloud = self._partners[endpoint], cloud_of(endpoint)
        if (partner, cloud) not in self._exchanges:
            self._exchanges[partner, cloud] = PartnerCredential(partner, cloud, self._identity)
        return self._exchanges[partner, cloud]

    def _signing(self, endpoint: str, service: BlobServiceClient) -> Any:
        """Return the policy that signs requests. The SDK shows only the one of an account key."""
        credential = self._credential(endpoint)
        if isinstance(credential, dict):
            return service.credential
        return AsyncBearerTokenCredentialPolicy(credential, SCOPE)

    def _session(self, use: Use) -> aiohttp.ClientSession:
        if use not in self._sessions:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MOST_CONNECTIONS[use]),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_field_size=MAX_HEADER,
                max_headers=MAX_HEADERS,
                # With True, aiohttp looks for a proxy and reads ~/.netrc in threads at each request.
                trust_env=bool(getproxies()),
            )
            # aiohttp resends a PUT when a kept-alive connection breaks. It has no public switch for that.
            session._retry_connection = use is Use.READ  # noqa: SLF001
            self._sessions[use] = session
        return self._sessions[use]


def _parse_names(body: bytes) -> tuple[list[BlobProperties], str | None]:
    """Read only names and the next marker from a page that the SDK cannot read."""
    page = ET.fromstring(body)  # noqa: S314  # the SDK has parsed it as XML
    return [BlobProperties(name=_blob_name(blob.find("Name"))) for blob in page.iter("Blob")], page.findtext(
        "NextMarker"
    )


def _blob_name(element: ET.Element | None) -> str:
    text = "" if element is None else element.text or ""
    return unquote(text) if element is not None and element.get("Encoded") == "true" else text


def _without_directories(items: list[BlobProperties], body: bytes) -> list[BlobProperties]:
    """Drop the directories of a page. Most pages have none, and are not parsed twice."""
    if f"<{LISTED_TYPE}>{DIRECTORY}<".encode() not in body:
        return items
    listed = ET.fromstring(body).iter("Blob")  # noqa: S314  # the SDK has parsed the same bytes the same way
    types = [blob.findtext(f"Properties/{LISTED_TYPE}") for blob in listed]
    return [item for item, kind in zip(items, types, strict=True) if kind != DIRECTORY]


def convert(request: Request, answer: S, read: Callable[[S], T]) -> T:
    """Convert an answer about a blob with `read`.

    Raises:
        Permanent: a property is missing or invalid.
    """
    try:
        return read(answer)
    except UNREADABLE as error:
        raise _unreadable(request, type(error).__name__) from None


def convert_page(
    request: Request, items: list[BlobProperties], read: Callable[[BlobProperties], T]
) -> list[tuple[str, T | Permanent]]:
    """Convert a page to pairs of name and blob. For a blob that cannot be read, the pair holds the error instead."""

    def convert_item(item: BlobProperties) -> T | Permanent:
        if item["etag"] is None or item["size"] is None:
            return _unreadable(request, "no ETag or no size")
        try:
            return convert(request, item, read)
        except Permanent as error:
            return error

    return [(item.name or "", convert_item(item)) for item in items]


def _unreadable(request: Request, cause: str) -> Permanent:
    detail = f"the app cannot read the service's answer about the blob ({cause})"
    return Permanent(Reason.UNSUPPORTED_BLOB, request.name, detail)


def md5(settings: ContentSettings) -> str | None:
    """Return the Content-MD5 header in base64, as the service sent it; None if there is none."""
    return b64encode(settings.content_md5).decode() if settings.content_md5 else None


def content_headers(settings: ContentSettings) -> dict[str, str]:
    """Return a blob's content headers by the SDK's names, `content_md5` in base64, without those that are not set."""
    headers = {name: value for name in HEADERS if (value := getattr(settings, name))}
    return headers | ({"content_md5": value} if (value := md5(settings)) else {})


def content_settings(request: Request, headers: dict[str, str]) -> ContentSettings:
    """Return the SDK's form of content headers, the reverse of `content_headers`.

    Raises:
        Permanent: a header is not ASCII. The SDK might encode it differently and so change it.
    """
    if not "".join(headers.values()).isascii():
        raise Permanent(Reason.UNSUPPORTED_BLOB, request.name, "its content headers contain non-ASCII characters")
    digest = headers.get("content_md5")
    values = {name: headers.get(name) for name in HEADERS}
    return ContentSettings(**values, content_md5=bytearray(b64decode(digest)) if digest else None)


def condition(etag: str | None) -> dict[str, Any]:
    """Return the SDK's arguments for If-Match with this ETag, or for If-None-Match: * if `etag` is None."""
    if etag is None:
        return {"match_condition": MatchConditions.IfMissing}
    return {"match_condition": MatchConditions.IfNotModified, "etag": quoted_etag(etag)}


def quoted_etag(etag: str) -> str:
    """Return an ETag in quotes, as HTTP writes it; the SDK does not add them."""
    return f'"{etag}"'


def _wrong_endpoint(detail: str) -> Permanent:
    return Permanent(Reason.INTERNAL, "clients", detail)

"""The proxy's connection to Azurite, for requests of clients and of the proxy itself."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from multidict import CIMultiDict
from yarl import URL

from devhost.storage.answers import Answer, end_to_end, error
from devhost.storage.azurite import KEEP_ALIVE_SECONDS
from devhost.storage.config import (
    CONTAINERS,
    EVENT_QUEUE,
    EVENTS_ACCOUNT,
    FEED_QUEUE,
    HOST,
    QUEUES,
    STATE_ACCOUNT,
    Config,
    StackError,
)
from devhost.storage.operations import Key, has_credentials, origin, parts, source_of, stored

LONGEST_LINE = 65536
"""A name of 1,024 characters may take 12 KiB when encoded, and a copy has two."""
_OF_A_SAS = frozenset(
    {"sv", "ss", "srt", "sr", "sp", "st", "se", "sip", "spr", "si", "sig", "skoid", "sktid", "skt", "ske", "sks", "skv"}
)
CREATED_OR_THERE = (201, 204, 409)


class Upstream:
    """Sends requests to Azurite. The proxy's own are signed by a SAS in the URL."""

    def __init__(self, session: ClientSession, blob_port: int, config: Config) -> None:
        self._session = session
        self._blobs = f"http://{HOST}:{blob_port}"
        self._queues = f"http://{HOST}:{config.queue_port}"
        self.hierarchical: frozenset[str] = frozenset()
        """Accounts with a hierarchical namespace."""
        self.made_by_lake: set[Key] = set()
        """Blobs of these accounts that the Data Lake API made. They accept no blocks until they are deleted."""
        self.accounts = config.accounts
        self._sas = {account: _sas(account, config.key) for account in config.accounts}

    async def forward(self, request: web.BaseRequest) -> Answer:
        """Forward a client's request unchanged, with the client's Host and signature.

        If the stored name differs from the sent one, the client's signature is not valid for it, and a SAS replaces it.
        """
        await ask_for_body(request)
        path, query, headers = self._signed(request)
        url = URL(f"{self._blobs}{path}{query}", encoded=True)
        body = request.content if request.body_exists else None
        return Answer.of(await self._session.request(request.method, url, headers=headers, data=body))

    def _signed(self, request: web.BaseRequest) -> tuple[str, str, CIMultiDict[str]]:
        """Return the path, the query with its question mark, and the headers for Azurite."""
        sent, _, query = request.raw_path.partition("?")
        path, headers = self.stored(sent), end_to_end(request.headers)
        source = headers.get("x-ms-copy-source", "")
        sas = self._sas.get(parts(path)[0])
        if (path, self._stored(source)) == (sent, source) or not sas or not has_credentials(request):
            return sent, f"?{query}" if query else "", headers
        headers.pop("Authorization", None)
        headers.update(self._from_stored(headers))
        pairs = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in _OF_A_SAS]
        return path, f"?{'&'.join((*pairs, sas))}", headers

    def _stored(self, source: str) -> str:
        """Return the URL of a copy's stored source. If the name differs from the sent one, a SAS replaces the client's."""
        path, snapshot = source_of(source)
        sas = self._sas.get(parts(path)[0])
        return (
            source if self.stored(path) == path or not sas else f"{origin(source)}{self.stored(path)}?{snapshot}&{sas}"
        )

    def _from_stored(self, headers: Mapping[str, str]) -> dict[str, str]:
        source = headers.get("x-ms-copy-source")
        return {"x-ms-copy-source": self._stored(source)} if source else {}

    async def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request of the proxy itself about a blob or container; read the whole answer."""
        if parts(path)[0] not in self._sas:
            return error(404, "ResourceNotFound", "The account does not exist.")
        return await self._own(method, f"{self._blobs}{path}", query, headers, body)

    def is_hierarchical(self, path: str) -> bool:
        """Whether the account of a path has a hierarchical namespace."""
        return parts(path)[0] in self.hierarchical

    def stored(self, path: str) -> str:
        """Return the path under which a blob is stored."""
        return stored(path, folds=self.is_hierarchical(path))

    def serves(self, url: str, host: str) -> bool:
        """Whether a URL is in one of these accounts at `host`."""
        return url.partition("://")[2].partition("/")[0] == host and parts(source_of(url)[0])[0] in self._sas

    async def read_as(self, url: str) -> Answer:
        """Read a blob's properties with the rights in its URL."""
        path, snapshot = source_of(url)
        if self.stored(path) != path:
            return await self.ask("HEAD", self.stored(path), snapshot)
        target = url.partition("://")[2].partition("/")[2]
        async with self._session.head(URL(f"{self._blobs}/{target}", encoded=True)) as response:
            return Answer(response.status, end_to_end(response.headers))

    async def enqueue(self, account: str, message: str) -> None:
        """Put a message that never expires on an account's event queue; raise StackError if that fails."""
        url = f"{self._queues}/{account}/{EVENT_QUEUE}/messages"
        body = f"<QueueMessage><MessageText>{message}</MessageText></QueueMessage>".encode()
        answer = await self._own("POST", url, "messagettl=-1", {"Content-Type": "application/xml"}, body)
        if not answer.ok:
            raise StackError(f"The queue refused an event: {answer.status} {answer.code}")

    async def create_missing(self) -> None:
        """Create the containers and queues that the app expects."""
        wanted = [(f"{self._blobs}/{account}/{container}", "restype=container") for account, container in CONTAINERS]
        wanted += [(f"{self._queues}/{EVENTS_ACCOUNT}/{queue}", "") for queue in QUEUES]
        wanted += [(f"{self._queues}/{STATE_ACCOUNT}/{FEED_QUEUE}", "")]
        for url, query in wanted:
            answer = await self._own("PUT", url, query)
            if answer.status not in CREATED_OR_THERE:
                raise StackError(f"Azurite refused to create {url}: {answer.status} {answer.code}")

    async def _own(
        self, method: str, url: str, query: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        account = url.split("/")[3]
        signed = URL(f"{url}?{query}&{self._sas[account]}", encoded=True)
        headers = dict(headers or {}) | self._from_stored(headers or {})
        async with self._session.request(method, signed, headers=headers, data=body) as response:
            answer = Answer(response.status, end_to_end(response.headers))
            answer.body = await response.read()
            return answer


async def ask_for_body(request: web.BaseRequest) -> None:
    """Ask a client for its body, if it waits for that."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@contextlib.asynccontextmanager
async def connected(blob_port: int, config: Config) -> AsyncIterator[Upstream]:
    """Connect to Azurite for the block. Connections are unlimited, since Azurite reads copy sources through the proxy."""
    async with ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS / 2),
        timeout=ClientTimeout(total=None),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    ) as session:
        yield Upstream(session, blob_port, config)


def _sas(account: str, key: str) -> str:
    """Sign all operations on an account, for longer than a stack runs."""
    return generate_account_sas(
        account,
        key,
        resource_types=ResourceTypes(service=True, container=True, object=True),
        permission=AccountSasPermissions(
            read=True, write=True, delete=True, list=True, add=True, create=True, update=True, process=True, tag=True
        ),
        expiry=datetime.now(UTC) + timedelta(days=3650),
        services="bq",
    )

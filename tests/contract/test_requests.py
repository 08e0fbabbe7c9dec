"""The requests that bypass the SDK's blob client: their headers are those that the SDK would send."""

from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import HttpRequest
from azure.storage.blob import StandardBlobTier
from azure.storage.blob.aio import BlobServiceClient

from adapters.clients import Clients, Use, condition, quoted_etag
from adapters.requests import copy_headers
from adapters.translation import SOURCE_HEAD
from devhost.storage.config import KEY
from ports.blobs import Copy, CopySource
from rules.errors import Retryable
from rules.routes.model import Blob, Engine
from rules.transfers.policies import Times
from tests.contract.helpers import NAMES

AZURE = "https://acct.blob.core.windows.net"
LOCAL = "http://127.0.0.1:9/acct"
# Set anew for each request, or by one of the two only.
OWN = {"x-ms-date", "x-ms-client-request-id", "user-agent", "authorization", "accept"}


class Recorder(AsyncHttpTransport[Any, Any]):
    """Records requests, and fails each."""

    def __init__(self) -> None:
        self.sent: list[HttpRequest] = []

    async def send(self, request: Any, **_options: Any) -> Any:
        self.sent.append(request)
        raise ServiceRequestError("not sent")

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def sleep(self, duration: float) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_arguments: object) -> None: ...


class Recording(Clients):
    """Clients whose requests a Recorder keeps."""

    def __init__(self, key: str | None) -> None:
        super().__init__(key, Times(1), "test")
        self.recorder = Recorder()

    def _options(self, endpoint: str, use: Use) -> dict[str, Any]:
        return super()._options(endpoint, use) | {"transport": self.recorder}


def headers(request: HttpRequest) -> dict[str, str]:
    """The headers that follow from the request alone."""
    return {name.lower(): value for name, value in request.headers.items() if name.lower() not in OWN}


@pytest.mark.parametrize("name", NAMES)
async def test_a_url_is_the_sdks(name: str) -> None:
    blob = Blob(AZURE, "container", name)
    assert blob.url == BlobServiceClient(AZURE).get_blob_client("container", name).url


@pytest.mark.parametrize("engine", [Engine.SYNC, Engine.ASYNC])
@pytest.mark.parametrize("if_match", [None, "0x2"])
@pytest.mark.parametrize(
    "options", [{}, {"tier": "Cool"}, {"tags": {"a b": "c&d=é/~.-_+", "e": ""}}, {"metadata": {"Key": "a  b", "e": ""}}]
)
async def test_a_copy_is_the_sdks(engine: Engine, if_match: str | None, options: dict[str, Any]) -> None:
    clients = Recording(KEY)
    source = CopySource(f"{AZURE}/source/a%20b~%C3%BC?sv=1&sig=a%2Bb")
    copy = Copy(Blob(LOCAL, "target", "a b"), source, "0x1", engine, **({"metadata": {}} | options), if_match=if_match)
    sync = engine is Engine.SYNC
    with pytest.raises(ServiceRequestError):
        await clients.requests(LOCAL, Use.ACT).send("PUT", copy.target.url, copy_headers(copy, requires_sync=sync))
    with pytest.raises(ServiceRequestError):
        await clients.blob(copy.target, Use.ACT).start_copy_from_url(
            source.url,
            metadata=copy.metadata,
            source_etag=quoted_etag(copy.etag),
            source_match_condition=condition("")["match_condition"],
            standard_blob_tier=StandardBlobTier(copy.tier) if copy.tier else None,
            tags=copy.tags or None,
            requires_sync=sync or None,
            **condition(if_match),
        )
    ours, theirs = clients.recorder.sent
    assert (ours.method, ours.url) == (theirs.method, theirs.url)
    assert {name: value.lower() for name, value in headers(ours).items()} == {
        name: value.lower() for name, value in headers(theirs).items()
    }
    assert ours.headers["Authorization"].startswith("SharedKey acct:")
    await clients.aclose()


async def test_each_try_is_signed_with_a_token_for_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    class Identity:
        async def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
            asked.append(scopes)
            return AccessToken("a-token", 2**40)

        async def close(self) -> None: ...

        async def __aexit__(self, *_arguments: object) -> None: ...

    monkeypatch.setattr("adapters.clients.DefaultAzureCredential", lambda **_options: Identity())
    clients = Recording(None)
    with pytest.raises(Retryable) as failure:
        await clients.head(SOURCE_HEAD, Blob(AZURE, "source", "blob"))
    assert asked == [("https://storage.azure.com/.default",)], "one token serves all tries"
    assert [request.headers["Authorization"] for request in clients.recorder.sent] == ["Bearer a-token"] * 3
    assert "a-token" not in str(failure.value)
    await clients.aclose()

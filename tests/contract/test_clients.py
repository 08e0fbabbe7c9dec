"""The clients of storage: reads are retried, acts are sent once, both within a timeout and with the right credential."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from adapters.clients import Clients, Use
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from devhost.storage.config import KEY
from ports.blobs import Commit
from rules.errors import LookAgain, Permanent, Reason, Retryable, StorageError
from rules.routes.model import Blob, Engine
from rules.transfers.blocks import Block
from rules.transfers.policies import Times
from settings import OWN_ACCOUNTS, from_env
from tests.contract.helpers import request
from tests.contract.worlds import InStorage

BUSY = {"status": 503, "code": "ServerBusy"}
LOST = {"when": "after", "drop": True}
AZURE = "https://acct.blob.core.windows.net"
BLOB = Blob(AZURE, "source", "blob")


def requests_of(storage: InStorage, operation: str) -> list[dict[str, Any]]:
    """Return the requests for this test's blobs."""
    entries = storage.stack.control.requests(operation=operation, internal=False)
    return [entry for entry in entries if entry["blob"].startswith(storage.test)]


def inject(storage: InStorage, operation: str, action: dict[str, Any], times: int) -> None:
    """Inject a fault into the next requests for this test's blobs."""
    storage.stack.control.add_fault({"operation": operation, "blob": storage.test}, action, times)


@pytest.mark.parametrize("action", [BUSY, LOST])
async def test_a_read_is_retried_twice(storage: InStorage, action: dict[str, Any]) -> None:
    await storage.put(storage.source_blob())
    before = len(requests_of(storage, "HeadBlob"))
    inject(storage, "HeadBlob", action, 2)
    assert await storage.source.head(storage.source_blob()) is not None
    assert len(requests_of(storage, "HeadBlob")) - before == 3


async def test_a_read_fails_after_the_third_try(storage: InStorage) -> None:
    inject(storage, "HeadBlob", BUSY, 4)
    with pytest.raises(Retryable) as failure:
        await storage.target.head(storage.target_blob())
    assert (failure.value.reason, len(requests_of(storage, "HeadBlob"))) == (Reason.THROTTLED, 3)
    storage.stack.control.remove_faults()


@pytest.mark.parametrize("action", [BUSY, LOST, {"drop": True}])
@pytest.mark.parametrize(
    "operation",
    ["CopyBlobFromUrl", "CopyBlob", "PutBlockFromUrl", "PutBlockList", "AbortCopy", "SetProperties", "DeleteBlob"],
)
async def test_an_act_is_sent_once(storage: InStorage, operation: str, action: dict[str, Any]) -> None:
    """Neither the SDK nor aiohttp (on a kept-alive connection) sends it again."""
    engine = Engine.SYNC if operation == "CopyBlobFromUrl" else Engine.ASYNC
    copy = await request(storage, engine)
    await storage.target.copy(replace(copy, target=storage.target_blob("seen"), engine=Engine.SYNC))
    seen = await storage.target.head(storage.target_blob("seen"))
    assert seen is not None
    acts: dict[str, Callable[[], Awaitable[Any]]] = {
        "CopyBlobFromUrl": lambda: storage.target.copy(copy),
        "CopyBlob": lambda: storage.target.copy(copy),
        "PutBlockFromUrl": lambda: storage.target.stage(copy.target, copy.source, copy.etag, Block("1", 0, 1)),
        "PutBlockList": lambda: storage.target.commit(Commit(copy.target, (), {})),
        "AbortCopy": lambda: storage.target.abort(copy.target, "00000000-0000-0000-0000-000000000000"),
        "SetProperties": lambda: storage.target.clear_copy(storage.target_blob("seen"), seen),
        "DeleteBlob": lambda: storage.target.delete(storage.target_blob("seen"), seen.etag),
    }
    before = len(requests_of(storage, operation))
    inject(storage, operation, action, 1)
    with pytest.raises(StorageError) as error:
        await acts[operation]()
    is_retryable = action is BUSY or operation == "PutBlockFromUrl"  # a block may be staged again
    assert isinstance(error.value, Retryable if is_retryable else LookAgain)
    assert len(requests_of(storage, operation)) - before == 1


async def test_requests_that_hang_time_out(storage: InStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.target.STAGE_TIMEOUT", 0.2)
    hasty = Clients(KEY, Times(window=0.05), "blob-data-sharing/hasty")
    copy = await request(storage)
    inject(storage, "HeadBlob", {"hold": True}, 9)
    inject(storage, "CopyBlobFromUrl", {"hold": True}, 1)
    inject(storage, "PutBlockFromUrl", {"hold": True}, 1)
    with pytest.raises(Retryable, match="no answer: the time is up"):
        await SourceBlobs(hasty).head(storage.source_blob())
    with pytest.raises(LookAgain, match="no answer"):
        await TargetBlobs(hasty).copy(copy)
    with pytest.raises(Retryable, match="no answer"):
        await TargetBlobs(hasty).stage(copy.target, copy.source, copy.etag, Block("1", 0, 1))
    storage.stack.control.remove_faults()
    await hasty.aclose()


async def test_a_file_that_takes_no_blocks_has_none(storage: InStorage) -> None:
    inject(storage, "GetBlockList", {"status": 409, "code": "BlobOperationNotSupported"}, 1)
    assert await storage.target.staged(storage.target_blob()) == {}


async def test_128_blocks_are_in_flight_at_once(storage: InStorage) -> None:
    """Reads and acts keep their own connections."""
    copy = await request(storage)
    rule = storage.stack.control.add_fault({"operation": "PutBlockFromUrl", "blob": storage.test}, {"hold": True}, 128)
    blocks = [Block(f"{number:048}", 0, 1) for number in range(128)]
    stages = [asyncio.create_task(storage.target.stage(copy.target, copy.source, copy.etag, block)) for block in blocks]
    while storage.stack.control.faults()[-1]["waiting"] < len(blocks):
        assert not any(stage.done() for stage in stages)
        await asyncio.sleep(0.02)
    assert await storage.target.copy(replace(copy, target=storage.target_blob("other")))
    assert await storage.target.head(copy.target) is None
    storage.stack.control.remove_faults(rule)
    await asyncio.gather(*stages)
    assert len(await storage.target.staged(copy.target)) == len(blocks)


async def test_an_unreachable_endpoint_is_retryable() -> None:
    clients = Clients(KEY, Times(window=0.05), "test")
    with pytest.raises(Retryable, match="no answer: the host refuses connections"):
        await clients_head(clients, "http://127.0.0.1:9/sharingsource")
    await clients.aclose()


async def clients_head(clients: Clients, endpoint: str) -> None:
    """Send a HEAD for a blob there."""
    await SourceBlobs(clients).head(replace(BLOB, endpoint=endpoint))


async def test_every_request_has_the_apps_user_agent(storage: InStorage) -> None:
    copy = await request(storage)
    await storage.target.copy(copy)
    await storage.target.head(copy.target)
    for operation in ("CopyBlobFromUrl", "HeadBlob"):
        assert all(
            entry["user_agent"].startswith("blob-data-sharing/test") for entry in requests_of(storage, operation)
        )


@pytest.mark.parametrize(
    "endpoint", [AZURE, "https://127.0.0.1.example.com/sharingsource", "http://10.0.0.1/sharingsource"]
)
async def test_the_account_key_is_only_for_loopback(endpoint: str) -> None:
    clients = Clients(KEY, Times(), "test")
    with pytest.raises(Permanent, match="only with the local emulator") as failure:
        await clients_head(clients, endpoint)
    assert KEY not in str(failure.value)
    await clients.aclose()


async def test_the_emulator_needs_the_account_key() -> None:
    clients = Clients(None, Times(), "test")
    with pytest.raises(Permanent, match="the app has no account key"):
        await clients_head(clients, "http://127.0.0.1:10000/sharingsource")
    await clients.aclose()


async def test_clients_are_cached_and_share_one_identity() -> None:
    clients = Clients(None, Times(), "test")
    assert clients.service(AZURE) is clients.service(AZURE)
    assert clients.service(AZURE) is not clients.service(AZURE, Use.ACT)
    assert clients.service(AZURE).credential is clients.service(AZURE, Use.ACT).credential
    await clients.aclose()


async def test_the_identity_is_the_one_that_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user-assigned identity has a client id; None selects the system-assigned one."""
    arguments: list[dict[str, Any]] = []

    class Identity:
        def __init__(self, **named: Any) -> None:
            arguments.append(named)

        async def close(self) -> None:
            pass

        async def get_token(self, *_scopes: str) -> None:
            pass

    monkeypatch.setattr("adapters.clients.DefaultAzureCredential", Identity)
    environment = {
        "ROUTES": f'[{{"name":"default","source":"{AZURE}/source/","target":"{AZURE}/target/"}}]',
        "AzureWebJobsStorage__accountName": "sharingstate",
        "EVENTS__accountName": "sharingevents",
    }
    for client_id in ("an id", None):
        named = {f"{connection}__clientId": client_id for connection in OWN_ACCOUNTS} if client_id else {}
        settings = from_env(environment | named)
        clients = Clients(settings.key, settings.times, "test", settings.client_id)
        clients.service(AZURE)
        await clients.aclose()
    assert arguments == [{"managed_identity_client_id": "an id"}, {"managed_identity_client_id": None}]


@pytest.mark.parametrize("value", ["ü", "\udcfc"])
async def test_metadata_that_cannot_be_sent_makes_the_blob_unsupported(storage: InStorage, value: str) -> None:
    """The emulator refuses the signature of non-ASCII metadata; bytes that are not UTF-8 cannot be sent at all."""
    copy = await request(storage)
    with pytest.raises(Permanent) as failure:
        await storage.target.copy(replace(copy, metadata={"key": value}))
    assert failure.value.reason is Reason.UNSUPPORTED_BLOB
    assert requests_of(storage, "CopyBlobFromUrl") == []


async def test_a_refusal_shows_no_secret(storage: InStorage) -> None:
    copy = await request(storage)
    await storage.remove(storage.source_blob())
    with pytest.raises(LookAgain) as refusal:
        await storage.target.copy(copy)
    assert "sig=" not in repr(copy)
    assert "http" not in repr(refusal.value)

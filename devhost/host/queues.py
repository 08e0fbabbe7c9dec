"""Queue triggers on real Azure queues (Azurite): leases, decoding, metadata, retries, poison queues.

Mirrors `QueueListener` and `QueueProcessor` of the storage extension v5. Odd, and measured: a message that is not base64
where base64 is expected goes to the poison queue at once; the top-level properties of a JSON message replace the
trigger's metadata of the same name, and one that cannot be converted fails every delivery without reaching the function.
"""

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from devhost.host import config
from devhost.host.config import ConfigError, Queues
from devhost.host.indexing import Function
from devhost.host.worker import FunctionError, Worker

log = logging.getLogger("host.queue")
# The real host holds a message for ten minutes, so that long after `kill -9` it comes back; here it comes back soon.
LEASE = 15
FIRST_PAUSE = 0.1
DEVELOPMENT = "UseDevelopmentStorage=true"
AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6"
    "IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
)


class QueueListener:
    """One queue function: polls its queue, runs its messages side by side."""

    def __init__(self, function: Function, worker: Worker, queues: Queues, environment: Mapping[str, str]) -> None:
        """Raises ConfigError, which disables this function alone."""
        self.function = function
        self.queue = config.resolve(str(function.trigger["queueName"]), environment).lower()
        self._service = _service(str(function.trigger.get("connection") or "AzureWebJobsStorage"), environment)
        self._client: QueueClient = self._service.get_queue_client(self.queue)
        self._worker, self._queues = worker, queues
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Poll for ever; the pause doubles from 100 ms to maxPollingInterval while nothing comes."""
        pause = FIRST_PAUSE
        while True:
            await self._room()
            try:
                found = await self._receive()
            except AzureError as error:
                log.warning("queue '%s' cannot be read: %s", self.queue, str(error).partition("\n")[0])
                found = []
            for message in found:
                self._start(message)
            pause = FIRST_PAUSE if found else min(pause * 2, self._queues.max_polling_interval.total_seconds())
            if not found:
                await asyncio.sleep(pause)

    async def stop(self, grace: float) -> None:
        """Let messages finish for a while, give back the others at once."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._service.close()

    async def _room(self) -> None:
        while len(self._running) > self._queues.new_batch_threshold:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _receive(self) -> list[QueueMessage]:
        size = self._queues.batch_size
        pages = self._client.receive_messages(messages_per_page=size, max_messages=size, visibility_timeout=LEASE)
        try:
            return [message async for message in pages]
        except ResourceNotFoundError:  # the host does not make the queue; it waits for it
            return []

    def _start(self, message: QueueMessage) -> None:
        task = asyncio.create_task(self._process(message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _process(self, message: QueueMessage) -> None:
        try:
            await self._handle(message)
        except asyncio.CancelledError:
            await self._client.update_message(message, visibility_timeout=0)
            raise
        except AzureError as error:
            log.warning("message %s of '%s': %s", message.id, self.queue, str(error).partition("\n")[0])

    @asynccontextmanager
    async def _leased(self, message: QueueMessage) -> AsyncIterator[None]:
        """Renew the lease while the function runs. A renewal under way gives its receipt before anything is deleted."""
        renewing = asyncio.Lock()
        keeper = asyncio.create_task(self._keep(message, renewing))
        try:
            yield
        finally:
            async with renewing:
                keeper.cancel()

    async def _keep(self, message: QueueMessage, renewing: asyncio.Lock) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            async with renewing:
                try:
                    renewed = await self._client.update_message(message, visibility_timeout=LEASE)
                    message.pop_receipt = renewed.pop_receipt
                except AzureError as error:
                    log.warning("message %s of '%s' is not renewed: %s", message.id, self.queue, str(error)[:100])

    async def _handle(self, message: QueueMessage) -> None:
        text = self._decode(message.content)
        if text is None:
            log.error("message %s of '%s' is not base64", message.id, self.queue)
            await self._poison(message)
            return
        try:
            async with self._leased(message):
                await self.deliver(text, _metadata(message, text))
        except FunctionError as error:
            log.error("'%s' failed: %s", self.function.name, error.line)  # noqa: TRY400  # the function's own trace
            await self._failed(message)
        else:
            await self._client.delete_message(message)

    async def deliver(self, text: str, metadata: dict[str, Datum] | None = None) -> None:
        """Run the function with a message's text. Raises FunctionError."""
        await self._worker.invoke(self.function, Datum(text, "string"), metadata or {})

    def _decode(self, text: str) -> str | None:
        """The text under the queue's encoding; none if it is not base64 though it should be."""
        if self._queues.encoding == "none":
            return text
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None

    async def _failed(self, message: QueueMessage) -> None:
        if (message.dequeue_count or 0) >= self._queues.max_dequeue_count:
            await self._poison(message)
            return
        seconds = int(self._queues.visibility_timeout.total_seconds())
        await self._client.update_message(message, visibility_timeout=seconds)

    async def _poison(self, message: QueueMessage) -> None:
        """A new message with the raw text, in a queue that is made when it is needed."""
        poison = self._service.get_queue_client(f"{self.queue}-poison")
        try:
            await poison.send_message(message.content)
        except ResourceNotFoundError:
            await poison.create_queue()
            await poison.send_message(message.content)
        await self._client.delete_message(message)
        log.error("message %s of '%s' was moved to '%s-poison'", message.id, self.queue, self.queue)


def _metadata(message: QueueMessage, text: str) -> dict[str, Datum]:
    """The trigger's metadata, overridden by the message's own JSON properties, whatever their case."""
    metadata = {
        "Id": Datum(message.id, "string"),
        "PopReceipt": Datum(message.pop_receipt, "string"),
        "DequeueCount": Datum(json.dumps(message.dequeue_count), "json"),
        "ExpirationTime": _time(message.expires_on),
        "InsertionTime": _time(message.inserted_on),
        "NextVisibleTime": _time(message.next_visible_on),
    }
    known = {name.lower(): name for name in metadata}
    for name, value in _properties(text).items():
        key = known.setdefault(name.lower(), name)
        metadata[key] = _datum(value)
    return metadata


def _properties(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _datum(value: Any) -> Datum:
    if value is None:
        return Datum(None, None)
    return Datum(value, "string") if isinstance(value, str) else Datum(json.dumps(value), "json")


def _time(moment: datetime | None) -> Datum:
    return Datum(json.dumps(moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")) if moment else "null", "json")


def _service(connection: str, environment: Mapping[str, str]) -> QueueServiceClient:
    """The account behind a connection's name: a connection string, or an address with the app's own identity."""
    for name in (connection, f"AzureWebJobs{connection}"):
        if text := environment.get(name):
            return QueueServiceClient.from_connection_string(AZURITE if text == DEVELOPMENT else text)
    address = environment.get(f"{connection}__queueServiceUri")
    if account := environment.get(f"{connection}__accountName"):
        address = address or f"https://{account}.queue.core.windows.net"
    if not address:
        raise ConfigError(f"connection '{connection}' has no value: set the app setting {connection}")
    if not address.startswith("https:"):
        raise ConfigError(f"{connection}__queueServiceUri is '{address}'; an identity needs https")
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415  # slow to import, rarely needed

    return QueueServiceClient(address, credential=DefaultAzureCredential())

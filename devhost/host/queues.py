"""Queue triggers on real Azure queues (Azurite): leases, decoding, metadata, retries, poison queues.

Mirrors `QueueListener` and `QueueProcessor` of the storage extension 5.3.10. Measured:

- A message that is not base64 where base64 is expected goes to the poison queue at once.
- The top-level properties of a JSON message replace the trigger's metadata of the same name. A property that cannot be
  converted fails every delivery without reaching the function.
- A message that is processed when the host ends is not released. It stays invisible until its lock ends.
- A batch with a text that XML does not allow (a raw U+0001 or U+FFFE) stays invisible as a whole until the lock ends.
"""

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.functions.meta import Datum
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from devhost.host import config
from devhost.host.config import ConfigError, Queues
from devhost.host.indexing import Function
from devhost.host.worker import FunctionError, Worker, WorkerLostError

log = logging.getLogger("host.queue")
LEASE = 15
"""Seconds of a lock; it is renewed after half of them. The real host locks for 600 s and renews after 300 s."""
WORKER_PAUSE = timedelta(seconds=1)
"""Measured: a message whose worker died is retried after a second, independent of `visibilityTimeout`."""
POISON = "-poison"
FIRST_PAUSE = 0.1
WHITE = dict.fromkeys(map(ord, " \t\r\n"))


class QueueListener:
    """Polls the queue of a function and runs it for each message, concurrently."""

    def __init__(self, function: Function, worker: Worker, queues: Queues, environment: Mapping[str, str]) -> None:
        """Raises ConfigError, which disables this function alone."""
        self.function = function
        self.queue = config.resolve(str(function.trigger["queueName"]), environment).lower()
        self._service = _service(str(function.trigger.get("connection") or "AzureWebJobsStorage"), environment)
        self._client: QueueClient = self._service.get_queue_client(self.queue)
        self._worker, self._queues = worker, queues
        self._running: set[asyncio.Task[None]] = set()
        self._abandoned = False

    async def run(self) -> None:
        """Poll until cancelled. The pause doubles from 100 ms to maxPollingInterval while the queue is empty."""
        pause = FIRST_PAUSE
        while True:
            await self._free_slot()
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
        """Let messages finish for `grace` seconds. The others are cancelled, and reappear when their lock ends."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._service.close()

    def abandon(self) -> None:
        """Lose the running calls as the job host restarts. Measured: the locks are kept until the process ends."""
        self._abandoned = True

    async def _free_slot(self) -> None:
        while len(self._running) > self._queues.new_batch_threshold:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _receive(self) -> list[QueueMessage]:
        size = self._queues.batch_size
        # No retries: if a text is not valid in XML, Azurite locks the batch and answers 500. A retry would lock another batch.
        pages = self._client.receive_messages(
            messages_per_page=size, max_messages=size, visibility_timeout=LEASE, retry_total=0
        )
        try:
            return [message async for message in pages]
        except ResourceNotFoundError:  # the host does not create the queue
            return []

    def _start(self, message: QueueMessage) -> None:
        task = asyncio.create_task(self._process(message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _process(self, message: QueueMessage) -> None:
        try:
            await self._handle(message)
        except AzureError as error:
            log.warning("message %s of '%s': %s", message.id, self.queue, str(error).partition("\n")[0])

    @asynccontextmanager
    async def _leased(self, message: QueueMessage) -> AsyncIterator[None]:
        """Renew the lease while the function runs; a running renewal ends first, since it changes the receipt."""
        renewing = asyncio.Lock()
        keeper = asyncio.create_task(self._keep(message, renewing))
        try:
            yield
        finally:
            async with renewing:
                keeper.cancel()

    async def _keep(self, message: QueueMessage, renewing: asyncio.Lock) -> None:
        while True:
            await asyncio.sleep(LEASE / 2)
            async with renewing:
                try:
                    renewed = await self._client.update_message(message, visibility_timeout=LEASE)
                    message.pop_receipt = renewed.pop_receipt
                except AzureError as error:
                    log.warning("message %s of '%s' is not renewed: %s", message.id, self.queue, str(error)[:100])

    async def _handle(self, message: QueueMessage) -> None:
        body = self._decode(message.content or "")
        limit = self._queues.max_dequeue_count
        if body is None or ((message.dequeue_count or 0) > limit and not self._is_poison):
            log.error("message %s of '%s' has reached MaxDequeueCount of %d", message.id, self.queue, limit)
            await self._poison(message)
            return
        try:
            async with self._leased(message):
                await self._try(message, body)
        except FunctionError as error:
            log.error("'%s' failed: %s", self.function.name, error.line)  # noqa: TRY400  # the function's own trace
            await self._failed(message, lost=isinstance(error, WorkerLostError))
        else:
            await self._client.delete_message(message)

    async def _try(self, message: QueueMessage, body: bytes) -> None:
        try:
            text = body.decode()
            await self.deliver(text, _metadata(message, text))
        except UnicodeDecodeError as error:
            raise FunctionError("ValueError: Exception binding parameter") from error
        except FunctionError:
            if self._abandoned:
                await asyncio.Event().wait()
            raise

    async def deliver(self, text: str, metadata: dict[str, Datum] | None = None) -> None:
        """Run the function with the text of a message. Raises FunctionError."""
        await self._worker.invoke(self.function, Datum(text, "string"), metadata or {})

    def _decode(self, text: str) -> bytes | None:
        """Decode a body; None if the queue expects base64 and the body is not valid. .NET skips white space."""
        if self._queues.encoding == "none":
            return text.encode()
        try:
            return base64.b64decode(text.translate(WHITE), validate=True)
        except (binascii.Error, ValueError):
            return None

    @property
    def _is_poison(self) -> bool:
        return self.queue.endswith(POISON)

    async def _failed(self, message: QueueMessage, *, lost: bool) -> None:
        if self._is_poison:  # the lock is kept, so that the message does not reappear immediately
            return
        if (message.dequeue_count or 0) >= self._queues.max_dequeue_count:
            await self._poison(message)
            return
        pause = WORKER_PAUSE if lost else self._queues.visibility_timeout
        await self._client.update_message(message, visibility_timeout=int(pause.total_seconds()))

    async def _poison(self, message: QueueMessage) -> None:
        """Move the raw text to the poison queue, which is created on demand. For a poison queue, do nothing."""
        if self._is_poison:
            return
        poison = self._service.get_queue_client(f"{self.queue}{POISON}")
        try:
            await poison.send_message(message.content)
        except ResourceNotFoundError:
            await poison.create_queue()
            await poison.send_message(message.content)
        await self._client.delete_message(message)
        log.error("message %s of '%s' was moved to '%s'", message.id, self.queue, poison.queue_name)


def _metadata(message: QueueMessage, text: str) -> dict[str, Datum]:
    """Return the trigger's metadata. The message's JSON properties replace it, in any case, but null and lists do not."""
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
        if value is not None and not isinstance(value, list):
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
    """Convert a property to what the worker receives. A number with a fraction becomes text."""
    if isinstance(value, str):
        return Datum(_dotnet(value), "string")
    return Datum(json.dumps(value), "string" if isinstance(value, float) else "json")


def _dotnet(text: str) -> str:
    """Format text that Newtonsoft reads as an ISO time as .NET does, which the SDK refuses."""
    try:
        moment = datetime.fromisoformat(text) if "T" in text else None
        moment = moment.astimezone(UTC) if moment and moment.tzinfo else moment
    except (ValueError, OverflowError):
        return text
    return moment.strftime("%m/%d/%Y %H:%M:%S") if moment else text


def _time(moment: datetime | None) -> Datum:
    return Datum(json.dumps(moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")) if moment else "null", "json")


def _service(connection: str, environment: Mapping[str, str]) -> QueueServiceClient:
    """Connect to the account of a connection by its connection string, or by an address and the app's identity.

    As on the real host, settings with the prefix come first, and an account's name precedes an address.
    """
    names = (f"AzureWebJobs{connection}", connection)
    name = next((name for name in names if any(key.partition("__")[0] == name for key in environment)), connection)
    if text := environment.get(name):
        return QueueServiceClient.from_connection_string(text)
    account = environment.get(f"{name}__accountName")
    address = f"https://{account}.queue.core.windows.net" if account else environment.get(f"{name}__queueServiceUri")
    if not address:
        raise ConfigError(f"connection '{connection}' has no value: set the app setting {connection}")
    if not address.startswith("https:"):
        raise ConfigError(f"{name}__queueServiceUri is '{address}'; an identity needs https")
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415  # slow to import, rarely needed

    return QueueServiceClient(address, credential=DefaultAzureCredential())

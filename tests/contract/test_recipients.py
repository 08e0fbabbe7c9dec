"""Recipients: queues on the emulator, and topics on a loopback service that answers as Event Grid does."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapters.clients import Clients
from adapters.recipients import CloudRecipients
from adapters.translation import RECIPIENT_SEND, error_for_no_answer
from devhost.storage.testing import Stack
from ports.recipients import Recipients
from rules.errors import Failure, Permanent, Reason, Retryable
from rules.routes.model import Recipient
from rules.transfers import identity
from rules.transfers.notices import Notice, shared_event
from tests.fakes import MemoryRecipients, MemoryStorage
from tests.unit.samples import NAME, NOW, ROUTE, TARGET

# A name with what JSON, XML and base64 treat differently.
TRANSFER = identity.transfer(ROUTE, f"{NAME} ü <&> \"'\\ 🎈+/", "0x1")
EVENT = shared_event(TRANSFER, Notice("default", NOW, NOW), TARGET)


async def test_a_queue_gets_the_event_in_base64_and_keeps_it(stack: Stack, clients: Clients) -> None:
    name = f"arrivals-{uuid4().hex[:8]}"
    recipient = Recipient(stack.queue_url("sharingtarget"), name)
    queue = clients.queue(recipient.endpoint, name)
    await queue.create_queue()
    await CloudRecipients(clients).send(recipient, EVENT)
    await CloudRecipients(clients).send(recipient, EVENT)
    messages = [message async for message in queue.receive_messages()]
    assert [json.loads(base64.b64decode(message.content)) for message in messages] == [EVENT, EVENT]
    assert all(message.expires_on.year == 9999 for message in messages if message.expires_on)


@pytest.fixture(params=["memory", "storage"])
def recipients(request: pytest.FixtureRequest) -> tuple[Recipients, Recipient]:
    """The fake, then the emulator, and a queue that does not exist."""
    if request.param == "memory":
        fake = MemoryRecipients(MemoryStorage())
        fake.missing.add("missing")
        return fake, Recipient("https://partner.queue.core.windows.net", "missing")
    stack, clients = request.getfixturevalue("stack"), request.getfixturevalue("clients")
    return CloudRecipients(clients), Recipient(stack.queue_url("sharingtarget"), "missing")


async def test_a_missing_queue_is_permanent(recipients: tuple[Recipients, Recipient]) -> None:
    port, missing = recipients
    with pytest.raises(Permanent) as caught:
        await port.send(missing, EVENT)
    assert (caught.value.reason, caught.value.code) == (Reason.NOT_NOTIFIED, "QueueNotFound")


@dataclass
class Topic:
    """A topic: it counts requests, keeps events, and answers the next requests with `statuses`."""

    statuses: list[int] = field(default_factory=list)
    requests: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def post(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.statuses:
            return web.json_response(
                {"error": {"code": "Code", "message": "a key=secret"}}, status=self.statuses.pop(0)
            )
        assert request.headers["Content-Type"].startswith("application/cloudevents-batch+json")
        assert request.headers["aeg-sas-key"]
        self.events += await request.json()
        return web.Response()


@pytest.fixture
async def topic() -> AsyncIterator[Topic]:
    made = Topic()
    application = web.Application()
    application.router.add_post("/api/events", made.post)
    async with TestServer(application) as server:
        made.url = f"http://127.0.0.1:{server.port}/api/events"
        yield made


async def test_a_topic_gets_the_event(clients: Clients, topic: Topic) -> None:
    await CloudRecipients(clients).send(Recipient(topic.url), EVENT)
    (event,) = topic.events
    assert event == EVENT


@pytest.mark.parametrize(
    ("status", "kind", "requests"),
    [
        (401, Retryable, 1),
        (403, Retryable, 1),
        (404, Permanent, 1),
        (413, Permanent, 1),
        (400, Permanent, 1),
        (429, Retryable, 1),
        (503, Retryable, 3),
    ],
)
async def test_the_refusals_of_a_topic(
    status: int, kind: type[Failure], requests: int, clients: Clients, topic: Topic
) -> None:
    topic.statuses = [status] * 5
    with pytest.raises(kind) as caught:
        await CloudRecipients(clients).send(Recipient(topic.url), EVENT)
    assert caught.value.reason is Reason.NOT_NOTIFIED
    assert caught.value.status == (
        0 if status == 401 else status
    )  # the SDK raises the same for a token that it cannot get
    assert "secret" not in str(caught.value)
    assert topic.requests == requests


async def test_a_topic_that_does_not_answer(clients: Clients) -> None:
    with pytest.raises(Retryable) as caught:
        await CloudRecipients(clients).send(Recipient("http://127.0.0.1:9/api/events"), EVENT)
    assert caught.value.reason is Reason.NOT_NOTIFIED
    assert str(error_for_no_answer(RECIPIENT_SEND, "the host refuses connections")) == str(caught.value)

"""Orchestrations, in memory and on the stand-in for the host, through the SDK's client."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from azure.durable_functions import DurableOrchestrationClient
from azure.durable_functions.models.utils import http_utils
from azure.storage.queue.aio import QueueClient
from opentelemetry import trace

from adapters.clients import Clients
from adapters.hub import HubQueues
from adapters.instances import DurableInstances
from devhost.storage.testing import Stack, free_ports
from ports.orchestrations import Instances
from rules.errors import Reason, Retryable
from rules.jobs.model import Job, JobKind
from rules.orchestrations.instance import Instance, StatusFilter
from rules.transfers import identity
from rules.transfers.policies import Times
from tests.contract.durable_worlds import NOW, DurableWorld, InMemory

APP = Path(__file__).parent / "durable"


class OnHost(DurableWorld):
    """The adapter, on the stand-in."""

    def __init__(self, client: DurableOrchestrationClient, session: aiohttp.ClientSession, queues: HubQueues) -> None:
        self.client = client
        super().__init__(DurableInstances(client, session, queues))

    async def step(self, name: str) -> None:
        """Wait a little."""
        assert name
        await asyncio.sleep(0.02)

    async def start_other(self, name: str) -> None:
        """Start another orchestration."""
        await self.client.start_new("other", self.prefix + name, {"any": "input"})

    async def moment(self) -> datetime:
        """Let the clock turn by what a time is rounded to on its way."""
        moment = datetime.now(UTC) + timedelta(milliseconds=2)
        while datetime.now(UTC) <= moment:  # noqa: ASYNC110  # only the clock tells
            await asyncio.sleep(0.001)
        return moment


def client_of(rpc: str, hub: str = "contract") -> DurableOrchestrationClient:
    """Return the SDK's client, as the host's binding creates it."""
    binding = {"taskHubName": hub, "creationUrls": {}, "managementUrls": {"id": "ID"}, "rpcBaseUrl": rpc}
    return DurableOrchestrationClient(json.dumps(binding))


@pytest.fixture(scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """The session of the process. The SDK never closes its own, so it is closed here."""
    async with aiohttp.ClientSession() as made:
        yield made
    await http_utils._close_session()


@pytest.fixture(scope="module")
async def rpc(tmp_path_factory: pytest.TempPathFactory, session: aiohttp.ClientSession) -> AsyncIterator[str]:
    """The URL of the stand-in's extension."""
    state, (port,) = tmp_path_factory.mktemp("host"), free_ports(1)
    environment = {**os.environ, "HOST_PORT": str(port), "DEVHOST_STATE": str(state)}
    with (state / "log").open("w") as log:
        host = subprocess.Popen(  # noqa: ASYNC220  # it returns at once
            [sys.executable, "-m", "devhost.host", "--app", str(APP)], env=environment, stdout=log, stderr=log
        )
    yield await _answer(session, f"http://127.0.0.1:{port}/api/rpc", host)
    host.send_signal(signal.SIGTERM)
    assert host.wait(30) == 0, (state / "log").read_text()


async def _answer(session: aiohttp.ClientSession, url: str, host: "subprocess.Popen[bytes]") -> str:
    while host.poll() is None:
        try:
            async with session.get(url, raise_for_status=True) as response:
                return await response.text()
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
    pytest.fail("the stand-in ended")


@pytest.fixture
def queues(stack: Stack, clients: Clients) -> HubQueues:
    return HubQueues(clients, stack.queue_url("sharingstate"))


@pytest.fixture(params=["memory", "host"])
def world(request: pytest.FixtureRequest) -> DurableWorld:
    """The fake, then the stand-in."""
    if request.param == "memory":
        return InMemory()
    return OnHost(client_of(request.getfixturevalue("rpc")), *map(request.getfixturevalue, ("session", "queues")))


async def test_a_run_starts_and_is_found(world: DurableWorld) -> None:
    run = world.run()
    assert await world.instances.find(run.transfer.id) is None
    assert await world.instances.start(run) is True
    found = await world.until("slow", "Running")
    assert (found.id, found.run, found.custom) == (run.transfer.id, run, {"engine": "sync"})
    assert (found.output, found.running, found.broken) == (None, True, False)
    assert found.updated_at.tzinfo is UTC


async def test_a_running_instance_is_not_started_again(world: DurableWorld) -> None:
    await world.instances.start(world.run())
    await world.until("slow", "Running")
    assert await world.instances.start(world.run(attempt=1)) is False
    assert (await world.until("slow", "Running")).run == world.run()


async def test_an_ended_instance_is_replaced(world: DurableWorld) -> None:
    await world.instances.start(world.run("done"))
    ended = await world.until("done", "Completed")
    assert (ended.output, ended.running, ended.broken) == ({"state": "cancelled"}, False, False)
    assert await world.instances.start(world.run("done", attempt=1)) is True
    assert (await world.until("done", "Completed")).run == world.run("done", attempt=1)


async def test_a_cancel_reaches_the_orchestrator_and_is_then_ignored(world: DurableWorld) -> None:
    await world.instances.start(world.run())
    await world.until("slow", "Running")
    await world.instances.cancel(world.run().transfer.id)
    await world.until("slow", "Completed")
    await world.instances.cancel(world.run().transfer.id)
    await world.instances.cancel(world.run("missing").transfer.id)


async def test_broken_instances_are_found_and_listed(world: DurableWorld) -> None:
    """Failed and terminated instances."""
    for name in ("done", "broken", "slow"):
        await world.instances.start(world.run(name))
    await world.until("slow", "Running")
    await world.instances.terminate(world.run("slow").transfer.id, "a reason")
    found = [await world.until(*wanted) for wanted in (("broken", "Failed"), ("slow", "Terminated"))]
    await world.until("done", "Completed")
    assert all(instance.broken and not instance.running for instance in found)
    listed, _ = await world.instances.page(prefix=world.prefix, statuses=StatusFilter.BROKEN, limit=10)
    assert sorted(instance.id for instance in listed) == sorted(instance.id for instance in found)
    assert all(instance.run is not None for instance in listed)


async def test_pages_show_each_transfer_once(world: DurableWorld) -> None:
    """Other orchestrations are left out, so a page may be short."""
    runs = {run.transfer.id: run for run in (world.run(f"slow-{number}") for number in range(5))}
    for run in runs.values():
        await world.instances.start(run)
    await world.start_other("replay")
    await world.start_other("000")
    seen: list[Instance] = []
    continuation = None
    while True:
        page, continuation = await world.instances.page(prefix=world.prefix, limit=2, continuation=continuation)
        assert len(page) <= 2
        seen += page
        if continuation is None:
            break
    assert len(seen) == len(runs)
    assert {instance.id: instance.run for instance in seen} == runs


async def everything(world: DurableWorld, **query: Any) -> set[str]:
    """Return the ids of all pages."""
    found: set[str] = set()
    continuation = None
    while True:
        page, continuation = await world.instances.page(
            prefix=world.prefix, limit=2, continuation=continuation, **query
        )
        found |= {instance.id for instance in page}
        if continuation is None:
            return found


async def test_a_list_is_filtered_by_status(world: DurableWorld) -> None:
    """The extension filters, so the pages are not short."""
    names = ("done", "done-not", "broken", "slow")
    ids = {name: world.run(name).transfer.id for name in names}
    for name in names:
        await world.instances.start(world.run(name))
    for name, status in (("done", "Completed"), ("done-not", "Running"), ("broken", "Failed"), ("slow", "Running")):
        await world.until(name, status)
    assert await everything(world, statuses=StatusFilter.RUNNING) == {ids["done-not"], ids["slow"]}
    assert await everything(world, statuses=StatusFilter.ENDED) == {ids["done"], ids["broken"]}
    assert await everything(world, statuses=frozenset({"Completed"})) == {ids["done"]}
    assert await everything(world) == set(ids.values())


async def test_a_list_is_filtered_by_creation_time(world: DurableWorld) -> None:
    await world.instances.start(world.run("done"))
    await world.until("done", "Completed")
    moment = await world.moment()
    await world.instances.start(world.run("slow"))
    await world.until("slow", "Running")
    assert await everything(world, before=moment) == {world.run("done").transfer.id}
    assert await everything(world, before=moment, statuses=StatusFilter.RUNNING) == set()
    assert len(await everything(world, before=moment + timedelta(days=1))) == 2


async def test_a_terminated_instance_shows_the_reason(world: DurableWorld) -> None:
    await world.instances.start(world.run())
    await world.until("slow", "Running")
    why = "nothing happened for 30 hours, & the watchdog: ended it?"
    await world.instances.terminate(world.run().transfer.id, why)
    found = await world.until("slow", "Terminated")
    assert (found.broken, found.output, found.run) == (True, why, world.run())


async def test_terminating_an_ended_or_missing_instance_changes_nothing(world: DurableWorld) -> None:
    await world.instances.start(world.run("done"))
    await world.until("done", "Completed")
    await world.instances.terminate(world.run("done").transfer.id, "why")
    await world.instances.terminate(world.run("missing").transfer.id, "why")
    assert (await world.until("done", "Completed")).output == {"state": "cancelled"}


@pytest.mark.parametrize(("name", "status"), [("done", "Completed"), ("broken", "Failed")])
async def test_a_purged_instance_is_gone(world: DurableWorld, name: str, status: str) -> None:
    await world.instances.start(world.run(name))
    await world.instances.start(world.run("slow"))
    await world.until(name, status)
    identity_ = world.run(name).transfer.id
    for _ in range(2):
        await world.instances.purge(identity_)
        assert await world.instances.find(identity_) is None
    assert await everything(world) == {world.run("slow").transfer.id}
    assert await world.instances.start(world.run(name)) is True
    await world.until(name, status)


async def test_a_running_instance_is_not_purged(world: DurableWorld) -> None:
    """Another request may have started it again."""
    await world.instances.start(world.run())
    await world.until("slow", "Running")
    with pytest.raises(Retryable):
        await world.instances.purge(world.run().transfer.id)
    assert (await world.until("slow", "Running")).run == world.run()


@pytest.mark.parametrize("garbage", ["x", "%%%", "WyIiLCAiYVxuYiJd"])
async def test_an_invalid_continuation_is_refused(world: DurableWorld, garbage: str) -> None:
    with pytest.raises(ValueError, match="continuation"):
        await world.instances.page(limit=1, continuation=garbage)


async def test_an_instance_with_an_unreadable_input_is_listed_without_its_run(
    rpc: str, session: aiohttp.ClientSession, queues: HubQueues
) -> None:
    world = OnHost(client_of(rpc), session, queues)
    await world.client.start_new("transfer", world.run().transfer.id, {"transfer": {"name": "done"}})
    assert (await world.until("slow", "Completed")).run is None
    (listed,), _ = await world.instances.page(prefix=world.prefix, limit=10)
    assert listed.run is None


async def test_an_unreachable_extension_is_retryable(session: aiohttp.ClientSession, queues: HubQueues) -> None:
    (port,) = free_ports(1)
    world = OnHost(client_of(f"http://127.0.0.1:{port}/durabletask/?code=secret"), session, queues)
    for call in (
        world.instances.find(world.run().transfer.id),
        world.instances.start(world.run()),
        world.instances.cancel(world.run().transfer.id),
        world.instances.terminate(world.run().transfer.id, "why"),
        world.instances.purge(world.run().transfer.id),
        world.instances.page(limit=1),
    ):
        with pytest.raises(Retryable) as failure:
            await call
        assert failure.value.reason is Reason.INTERNAL
        assert not any(part in str(failure.value) for part in ("secret", "127.0.0.1"))


async def test_a_start_sends_the_trace_of_its_id(session: aiohttp.ClientSession, queues: HubQueues) -> None:
    starts: list[tuple[str, str]] = []

    async def start(request: web.Request) -> web.Response:
        starts.append((request.path, request.headers["traceparent"]))
        return web.json_response({"id": "x"}, status=202)

    server = web.Application()
    server.router.add_post("/durabletask/orchestrators/{name}/{id}", start)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    world = OnHost(client_of(f"http://127.0.0.1:{port}/durabletask/"), session, queues)
    run, job = world.run(), Job("replay-" + "ab" * 12, JobKind.REPLAY, NOW)
    for what in (run, run, job):
        assert await world.instances.start(what) is True
    await runner.cleanup()
    names = [f"transfer/{run.transfer.id}"] * 2 + [f"job/{job.id}"]
    assert [path for path, _ in starts] == [f"/durabletask/orchestrators/{name}" for name in names]
    parents = [parent.split("-") for _, parent in starts]
    traces = [identity.trace_id(run.transfer.id)] * 2 + ["00000000" + "ab" * 12]
    assert [(version, of, flags) for version, of, _, flags in parents] == [("00", of, "01") for of in traces]
    assert len({span for _, _, span, _ in parents}) == 3
    assert not trace.get_current_span().get_span_context().is_valid


@dataclass
class Hub:
    """The queues of one test's task hub in the state account."""

    stack: Stack
    clients: Clients
    name: str = field(default_factory=lambda: f"Hub{uuid4().hex[:8]}")

    def queue(self, name: str, of: str = "") -> QueueClient:
        """Return one of them. The Durable extension writes their names in lower case."""
        return self.clients.queue(self.stack.queue_url("sharingstate"), f"{of or self.name}-{name}".lower())

    async def put(self, name: str, of: str = "", visible: int = 0) -> datetime:
        """Put a message on a queue; return when it was put."""
        sent = await self.queue(name, of).send_message("{}", visibility_timeout=visible)
        assert sent.inserted_on is not None
        return sent.inserted_on


@pytest.fixture
async def hub(stack: Stack, clients: Clients) -> AsyncIterator[Hub]:
    """The queues of a hub with two partitions, and those of a hub whose name has the same start."""
    made = Hub(stack, clients)
    names = [(name, of) for of in ("", f"{made.name}2") for name in ("workitems", "control-00", "control-01")]
    for name, of in names:
        await made.queue(name, of).create_queue()
    yield made
    for name, of in names:
        await made.queue(name, of).delete_queue()


class TestOldestMessage:
    """The age of the hub's oldest waiting message."""

    @pytest.fixture
    def instances(self, hub: Hub, session: aiohttp.ClientSession, queues: HubQueues) -> Instances:
        return DurableInstances(client_of("http://unused/", hub.name), session, queues)

    async def test_of_empty_queues_is_none(self, instances: Instances) -> None:
        assert await instances.oldest_message() is None

    @pytest.mark.parametrize("name", ["workitems", "control-00", "control-01"])
    async def test_in_any_of_its_queues(self, hub: Hub, instances: Instances, name: str) -> None:
        """The request hides no message from the host."""
        put = await hub.put(name)
        for _ in range(2):
            assert await instances.oldest_message() == put
        assert (await hub.queue(name).receive_message()) is not None

    @pytest.mark.parametrize("first", ["workitems", "control-00", "control-01"])
    async def test_is_the_oldest_of_all_queues(self, hub: Hub, instances: Instances, first: str) -> None:
        oldest = await hub.put(first)
        await next_second(hub, oldest)
        for name in ("workitems", "control-00", "control-01"):
            assert await hub.put(name) > oldest
        assert await instances.oldest_message() == oldest

    async def test_ignores_hidden_messages(self, hub: Hub, instances: Instances) -> None:
        """The message of a durable timer is hidden until it is due, and an activity's while it runs."""
        await hub.put("control-00", visible=3_600)
        await hub.put("workitems")
        assert await hub.queue("workitems").receive_message(visibility_timeout=3_600) is not None
        assert await instances.oldest_message() is None

    async def test_ignores_another_hub(self, hub: Hub, instances: Instances) -> None:
        for name in ("workitems", "control-00"):
            await hub.put(name, f"{hub.name}2")
        assert await instances.oldest_message() is None

    async def test_of_missing_queues_is_none(self, session: aiohttp.ClientSession, queues: HubQueues) -> None:
        """Another backend, or a hub that was never used."""
        instances = DurableInstances(client_of("http://unused/", "Hub0"), session, queues)
        assert await instances.oldest_message() is None

    async def test_with_a_refused_request_is_retryable(
        self, hub: Hub, stack: Stack, session: aiohttp.ClientSession
    ) -> None:
        await hub.put("workitems")
        other = Clients(b64encode(b"another key").decode(), Times(window=1.5), "blob-data-sharing/test")
        queues = HubQueues(other, stack.queue_url("sharingstate"))
        with pytest.raises(Retryable) as failure:
            await DurableInstances(client_of("http://unused/", hub.name), session, queues).oldest_message()
        await other.aclose()
        assert failure.value.code == "AuthenticationFailed"

    async def test_of_the_fake_is_set_by_the_test(self) -> None:
        world = InMemory()
        assert await world.instances.oldest_message() is None
        world.fake.oldest = NOW
        assert await world.instances.oldest_message() == NOW


async def next_second(hub: Hub, moment: datetime) -> None:
    """Wait until the service's clock, which counts whole seconds, has passed a moment."""
    while await hub.put("workitems", f"{hub.name}2") <= moment:  # noqa: ASYNC110  # polls that clock
        await asyncio.sleep(0.05)

"""Reading transfers as the API shows them."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from adapters.translation import EVENTS_DEPTH, INSTANCES_PAGE, SOURCE_HEAD, TARGET_HEAD, Request, error_for_answer
from operations.problems import Invalid, NotFound
from operations.transfers.query import (
    SEARCH_PAGE,
    SEARCH_PAGES,
    SEARCH_SECONDS,
    get,
    get_by_name,
    list_transfers,
)
from operations.transfers.share import share
from rules.codec import stamp
from rules.errors import Retryable
from rules.orchestrations import status
from rules.orchestrations.instance import Instance
from rules.routes.model import Place, Route
from rules.transfers import lifecycle
from rules.transfers.model import Run, Step, Transfer
from rules.transfers.policies import resume_pause
from rules.transfers.states import State
from tests.fakes import Item
from tests.unit.samples import NAME, NOW, ROUTE, after
from tests.unit.world import World

FIELDS = {
    *(
        "id",
        "trace_id",
        "trace_url",
        "route",
        "state",
        "source",
        "target",
        "engine",
        "copied",
        "total",
        "target_etag",
        "attempt",
        "tries",
        "resumes",
        "cancelling",
        "ending",
    ),
    *("accepted_at", "verified_at", "updated_at", "next_check_at", "reason", "detail", "hint", "successor", "letter"),
}


async def test_a_running_transfer_is_shown_by_its_custom_status(world: World) -> None:
    made = world.put()
    world.put_instance(made, "Running", Run(made, NOW, copied=4, size=10))
    shown = await get(world.ports, world.instances, made.id)
    assert set(shown) == FIELDS
    assert (shown["state"], shown["copied"], shown["total"]) == ("accepted", 4, 10)
    assert shown["source"] == {"url": made.source_blob.url, "name": NAME, "etag": made.etag, "size": 10}
    assert shown["target"] == {"url": made.target_blob.url}


async def test_a_transfer_links_to_its_trace(world: World) -> None:
    made = world.put()
    world.put_instance(made, "Running", Run(made, NOW))
    assert (await get(world.ports, world.instances, made.id))["trace_url"] is None
    ports = replace(world.ports, trace_url="https://jaeger.example/{trace_id}?from=now")
    trace = made.id.replace("-", "")
    for shown in (
        await get(ports, world.instances, made.id),
        await get_by_name(ports, world.instances, "default", NAME),
    ):
        assert (shown["trace_id"], shown["trace_url"]) == (trace, f"https://jaeger.example/{trace}?from=now")


async def test_an_ended_transfer_is_shown_by_its_output(world: World) -> None:
    made = world.put()
    world.put_instance(made, "Completed", output={"state": "verified", "copied": 10})
    assert (await get(world.ports, world.instances, made.id))["state"] == "verified"


@pytest.mark.parametrize("status", ["Failed", "Terminated"])
async def test_a_broken_transfer_is_under_way_and_shows_the_failure_and_the_next_start(
    world: World, status: str
) -> None:
    made = world.put()
    run = Run(made, NOW, state=State.COPYING, copied=4, size=10, resumes=1)
    world.put_instance(made, status, run, output="Orchestrator function 'transfer' failed: ?sig=c2VjcmV0")
    shown = await get(world.ports, world.instances, made.id)
    assert set(shown) == FIELDS
    assert (shown["state"], shown["copied"], shown["total"], shown["resumes"]) == ("copying", 4, 10, 1)
    assert shown["detail"].startswith(f"the orchestration was {status}: Orchestrator function 'transfer' failed")
    assert "c2VjcmV0" not in str(shown)
    going_on = status == "Failed"
    assert (shown["ending"], shown["reason"]) == ((None, None) if going_on else ("dead_lettered", "internal"))
    due = NOW + timedelta(seconds=resume_pause(1, made.id)) if going_on else NOW
    assert shown["next_check_at"] == stamp(due)


async def test_a_restarted_transfer_that_is_pending_is_shown_by_its_input(world: World) -> None:
    made = world.put()
    run = Run(made, NOW, state=State.COPYING, step=Step.CHECK, size=10, copied=4, resumes=1)
    await world.instances.start(lifecycle.cancel(run))
    shown = await get(world.ports, world.instances, made.id)
    assert (shown["state"], shown["ending"], shown["cancelling"], shown["resumes"]) == ("copying", "cancelled", True, 1)
    assert (shown["copied"], shown["total"]) == (4, 10)


async def test_a_transfer_with_an_unreadable_input_is_shown_with_id_and_state() -> None:
    for broken in (False, True):
        statuses = "Failed" if broken else "Running"
        shown = status.view(Instance("37a8eec1-000000000000000000000000", statuses, None, {}, None, NOW))
        assert set(shown) == FIELDS
        assert (shown["source"], shown["state"]) == (None, "accepted")
        assert shown["ending"] == ("dead_lettered" if broken else None)


async def test_an_unknown_transfer_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await get(world.ports, world.instances, "37a8eec1-000000000000000000000000")


async def test_the_transfer_of_the_current_version_is_found_by_name(world: World) -> None:
    world.put_instance(world.put(), "Completed", output={"state": "superseded"})
    newer = world.put(content=b"newer")
    with pytest.raises(NotFound):
        await get_by_name(world.ports, world.instances, "default", NAME)
    world.put_instance(newer, "Running")
    assert (await get_by_name(world.ports, world.instances, "default", NAME))["id"] == newer.id


async def find_by_name(world: World) -> dict[str, Any]:
    return await get_by_name(world.ports, world.instances, ROUTE.name, NAME)


async def not_found_by_name(world: World) -> NotFound:
    """The error of a search that finds nothing."""
    with pytest.raises(NotFound) as problem:
        await find_by_name(world)
    return problem.value


def delete_source(world: World, made: Transfer) -> None:
    del world.storage.blobs[made.source_blob]


class TestCurrentVersionWithoutTransfer:
    async def test_events_that_wait_are_counted(self, world: World) -> None:
        made = world.put()
        await world.events.put(world.event(made))
        problem = await not_found_by_name(world)
        assert made.id in problem.detail
        assert "its event was not processed yet" in problem.detail
        assert "About 1 events wait in the queue" in problem.fix
        assert "POST /api/transfers" in problem.fix

    async def test_an_empty_queue_is_not_mentioned(self, world: World) -> None:
        world.put()
        problem = await not_found_by_name(world)
        assert "or never arrived" in problem.detail
        assert "wait in the queue" not in problem.fix

    async def test_a_version_that_the_target_names_had_its_history_deleted(self, world: World) -> None:
        world.put_copy(world.put())
        problem = await not_found_by_name(world)
        assert "its history was deleted" in problem.detail
        assert "30 days" in problem.fix

    async def test_an_older_version_at_the_target_does_not_count(self, world: World) -> None:
        older = world.put()
        world.put_copy(older)
        world.put_instance(older, "Completed", output={"state": "verified"})
        world.put(content=b"newer")
        assert "its event was not processed yet" in (await not_found_by_name(world)).detail

    @pytest.mark.parametrize("refused", [TARGET_HEAD, EVENTS_DEPTH])
    async def test_failures_of_storage_shorten_the_explanation(self, world: World, refused: Request) -> None:
        made = world.put()
        world.refuse(refused, error_for_answer(refused, 503, "ServerBusy"))
        assert made.id in (await not_found_by_name(world)).detail


class TestDeletedBlob:
    async def test_the_transfer_that_the_target_names_is_returned_without_a_search(self, world: World) -> None:
        made = world.put()
        world.put_copy(made)
        world.put_instance(made, "Completed", output={"state": "verified"})
        delete_source(world, made)
        assert (await find_by_name(world))["id"] == made.id
        assert world.request_names == ["source.head", "target.head", "instances.find"]

    async def test_otherwise_the_newest_transfer_of_the_name_and_route_is_returned(self, world: World) -> None:
        versions = [world.put(content=f"{number}".encode()) for number in range(5)]
        for number, made in enumerate(versions):
            accepted = NOW + timedelta(seconds=(number * 3) % 5)  # the fourth was accepted last
            world.put_instance(made, "Completed", Run(made, accepted), {"state": "superseded"})
        for number in range(20):
            world.put_instance(world.put(f"in/{number}"), "Running", Run(world.put(f"in/{number}"), after(hours=1)))
        delete_source(world, versions[-1])
        assert (await find_by_name(world))["id"] == versions[3].id

    async def test_the_search_reads_several_pages(self, world: World) -> None:
        made = world.put()
        many = [world.put(f"in/{number}") for number in range(2 * SEARCH_PAGE)]
        for each in [made, *many]:
            world.put_instance(each, "Running")
        delete_source(world, made)
        assert (await find_by_name(world))["id"] == made.id
        assert world.request_names.count("instances.page") == 3

    async def test_the_error_says_where_it_was_searched(self, world: World) -> None:
        world.put_instance(world.put("in/other"), "Running")
        problem = await not_found_by_name(world)
        assert "the source has no blob with this name" in problem.detail
        assert "the target has none either" in problem.detail
        assert "none of the route's transfers has this name" in problem.detail
        assert "searched" not in problem.detail

    async def test_the_search_stops_after_a_number_of_pages_and_says_so(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("operations.transfers.query.SEARCH_PAGE", 2)
        for number in range(2 * SEARCH_PAGES + 1):
            world.put_instance(world.put(f"in/{number}"), "Running")
        problem = await not_found_by_name(world)
        assert world.request_names.count("instances.page") == SEARCH_PAGES
        assert f"only the first {2 * SEARCH_PAGES} transfers in ID order" in problem.detail

    async def test_a_slow_search_stops_after_its_time_limit(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("operations.transfers.query.SEARCH_PAGE", 1)
        for number in range(SEARCH_PAGES):
            world.put_instance(world.put(f"in/{number}"), "Running")
        for _ in range(SEARCH_PAGES):
            world.before_next(INSTANCES_PAGE, partial(world.pass_time, SEARCH_SECONDS / 2))
        problem = await not_found_by_name(world)
        assert world.request_names.count("instances.page") == 1
        assert "the first 1 transfers in ID order" in problem.detail

    @pytest.mark.parametrize(
        "named",
        ["", "../../admin", "x" * 500, "replay-" + "a" * 24, "37A8EEC1-" + "0" * 24, "37a8eec1-" + "0" * 24 + "\n"],
    )
    async def test_an_invalid_transfer_id_at_the_target_is_not_looked_up(self, world: World, named: str) -> None:
        made = world.put()
        world.storage.put(made.target_blob, Item(b"x", metadata={"transfer_id": named}))
        delete_source(world, made)
        assert "the target blob does not name a transfer" in (await not_found_by_name(world)).detail
        assert "instances.find" not in world.request_names

    async def test_a_transfer_id_of_another_blob_at_the_target_is_ignored(self, world: World) -> None:
        made, other = world.put(), world.put("in/secret")
        world.put_instance(other, "Running")
        world.storage.put(made.target_blob, Item(b"x", metadata={"transfer_id": other.id}))
        delete_source(world, made)
        assert "the transfer that the target blob names is unknown" in (await not_found_by_name(world)).detail

    async def test_a_target_that_cannot_be_read_does_not_stop_the_search(self, world: World) -> None:
        made = world.put()
        world.put_instance(made, "Running")
        delete_source(world, made)
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 404, "ContainerNotFound"))
        assert (await find_by_name(world))["id"] == made.id

    async def test_a_transient_failure_of_storage_raises(self, world: World) -> None:
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await find_by_name(world)


async def test_a_blob_with_a_customer_provided_key_is_invalid_when_shared_or_looked_up(world: World) -> None:
    world.put()
    world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 409, "BlobUsesCustomerSpecifiedEncryption"))
    for ask in (get_by_name, share):
        with pytest.raises(Invalid) as problem:
            await ask(world.ports, world.instances, ROUTE.name, NAME)
        assert "BlobUsesCustomerSpecifiedEncryption" in problem.value.detail
        assert "customer-provided encryption key" in problem.value.fix


async def test_a_list_has_pages_and_filters_by_route_and_state(world: World) -> None:
    other = Route("other", Place(ROUTE.source.endpoint, "source", "in/"), Place(ROUTE.target.endpoint, "target", "o/"))
    made = [world.put(f"in/{number}") for number in range(5)]
    for each in made:
        world.put_instance(each, "Running")
    elsewhere = world.put("in/x", route=other)
    world.put_instance(elsewhere, "Completed", output={"state": "verified"})
    seen: list[str] = []
    continuation = None
    while True:
        page = await list_transfers(world.instances, route="default", state=None, limit=2, continuation=continuation)
        seen += [item["id"] for item in page["items"]]
        assert len(page["items"]) <= 2
        if (continuation := page["continuation"]) is None:
            break
    assert sorted(seen) == sorted(each.id for each in made)
    page = await list_transfers(world.instances, route=None, state="verified", limit=100, continuation=None)
    assert [item["id"] for item in page["items"]] == [elsewhere.id]
    page = await list_transfers(world.instances, route="unknown", state=None, limit=100, continuation=None)
    assert page == {"items": [], "continuation": None}


async def test_other_orchestrations_are_not_listed(world: World) -> None:
    made = world.put()
    world.put_instance(made, "Running")
    world.instances.kept["replay-1"] = replace(world.instances.kept[made.id], id="replay-1")
    page = await list_transfers(world.instances, route=None, state=None, limit=100, continuation=None)
    assert [item["id"] for item in page["items"]] == [made.id]

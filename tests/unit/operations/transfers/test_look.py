"""Looking: a transfer as the API answers it, from what the extension keeps."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from adapters.translation import EVENTS_DEPTH, INSTANCES_PAGE, SOURCE_HEAD, TARGET_HEAD, Request, error_for_answer
from operations.problems import Invalid, NotFound
from operations.transfers.look import (
    SEARCH_PAGE,
    SEARCH_PAGES,
    SEARCH_SECONDS,
    transfer,
    transfer_of,
    transfers,
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
        "route",
        "state",
        "source",
        "target",
        "engine",
        "copied",
        "total",
        "attempt",
        "tries",
        "resumes",
        "cancelling",
        "ending",
    ),
    *("accepted_at", "updated_at", "next_check_at", "reason", "detail", "hint", "successor", "letter"),
}


async def test_a_running_one_shows_its_live_detail(world: World) -> None:
    """From the custom status."""
    made = world.put()
    world.put_instance(made, "Running", Run(made, NOW, copied=4, size=10))
    shown = await transfer(world.ports, world.instances, made.id)
    assert set(shown) == FIELDS
    assert (shown["state"], shown["copied"], shown["total"]) == ("accepted", 4, 10)
    assert shown["source"] == {"url": made.source_blob.url, "name": NAME, "etag": made.etag, "size": 10}
    assert shown["target"] == {"url": made.target_blob.url}


async def test_an_ended_one_shows_its_output(world: World) -> None:
    """The last word."""
    made = world.put()
    world.put_instance(made, "Completed", output={"state": "verified", "copied": 10})
    assert (await transfer(world.ports, world.instances, made.id))["state"] == "verified"


@pytest.mark.parametrize("status", ["Failed", "Terminated"])
async def test_a_broken_one_is_under_way_and_shows_what_happened(world: World, status: str) -> None:
    """Its last state, how it is about to end, if so, and when it is started again."""
    made = world.put()
    run = Run(made, NOW, state=State.COPYING, copied=4, size=10, resumes=1)
    world.put_instance(made, status, run, output="Orchestrator function 'transfer' failed: ?sig=c2VjcmV0")
    shown = await transfer(world.ports, world.instances, made.id)
    assert set(shown) == FIELDS
    assert (shown["state"], shown["copied"], shown["total"], shown["resumes"]) == ("copying", 4, 10, 1)
    assert shown["detail"].startswith(f"the orchestration was {status}: Orchestrator function 'transfer' failed")
    assert "c2VjcmV0" not in str(shown)
    going_on = status == "Failed"
    assert (shown["ending"], shown["reason"]) == ((None, None) if going_on else ("dead_lettered", "internal"))
    due = NOW + timedelta(seconds=resume_pause(1, made.id)) if going_on else NOW
    assert shown["next_check_at"] == stamp(due)


async def test_one_that_is_started_again_and_has_not_begun_is_shown_by_its_input(world: World) -> None:
    """Its end is certain already, and what was known of its copy still is."""
    made = world.put()
    run = Run(made, NOW, state=State.COPYING, step=Step.CHECK, size=10, copied=4, resumes=1)
    await world.instances.start(lifecycle.cancelled(run))
    shown = await transfer(world.ports, world.instances, made.id)
    assert (shown["state"], shown["ending"], shown["cancelling"], shown["resumes"]) == ("copying", "cancelled", True, 1)
    assert (shown["copied"], shown["total"]) == (4, 10)


async def test_one_whose_input_nobody_can_read_is_still_shown() -> None:
    """With its id and state."""
    for broken in (False, True):
        statuses = "Failed" if broken else "Running"
        shown = status.view(Instance("37a8eec1-000000000000000000000000", statuses, None, {}, None, NOW))
        assert set(shown) == FIELDS
        assert (shown["source"], shown["state"]) == (None, "accepted")
        assert shown["ending"] == ("dead_lettered" if broken else None)


async def test_an_unknown_one_is_not_found(world: World) -> None:
    """With the fix."""
    with pytest.raises(NotFound):
        await transfer(world.ports, world.instances, "37a8eec1-000000000000000000000000")


async def test_the_transfer_of_a_blobs_current_version_is_found_by_name(world: World) -> None:
    """Nobody knows a hash by heart; an older version's is not meant."""
    world.put_instance(world.put(), "Completed", output={"state": "superseded"})
    newer = world.put(content=b"newer")
    with pytest.raises(NotFound):
        await transfer_of(world.ports, world.instances, "default", NAME)
    world.put_instance(newer, "Running")
    assert (await transfer_of(world.ports, world.instances, "default", NAME))["id"] == newer.id


async def found(world: World) -> dict[str, Any]:
    """The transfer of the blob, by its name."""
    return await transfer_of(world.ports, world.instances, ROUTE.name, NAME)


async def gone(world: World) -> NotFound:
    """Why there is none."""
    with pytest.raises(NotFound) as problem:
        await found(world)
    return problem.value


def remove(world: World, made: Transfer) -> None:
    """Its owner deletes the blob."""
    del world.storage.blobs[made.source_blob]


class TestFresh:
    """The source has the blob, and its version has no transfer."""

    async def test_its_event_was_not_taken_yet(self, world: World) -> None:
        """How many wait is said, and what to do if it stays so."""
        made = world.put()
        await world.events.put(world.event(made))
        problem = await gone(world)
        assert made.id in problem.detail
        assert "its event was not processed yet" in problem.detail
        assert "About 1 events wait in the queue" in problem.fix
        assert "POST /api/transfers" in problem.fix

    async def test_it_never_came(self, world: World) -> None:
        """Nothing waits: the hint does not say that something does."""
        world.put()
        problem = await gone(world)
        assert "or never arrived" in problem.detail
        assert "wait in the queue" not in problem.fix

    async def test_it_was_forgotten(self, world: World) -> None:
        """The target names this very version: its event is long gone."""
        world.put_copy(world.put())
        problem = await gone(world)
        assert "its history was deleted" in problem.detail
        assert "30 days" in problem.fix

    async def test_an_older_version_at_the_target_is_not_meant(self, world: World) -> None:
        """Nor is its transfer, though it is known."""
        older = world.put()
        world.put_copy(older)
        world.put_instance(older, "Completed", output={"state": "verified"})
        world.put(content=b"newer")
        assert "its event was not processed yet" in (await gone(world)).detail

    @pytest.mark.parametrize("refused", [TARGET_HEAD, EVENTS_DEPTH])
    async def test_what_storage_does_not_show_is_left_out(self, world: World, refused: Request) -> None:
        """It is a hint, and no reason to fail."""
        made = world.put()
        world.refuse(refused, error_for_answer(refused, 503, "ServerBusy"))
        assert made.id in (await gone(world)).detail


class TestGone:
    """The source has no such blob any more."""

    async def test_the_transfer_that_the_target_names_is_answered(self, world: World) -> None:
        """One look at each side, and no list."""
        made = world.put()
        world.put_copy(made)
        world.put_instance(made, "Completed", output={"state": "verified"})
        remove(world, made)
        assert (await found(world))["id"] == made.id
        assert world.request_names == ["source.head", "target.head", "instances.find"]

    async def test_else_the_newest_of_that_name_and_route_is(self, world: World) -> None:
        """Whatever the order of ids, and whatever else there is."""
        versions = [world.put(content=f"{number}".encode()) for number in range(5)]
        for number, made in enumerate(versions):
            accepted = NOW + timedelta(seconds=(number * 3) % 5)  # the fourth was accepted last
            world.put_instance(made, "Completed", Run(made, accepted), {"state": "superseded"})
        for number in range(20):
            world.put_instance(world.put(f"in/{number}"), "Running", Run(world.put(f"in/{number}"), after(hours=1)))
        remove(world, versions[-1])
        assert (await found(world))["id"] == versions[3].id

    async def test_the_list_is_read_to_its_end(self, world: World) -> None:
        """Over several pages."""
        made = world.put()
        many = [world.put(f"in/{number}") for number in range(2 * SEARCH_PAGE)]
        for each in [made, *many]:
            world.put_instance(each, "Running")
        remove(world, made)
        assert (await found(world))["id"] == made.id
        assert world.request_names.count("instances.page") == 3

    async def test_none_was_found_and_where_it_was_looked_for_is_said(self, world: World) -> None:
        """At the target, and among all transfers of the route."""
        world.put_instance(world.put("in/other"), "Running")
        problem = await gone(world)
        assert "the source has no blob with this name" in problem.detail
        assert "the target has none either" in problem.detail
        assert "none of the route's transfers has this name" in problem.detail
        assert "searched" not in problem.detail

    async def test_a_search_has_an_end_and_says_how_far_it_came(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So many pages, however many transfers there are."""
        monkeypatch.setattr("operations.transfers.look.SEARCH_PAGE", 2)
        for number in range(2 * SEARCH_PAGES + 1):
            world.put_instance(world.put(f"in/{number}"), "Running")
        problem = await gone(world)
        assert world.request_names.count("instances.page") == SEARCH_PAGES
        assert f"only the first {2 * SEARCH_PAGES} transfers in ID order" in problem.detail

    async def test_a_slow_search_ends_sooner(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """A caller does not wait for ever."""
        monkeypatch.setattr("operations.transfers.look.SEARCH_PAGE", 1)
        for number in range(SEARCH_PAGES):
            world.put_instance(world.put(f"in/{number}"), "Running")
        for _ in range(SEARCH_PAGES):
            world.before_next(INSTANCES_PAGE, partial(world.pass_time, SEARCH_SECONDS / 2))
        problem = await gone(world)
        assert world.request_names.count("instances.page") == 1
        assert "the first 1 transfers in ID order" in problem.detail

    @pytest.mark.parametrize(
        "named",
        ["", "../../admin", "x" * 500, "replay-" + "a" * 24, "37A8EEC1-" + "0" * 24, "37a8eec1-" + "0" * 24 + "\n"],
    )
    async def test_what_is_not_an_id_at_the_target_is_never_asked_for(self, world: World, named: str) -> None:
        """Anyone who may write there may have put anything."""
        made = world.put()
        world.storage.put(made.target_blob, Item(b"x", metadata={"transfer_id": named}))
        remove(world, made)
        assert "the target blob does not name a transfer" in (await gone(world)).detail
        assert "instances.find" not in world.request_names

    async def test_an_id_at_the_target_of_another_blob_is_not_answered(self, world: World) -> None:
        """The metadata was copied with a blob by its owner, or forged."""
        made, other = world.put(), world.put("in/secret")
        world.put_instance(other, "Running")
        world.storage.put(made.target_blob, Item(b"x", metadata={"transfer_id": other.id}))
        remove(world, made)
        assert "the transfer that the target blob names is unknown" in (await gone(world)).detail

    async def test_a_target_that_refuses_the_look_for_good_is_passed_over(self, world: World) -> None:
        """Its container is gone: the list may still tell."""
        made = world.put()
        world.put_instance(made, "Running")
        remove(world, made)
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 404, "ContainerNotFound"))
        assert (await found(world))["id"] == made.id

    async def test_storage_that_fails_is_no_answer(self, world: World) -> None:
        """Another transfer might be the right one."""
        world.refuse(TARGET_HEAD, error_for_answer(TARGET_HEAD, 503, "ServerBusy"))
        with pytest.raises(Retryable):
            await found(world)


async def test_a_blob_with_a_key_of_its_owners_is_said_to_be_one_when_it_is_shared_or_looked_up(world: World) -> None:
    """The service does not show it: no retry would help, and the fix names the key."""
    world.put()
    world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 409, "BlobUsesCustomerSpecifiedEncryption"))
    for ask in (transfer_of, share):
        with pytest.raises(Invalid) as problem:
            await ask(world.ports, world.instances, ROUTE.name, NAME)
        assert "BlobUsesCustomerSpecifiedEncryption" in problem.value.detail
        assert "customer-provided encryption key" in problem.value.fix


async def test_a_list_is_paged_filtered_by_route_and_state(world: World) -> None:
    """`route` is a prefix of ids; `state` filters what the page holds."""
    other = Route("other", Place(ROUTE.source.endpoint, "source", "in/"), Place(ROUTE.target.endpoint, "target", "o/"))
    made = [world.put(f"in/{number}") for number in range(5)]
    for each in made:
        world.put_instance(each, "Running")
    elsewhere = world.put("in/x", route=other)
    world.put_instance(elsewhere, "Completed", output={"state": "verified"})
    seen: list[str] = []
    continuation = None
    while True:
        page = await transfers(world.instances, route="default", state=None, limit=2, continuation=continuation)
        seen += [item["id"] for item in page["items"]]
        assert len(page["items"]) <= 2
        if (continuation := page["continuation"]) is None:
            break
    assert sorted(seen) == sorted(each.id for each in made)
    page = await transfers(world.instances, route=None, state="verified", limit=100, continuation=None)
    assert [item["id"] for item in page["items"]] == [elsewhere.id]
    page = await transfers(world.instances, route="nobody", state=None, limit=100, continuation=None)
    assert page == {"items": [], "continuation": None}


async def test_other_orchestrations_are_not_listed(world: World) -> None:
    """They have prefixes of their own."""
    made = world.put()
    world.put_instance(made, "Running")
    world.instances.kept["replay-1"] = replace(world.instances.kept[made.id], id="replay-1")
    page = await transfers(world.instances, route=None, state=None, limit=100, continuation=None)
    assert [item["id"] for item in page["items"]] == [made.id]

"""Looking: a transfer as the API answers it, from what the extension keeps."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.translation import SOURCE_HEAD, answered
from operations.look import transfer, transfer_of, transfers
from operations.problems import Invalid, NotFound
from operations.share import share
from rules import course, status
from rules.codec import stamp
from rules.models import Place, Route, Run, Step
from rules.policies import resume_pause
from rules.ports import Instance
from rules.transitions import State
from tests.unit.operations.world import World
from tests.unit.rules.samples import NAME, NOW, ROUTE

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
    *("accepted_at", "updated_at", "next_check_at", "reason", "detail", "hint", "successor"),
}


async def test_a_running_one_shows_its_live_detail(world: World) -> None:
    """From the custom status."""
    made = world.put()
    world.stands(made, "Running", Run(made, NOW, copied=4, size=10))
    shown = await transfer(world.instances, made.id)
    assert set(shown) == FIELDS
    assert (shown["state"], shown["copied"], shown["total"]) == ("accepted", 4, 10)
    assert shown["source"] == {"url": made.version.blob.url, "name": NAME, "etag": made.etag, "size": 10}
    assert shown["target"] == {"url": made.target_blob.url}


async def test_an_ended_one_shows_its_output(world: World) -> None:
    """The last word."""
    made = world.put()
    world.stands(made, "Completed", output={"state": "verified", "copied": 10})
    assert (await transfer(world.instances, made.id))["state"] == "verified"


@pytest.mark.parametrize("status", ["Failed", "Terminated"])
async def test_a_broken_one_is_under_way_and_shows_what_happened(world: World, status: str) -> None:
    """Its last state, how it is about to end, if so, and when it is started again."""
    made = world.put()
    run = Run(made, NOW, state=State.COPYING, copied=4, size=10, resumes=1)
    world.stands(made, status, run, output="Orchestrator function 'transfer' failed: ?sig=c2VjcmV0")
    shown = await transfer(world.instances, made.id)
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
    await world.instances.start(course.cancelled(run))
    shown = await transfer(world.instances, made.id)
    assert (shown["state"], shown["ending"], shown["cancelling"], shown["resumes"]) == ("copying", "cancelled", True, 1)
    assert (shown["copied"], shown["total"]) == (4, 10)


async def test_one_whose_input_nobody_can_read_is_still_shown() -> None:
    """With its id and state."""
    for broken in (False, True):
        standing = "Failed" if broken else "Running"
        shown = status.view(Instance("37a8eec1-000000000000000000000000", standing, None, {}, None, NOW))
        assert set(shown) == FIELDS
        assert (shown["source"], shown["state"]) == (None, "accepted")
        assert shown["ending"] == ("dead_lettered" if broken else None)


async def test_an_unknown_one_is_not_found(world: World) -> None:
    """With the fix."""
    with pytest.raises(NotFound):
        await transfer(world.instances, "37a8eec1-000000000000000000000000")


async def test_the_transfer_of_a_blobs_current_version_is_found_by_name(world: World) -> None:
    """Nobody knows a hash by heart; an older version's is not meant."""
    world.stands(world.put(), "Completed", output={"state": "superseded"})
    newer = world.put(content=b"newer")
    with pytest.raises(NotFound):
        await transfer_of(world.ports, world.instances, "default", NAME)
    world.stands(newer, "Running")
    assert (await transfer_of(world.ports, world.instances, "default", NAME))["id"] == newer.id


async def test_a_blob_with_a_key_of_its_owners_is_said_to_be_one_when_it_is_shared_or_looked_up(world: World) -> None:
    """The service does not show it: no retry would help, and the fix names the key."""
    world.put()
    world.refuse(SOURCE_HEAD, answered(SOURCE_HEAD, 409, "BlobUsesCustomerSpecifiedEncryption"))
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
        world.stands(each, "Running")
    elsewhere = world.put("in/x", route=other)
    world.stands(elsewhere, "Completed", output={"state": "verified"})
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
    world.stands(made, "Running")
    world.instances.kept["replay-1"] = replace(world.instances.kept[made.id], id="replay-1")
    page = await transfers(world.instances, route=None, state=None, limit=100, continuation=None)
    assert [item["id"] for item in page["items"]] == [made.id]

"""Listing open dead letters."""

import pytest

from operations.dead_letters.query import MAX_PAGES, list_open
from operations.transfers.accept import refuse
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from tests.unit.job_runs import put_dead_letter
from tests.unit.samples import NAME, ROUTE
from tests.unit.world import World


class TestListOpen:
    async def listed_ids(self, world: World, limit: int = 100, **by: str) -> list[str]:
        """The ids on the first page."""
        return [item["id"] for item in (await list_open(world.ports, by, limit, None))["items"]]

    async def test_filters_by_name_route_and_reason(self, world: World) -> None:
        one, other = await put_dead_letter(world, NAME), await put_dead_letter(world, NAME + "x")
        await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, NAME))
        assert await self.listed_ids(world, name=NAME) == [one.id]
        assert await self.listed_ids(world, name=other.name, route=ROUTE.name, reason="throttled") == [other.id]
        assert await self.listed_ids(world, name=NAME, reason="internal") == []
        assert await self.listed_ids(world, name=NAME, route="other") == []
        assert await self.listed_ids(world, name="") == []

    @pytest.mark.parametrize("name", ["in/ü 🎈", "in/100%", "in/%41", "in/a\r\nb", "in/<script>", "in/' or 1=1 --"])
    async def test_names_are_compared_exactly(self, world: World, name: str) -> None:
        await put_dead_letter(world, "in/A")
        made = await put_dead_letter(world, name)
        assert await self.listed_ids(world, name=name) == [made.id]

    async def test_names_that_the_list_truncates_are_distinguished(self, world: World) -> None:
        long = "in/" + "🎈" * 500
        made = [await put_dead_letter(world, long + end) for end in ("a", "b")]
        assert await self.listed_ids(world, name=long + "b") == [made[1].id]
        assert await self.listed_ids(world, name=long + "c") == []

    async def test_pages_without_a_match_are_skipped_up_to_a_limit(self, world: World) -> None:
        made = sorted(
            [await put_dead_letter(world, f"in/{number}") for number in range(MAX_PAGES + 2)], key=lambda t: t.id
        )
        page = await list_open(world.ports, {"name": made[5].name}, 1, None)
        assert ([item["id"] for item in page["items"]], world.request_names.count("dead_letters.list")) == (
            [made[5].id],
            6,
        )
        page = await list_open(world.ports, {"name": made[-1].name}, 1, None)
        assert (page["items"], world.request_names.count("dead_letters.list")) == ([], 6 + MAX_PAGES)
        page = await list_open(world.ports, {"name": made[-1].name}, 1, page["continuation"])
        assert ([item["id"] for item in page["items"]], page["continuation"]) == ([made[-1].id], None)

"""Pages of open dead letters."""

import pytest

from operations.dead_letters.look import MAX_PAGES
from operations.dead_letters.look import page as list_page
from operations.transfers.accept import refuse
from rules.errors import Reason
from rules.events import RejectedEvent
from tests.unit.job_runs import put_dead_letter
from tests.unit.samples import NAME, ROUTE
from tests.unit.world import World


class TestLetters:
    """A page of open dead letters, and what of it is wanted."""

    async def wanted(self, world: World, limit: int = 100, **by: str) -> list[str]:
        """The ids of the first page."""
        return [item["id"] for item in (await list_page(world.ports, by, limit, None))["items"]]

    async def test_by_name_with_route_and_reason(self, world: World) -> None:
        """Exactly that name; a message has none."""
        one, other = await put_dead_letter(world, NAME), await put_dead_letter(world, NAME + "x")
        await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, NAME))
        assert await self.wanted(world, name=NAME) == [one.id]
        assert await self.wanted(world, name=other.name, route=ROUTE.name, reason="throttled") == [other.id]
        assert await self.wanted(world, name=NAME, reason="internal") == []
        assert await self.wanted(world, name=NAME, route="other") == []
        assert await self.wanted(world, name="") == []

    @pytest.mark.parametrize("name", ["in/ü 🎈", "in/100%", "in/%41", "in/a\r\nb", "in/<script>", "in/' or 1=1 --"])
    async def test_a_name_is_compared_as_it_is(self, world: World, name: str) -> None:
        """Whatever is in it."""
        await put_dead_letter(world, "in/A")
        made = await put_dead_letter(world, name)
        assert await self.wanted(world, name=name) == [made.id]

    async def test_names_that_the_list_cuts_are_told_apart(self, world: World) -> None:
        """The letter itself has its name whole."""
        long = "in/" + "🎈" * 500
        made = [await put_dead_letter(world, long + end) for end in ("a", "b")]
        assert await self.wanted(world, name=long + "b") == [made[1].id]
        assert await self.wanted(world, name=long + "c") == []

    async def test_it_is_read_on_until_a_page_has_one(self, world: World) -> None:
        """Not one empty page after the other; up to a bound, from where the next call goes on."""
        made = sorted(
            [await put_dead_letter(world, f"in/{number}") for number in range(MAX_PAGES + 2)], key=lambda t: t.id
        )
        page = await list_page(world.ports, {"name": made[5].name}, 1, None)
        assert ([item["id"] for item in page["items"]], world.request_names.count("letters.list")) == ([made[5].id], 6)
        page = await list_page(world.ports, {"name": made[-1].name}, 1, None)
        assert (page["items"], world.request_names.count("letters.list")) == ([], 6 + MAX_PAGES)
        page = await list_page(world.ports, {"name": made[-1].name}, 1, page["continuation"])
        assert ([item["id"] for item in page["items"]], page["continuation"]) == ([made[-1].id], None)

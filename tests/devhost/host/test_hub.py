"""The client operations, on a store without a worker."""

import asyncio
from pathlib import Path

import pytest

from devhost.host.engine import Engine
from devhost.host.hub import Hub, RefusalError
from devhost.host.store import Store
from devhost.host.worker import Worker


async def test_whoever_looked_before_the_first_was_there_is_accepted(tmp_path: Path) -> None:
    """All twelve concurrent starts are accepted and one runs, so an acceptance does not prove that a start was the first."""
    store = Store(tmp_path / "host.sqlite")
    hub = Hub(Engine(store, Worker([], str, None), max_activities=1), None)
    assert await asyncio.gather(*[hub.start("any", "same", None) for _ in range(12)]) == ["same"] * 12
    assert len(store.inbox("same", hub.find("same").execution)[1]) == 1
    with pytest.raises(RefusalError, match="already exists"):
        await hub.start("any", "same", None)
    store.close()

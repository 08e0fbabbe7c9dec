"""Health: it really looks, says what does not work with the fix, names no blob, and is cheap to ask."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime

import pytest

from adapters.translation import (
    EVENTS_DEPTH,
    EVENTS_UNDELIVERED,
    LETTERS_LIST,
    SOURCE_HEAD,
    SOURCE_SIGN,
    Request,
    error_for_answer,
)
from operations.upkeep.health import Health
from ports.blobs import CopySource
from rules.errors import StorageError
from rules.routes.model import Blob
from tests.fakes import MemorySource
from tests.unit.samples import NAME, ROUTE
from tests.unit.world import World


async def test_up_means_that_every_check_is_ok(world: World) -> None:
    """Queue, undelivered events, letters, and of every route both ends and the signature by which its source is read."""
    found = await Health().look(world.ports)
    assert found["up"] is True
    assert [check["name"] for check in found["checks"]] == [
        "queue",
        "undelivered events",
        "dead letters",
        "reports",
        "source of route default",
        "signing for route default",
        "target of route default",
    ]


@pytest.mark.parametrize(
    ("request_", "name", "fix"),
    [
        (EVENTS_DEPTH, "queue", "Storage Queue Data Contributor"),
        (EVENTS_UNDELIVERED, "undelivered events", "Storage Blob Data Contributor on the events account"),
        (LETTERS_LIST, "dead letters", "container dead-letters"),
        (SOURCE_HEAD, "source of route default", "Storage Blob Data Reader"),
    ],
)
async def test_what_does_not_work_is_named_with_its_fix(world: World, request_: Request, name: str, fix: str) -> None:
    """One broken thing does not hide the others."""
    world.refuse(request_, error_for_answer(request_, 403, "AuthorizationFailure"), times=1)
    found = await Health().look(world.ports)
    assert found["up"] is False
    (broken,) = [check for check in found["checks"] if not check["ok"]]
    assert broken["name"] == name
    assert fix in broken["fix"]
    assert "AuthorizationFailure" in broken["detail"]


async def test_a_missing_target_container_is_seen(world: World) -> None:
    """Before the first blob finds out."""
    world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
    found = await Health().look(world.ports)
    assert [check["name"] for check in found["checks"] if not check["ok"]] == ["target of route default"]


async def test_it_names_no_blob(world: World) -> None:
    """Anybody may ask."""
    world.put()
    world.events.give_up(NAME.encode())
    assert NAME not in json.dumps(await Health().look(world.ports))


async def test_it_is_kept_for_ten_seconds(world: World) -> None:
    """Then it looks again."""
    health = Health()
    await health.look(world.ports)
    world.pass_time(10)
    await health.look(world.ports)
    assert world.request_names.count("events.depth") == 1
    world.pass_time(0.1)
    await health.look(world.ports)
    assert world.request_names.count("events.depth") == 2


async def test_a_storm_of_callers_is_one_look(world: World) -> None:
    """Also while the look is under way."""
    health = Health()
    answers = await asyncio.gather(*(health.look(world.ports) for _ in range(1_000)))
    assert world.request_names.count("events.depth") == 1
    assert all(answer == answers[0] for answer in answers)


async def test_a_broken_look_is_kept_as_well(world: World) -> None:
    """A store that is down is not asked by everybody."""
    health = Health()
    world.refuse(EVENTS_DEPTH, StorageError("events.depth", "down"))
    await health.look(world.ports)
    await health.look(world.ports)
    assert world.request_names.count("events.depth") == 1


class Unsigning(MemorySource):
    """A source whose account gives the app no key to sign with."""

    async def readable(self, blob: Blob, until: datetime) -> CopySource:  # noqa: ARG002  # the port says so
        """Refuse."""
        raise error_for_answer(SOURCE_SIGN, 403, "AuthorizationPermissionMismatch")


async def test_a_signature_that_fails_is_seen(world: World) -> None:
    """A role that is easily forgotten: without it every copy fails, though the source can be seen."""
    found = await Health().look(replace(world.ports, source=Unsigning(world.storage)))
    assert found["up"] is False
    (broken,) = [check for check in found["checks"] if not check["ok"]]
    assert broken["name"] == "signing for route default"
    assert "Storage Blob Delegator" in broken["fix"]
    assert "AuthorizationPermissionMismatch" in broken["detail"]

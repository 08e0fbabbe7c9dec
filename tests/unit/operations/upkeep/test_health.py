"""The health check: sends real requests, names failures with their fix, names no blob, and is cheap to call."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime

import pytest

from adapters.credentials import PartnerRefused
from adapters.translation import (
    DEAD_LETTERS_LIST,
    EVENTS_DEPTH,
    EVENTS_UNDELIVERED,
    FEED_DEPTH,
    FIGURES_READ,
    LEDGER_READ,
    SOURCE_HEAD,
    SOURCE_SIGN,
    TARGET_HEAD,
    Request,
    error_for_answer,
    translate_error,
)
from operations.upkeep.health import Health
from ports.blobs import CopySource
from rules.errors import StorageError
from rules.routes.model import Blob
from tests.fakes import MemorySource
from tests.unit.samples import NAME, ROUTE
from tests.unit.world import World


async def test_up_if_every_check_succeeds(world: World) -> None:
    found = await Health().check(world.ports)
    assert found["up"] is True
    assert [check["name"] for check in found["checks"]] == [
        "queue",
        "undelivered events",
        "dead letters",
        "reports",
        "transfer ends",
        "figures",
        "ledger",
        "source of route default",
        "signing for route default",
        "target of route default",
    ]


@pytest.mark.parametrize(
    ("request_", "name", "fix"),
    [
        (EVENTS_DEPTH, "queue", "Storage Queue Data Contributor"),
        (EVENTS_UNDELIVERED, "undelivered events", "Storage Blob Data Contributor on the events account"),
        (DEAD_LETTERS_LIST, "dead letters", "container dead-letters"),
        (FEED_DEPTH, "transfer ends", "queue transfer-ends"),
        (FIGURES_READ, "figures", "container figures"),
        (LEDGER_READ, "ledger", "container ledger"),
        (SOURCE_HEAD, "source of route default", "Storage Blob Data Reader"),
    ],
)
async def test_each_failed_check_is_named_with_its_fix(world: World, request_: Request, name: str, fix: str) -> None:
    world.refuse(request_, error_for_answer(request_, 403, "AuthorizationFailure"), times=1)
    found = await Health().check(world.ports)
    assert found["up"] is False
    (broken,) = [check for check in found["checks"] if not check["ok"]]
    assert broken["name"] == name
    assert fix in broken["fix"]
    assert "AuthorizationFailure" in broken["detail"]


async def test_a_paused_route_is_named_and_no_failure(world: World) -> None:
    found = await Health().check(replace(world.ports, routes=(replace(ROUTE, paused=True),)))
    assert found["up"] is True
    assert {"name": "route default", "ok": True, "detail": "paused", "fix": ""} in found["checks"]


async def test_a_target_in_another_tenant_has_its_own_fix(world: World) -> None:
    """The detail names what is missing, the fix what the owner of the target has to run."""
    ports = replace(world.ports, routes=(replace(ROUTE, tenant="11111111-2222-3333-4444-555555555555"),))
    world.refuse(TARGET_HEAD, translate_error(PartnerRefused("AADSTS7000229"), TARGET_HEAD), times=1)
    found = await Health().check(ports)
    (broken,) = [check for check in found["checks"] if not check["ok"]]
    assert broken["name"] == "target of route default"
    assert "AADSTS7000229: the route's `tenant` has no active service principal" in broken["detail"]
    assert "az role assignment create" in broken["fix"]


async def test_a_missing_target_container_fails(world: World) -> None:
    world.storage.containers.remove((ROUTE.target.endpoint, ROUTE.target.container))
    found = await Health().check(world.ports)
    assert [check["name"] for check in found["checks"] if not check["ok"]] == ["target of route default"]


async def test_names_no_blob(world: World) -> None:
    world.put()
    world.events.put_poison(NAME.encode())
    assert NAME not in json.dumps(await Health().check(world.ports))


async def test_the_result_is_cached_for_ten_seconds(world: World) -> None:
    health = Health()
    await health.check(world.ports)
    world.pass_time(10)
    await health.check(world.ports)
    assert world.request_names.count("events.depth") == 1
    world.pass_time(0.1)
    await health.check(world.ports)
    assert world.request_names.count("events.depth") == 2


async def test_concurrent_callers_share_one_check(world: World) -> None:
    health = Health()
    answers = await asyncio.gather(*(health.check(world.ports) for _ in range(1_000)))
    assert world.request_names.count("events.depth") == 1
    assert all(answer == answers[0] for answer in answers)


async def test_a_failed_result_is_cached_too(world: World) -> None:
    health = Health()
    world.refuse(EVENTS_DEPTH, StorageError("events.depth", "down"))
    await health.check(world.ports)
    await health.check(world.ports)
    assert world.request_names.count("events.depth") == 1


class UnsignableSource(MemorySource):
    """A source whose account refuses to sign URLs."""

    async def sign_read(self, blob: Blob, until: datetime) -> CopySource:  # noqa: ARG002  # the port says so
        raise error_for_answer(SOURCE_SIGN, 403, "AuthorizationPermissionMismatch")


async def test_a_failed_signature_fails(world: World) -> None:
    """The role is easily forgotten. Without it every copy fails, although the source can be read."""
    found = await Health().check(replace(world.ports, source=UnsignableSource(world.storage)))
    assert found["up"] is False
    (broken,) = [check for check in found["checks"] if not check["ok"]]
    assert broken["name"] == "signing for route default"
    assert "Storage Blob Delegator" in broken["fix"]
    assert "AuthorizationPermissionMismatch" in broken["detail"]

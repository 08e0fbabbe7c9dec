"""The doctor names each broken set-up, and leaves nothing behind."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError

from adapters.codes import Meaning
from adapters.credentials import PartnerRefused
from adapters.translation import (
    DEAD_LETTERS_LIST,
    EVENTS_DEPTH,
    INSTANCES_OLDEST,
    RECIPIENT_SEND,
    SOURCE_LIST,
    SOURCE_SIGN,
    TARGET_COPY,
    TARGET_DELETE,
    TARGET_HEAD,
    TARGET_PROBE,
    Request,
    error_for,
    error_for_answer,
    error_for_no_answer,
    translate_error,
)
from operations.upkeep.doctor import Doctor
from ports.blobs import Probe
from rules.routes.model import Route
from rules.routes.names import PROBE, is_probe
from rules.transfers import notices
from tests.fakes.events import Message
from tests.unit.samples import NAME, NOTIFYING, RECIPIENT, ROUTE
from tests.unit.world import World

TENANT = "11111111-2222-3333-4444-555555555555"


async def failed(world: World) -> list[dict[str, Any]]:
    found = await Doctor().diagnose(world.ports, world.instances)
    broken = [check for check in found["checks"] if not check["ok"]]
    assert found["up"] is not bool(broken)
    return broken


@pytest.fixture
def world() -> World:
    """A route with a recipient, and a blob that it shares."""
    made = World(routes=(NOTIFYING,))
    transfer = made.put(route=NOTIFYING)
    made.put_copy(transfer)
    return made


async def test_a_sound_set_up_passes_and_is_left_as_it_was(world: World) -> None:
    before = dict(world.storage.blobs)
    found = await Doctor().diagnose(world.ports, world.instances)
    assert found["up"] is True
    names = [check["name"] for check in found["checks"]]
    assert names == [
        "queue",
        "undelivered events",
        "dead letters",
        "reports",
        "transfer ends",
        "figures",
        "ledger",
        "task hub",
        "listing the source of route default",
        "signing for route default",
        "target of route default",
        "writing the target of route default",
        "clock of the target of route default",
        "copying on route default",
        "events of route default",
        "notifying the recipient of route default",
    ]
    assert world.storage.blobs == before
    assert [event["type"] for event in world.recipients.sent[RECIPIENT]] == [notices.PROBED]


def refuse(request: Request, status: int, code: str) -> Callable[[World], None]:
    return lambda world: world.refuse(request, error_for_answer(request, status, code))


def without_container(world: World) -> None:
    world.storage.containers.discard((ROUTE.target.endpoint, ROUTE.target.container))


def with_route(**changes: Any) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.ports = replace(world.ports, routes=(replace(NOTIFYING, **changes),))

    return change


def abroad(world: World) -> None:
    with_route(tenant=TENANT)(world)
    world.refuse(TARGET_PROBE, translate_error(PartnerRefused("AADSTS7000229"), TARGET_PROBE))


def no_token(world: World) -> None:
    world.refuse(SOURCE_LIST, translate_error(ClientAuthenticationError("no identity"), SOURCE_LIST))


def abroad_without_principal(world: World) -> None:
    with_route(tenant=TENANT)(world)
    world.refuse(TARGET_HEAD, translate_error(PartnerRefused("AADSTS7000229"), TARGET_HEAD))


def cool(world: World) -> None:
    with_route(tier="Cool")(world)
    refuse(TARGET_PROBE, 400, "BlobAccessTierNotSupportedForAccountType")(world)


def unsigned(world: World) -> None:
    async def refuse_to_sign(*_: Any) -> None:
        raise error_for_answer(SOURCE_SIGN, 403, "AuthorizationPermissionMismatch")

    world.source.sign_read = refuse_to_sign  # type: ignore[assignment, method-assign]


def early(world: World) -> None:
    async def probe(*_: Any) -> Probe:
        return Probe(world.clock - timedelta(minutes=20), tags=True)

    world.target.probe = probe  # type: ignore[assignment, method-assign]


def unreadable_source(world: World) -> None:
    error = error_for(TARGET_COPY, Meaning.SOURCE_NOT_VERIFIED, 403, "CannotVerifyCopySource")
    world.refuse(TARGET_COPY, error)


def lost_event(world: World) -> None:
    world.storage.blobs.pop(world.put(route=NOTIFYING).target_blob, None)
    world.put("in/new", route=NOTIFYING, modified_at=world.clock - timedelta(hours=1))


def backlog(world: World) -> None:
    lost_event(world)
    old = world.clock - timedelta(hours=1)
    world.events.queue["1"] = Message(b"{}", old, old)


BROKEN: list[tuple[str, Callable[[World], None], str, str]] = [
    ("queue", refuse(EVENTS_DEPTH, 404, "QueueNotFound"), "QueueNotFound", "creates the queue blob-events"),
    (
        "dead letters",
        refuse(DEAD_LETTERS_LIST, 403, "AuthorizationPermissionMismatch"),
        "no role",
        "Blob Data Contributor",
    ),
    (
        "task hub",
        refuse(INSTANCES_OLDEST, 403, "AuthorizationFailure"),
        "AuthorizationFailure",
        "az functionapp restart",
    ),
    (
        "listing the source of route default",
        refuse(SOURCE_LIST, 404, "ContainerNotFound"),
        "does not exist",
        "az storage container create --name source --account-name sharingsource",
    ),
    (
        "listing the source of route default",
        refuse(SOURCE_LIST, 403, "AuthorizationPermissionMismatch"),
        "no role",
        '--role "Storage Blob Data Reader"',
    ),
    (
        "listing the source of route default",
        refuse(SOURCE_LIST, 403, "AuthorizationFailure"),
        "firewall",
        "network-rule add --account-name sharingsource",
    ),
    ("signing for route default", unsigned, "no role", '--role "Storage Blob Delegator"'),
    (
        "listing the source of route default",
        no_token,
        "refused",
        "az functionapp identity show",
    ),
    (
        "target of route default",
        abroad_without_principal,
        "az ad sp create",
        "docs/partners.md",
    ),
    (
        "target of route default",
        without_container,
        "does not exist",
        "az storage container create --name target --account-name sharingtarget",
    ),
    (
        "writing the target of route default",
        refuse(TARGET_PROBE, 403, "AuthorizationPermissionMismatch"),
        "no role",
        '--role "Storage Blob Data Contributor"',
    ),
    (
        "writing the target of route default",
        refuse(TARGET_PROBE, 403, "AuthorizationFailure"),
        "firewall",
        "network-rule add --account-name sharingtarget",
    ),
    (
        "writing the target of route default",
        refuse(TARGET_DELETE, 409, "BlobImmutableDueToPolicy"),
        "a policy",
        "Share into another container",
    ),
    ("writing the target of route default", cool, "tier", "Remove `tier` from the route"),
    ("writing the target of route default", abroad, "AADSTS7000229", "docs/partners.md"),
    ("clock of the target of route default", early, "differ by 1200 s", "Correct the clock"),
    (
        "copying on route default",
        unreadable_source,
        "could not read the source",
        "network-rule add --account-name sharingsource",
    ),
    (
        "copying on route default",
        refuse(TARGET_COPY, 403, "AuthorizationFailure"),
        "allowedCopyScope",
        "--query allowedCopyScope",
    ),
    ("events of route default", lost_event, "its event has not arrived", "event-subscription list"),
    ("events of route default", backlog, "events wait in the queue", "queue.depth"),
    (
        "notifying the recipient of route default",
        lambda world: world.recipients.missing.add("arrivals"),
        "QueueNotFound",
        "az storage queue create --name arrivals --account-name partner",
    ),
    (
        "notifying the recipient of route default",
        refuse(RECIPIENT_SEND, 403, "AuthorizationPermissionMismatch"),
        "no role",
        "Storage Queue Data Message Sender",
    ),
]


@pytest.mark.parametrize(("name", "break_it", "detail", "fix"), BROKEN, ids=[f"{n}-{d}" for n, _, d, _ in BROKEN])
async def test_a_broken_set_up_is_named_with_its_fix(
    name: str, break_it: Callable[[World], None], detail: str, fix: str, world: World
) -> None:
    break_it(world)
    (broken,) = await failed(world)
    assert broken["name"] == name
    assert detail in broken["detail"]
    assert fix in broken["fix"]
    assert NAME not in str(broken), "it names no blob"


@pytest.mark.parametrize(
    ("route", "count"),
    [(replace(NOTIFYING, paused=True), 0), (replace(ROUTE, exclude=("*",)), 0), (replace(ROUTE, max_size=1), 0)],
)
async def test_what_cannot_be_tried_is_no_failure(route: Route, count: int, world: World) -> None:
    world.ports = replace(world.ports, routes=(route,))
    assert len(await failed(world)) == count


async def test_a_probe_that_cannot_be_deleted_is_named(world: World) -> None:
    world.put("in/small", route=NOTIFYING)

    def fail_second(request: Request, _subject: str) -> Exception | None:
        copied = any(is_probe(blob.name) and item.content for blob, item in world.storage.blobs.items())
        return error_for_answer(request, 409, "LeaseIdMissing") if request is TARGET_DELETE and copied else None

    world.faults.append(fail_second)
    (check,) = await failed(world)
    assert check["name"] == "deleting at the target of route default"
    assert PROBE in check["fix"]


async def test_a_probe_whose_answer_is_lost_is_deleted(world: World) -> None:
    before = dict(world.storage.blobs)
    world.lose_answer(TARGET_PROBE)
    (check,) = await failed(world)
    assert "no answer" in check["detail"]
    assert world.storage.blobs == before


async def test_a_blob_that_is_deleted_meanwhile_is_no_failure(world: World) -> None:
    error = error_for(TARGET_COPY, Meaning.SOURCE_NOT_VERIFIED, 404, "CannotVerifyCopySource")
    world.refuse(TARGET_COPY, error)
    (check,) = await failed(world)
    assert check["name"] == "copying on route default", "the blob is still there"
    world.before_next(TARGET_COPY, lambda: world.storage.blobs.pop(ROUTE.source.blob(NAME.removeprefix("in/"))))
    assert not await failed(world)


async def test_what_cannot_succeed_is_not_tried(world: World) -> None:
    """An account that does not answer costs one request."""
    world.refuse(SOURCE_LIST, error_for_no_answer(SOURCE_LIST))
    world.refuse(TARGET_HEAD, error_for_no_answer(TARGET_HEAD))
    found = await Doctor().diagnose(world.ports, world.instances)
    skipped = {check["name"] for check in found["checks"] if check["detail"].startswith("not tried: ")}
    assert skipped == {
        "signing for route default",
        "writing the target of route default",
        "clock of the target of route default",
        "copying on route default",
        "events of route default",
    }
    sides = [name for name in world.request_names if name.startswith(("source.", "target."))]
    assert sorted(sides) == ["source.list", "target.head"]


def test_no_route_shares_a_probe() -> None:
    source = ROUTE.source
    assert not ROUTE.covers(source.account, source.container, f"in/a/{PROBE}1")
    assert ROUTE.covers(source.account, source.container, f"in/{PROBE}/a")


async def test_a_read_only_app_writes_and_sends_nothing(world: World) -> None:
    world.ports = replace(world.ports, read_only=True)
    assert not await failed(world)
    assert not [name for name in world.request_names if name in {"target.probe", "target.copy", "recipient.send"}]

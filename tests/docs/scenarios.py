"""Calls of the API on in-memory fakes, each with the endpoint and the status that it must have."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from activities.jobs import ACTIVITIES, run
from adapters.translation import INSTANCES_FIND, error_for_answer
from operations.transfers.accept import refuse
from rules import codec
from rules.dead_letters import letters
from rules.errors import Reason
from rules.events import RejectedEvent
from rules.jobs import lifecycle
from rules.jobs.model import Finding, Job, JobKind, JobState, Result
from rules.jobs.status import RESULTS
from rules.jobs.status import progress as job_progress
from rules.orchestrations.instance import Instance
from rules.routes.model import Engine
from rules.transfers.model import Ending, Run, Successor
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.fakes import Item
from tests.unit.samples import NAME, NEWER, NOW, ROUTE, body, event
from tests.unit.triggers.api import UNKNOWN, Answer, Api, dead
from tests.unit.world import World
from triggers.http.endpoints import ENDPOINTS, PLACES

Made: TypeAlias = Callable[..., Awaitable[str]]
Scenario: TypeAlias = Callable[[World, Api], Awaitable[Answer]]
SCENARIOS: list[tuple[str, int, Scenario]] = []
SHARE = body({"route": ROUTE.name, "name": NAME})
# The smallest body that starts each job.
ASKED: dict[str, dict[str, Any]] = {f"start_{kind}": {} for kind in JobKind} | {
    "start_reconcile": {"route": ROUTE.name}
}
DEEP = "in/" + "x/" * 255


def add(operation: str, status: int, play: Callable[..., Awaitable[Answer]], **arguments: Any) -> None:
    """Register a call of this endpoint with this status."""
    SCENARIOS.append((operation, status, partial(play, operation=operation, **arguments)))


def unknown(operation: str) -> str | None:
    """An id that does not exist, if the path of the endpoint has one."""
    route = next(endpoint.route for endpoint in ENDPOINTS if endpoint.name == operation)
    if "{id}" not in route:
        return None
    return next((f"{kind}-{'0' * 24}" for kind in JobKind if route.startswith(f"{PLACES[kind]}/")), UNKNOWN)


def _sent(operation: str) -> bytes:
    return body(ASKED[operation]) if operation in ASKED else SHARE


async def _fails(world: World, api: Api, operation: str, *, foreseen: bool) -> Answer:
    error = RuntimeError("unforeseen")
    world.faults.append(lambda asked, _: error_for_answer(asked, 503, "ServerBusy") if foreseen else error)
    return await api.call(operation, unknown(operation), _sent(operation))


async def _of_nothing(_world: World, api: Api, operation: str, **query: str) -> Answer:
    return await api.call(operation, unknown(operation), _sent(operation), **query)


for endpoint in ENDPOINTS:
    for code in (500, 503):
        add(endpoint.name, code, _fails, foreseen=code == 503)
    if endpoint.name != "health":
        add(endpoint.name, 400, _of_nothing, verbose="1")
    if unknown(endpoint.name) or endpoint.name == "share_now":
        add(endpoint.name, 404, _of_nothing)


async def _just(world: World, api: Api, operation: str, sent: bytes = b"", **query: str) -> Answer:
    """One call in a world with a transfer in each condition."""
    _populate(world)
    return await api.call(operation, None, sent, **query)


add("health", 200, _just)
add("list_transfers", 200, _just)
add("list_transfers", 200, _just, limit="2")
add("list_transfers", 200, _just, route="no-such-route")
add("list_transfers", 404, _just, route=ROUTE.name, name="in/no-such-blob")
add("share_now", 400, _just)
add("share_now", 202, _just, sent=body({"route": ROUTE.name, "name": "in/0"}))
add("start_replay", 202, _just, sent=b"{}")
add("start_replay", 400, _just, sent=body({"reason": "tired"}))
add("start_discard", 202, _just, sent=b"{}")
add("start_discard", 400, _just, sent=body({"reason": "tired"}))
add("start_reconcile", 202, _just, sent=_sent("start_reconcile"))
add("start_reconcile", 400, _just, sent=b"{}")
add("start_reconcile", 404, _just, sent=body({"route": "nowhere"}))


def _populate(world: World) -> None:
    """Transfers by state and ending; broken, not begun yet, and with an input that cannot be read."""
    newer = Ending(State.SUPERSEDED, successor=Successor(NEWER))
    deleted = Ending(State.SUPERSEDED, successor=Successor(None))
    gave_up = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="503")
    conditions: list[tuple[str, dict[str, Any]]] = [
        ("Running", {}),
        ("Running", {"reason": Reason.THROTTLED, "detail": "503", "copy_attempts": 1}),
        ("Running", {"state": State.COPYING, "engine": Engine.ASYNC, "size": 10, "copied": 3, "ending": gave_up}),
        ("Completed", {"state": State.VERIFIED, "engine": Engine.SYNC, "size": 10}),
        ("Completed", {"state": State.SUPERSEDED, "ending": newer}),
        ("Completed", {"state": State.SUPERSEDED, "ending": deleted}),
        ("Completed", {"state": State.DEAD_LETTERED, "ending": gave_up}),
        ("Completed", {"state": State.CANCELLED, "cancelling": True}),
        ("Failed", {"state": State.COPYING}),
        ("Failed", {"state": State.COPYING, "ending": gave_up}),
        ("Failed", {"cancelling": True}),
        ("Terminated", {"state": State.COPYING, "resumes": 2}),
    ]
    for number, (status, fields) in enumerate(conditions):
        transfer = world.put(f"in/{number}")
        run = Run(transfer, NOW, **fields)
        world.put_instance(transfer, status, run, progress(run) if status == "Completed" else None)
    begun = world.put("in/begun")
    world.instances.kept[begun.id] = Instance(begun.id, "Pending", Run(begun, NOW), {}, None, NOW)
    for identity, status in ((UNKNOWN, "Running"), (UNKNOWN.replace("0", "1"), "Failed")):
        world.instances.kept[identity] = Instance(identity, status, None, {}, None, NOW)


async def _blob(world: World, api: Api, operation: str, *, transfer: bool = True, deleted: bool = False) -> Answer:
    shared = world.put()
    if transfer:
        world.put_copy(shared)
        world.put_instance(shared, "Completed", output={"state": "verified", "copied": 10, "total": 10})
    if deleted:
        del world.storage.blobs[shared.source_blob]
    return await api.call(operation, route=ROUTE.name, name=NAME)


add("list_transfers", 200, _blob)
add("list_transfers", 200, _blob, deleted=True)
add("list_transfers", 404, _blob, transfer=False)


async def _running(world: World, api: Api, operation: str, extension: str = "Running", **fields: Any) -> Answer:
    transfer = world.put()
    output = "the worker exited" if extension == "Failed" else None
    world.put_instance(transfer, extension, Run(transfer, NOW, **fields), output)
    return await api.call(operation, None if operation == "share_now" else transfer.id, SHARE)


COPYING: dict[str, Any] = {"state": State.COPYING, "engine": Engine.ASYNC, "size": 10, "copied": 3}
add("get_transfer", 200, _running, **COPYING)
add("get_transfer", 200, _running, extension="Failed", resumes=1, **COPYING)
add("share_now", 409, _running, cancelling=True)
add("cancel_transfer", 202, _running, cancelling=True)
add("cancel_transfer", 409, _running, ending=Ending(State.SUPERSEDED))
add("cancel_transfer", 503, _running)


async def _message(world: World, sent: bytes = b"hello") -> str:
    return await refuse(world.ports, sent, RejectedEvent(Reason.MALFORMED, "no JSON"))


async def _unreadable(world: World) -> str:
    await world.dead_letters.write(letters.of_unreadable(UNKNOWN, "the orchestration was Failed: x", NOW, "0.1.0"))
    return UNKNOWN


async def _open(world: World) -> str:
    return (await dead(world)).id


async def _twice(world: World) -> str:
    transfer = await dead(world)
    await world.dead_letters.write(
        letters.of_run(Run(transfer, NOW, attempt=1, size=10, copy_attempts=8), NOW, "0.1.0")
    )
    return transfer.id


async def _resolved(world: World) -> str:
    await world.dead_letters.resolve(identity := await _open(world), 0, "verified", NOW)
    return identity


async def _routeless(world: World, made: Made = _open) -> str:
    identity = await made(world)
    world.ports = replace(world.ports, routes=())
    return identity


async def _lost(world: World) -> str:
    world.before_next(INSTANCES_FIND, world.dead_letters.open.clear)
    return await _open(world)


async def _letter(world: World, api: Api, operation: str, made: Made, first: str = "") -> Answer:
    identity = await made(world)
    if first:
        await api.call(first, identity)
    return await api.call(operation, identity)


_acceptable = partial(_message, sent=body(event()))
_ignored = partial(_routeless, made=_acceptable)
GET, REPLAY, DISCARD = "get_dead_letter", "replay_dead_letter", "discard_dead_letter"
for made in (_open, _twice, _message, _unreadable, _resolved):
    add(GET, 200, _letter, made=made)
add(GET, 200, _letter, made=_acceptable, first=REPLAY)
add(GET, 200, _letter, made=_open, first=DISCARD)
add("get_transfer", 200, _letter, made=_open, first=DISCARD)
add("cancel_transfer", 409, _letter, made=_open)
for made in (_open, _acceptable):
    add(REPLAY, 202, _letter, made=made)
for made in (_resolved, _routeless, _unreadable, _message, _ignored):
    add(REPLAY, 409, _letter, made=made)
for made in (_open, _message):
    add(DISCARD, 200, _letter, made=made)
add(DISCARD, 409, _letter, made=_lost)
for operation in (REPLAY, DISCARD):
    for first in (REPLAY, DISCARD):
        add(operation, 409, _letter, made=_open, first=first)


async def _listed(world: World, api: Api, operation: str, **query: str) -> Answer:
    for made in (_open, _message, _unreadable):
        await made(world)
    await dead(world, "in/other")
    return await api.call(operation, **query)


add("list_dead_letters", 200, _listed)
add("list_dead_letters", 200, _listed, limit="1")
add("list_dead_letters", 200, _listed, name=NAME)


async def _asked(api: Api, kind: JobKind, **wanted: Any) -> str:
    answer = await api.call(f"start_{kind}", None, body(ASKED[f"start_{kind}"] | wanted))
    return str(answer.body["id"])


def _job(world: World, identity: str) -> Job:
    found = world.instances.kept[identity].job
    assert found is not None
    return found


async def _done(world: World, identity: str) -> None:
    """Run a job to its end, as its orchestration does."""
    found = _job(world, identity)
    while found.phase:
        batch = await run(ACTIVITIES[found.phase], world.ports, world.instances, found)
        found = lifecycle.advance(found, batch, world.clock)
    _shows(world, found, "Completed")


def _shows(world: World, job: Job, status: str) -> None:
    live = codec.encode(job_progress(job))
    kept = world.instances.kept
    kept[job.id] = replace(kept[job.id], status=status, custom=live, output=live if status == "Completed" else None)


async def _conditions(world: World, api: Api, operation: str, kind: JobKind) -> Answer:
    """Jobs in every state: waiting, running, cancelled, failed, broken and done."""
    await _done(world, await _asked(api, kind))
    for state in (JobState.RUNNING, JobState.CANCELLED, JobState.FAILED):
        job = _job(world, await _asked(api, kind, max_per_second=1))
        phase = job.phase if state is JobState.RUNNING else None
        job = replace(job, state=state, phase=phase, detail="503", updated_at=NOW)
        _shows(world, job, "Running" if phase else "Completed")
    world.instances.become(await _asked(api, kind), "Terminated", "by hand " * 99)
    world.instances.become(await _asked(api, kind), "Failed", "the worker exited")
    answer = await api.call(operation)
    assert {item["state"] for item in answer.body["items"]} == set(JobState)
    return answer


async def _drift(world: World) -> None:
    """A blob of each class; of two missing blobs one has a running transfer, one a dead letter. A message's dead letter."""
    world.put_copy(world.put("in/match"))
    world.put("in/missing")
    world.storage.put(world.put("in/stale").target_blob, Item(b"theirs"))
    world.storage.put(ROUTE.target.blob("extra"), Item(b"theirs"))
    world.put(DEEP)
    world.put_instance(world.put("in/running"), "Running")
    await dead(world, "in/dead")
    await _message(world)


async def _finished(world: World, api: Api, operation: str, kind: JobKind) -> Answer:
    """A call about a finished job; of a report all of its pages, which have every class and every result but `failed`."""
    await _drift(world)
    await api.call(REPLAY, (await dead(world, "in/replayed")).id)
    await _done(world, identity := await _asked(api, kind))
    answer = await api.call(operation, identity)
    lines = list(answer.body.get("items", []))
    while operation.endswith("report") and (token := answer.body["continuation"]):
        answer = await api.call(operation, identity, continuation=token)
        lines += answer.body["items"]
    if not lines:
        return answer
    classes = {line["class"] for line in lines if "class" in line}
    assert classes == (set(Finding) if kind is JobKind.RECONCILE else set())
    never = {Result.FAILED, Result.SKIPPED if kind is JobKind.REPLAY else Result.REFUSED}
    assert {line["result"] for line in lines if "result" in line} == set(RESULTS[kind]) - never
    return replace(answer, text=body({**answer.body, "items": lines}).decode())


async def _waiting(_world: World, api: Api, operation: str, kind: JobKind, **query: str) -> Answer:
    return await api.call(operation, await _asked(api, kind), **query)


async def _cancelling(world: World, api: Api, operation: str, kind: JobKind) -> Answer:
    job = _job(world, await _asked(api, kind))
    _shows(world, replace(job, cancelling=True), "Running")
    return await api.call(operation, job.id)


for kind in JobKind:
    get, report, cancel = f"get_{kind}", f"get_{kind}_report", f"cancel_{kind}"
    add(f"list_{PLACES[kind]}", 200, _conditions, kind=kind)
    for operation, status in ((get, 200), (report, 200), (cancel, 409)):
        add(operation, status, _finished, kind=kind)
    add(get, 200, _waiting, kind=kind)
    add(report, 200, _waiting, kind=kind, continuation="7", result="failed")
    add(cancel, 202, _cancelling, kind=kind)
    add(cancel, 503, _waiting, kind=kind)

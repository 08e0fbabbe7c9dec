"""Calls of the API on in-memory fakes, each with its endpoint and expected status."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

import dashboard
from activities.jobs import ACTIVITIES, run
from adapters.translation import INSTANCES_FIND, error_for_answer
from devhost.reference.endpoints import OPERATIONS
from operations.transfers.accept import refuse
from operations.upkeep.figures import collect
from rules import codec
from rules.dead_letters import letters
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.figures.feed import Kind
from rules.figures.view import Price
from rules.jobs import lifecycle
from rules.jobs.model import Finding, Job, JobKind, JobState, Result
from rules.jobs.status import RESULTS
from rules.jobs.status import progress as job_progress
from rules.orchestrations.instance import Instance
from rules.routes.model import Engine, Objective
from rules.transfers.lifecycle import VERIFIED
from rules.transfers.model import Ending, Run, Successor
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.fakes import Item
from tests.unit.rules.figures.test_aggregate import message
from tests.unit.samples import NAME, NEWER, NOTIFYING, NOW, ROUTE, body, event
from tests.unit.triggers.api import UNKNOWN, Answer, Api, dead
from tests.unit.world import CONTENT, World
from triggers.http.endpoints import ENDPOINTS, JOB_PATHS

MakeDeadLetter: TypeAlias = Callable[..., Awaitable[str]]
Scenario: TypeAlias = Callable[[World, Api], Awaitable[Answer]]
SCENARIOS: list[tuple[str, int, Scenario]] = []
SHARE = body({"route": ROUTE.name, "name": NAME})
# The smallest body that starts each job.
BODIES: dict[str, dict[str, Any]] = {f"start_{kind}": {} for kind in JobKind} | {
    "start_reconcile": {"route": ROUTE.name}
}
# The parameters that an endpoint requires.
QUERIES: dict[str, dict[str, str]] = {"get_ledger": {"route": ROUTE.name, "day": "2026-11-24"}}
DEEP = "in/" + "x/" * 255


def add(operation: str, status: int, scenario: Callable[..., Awaitable[Answer]], **arguments: Any) -> None:
    """Register a call of this endpoint, with its expected status."""
    SCENARIOS.append((operation, status, partial(scenario, operation=operation, **arguments)))


def unknown(operation: str) -> str | None:
    """An id that does not exist, if the path of the endpoint has one."""
    route = next(endpoint.route for endpoint in ENDPOINTS if endpoint.name == operation)
    if "{" not in route:
        return None
    return next((f"{kind}-{'0' * 24}" for kind in JobKind if route.startswith(f"{JOB_PATHS[kind]}/")), UNKNOWN)


def _body(operation: str) -> bytes:
    return body(BODIES[operation]) if operation in BODIES else SHARE


async def _fails(world: World, api: Api, operation: str, *, expected: bool) -> Answer:
    error = RuntimeError("unexpected")
    world.faults.append(lambda request, _: error_for_answer(request, 503, "ServerBusy") if expected else error)
    return await api.call(operation, unknown(operation), _body(operation), **QUERIES.get(operation, {}))


async def _call_unknown(_world: World, api: Api, operation: str, **query: str) -> Answer:
    return await api.call(operation, unknown(operation), _body(operation), **query)


async def _read_only(world: World, api: Api, operation: str) -> Answer:
    world.ports = replace(world.ports, read_only=True)
    return await api.call(operation, unknown(operation), _body(operation))


for endpoint in ENDPOINTS:
    static = OPERATIONS[endpoint.name].static
    for code in () if static else (500, 503):
        add(endpoint.name, code, _fails, expected=code == 503)
    if endpoint.name != "health" and not static:
        add(endpoint.name, 400, _call_unknown, verbose="1")
    if unknown(endpoint.name) or endpoint.name == "share_now":
        add(endpoint.name, 404, _call_unknown)
    if endpoint.method != "GET":
        add(endpoint.name, 403, _read_only)


async def _call(world: World, api: Api, operation: str, sent: bytes = b"", **query: str) -> Answer:
    """One call, while there is a transfer in each condition."""
    _populate(world)
    return await api.call(operation, None, sent, **query)


async def _file(
    _world: World, api: Api, operation: str, name: str | None = None, slash: str = "", *, known: bool = False
) -> Answer:
    """A file of the dashboard, or 304 if the caller knows it."""
    file = dashboard.description() if operation == "openapi" else dashboard.files()[name or dashboard.PAGE]
    return await api.call(operation, name, b"", slash, {"if-none-match": file.etag} if known else {})


add("dashboard", 200, _file)
add("dashboard", 304, _file, known=True)
add("dashboard", 308, _file, slash="/")
add("openapi", 200, _file)
add("openapi", 304, _file, known=True)
for each in dashboard.files():
    add("dashboard_file", 200, _file, name=each)
add("dashboard_file", 304, _file, name="style.css", known=True)


async def _figures(world: World, api: Api, operation: str) -> Answer:
    """The figures of a route with everything that a route can have."""
    objective = Objective(99, timedelta(minutes=15))
    ports = replace(world.ports, routes=(replace(ROUTE, objective=objective, daily_bytes=5),), price=Price(0.02))
    opened = message(2, Kind.OPENED)
    for each in (message(1, target_etag="0x1", event_at=NOW), replace(opened, size=None), message(3, size=None)):
        await world.feed.put(json.dumps(codec.encode(each)).encode())
    await world.events.put(b"event")
    await collect(ports, world.instances)
    world.ports = ports
    return await api.call(operation, None, **QUERIES.get(operation, {}))


for name in ("get_routes", "get_summary", "get_metrics", "get_ledger"):
    add(name, 200, _figures)
    add(name, 200, _call, **QUERIES.get(name, {}))
add("get_ledger", 400, _call, route=ROUTE.name, day="2026-02-30")
add("get_ledger", 404, _call, route="nowhere", day="2026-11-24")
add("health", 200, _call)
add("diagnose", 200, _call)
add("list_transfers", 200, _call)
add("list_transfers", 200, _call, limit="2")
add("list_transfers", 200, _call, route="no-such-route")
add("list_transfers", 404, _call, route=ROUTE.name, name="in/no-such-blob")
add("share_now", 400, _call)
add("share_now", 202, _call, sent=body({"route": ROUTE.name, "name": "in/0"}))
add("start_replay", 202, _call, sent=b"{}")
add("start_replay", 400, _call, sent=body({"reason": "unknown"}))
add("start_discard", 202, _call, sent=b"{}")
add("start_discard", 400, _call, sent=body({"reason": "unknown"}))
add("start_reconcile", 202, _call, sent=_body("start_reconcile"))
add("start_reconcile", 400, _call, sent=b"{}")
add("start_reconcile", 404, _call, sent=body({"route": "nowhere"}))


def _populate(world: World) -> None:
    """Transfers in every state, with an ending, broken, not started yet, or with an unreadable input."""
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
    pending = world.put("in/pending")
    world.instances.kept[pending.id] = Instance(pending.id, "Pending", Run(pending, NOW), {}, None, NOW)
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


async def _verified(world: World, api: Api, operation: str) -> Answer:
    transfer = world.put()
    run = Run(transfer, NOW, state=State.VERIFIED, ending=VERIFIED, size=len(CONTENT))
    world.put_instance(transfer, "Completed", run, progress(run))
    world.put_copy(transfer)
    world.ports = replace(world.ports, routes=(NOTIFYING,))
    return await api.call(operation, transfer.id)


add("notify_recipient", 409, _running)
add("notify_recipient", 202, _verified)


async def _message_dead_letter(world: World, sent: bytes = b"hello") -> str:
    return await refuse(world.ports, sent, RejectedEvent(Reason.MALFORMED, "not JSON"))


async def _unreadable_transfer(world: World) -> str:
    await world.dead_letters.write(letters.of_unreadable(UNKNOWN, "the orchestration was Failed: x", NOW, "0.1.0"))
    return UNKNOWN


async def _open_dead_letter(world: World) -> str:
    return (await dead(world)).id


async def _failed_twice(world: World) -> str:
    transfer = await dead(world)
    await world.dead_letters.write(
        letters.of_run(Run(transfer, NOW, attempt=1, size=10, copy_attempts=8), NOW, "0.1.0")
    )
    return transfer.id


async def _resolved_dead_letter(world: World) -> str:
    await world.dead_letters.resolve(identity := await _open_dead_letter(world), 0, "verified", NOW)
    return identity


async def _without_routes(world: World, make: MakeDeadLetter = _open_dead_letter) -> str:
    identity = await make(world)
    world.ports = replace(world.ports, routes=())
    return identity


async def _lost_dead_letter(world: World) -> str:
    world.before_next(INSTANCES_FIND, world.dead_letters.open.clear)
    return await _open_dead_letter(world)


async def _dead_letter(world: World, api: Api, operation: str, make: MakeDeadLetter, first: str = "") -> Answer:
    identity = await make(world)
    if first:
        await api.call(first, identity)
    return await api.call(operation, identity)


_acceptable = partial(_message_dead_letter, sent=body(event()))
_ignored = partial(_without_routes, make=_acceptable)
GET, REPLAY, DISCARD = "get_dead_letter", "replay_dead_letter", "discard_dead_letter"
for make in (_open_dead_letter, _failed_twice, _message_dead_letter, _unreadable_transfer, _resolved_dead_letter):
    add(GET, 200, _dead_letter, make=make)
add(GET, 200, _dead_letter, make=_acceptable, first=REPLAY)
add(GET, 200, _dead_letter, make=_open_dead_letter, first=DISCARD)
add("get_transfer", 200, _dead_letter, make=_open_dead_letter, first=DISCARD)
add("cancel_transfer", 409, _dead_letter, make=_open_dead_letter)
for make in (_open_dead_letter, _acceptable):
    add(REPLAY, 202, _dead_letter, make=make)
for make in (_resolved_dead_letter, _without_routes, _unreadable_transfer, _message_dead_letter, _ignored):
    add(REPLAY, 409, _dead_letter, make=make)
for make in (_open_dead_letter, _message_dead_letter):
    add(DISCARD, 200, _dead_letter, make=make)
add(DISCARD, 409, _dead_letter, make=_lost_dead_letter)
for operation in (REPLAY, DISCARD):
    for first in (REPLAY, DISCARD):
        add(operation, 409, _dead_letter, make=_open_dead_letter, first=first)


async def _dead_letter_list(world: World, api: Api, operation: str, **query: str) -> Answer:
    for make in (_open_dead_letter, _message_dead_letter, _unreadable_transfer):
        await make(world)
    await dead(world, "in/other")
    return await api.call(operation, **query)


add("list_dead_letters", 200, _dead_letter_list)
add("list_dead_letters", 200, _dead_letter_list, limit="1")
add("list_dead_letters", 200, _dead_letter_list, name=NAME)


async def _start_job(api: Api, kind: JobKind, **wanted: Any) -> str:
    answer = await api.call(f"start_{kind}", None, body(BODIES[f"start_{kind}"] | wanted))
    return str(answer.body["id"])


def _job(world: World, identity: str) -> Job:
    found = world.instances.kept[identity].job
    assert found is not None
    return found


async def _finish(world: World, identity: str) -> None:
    """Run a job to its end, as its orchestration does."""
    found = _job(world, identity)
    while found.phase:
        batch = await run(ACTIVITIES[found.phase], world.ports, world.instances, found)
        found = lifecycle.advance(found, batch, world.clock)
    _set_status(world, found, "Completed")


def _set_status(world: World, job: Job, status: str) -> None:
    live = codec.encode(job_progress(job))
    kept = world.instances.kept
    kept[job.id] = replace(kept[job.id], status=status, custom=live, output=live if status == "Completed" else None)


async def _all_states(world: World, api: Api, operation: str, kind: JobKind) -> Answer:
    """Jobs in every state: waiting, running, cancelled, failed, broken and done."""
    await _finish(world, await _start_job(api, kind))
    for state in (JobState.RUNNING, JobState.CANCELLED, JobState.FAILED):
        job = _job(world, await _start_job(api, kind, max_per_second=1))
        phase = job.phase if state is JobState.RUNNING else None
        job = replace(job, state=state, phase=phase, detail="503", updated_at=NOW)
        _set_status(world, job, "Running" if phase else "Completed")
    world.instances.become(await _start_job(api, kind), "Terminated", "by hand " * 99)
    world.instances.become(await _start_job(api, kind), "Failed", "the worker exited")
    answer = await api.call(operation)
    assert {item["state"] for item in answer.body["items"]} == set(JobState)
    return answer


async def _create_drift(world: World) -> None:
    """A blob of each class, missing ones also with a running transfer and a dead letter. And a message's dead letter."""
    world.put_copy(world.put("in/match"))
    world.put("in/missing")
    world.storage.put(world.put("in/stale").target_blob, Item(b"theirs"))
    world.storage.put(ROUTE.target.blob("extra"), Item(b"theirs"))
    world.put(DEEP)
    world.put_instance(world.put("in/running"), "Running")
    await dead(world, "in/dead")
    await _message_dead_letter(world)


async def _finished_job(world: World, api: Api, operation: str, kind: JobKind) -> Answer:
    """A call about a finished job. A report is read to its end; it has every class and every result except `failed`."""
    await _create_drift(world)
    await api.call(REPLAY, (await dead(world, "in/replayed")).id)
    await _finish(world, identity := await _start_job(api, kind))
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


async def _new_job(_world: World, api: Api, operation: str, kind: JobKind, **query: str) -> Answer:
    return await api.call(operation, await _start_job(api, kind), **query)


async def _cancelling_job(world: World, api: Api, operation: str, kind: JobKind) -> Answer:
    job = _job(world, await _start_job(api, kind))
    _set_status(world, replace(job, cancelling=True), "Running")
    return await api.call(operation, job.id)


for kind in JobKind:
    get, report, cancel = f"get_{kind}", f"get_{kind}_report", f"cancel_{kind}"
    add(f"list_{JOB_PATHS[kind]}", 200, _all_states, kind=kind)
    for operation, status in ((get, 200), (report, 200), (cancel, 409)):
        add(operation, status, _finished_job, kind=kind)
    add(get, 200, _new_job, kind=kind)
    add(report, 200, _new_job, kind=kind, continuation="7", result="failed")
    add(cancel, 202, _cancelling_job, kind=kind)
    add(cancel, 503, _new_job, kind=kind)

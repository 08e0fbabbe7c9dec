"""The calls of jobs: bulk replays, bulk discards and reconciles, at every moment of theirs."""

from dataclasses import replace
from typing import Any

from activities.jobs import ACTIVITIES, run
from operations.transfers.accept import refuse
from rules import codec
from rules.errors import Reason
from rules.events import RejectedEvent
from rules.jobs import lifecycle
from rules.jobs.model import Finding, Job, JobKind, JobState, Result
from rules.jobs.status import progress as job_progress
from tests.docs.scenarios import scenario
from tests.fakes import Item
from tests.unit.samples import NOW, ROUTE, body
from tests.unit.triggers.api import Answer, Api, dead
from tests.unit.world import World

ASKED: dict[str, dict[str, Any]] = {
    "start_replay": {},
    "start_discard": {},
    "start_reconcile": {"route": ROUTE.name},
}
DEEP = "in/" + "x/" * 255


def unknown(work: JobKind) -> str:
    """The id of a job that never was."""
    return f"{work}-{'0' * 24}"


async def asked(world: World, api: Api, operation: str, **wanted: Any) -> str:
    """Ask for a job; its id."""
    answer = await api.call(operation, None, body({**ASKED[operation], **wanted}))
    assert answer.status == 202
    identity = str(answer.body["id"])
    assert identity in world.instances.kept
    return identity


async def done(world: World, identity: str) -> Job:
    """Do a job as its orchestration does, turn by turn."""
    found = world.instances.kept[identity].job
    assert found is not None
    while found.phase:
        turn = await run(ACTIVITIES[found.phase], world.ports, world.instances, found)
        found = lifecycle.advance(found, turn, world.clock)
    stands(world, found, "Completed")
    return found


def stands(world: World, job: Job, status: str) -> None:
    """Let the extension show a job so."""
    live = codec.encode(job_progress(job))
    there = world.instances.kept[job.id]
    ended = status == "Completed"
    world.instances.kept[job.id] = replace(there, status=status, custom=live, output=live if ended else None)


async def drift(world: World) -> None:
    """A blob of each class; and two that are missing but not to be started: one runs, one is a dead letter."""
    world.land(world.put("in/match"))
    world.put("in/missing")
    world.storage.put(world.put("in/stale").target_blob, Item(b"theirs"))
    world.storage.put(ROUTE.target.blob("extra"), Item(b"theirs"))
    world.put(DEEP)
    world.stands(world.put("in/running"), "Running")
    await dead(world, "in/dead")


@scenario("start_replay", 202)
async def everything_is_replayed(_world: World, api: Api) -> Answer:
    """An empty object means all."""
    return await api.call("start_replay", None, b"{}")


@scenario("start_replay", 400)
async def an_unknown_reason(_world: World, api: Api) -> Answer:
    """It is told what is known."""
    return await api.call("start_replay", None, body({"reason": "tired"}))


@scenario("start_reconcile", 202)
async def a_route_is_reconciled(_world: World, api: Api) -> Answer:
    """One that there is."""
    return await api.call("start_reconcile", None, body({"route": ROUTE.name, "dry_run": True}))


@scenario("start_reconcile", 400)
async def no_route_is_named(_world: World, api: Api) -> Answer:
    """There is no reconcile of everything."""
    return await api.call("start_reconcile", None, b"{}")


@scenario("start_reconcile", 404)
async def a_route_that_there_is_not(_world: World, api: Api) -> Answer:
    """Nothing could be compared."""
    return await api.call("start_reconcile", None, body({"route": "nowhere"}))


@scenario("list_replays", 200)
async def replays_in_every_condition(world: World, api: Api) -> Answer:
    """Waiting, running, cancelled, failed, broken; and one that is done."""
    await conditions(world, api, "start_replay", {"reason": "throttled", "since": NOW.isoformat()})
    answer = await api.call("list_replays")
    assert {item["state"] for item in answer.body["items"]} == set(JobState)
    return answer


@scenario("start_discard", 202)
async def everything_is_discarded(_world: World, api: Api) -> Answer:
    """An empty object means all."""
    return await api.call("start_discard", None, b"{}")


@scenario("start_discard", 400)
async def a_discard_of_an_unknown_reason(_world: World, api: Api) -> Answer:
    """The answer says which reasons there are."""
    return await api.call("start_discard", None, body({"reason": "tired"}))


@scenario("list_discards", 200)
async def discards_in_every_condition(world: World, api: Api) -> Answer:
    """The same as for replays."""
    await conditions(world, api, "start_discard", {"reason": "throttled", "until": NOW.isoformat()})
    answer = await api.call("list_discards")
    assert {item["state"] for item in answer.body["items"]} == set(JobState)
    return answer


@scenario("get_discard", 200)
async def a_discard_that_is_done(world: World, api: Api) -> Answer:
    """With its counts."""
    await dead(world)
    await done(world, identity := await asked(world, api, "start_discard"))
    answer = await api.call("get_discard", identity)
    assert (answer.body["counts"]["found"], answer.body["counts"]["discarded"]) == (1, 1)
    return answer


@scenario("get_discard_report", 200)
async def what_came_of_those_to_be_discarded(world: World, api: Api) -> Answer:
    """What was found, then a transfer's and a message's discarded, and one that is being replayed."""
    await dead(world)
    running = await dead(world, "in/running")
    await api.call("replay_dead_letter", running.id)
    await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
    await done(world, identity := await asked(world, api, "start_discard"))
    found = await api.call("get_discard_report", identity)
    came = await api.call("get_discard_report", identity, continuation="1")
    assert sorted(line["result"] for line in came.body["items"]) == [Result.DISCARDED, Result.DISCARDED, Result.RUNNING]
    return replace(came, text=body({**came.body, "items": found.body["items"] + came.body["items"]}).decode())


@scenario("list_reconciles", 200)
async def reconciles_in_every_condition(world: World, api: Api) -> Answer:
    """The same; and a first page."""
    await conditions(world, api, "start_reconcile", {"max_per_second": 1})
    assert (await api.call("list_reconciles", limit="1")).body["continuation"]
    answer = await api.call("list_reconciles")
    assert {item["state"] for item in answer.body["items"]} == set(JobState)
    return answer


async def conditions(world: World, api: Api, operation: str, wanted: dict[str, Any]) -> None:
    """Jobs in every condition."""
    await done(world, await asked(world, api, operation))
    await asked(world, api, operation, **wanted)
    for state in (JobState.RUNNING, JobState.CANCELLED, JobState.FAILED):
        identity = await asked(world, api, operation, **wanted)
        job = world.instances.kept[identity].job
        assert job is not None
        phase = job.phase if state is JobState.RUNNING else None
        job = replace(job, state=state, phase=phase, detail="503", updated_at=NOW)
        stands(world, job, "Running" if phase else "Completed")
    world.instances.become(await asked(world, api, operation), "Terminated", "by hand " * 99)
    world.instances.become(await asked(world, api, operation), "Failed", "the worker exited")


@scenario("get_replay", 200)
async def a_replay_that_waits(world: World, api: Api) -> Answer:
    """Before its first turn."""
    return await api.call("get_replay", await asked(world, api, "start_replay", until=NOW.isoformat()))


@scenario("get_reconcile", 200)
async def a_reconcile_that_is_done(world: World, api: Api) -> Answer:
    """With its counts."""
    await drift(world)
    await done(world, identity := await asked(world, api, "start_reconcile"))
    answer = await api.call("get_reconcile", identity)
    counts = {name: count for name, count in answer.body["counts"].items() if name != "bytes"}
    assert {name for name, count in counts.items() if count} == {
        *Finding,
        "found",
        Result.STARTED,
        Result.RUNNING,
        Result.SKIPPED,
    }
    return answer


@scenario("get_replay_report", 200)
async def the_letters_that_were_found(world: World, api: Api) -> Answer:
    """A transfer's and a message's."""
    await dead(world)
    await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
    await done(world, identity := await asked(world, api, "start_replay"))
    answer = await api.call("get_replay_report", identity)
    assert len(answer.body["items"]) == 2
    assert answer.body["continuation"] == "1"
    return answer


@scenario("get_replay_report", 200)
async def what_came_of_them(world: World, api: Api) -> Answer:
    """The one is started, the other refused, a third runs."""
    await dead(world)
    running = await dead(world, "in/running")
    await api.call("replay_dead_letter", running.id)
    await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))
    await done(world, identity := await asked(world, api, "start_replay"))
    answer = await api.call("get_replay_report", identity, continuation="1")
    assert {line["result"] for line in answer.body["items"]} == {Result.STARTED, Result.REFUSED, Result.RUNNING}
    assert answer.body["continuation"] is None
    return answer


@scenario("get_reconcile_report", 200)
async def every_class(world: World, api: Api) -> Answer:
    """The extra ones have a page of their own."""
    await drift(world)
    await done(world, identity := await asked(world, api, "start_reconcile"))
    first = await api.call("get_reconcile_report", identity)
    more = await api.call("get_reconcile_report", identity, continuation="1")
    assert {line["class"] for answer in (first, more) for line in answer.body["items"]} == set(Finding)
    return replace(first, text=body({**first.body, "items": first.body["items"] + more.body["items"]}).decode())


@scenario("get_reconcile_report", 200)
async def what_came_of_each(world: World, api: Api) -> Answer:
    """Started, running already, left as it is."""
    await drift(world)
    await done(world, identity := await asked(world, api, "start_reconcile"))
    answer = await api.call("get_reconcile_report", identity, continuation="2")
    assert {line["result"] for line in answer.body["items"]} == {Result.STARTED, Result.RUNNING, Result.SKIPPED}
    return answer


@scenario("get_reconcile_report", 200)
async def a_page_that_is_not_there(world: World, api: Api) -> Answer:
    """Empty, and the last."""
    identity = await asked(world, api, "start_reconcile")
    answer = await api.call("get_reconcile_report", identity, continuation="7", result="failed")
    assert answer.body == {"items": [], "continuation": None}
    return answer


async def cancelled(world: World, api: Api, work: JobKind, operation: str) -> Answer:
    """A job that has noticed its cancel."""
    identity = await asked(world, api, operation)
    job = world.instances.kept[identity].job
    assert job is not None
    stands(world, replace(job, cancelling=True), "Running")
    return await api.call(f"cancel_{work}", identity)


async def too_late(world: World, api: Api, work: JobKind, operation: str) -> Answer:
    """A job that has ended."""
    await done(world, identity := await asked(world, api, operation))
    return await api.call(f"cancel_{work}", identity)


async def unnoticed(world: World, api: Api, work: JobKind, operation: str) -> Answer:
    """A job that nobody runs."""
    return await api.call(f"cancel_{work}", await asked(world, api, operation))


def of(play: Any, work: JobKind, operation: str) -> Any:
    """The same for one kind of job."""

    async def played(world: World, api: Api) -> Answer:
        return await play(world, api, work, operation)  # type: ignore[no-any-return]

    played.__name__ = f"{play.__name__}_{work}"
    return played


for each, by in zip(JobKind, ASKED, strict=True):
    for code, what in ((202, cancelled), (409, too_late), (503, unnoticed)):
        scenario(f"cancel_{each}", code)(of(what, each, by))

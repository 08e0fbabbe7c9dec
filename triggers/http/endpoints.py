"""The HTTP API. `ENDPOINTS` is the whole of it: every route, its method and who may call it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from operations.dead_letters import look as dead_letter_look
from operations.dead_letters.discard import discard
from operations.dead_letters.replay import replay
from operations.jobs import manage
from operations.problems import Invalid, NotFound
from operations.transfers import look as transfer_look
from operations.transfers.cancel import cancel
from operations.transfers.share import share
from operations.upkeep.health import Health
from ports.orchestrations import Instances
from ports.services import Ports, Services
from rules.dead_letters import records
from rules.jobs.model import JobKind
from triggers.http import bodies, requests
from triggers.http.answers import accepted, answer, failure, reference

# Where each kind of job is found.
PLACES = {JobKind.REPLAY: "replays", JobKind.DISCARD: "discards", JobKind.RECONCILE: "reconciles"}
FUNCTION, ANONYMOUS = func.AuthLevel.FUNCTION, func.AuthLevel.ANONYMOUS


@dataclass(frozen=True, slots=True)
class Call:
    """One request at a route, with what it may be answered from."""

    req: func.HttpRequest
    route: str
    ports: Ports
    instances: Instances
    health: Health

    def url(self, place: str) -> str:
        """Where the client finds a place of the API."""
        return reference(self.route, self.req.url, place)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the API. The key of a FUNCTION-level route is sent in `x-functions-key`."""

    name: str
    method: str
    route: str
    answers: Callable[[Call], Awaitable[func.HttpResponse]]
    level: func.AuthLevel = FUNCTION

    @property
    def methods(self) -> tuple[str, ...]:
        """A GET answers HEAD, too: the host adds no method by itself, and sends no body of an answer to HEAD."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


async def list_transfers(call: Call) -> func.HttpResponse:
    """A page of transfers; with `name`, the transfer of that blob."""
    given = requests.parameters(call.req, "route", "name", "state", "limit", "continuation")
    route = requests.route(given)
    if "name" in given:
        if route is None or set(given) != {"route", "name"}:
            raise Invalid("`name` can be combined only with `route`", "Use ?route=<route>&name=<blob name>.")
        return answer(await transfer_look.transfer_of(call.ports, call.instances, route, given["name"]))
    state, limit = requests.state(given), requests.limit(given)
    with requests.continuation(given) as continuation:
        page = await transfer_look.transfers(
            call.instances, route=route, state=state, limit=limit, continuation=continuation
        )
    return answer(page)


async def get_transfer(call: Call) -> func.HttpResponse:
    """One transfer."""
    requests.parameters(call.req)
    return answer(await transfer_look.transfer(call.ports, call.instances, requests.transfer_id(call.req)))


async def share_now(call: Call) -> func.HttpResponse:
    """Share one existing blob now."""
    requests.parameters(call.req)
    wanted = bodies.texts(call.req, "route", "name")
    return _accepted(call, [await share(call.ports, call.instances, wanted["route"], wanted["name"])])


async def cancel_transfer(call: Call) -> func.HttpResponse:
    """Cancel a transfer; no half-made target stays."""
    requests.parameters(call.req)
    return answer(await cancel(call.instances, requests.transfer_id(call.req)), 202)


async def list_letters(call: Call) -> func.HttpResponse:
    """A page of open dead letters."""
    given = requests.parameters(call.req, "route", "reason", "name", "limit", "continuation")
    wanted = {"route": requests.route(given), "reason": requests.reason(given), "name": given.get("name")}
    chosen = {field: value for field, value in wanted.items() if value is not None}
    with requests.continuation(given) as continuation:
        return answer(await dead_letter_look.page(call.ports, chosen, requests.limit(given), continuation))


async def get_letter(call: Call) -> func.HttpResponse:
    """One dead letter, open or resolved."""
    requests.parameters(call.req)
    letter_id = requests.letter_id(call.req)
    letter = await call.ports.dead_letters.read(letter_id)
    if letter is None:
        raise NotFound(f"dead letter {letter_id} does not exist", "List them with GET /api/dead-letters.")
    return answer(records.record(letter))


async def replay_letter(call: Call) -> func.HttpResponse:
    """Do a dead letter's transfer again."""
    requests.parameters(call.req)
    return _accepted(call, await replay(call.ports, call.instances, requests.letter_id(call.req)))


async def discard_letter(call: Call) -> func.HttpResponse:
    """Put a dead letter away, for good."""
    requests.parameters(call.req)
    return answer(records.record(await discard(call.ports, call.instances, requests.letter_id(call.req))))


def _accepted(call: Call, ids: list[str]) -> func.HttpResponse:
    return accepted(ids, call.url(f"transfers/{ids[0]}") if ids else "")


async def start_job(call: Call, kind: JobKind) -> func.HttpResponse:
    """Start a job that the body describes."""
    requests.parameters(call.req)
    job = bodies.job(call.req, kind, manage.new_id(kind), call.ports.now())
    place = f"{PLACES[kind]}/{await manage.start(call.ports, call.instances, job)}"
    return answer({"id": job.id, "url": f"/api/{place}"}, 202, {"Location": call.url(place)})


async def list_jobs(call: Call, kind: JobKind) -> func.HttpResponse:
    """A page of jobs of one kind."""
    given = requests.parameters(call.req, "limit", "continuation")
    with requests.continuation(given) as continuation:
        return answer(await manage.page(call.instances, kind, requests.limit(given), continuation))


async def get_job(call: Call, kind: JobKind) -> func.HttpResponse:
    """One job: how far it is, and what it counted."""
    requests.parameters(call.req)
    return answer(await manage.look(call.instances, requests.job_id(call.req, kind)))


async def get_report(call: Call, kind: JobKind) -> func.HttpResponse:
    """A page of a job's report: a line for each blob or letter, then one for what came of it."""
    given = requests.parameters(call.req, "class", "result", "continuation")
    number, wanted = requests.report_page(given), requests.line_filter(given)
    lines, more = await manage.report(call.ports, call.instances, requests.job_id(call.req, kind), number)
    items = [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]
    return answer({"items": items, "continuation": str(number + 1) if more else None})


async def cancel_job(call: Call, kind: JobKind) -> func.HttpResponse:
    """Cancel a job; what it started goes on."""
    requests.parameters(call.req)
    return answer(await manage.cancel(call.instances, requests.job_id(call.req, kind)), 202)


def _of_jobs(kind: JobKind) -> tuple[Endpoint, ...]:
    """What every kind of job has."""
    place = PLACES[kind]
    return (
        Endpoint(f"start_{kind}", "POST", place, partial(start_job, kind=kind)),
        Endpoint(f"list_{place}", "GET", place, partial(list_jobs, kind=kind)),
        Endpoint(f"get_{kind}", "GET", f"{place}/{{id}}", partial(get_job, kind=kind)),
        Endpoint(f"get_{kind}_report", "GET", f"{place}/{{id}}/report", partial(get_report, kind=kind)),
        Endpoint(f"cancel_{kind}", "DELETE", f"{place}/{{id}}", partial(cancel_job, kind=kind)),
    )


async def get_health(call: Call) -> func.HttpResponse:
    """What works and what does not."""
    health = await call.health.look(call.ports)
    return answer({**health, "version": call.ports.app_version}, 200 if health["up"] else 503)


ENDPOINTS = (
    Endpoint("list_transfers", "GET", "transfers", list_transfers),
    Endpoint("get_transfer", "GET", "transfers/{id}", get_transfer),
    Endpoint("share_now", "POST", "transfers", share_now),
    Endpoint("cancel_transfer", "DELETE", "transfers/{id}", cancel_transfer),
    Endpoint("list_dead_letters", "GET", "dead-letters", list_letters),
    Endpoint("get_dead_letter", "GET", "dead-letters/{id}", get_letter),
    Endpoint("replay_dead_letter", "POST", "dead-letters/{id}/replay", replay_letter),
    Endpoint("discard_dead_letter", "DELETE", "dead-letters/{id}", discard_letter),
    *_of_jobs(JobKind.REPLAY),
    *_of_jobs(JobKind.DISCARD),
    *_of_jobs(JobKind.RECONCILE),
    Endpoint("health", "GET", "health", get_health, ANONYMOUS),
)


def register(app: df.DFApp, services: Services) -> None:
    """Register every endpoint."""
    health = Health()  # shared by all requests of this process
    for endpoint in ENDPOINTS:
        function = app.durable_client_input(client_name="client")(_function(endpoint, services, health))
        function = app.route(route=endpoint.route, methods=endpoint.methods, auth_level=endpoint.level)(function)
        app.function_name(endpoint.name)(function)


def _function(endpoint: Endpoint, services: Services, health: Health) -> Any:
    async def function(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        try:
            call = Call(req, endpoint.route, services.ports, services.instances(client), health)
            return await endpoint.answers(call)
        except Exception as error:  # noqa: BLE001  # the edge: a function that raises answers 500 with an empty body
            return failure(error)

    function.__name__ = endpoint.name
    return function

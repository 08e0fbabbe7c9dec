"""The HTTP API. `ENDPOINTS` lists every endpoint with its method and authorization level."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from operations.dead_letters import query as dead_letters
from operations.dead_letters.discard import discard
from operations.dead_letters.replay import replay
from operations.figures import query as figures
from operations.jobs import manage
from operations.problems import Forbidden, Invalid, NotFound
from operations.transfers import query as transfers
from operations.transfers.cancel import cancel
from operations.transfers.notify import notify_again
from operations.transfers.share import share
from operations.upkeep.doctor import Doctor
from operations.upkeep.health import Health
from ports.orchestrations import Instances
from ports.services import Ports, Services
from rules.dead_letters import records
from rules.jobs.model import JobKind
from triggers.http import bodies, requests
from triggers.http.answers import accepted, error_answer, json_answer, relative_url
from triggers.http.metrics import metrics_answer
from triggers.http.page import description_answer, file_answer, page_answer

# The path of each kind of job.
JOB_PATHS = {JobKind.REPLAY: "replays", JobKind.DISCARD: "discards", JobKind.RECONCILE: "reconciles"}
FUNCTION, ANONYMOUS = func.AuthLevel.FUNCTION, func.AuthLevel.ANONYMOUS


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an endpoint, with the services that answer it."""

    req: func.HttpRequest
    route: str
    ports: Ports
    instances: Instances
    health: Health
    doctor: Doctor

    def url(self, path: str) -> str:
        """Return a path of the API relative to this request."""
        return relative_url(self.route, self.req.url, path)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint. Clients send the key of a FUNCTION-level endpoint in `x-functions-key`."""

    name: str
    method: str
    route: str
    handle: Callable[[Call], Awaitable[func.HttpResponse]]
    level: func.AuthLevel = FUNCTION

    @property
    def methods(self) -> tuple[str, ...]:
        """A GET endpoint also accepts HEAD: the host does not add it, but removes the body from its answer."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


async def list_transfers(call: Call) -> func.HttpResponse:
    """Return a page of transfers, or with `name`, the transfer of that blob."""
    query = requests.read_query(call.req, "route", "name", "state", "since", "limit", "continuation")
    route = requests.route(query)
    if "name" in query:
        if route is None or set(query) != {"route", "name"}:
            raise Invalid("`name` can be combined only with `route`", "Use ?route=<route>&name=<blob name>.")
        return json_answer(await transfers.get_by_name(call.ports, call.instances, route, query["name"]))
    state, since, limit = requests.state(query), requests.moment(query, "since"), requests.limit(query)
    with requests.continuation(query) as continuation:
        page = await transfers.list_transfers(
            call.instances, route=route, state=state, since=since, limit=limit, continuation=continuation
        )
    return json_answer(page)


async def get_transfer(call: Call) -> func.HttpResponse:
    """Return one transfer."""
    requests.read_query(call.req)
    return json_answer(await transfers.get(call.ports, call.instances, requests.transfer_id(call.req)))


async def share_now(call: Call) -> func.HttpResponse:
    """Share the current version of one blob."""
    requests.read_query(call.req)
    body = bodies.read_strings(call.req, "route", "name")
    return _accepted(call, [await share(call.ports, call.instances, body["route"], body["name"])])


async def cancel_transfer(call: Call) -> func.HttpResponse:
    """Cancel a transfer. No incomplete target blob remains."""
    requests.read_query(call.req)
    return json_answer(await cancel(call.instances, requests.transfer_id(call.req)), 202)


async def notify_recipient(call: Call) -> func.HttpResponse:
    """Notify the recipient of a verified transfer again."""
    requests.read_query(call.req)
    transfer_id = requests.transfer_id(call.req)
    await notify_again(call.ports, call.instances, transfer_id)
    return _accepted(call, [transfer_id])


async def list_dead_letters(call: Call) -> func.HttpResponse:
    """Return a page of open dead letters."""
    query = requests.read_query(call.req, "route", "reason", "name", "limit", "continuation")
    fields = {"route": requests.route(query), "reason": requests.reason(query), "name": query.get("name")}
    filters = {field: value for field, value in fields.items() if value is not None}
    with requests.continuation(query) as continuation:
        return json_answer(await dead_letters.list_open(call.ports, filters, requests.limit(query), continuation))


async def get_dead_letter(call: Call) -> func.HttpResponse:
    """Return one dead letter, open or resolved."""
    requests.read_query(call.req)
    letter_id = requests.letter_id(call.req)
    letter = await call.ports.dead_letters.read(letter_id)
    if letter is None:
        raise NotFound(f"dead letter {letter_id} does not exist", "List them with GET /api/dead-letters.")
    return json_answer(records.record(letter))


async def replay_dead_letter(call: Call) -> func.HttpResponse:
    """Replay a dead letter."""
    requests.read_query(call.req)
    return _accepted(call, await replay(call.ports, call.instances, requests.letter_id(call.req)))


async def discard_dead_letter(call: Call) -> func.HttpResponse:
    """Discard a dead letter."""
    requests.read_query(call.req)
    return json_answer(records.record(await discard(call.ports, call.instances, requests.letter_id(call.req))))


def _accepted(call: Call, ids: list[str]) -> func.HttpResponse:
    return accepted(ids, call.url(f"transfers/{ids[0]}") if ids else "")


async def start_job(call: Call, kind: JobKind) -> func.HttpResponse:
    """Start the job that the body describes."""
    requests.read_query(call.req)
    job = bodies.read_job(call.req, kind, manage.new_id(kind), call.ports.now())
    path = f"{JOB_PATHS[kind]}/{await manage.start(call.ports, call.instances, job)}"
    return json_answer({"id": job.id, "url": f"/api/{path}"}, 202, {"Location": call.url(path)})


async def list_jobs(call: Call, kind: JobKind) -> func.HttpResponse:
    """Return a page of jobs of one kind."""
    query = requests.read_query(call.req, "limit", "continuation")
    with requests.continuation(query) as continuation:
        return json_answer(
            await manage.list_jobs(call.instances, kind, requests.limit(query), continuation, call.ports.price)
        )


async def get_job(call: Call, kind: JobKind) -> func.HttpResponse:
    """Return one job with its progress and counts."""
    requests.read_query(call.req)
    return json_answer(await manage.get(call.instances, requests.job_id(call.req, kind), call.ports.price))


async def get_report(call: Call, kind: JobKind) -> func.HttpResponse:
    """Return a page of a job's report: first a line per blob or dead letter found, then a line per result."""
    query = requests.read_query(call.req, "class", "result", "continuation")
    number, filters = requests.report_page(query), requests.line_filter(query)
    lines, more = await manage.read_report(call.ports, call.instances, requests.job_id(call.req, kind), number)
    items = [line for line in lines if all(line.get(name) == value for name, value in filters.items())]
    return json_answer({"items": items, "continuation": str(number + 1) if more else None})


async def cancel_job(call: Call, kind: JobKind) -> func.HttpResponse:
    """Cancel a job. The transfers that it started continue."""
    requests.read_query(call.req)
    return json_answer(await manage.cancel(call.instances, requests.job_id(call.req, kind)), 202)


def _job_endpoints(kind: JobKind) -> tuple[Endpoint, ...]:
    """Return the endpoints of one kind of job."""
    path = JOB_PATHS[kind]
    return (
        Endpoint(f"start_{kind}", "POST", path, partial(start_job, kind=kind)),
        Endpoint(f"list_{path}", "GET", path, partial(list_jobs, kind=kind)),
        Endpoint(f"get_{kind}", "GET", f"{path}/{{id}}", partial(get_job, kind=kind)),
        Endpoint(f"get_{kind}_report", "GET", f"{path}/{{id}}/report", partial(get_report, kind=kind)),
        Endpoint(f"cancel_{kind}", "DELETE", f"{path}/{{id}}", partial(cancel_job, kind=kind)),
    )


async def get_routes(call: Call) -> func.HttpResponse:
    """Return the figures of each route."""
    requests.read_query(call.req)
    return json_answer(await figures.routes(call.ports))


async def get_metrics(call: Call) -> func.HttpResponse:
    """Return the figures of each route as OpenMetrics text."""
    requests.read_query(call.req)
    return metrics_answer(await figures.metrics(call.ports))


async def get_summary(call: Call) -> func.HttpResponse:
    """Return the figures of all routes together."""
    requests.read_query(call.req)
    return json_answer(await figures.summary(call.ports))


async def get_ledger(call: Call) -> func.HttpResponse:
    """Return a page of the transfers that a route has verified on a day."""
    query = requests.read_query(call.req, "route", "day", "continuation")
    route, day = requests.required_route(query), requests.day(query)
    with requests.continuation(query) as continuation:
        return json_answer(await figures.ledger(call.ports, route, day, continuation))


async def get_health(call: Call) -> func.HttpResponse:
    """Return the result of the health check. With `deep=1` redirect to the diagnosis, which needs a key."""
    if call.req.params.get("deep") == "1":
        return json_answer({}, 307, {"Location": call.url("health/deep")})
    health = await call.health.check(call.ports)
    about = {"version": call.ports.app_version, "read_only": call.ports.read_only}
    return json_answer({**health, **about}, 200 if health["up"] else 503)


async def get_dashboard(call: Call) -> func.HttpResponse:
    """Return the page of the dashboard."""
    return page_answer(call.req)


async def get_dashboard_file(call: Call) -> func.HttpResponse:
    """Return a file of the dashboard."""
    return file_answer(call.req, call.req.route_params.get("file", ""))


async def get_description(call: Call) -> func.HttpResponse:
    """Return the description of this API."""
    return description_answer(call.req)


async def diagnose(call: Call) -> func.HttpResponse:
    """Return the result of the doctor's trials."""
    requests.read_query(call.req)
    found = await call.doctor.diagnose(call.ports, call.instances)
    about = {"version": call.ports.app_version, "read_only": call.ports.read_only}
    return json_answer({**found, **about}, 200 if found["up"] else 503)


ENDPOINTS = (
    Endpoint("list_transfers", "GET", "transfers", list_transfers),
    Endpoint("get_transfer", "GET", "transfers/{id}", get_transfer),
    Endpoint("share_now", "POST", "transfers", share_now),
    Endpoint("cancel_transfer", "DELETE", "transfers/{id}", cancel_transfer),
    Endpoint("notify_recipient", "POST", "transfers/{id}/notify", notify_recipient),
    Endpoint("list_dead_letters", "GET", "dead-letters", list_dead_letters),
    Endpoint("get_dead_letter", "GET", "dead-letters/{id}", get_dead_letter),
    Endpoint("replay_dead_letter", "POST", "dead-letters/{id}/replay", replay_dead_letter),
    Endpoint("discard_dead_letter", "DELETE", "dead-letters/{id}", discard_dead_letter),
    *_job_endpoints(JobKind.REPLAY),
    *_job_endpoints(JobKind.DISCARD),
    *_job_endpoints(JobKind.RECONCILE),
    Endpoint("get_routes", "GET", "routes", get_routes),
    Endpoint("get_summary", "GET", "summary", get_summary),
    Endpoint("get_metrics", "GET", "metrics", get_metrics),
    Endpoint("get_ledger", "GET", "ledger", get_ledger),
    Endpoint("health", "GET", "health", get_health, ANONYMOUS),
    Endpoint("diagnose", "GET", "health/deep", diagnose),
    Endpoint("dashboard", "GET", "dashboard", get_dashboard, ANONYMOUS),
    Endpoint("openapi", "GET", "openapi.json", get_description, ANONYMOUS),
    Endpoint("dashboard_file", "GET", "dashboard/{file}", get_dashboard_file, ANONYMOUS),
)


def register(app: df.DFApp, services: Services) -> None:
    """Register every endpoint."""
    shared = Health(), Doctor()  # by all requests of this process
    for endpoint in ENDPOINTS:
        function = app.durable_client_input(client_name="client")(_function(endpoint, services, *shared))
        function = app.route(route=endpoint.route, methods=endpoint.methods, auth_level=endpoint.level)(function)
        app.function_name(endpoint.name)(function)


def _check_allowed(endpoint: Endpoint, ports: Ports) -> None:
    if ports.read_only and endpoint.method != "GET":
        raise Forbidden("the app is set to READ_ONLY", "Remove the setting READ_ONLY, then send the request again.")


def _function(endpoint: Endpoint, services: Services, health: Health, doctor: Doctor) -> Any:
    async def function(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        try:
            call = Call(req, endpoint.route, services.ports, services.instances(client), health, doctor)
            _check_allowed(endpoint, call.ports)
            return await endpoint.handle(call)
        except Exception as error:  # noqa: BLE001  # a function that raises answers 500 with an empty body
            return error_answer(error)

    function.__name__ = endpoint.name
    return function

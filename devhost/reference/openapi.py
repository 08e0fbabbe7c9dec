"""The OpenAPI description, from the endpoints, the models and the limits of the code."""

from functools import partial
from typing import Annotated, Any

import azure.functions as func

from devhost.reference import models
from devhost.reference.endpoints import JOB_HASH, OPERATIONS, TAGS, Operation, answer, ref, response, schema
from devhost.reference.examples import EXAMPLES
from devhost.reference.schemas import JSON, Has, Schemas, closed
from operations import problems
from operations.dead_letters.query import MAX_PAGES
from rules.errors import Reason
from rules.jobs import status
from rules.jobs.model import Finding, Job, JobKind, JobState, Result
from rules.jobs.status import COUNTS
from rules.routes.names import MAX_UNITS
from rules.transfers.identity import TRANSFER_ID_PATTERN
from rules.transfers.states import State
from triggers.http.bodies import MAX_BODY
from triggers.http.endpoints import ENDPOINTS, JOB_PATHS, Endpoint
from triggers.http.requests import DEFAULT_LIMIT, MAX_LIMIT
from wiring import APP_VERSION

INFO = {
    "title": "Blob Data Sharing",
    "version": APP_VERSION,
    "license": {"name": "MIT", "identifier": "MIT"},
    "summary": "Transfers, dead letters, jobs, figures, health and the dashboard.",
    "description": "Errors are `application/problem+json` (RFC 9457) with a `fix`. Except on health and the dashboard, a query parameter that is "
    "unknown, empty (except `continuation`) or given twice is a 400. A body is JSON in UTF-8 of at most "
    f"{MAX_BODY // 1024} KiB. A `Location` is relative to the request. Answers must not be cached, except the dashboard.",
}
SERVERS = [
    {"url": "/", "description": "The app that serves this description"},
    {"url": "http://127.0.0.1:7071", "description": "The local stack"},
    {
        "url": "https://{app}.azurewebsites.net",
        "description": "Azure",
        "variables": {"app": {"default": "app", "description": "The function app's name"}},
    },
]
KEY = {
    "type": "apiKey",
    "in": "header",
    "name": "x-functions-key",
    "description": "The function key; a local stack requires none.",
}
# The shared answers, by status.
SHARED = {400: "Invalid", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 500: "Unforeseen", 503: "Unavailable"}
UNTIL_MATCH = f"A call reads up to {MAX_PAGES} pages until it finds a match."
# Query parameters: component, type and description. ALIASES has the names in the URL that differ from the component.
QUERY: dict[str, tuple[Any, str]] = {
    "route": (
        models.RouteName,
        "Only items of this route, even if it no longer exists; with `name`, the route of the blob.",
    ),
    "name": (
        Annotated[models.SomeText, Has(maxLength=MAX_UNITS)],
        (
            "The blob's name at the source. The answer is the one transfer of its current version, or of a blob that is gone. "
            "Can be combined only with `route`."
        ),
    ),
    "letterName": (
        models.SomeText,
        (
            "Only dead letters of the blob with this name at the source, compared byte for byte; a message's dead letter has no "
            f"name. {UNTIL_MATCH}"
        ),
    ),
    "state": (State, "Only transfers of the page in this state."),
    "createdSince": (
        models.Moment,
        "Only transfers whose last attempt was started at this time or later; RFC 3339 with a time zone.",
    ),
    "reason": (Reason, f"Only dead letters with this reason. {UNTIL_MATCH}"),
    "limit": (
        Annotated[int, Has(minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT)],
        "Maximum number of items per page.",
    ),
    "continuation": (str, "The value from the previous page, with the same `route`, if any; empty for the first page."),
    "ledgerRoute": (models.RouteName, "The route, even if it no longer exists."),
    "day": (
        Annotated[str, Has(format="date", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")],
        "The day in UTC: `2026-11-30`.",
    ),
    "class": (Finding, "Only lines of the page with this class; reports of bulk replays and discards have no classes."),
    "result": (Result, "Only lines of the page with this result."),
    "reportContinuation": (
        Annotated[str, Has(pattern="^[0-9]{0,9}$")],
        "The value from the previous page: a page number, from 0; empty for the first page.",
    ),
}
ALIASES = {"createdSince": "since", "letterName": "name", "ledgerRoute": "route", "reportContinuation": "continuation"}
REQUIRED = {"ledgerRoute", "day"}
# Problems: schema, class in the code, description, and additional fields.
PROBLEMS: dict[str, tuple[type[problems.Problem], str, dict[str, Any]]] = {
    "Invalid": (problems.Invalid, "Invalid request.", {}),
    "Forbidden": (problems.Forbidden, "The setting READ_ONLY is `true`.", {}),
    "NotFound": (problems.NotFound, "Not found.", {}),
    "CancelConflict": (
        problems.Conflict,
        "The transfer has ended, or is ending in another state (then with Retry-After).",
        {"state": State},
    ),
    "NotifyConflict": (problems.Conflict, "The transfer cannot be announced.", {}),
    "JobConflict": (problems.Conflict, "The job has ended.", {"state": JobState}),
    "RunningConflict": (
        problems.Conflict,
        "The transfer with this id is already running; with Retry-After.",
        {"id": models.TransferId},
    ),
    "ResolvedConflict": (
        problems.Conflict,
        "The dead letter is already resolved; `resolved_as` says how.",
        {"resolved_as": models.ResolvedAs},
    ),
    "RefusedConflict": (problems.Conflict, "The message would be refused again.", {"reason": Reason}),
    "RouteConflict": (problems.Conflict, "The current routes, or the redacted message, do not allow the replay.", {}),
    "FailedAgainConflict": (
        problems.Conflict,
        "The transfer of the dead letter failed again at the same time; this failure was not discarded.",
        {},
    ),
    "Unforeseen": (problems.Problem, "An unexpected error. The app's log has the details.", {}),
    "Unavailable": (
        problems.Unavailable,
        "Storage or the Durable extension failed or refused the request, or a cancel is not confirmed yet.",
        {},
    ),
}
PAGES = (
    models.TransferPage,
    models.Accepted,
    models.ShareRequest,
    models.DeadLetter,
    models.DeadLetterPage,
    models.ReplayRequest,
    models.DiscardRequest,
    models.ReconcileRequest,
    models.ReplayReportPage,
    models.DiscardReportPage,
    models.ReconcileReportPage,
    models.Routes,
    models.Summary,
    models.LedgerPage,
    models.Health,
)


def description() -> JSON:
    """Return the whole document.

    Raises:
        ValueError: an endpoint has no operation, or an operation no endpoint.
    """
    if set(OPERATIONS) != {endpoint.name for endpoint in ENDPOINTS}:
        raise ValueError("OPERATIONS and ENDPOINTS do not have the same names")
    schemas = Schemas(models.ENUMS, models.RULES)
    parameters = _parameters(schemas)
    for model in PAGES:
        schemas.of(model)
    for kind in JobKind:
        _job(schemas, kind)
    for name, problem in PROBLEMS.items():
        schemas.put(name, partial(_problem, schemas, *problem))
    paths: dict[str, JSON] = {}
    for endpoint in ENDPOINTS:
        described = _operation(endpoint, OPERATIONS[endpoint.name])
        path = paths.setdefault(f"/api/{endpoint.route}", {})
        path[endpoint.method.lower()] = described
        if "HEAD" in endpoint.methods:
            path["head"] = _head(described)
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": SERVERS,
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in OPERATIONS.values())],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": KEY},
            "parameters": parameters,
            "headers": _headers(),
            "responses": RESPONSES,
            "schemas": schemas.named,
        },
    }


def _operation(endpoint: Endpoint, operation: Operation) -> JSON:
    keyed = endpoint.level is not func.AuthLevel.ANONYMOUS
    return {
        "operationId": endpoint.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        **({"description": operation.description} if operation.description else {}),
        "security": [{"key": []}] if keyed else [],
        **({"parameters": [ref("parameters", name) for name in operation.parameters]} if operation.parameters else {}),
        **({"requestBody": operation.body} if operation.body else {}),
        "responses": statuses(endpoint),
    }


def statuses(endpoint: Endpoint) -> dict[str, JSON]:
    """Return the answers of an endpoint by status: its own, and the shared ones."""
    operation = OPERATIONS[endpoint.name]
    keyed = endpoint.level is not func.AuthLevel.ANONYMOUS
    changes = [403] if endpoint.method != "GET" else []
    unforeseen = [] if operation.static else [500, 503]
    shared = [*operation.fails, *([401] if keyed else []), *changes, *unforeseen]
    responses = {status: ref("responses", SHARED[status]) for status in shared} | operation.answers
    return {str(status): responses[status] for status in sorted(responses)}


def _head(get: JSON) -> JSON:
    """The HEAD of a GET: the same status and headers, without a body."""
    responses = {
        status: {key: part for key, part in resolved(response).items() if key != "content"}
        for status, response in get["responses"].items()
    }
    own = {"operationId": f"{get['operationId']}_head", "summary": "Status and headers of GET"}
    return {key: value for key, value in get.items() if key != "description"} | own | {"responses": responses}


def resolved(response: JSON) -> JSON:
    """Return a response, or the shared one that it refers to."""
    found: JSON = RESPONSES[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
    return found


def _parameters(schemas: Schemas) -> JSON:
    ids = {"transferId": models.TransferId, "letterId": models.LetterId}
    paths = {name: schemas.of(hint) for name, hint in ids.items()}
    paths |= {f"{kind}Id": _job_id(schemas, kind) for kind in JobKind}
    found = {name: {"name": "id", "in": "path", "required": True, "schema": made} for name, made in paths.items()}
    file = {"type": "string", "description": "The file's name.", "pattern": "^[a-z0-9.-]+$"}
    found["file"] = {"name": "file", "in": "path", "required": True, "schema": file}
    for name, (hint, text) in QUERY.items():
        found[name] = {
            "name": ALIASES.get(name, name),
            "in": "query",
            "required": name in REQUIRED,
            "description": text,
            "schema": schemas.of(hint),
        }
    return found


def _job_id(schemas: Schemas, kind: JobKind) -> JSON:
    made = {"type": "string", "description": f"The id of a {TAGS[kind]}.", "pattern": f"^{kind}-{JOB_HASH}$"}
    return schemas.put(f"{kind.capitalize()}Id", lambda: made)


def _job(schemas: Schemas, kind: JobKind) -> None:
    """Add the schemas of one kind of job: the job as `view` shows it, its counts, its page, and the answer to its start."""
    name = kind.capitalize()
    shown = status.view(Job(f"{kind}-{'0' * 24}", kind, models.EPOCH, route="r"), {})
    fields = schemas.fields(models.JobFields) | {"id": _job_id(schemas, kind), "counts": schema(f"{name}Counts")}
    if kind is JobKind.RECONCILE:
        fields["route"] = schemas.of(models.RouteName)
    job = closed(f"A {TAGS[kind]}: its request and progress.", {field: fields[field] for field in shown})
    schemas.put(name, lambda: job | models.JOB_RULES)
    known = {
        "found": "Number of items to act on.",
        "bytes": "Total size of these items in bytes; unknown sizes count as 0.",
    }
    counts: JSON = {
        str(count): {"type": "integer", "minimum": 0} | ({"description": known[count]} if count in known else {})
        for count in COUNTS[kind]
    }
    schemas.put(f"{name}Counts", lambda: closed("Number of items, and of each result.", counts))
    items = {"type": "array", "items": schema(name)} | models.PAGE.keywords
    page = {"items": items, "continuation": schema("Continuation")}
    schemas.put(f"{name}Page", lambda: closed("In unspecified order.", page))
    url = {
        "type": "string",
        "description": "The job's URL.",
        "format": "uri-reference",
        "pattern": f"^/api/{JOB_PATHS[kind]}/{kind}-{JOB_HASH}$",
    }
    schemas.put(f"{name}Asked", lambda: closed("The started job.", {"id": schema(f"{name}Id"), "url": url}))


def _problem(schemas: Schemas, problem: type[problems.Problem], description: str, facts: dict[str, Any]) -> JSON:
    fields: JSON = {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "const": problem.title},
        "status": {"type": "integer", "const": problem.status},
        "detail": {"type": "string", "description": "What is wrong.", "minLength": 1},
        "fix": {"type": "string", "description": "How to fix it.", "minLength": 1},
    }
    return closed(description, fields | {name: schemas.of(hint) for name, hint in facts.items()})


def _headers() -> JSON:
    seconds = {"type": "integer", "minimum": 1}
    found = {
        "RetryAfter": {"description": "Seconds.", "required": True, "schema": seconds},
        "RetryAfterWhileRunning": {
            "description": "Seconds; only while the transfer has not ended.",
            "required": False,
            "schema": seconds,
        },
        "DashboardLocation": {
            "description": "The page.",
            "required": True,
            "schema": {"type": "string", "const": "../dashboard"},
        },
        "Location": _location("The first of the transfers.", f"transfers/{TRANSFER_ID_PATTERN.pattern}"),
    }
    return found | {
        f"{kind.capitalize()}Location": _location("The job.", f"{JOB_PATHS[kind]}/{kind}-{JOB_HASH}")
        for kind in JobKind
    }


def _location(description: str, path: str) -> JSON:
    made = {"type": "string", "format": "uri-reference", "pattern": rf"^(?:\.\./)*{path}$"}
    return {"description": description, "required": True, "schema": made}


def _job_started(kind: JobKind) -> JSON:
    name, identity = kind.capitalize(), EXAMPLES[kind.capitalize()]["id"]
    example = {"id": identity, "url": f"/api/{JOB_PATHS[kind]}/{identity}"}
    headers = {"Location": ref("headers", f"{name}Location")}
    return answer("The job was started; its id and URL.", f"{name}Asked", example, headers)


RESPONSES: dict[str, JSON] = {
    "Invalid": response("Invalid request; `fix` shows a valid one.", schema("Invalid")),
    "Unauthorized": {
        "description": "The key is missing or wrong. The Functions host answers instead of the app, without a problem body. "
        "A local stack requires no key."
    },
    "Forbidden": response("The app is set to READ_ONLY.", schema("Forbidden")),
    "NotFound": response("Not found.", schema("NotFound")),
    "Unforeseen": response("An unexpected error.", schema("Unforeseen")),
    "Unavailable": response(
        "Temporarily unavailable; repeating the request is safe.",
        schema("Unavailable"),
        headers={"Retry-After": ref("headers", "RetryAfter")},
    ),
    "Accepted": answer(
        "Accepted; the ids and URLs of the transfers.", "Accepted", headers={"Location": ref("headers", "Location")}
    ),
    **{f"{kind.capitalize()}Asked": _job_started(kind) for kind in JobKind},
}

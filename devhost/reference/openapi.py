"""The OpenAPI description, from the endpoints, the models and the limits of the code."""

from typing import Annotated, Any

import azure.functions as func

from devhost.reference import models
from devhost.reference.endpoints import JOB_HASH, OPERATIONS, TAGS, Operation, answer, ref, schema
from devhost.reference.examples import EXAMPLES
from devhost.reference.schemas import JSON, Has, Schemas, closed
from operations import problems
from operations.dead_letters.look import MAX_PAGES
from rules.errors import Reason
from rules.jobs import status
from rules.jobs.model import Finding, Job, JobKind, JobState, Result
from rules.jobs.status import COUNTS
from rules.routes.names import MAX_UNITS
from rules.transfers.identity import TRANSFER_ID_PATTERN
from rules.transfers.states import State
from triggers.http.bodies import MAX_BODY
from triggers.http.endpoints import ENDPOINTS, PLACES, Endpoint
from triggers.http.requests import DEFAULT_LIMIT, MAX_LIMIT
from wiring import APP_VERSION

INFO = {
    "title": "Blob Data Sharing",
    "version": APP_VERSION,
    "license": {"name": "MIT", "identifier": "MIT"},
    "summary": "Transfers, dead letters, jobs and health.",
    "description": "Errors are `application/problem+json` (RFC 9457) with a `fix`. Except on health, a query parameter that is "
    "unknown, empty (except `continuation`) or given twice is a 400. A body is JSON in UTF-8 of at most "
    f"{MAX_BODY // 1024} KiB. A `Location` is relative to the request. Answers must not be cached.",
}
SERVERS = [
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
# Answers that several endpoints give.
SHARED = {400: "Invalid", 401: "Unauthorized", 404: "NotFound", 500: "Unforeseen", 503: "Unavailable"}
UNTIL_MATCH = f"A call reads up to {MAX_PAGES} pages until it finds a match."
# Query parameters: the component's name, the type and the description. ALIASES has those whose name in the URL is another one.
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
    "reason": (Reason, f"Only dead letters with this reason. {UNTIL_MATCH}"),
    "limit": (
        Annotated[int, Has(minimum=1, maximum=MAX_LIMIT, default=DEFAULT_LIMIT)],
        "Maximum number of items per page.",
    ),
    "continuation": (
        str,
        "The value from the previous page, with the same `route`, if any; empty for the first page.",
    ),
    "class": (Finding, "Only lines of the page with this class; reports of bulk replays and discards have no classes."),
    "result": (Result, "Only lines of the page with this result."),
    "reportContinuation": (
        Annotated[str, Has(pattern="^[0-9]{0,9}$")],
        "The value from the previous page: a page number, from 0; empty for the first page.",
    ),
}
ALIASES = {"letterName": "name", "reportContinuation": "continuation"}
# Problems: the name of the schema, the class in the code, the description, and the facts that it carries.
PROBLEMS: dict[str, tuple[type[problems.Problem], str, dict[str, Any]]] = {
    "Invalid": (problems.Invalid, "Invalid request.", {}),
    "NotFound": (problems.NotFound, "Not found.", {}),
    "CancelConflict": (
        problems.Conflict,
        "The transfer has ended, or is ending in another state (then with Retry-After).",
        {"state": State},
    ),
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
    "RouteConflict": (
        problems.Conflict,
        "The current routes, or the redacted message, do not allow the replay.",
        {},
    ),
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
    models.Health,
)


def description() -> JSON:
    """The whole document."""
    if set(OPERATIONS) != {endpoint.name for endpoint in ENDPOINTS}:
        raise ValueError("OPERATIONS and ENDPOINTS do not have the same names")
    schemas = Schemas(models.ENUMS, models.RULES)
    parameters = _parameters(schemas)
    for model in PAGES:
        schemas.of(model)
    for work in JobKind:
        _job(schemas, work)
    for name, (kind, text, facts) in PROBLEMS.items():
        schemas.put(name, lambda kind=kind, text=text, facts=facts: _problem(schemas, kind, text, facts))
    paths: dict[str, JSON] = {}
    for endpoint in ENDPOINTS:
        made = _operation(endpoint, OPERATIONS[endpoint.name])
        path = paths.setdefault(f"/api/{endpoint.route}", {})
        path[endpoint.method.lower()] = made
        if "HEAD" in endpoint.methods:
            path["head"] = _head(made)
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
    """The answers of an endpoint by status: its own, and the shared ones."""
    operation = OPERATIONS[endpoint.name]
    keyed = endpoint.level is not func.AuthLevel.ANONYMOUS
    shared = [*operation.fails, *([401] if keyed else []), 500, 503]
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
    """A response, or the shared one that it refers to."""
    found: JSON = RESPONSES[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
    return found


def _parameters(schemas: Schemas) -> JSON:
    ids = {"transferId": models.TransferId, "letterId": models.LetterId}
    paths = {name: schemas.of(hint) for name, hint in ids.items()}
    paths |= {f"{work}Id": _job_id(schemas, work) for work in JobKind}
    found = {name: {"name": "id", "in": "path", "required": True, "schema": made} for name, made in paths.items()}
    for name, (hint, text) in QUERY.items():
        found[name] = {
            "name": ALIASES.get(name, name),
            "in": "query",
            "required": False,
            "description": text,
            "schema": schemas.of(hint),
        }
    return found


def _job_id(schemas: Schemas, work: JobKind) -> JSON:
    made = {"type": "string", "description": f"The id of a {TAGS[work]}.", "pattern": f"^{work}-{JOB_HASH}$"}
    return schemas.put(f"{work.capitalize()}Id", lambda: made)


def _job(schemas: Schemas, work: JobKind) -> None:
    """The schemas of one kind of job: the job as `jobs.view` shows it, its counts, its page and the answer to its start."""
    name = work.capitalize()
    shown = status.view(Job(f"{work}-{'0' * 24}", work, models.EPOCH, route="r"), {})
    fields = schemas.fields(models.JobFields) | {"id": _job_id(schemas, work), "counts": schema(f"{name}Counts")}
    if work is JobKind.RECONCILE:
        fields["route"] = schemas.of(models.RouteName)
    job = closed(f"A {TAGS[work]}: its request and progress.", {field: fields[field] for field in shown})
    schemas.put(name, lambda: job | models.JOB_RULES)
    known = {
        "found": "Number of items to act on.",
        "bytes": "Total size of these items in bytes; unknown sizes count as 0.",
    }
    counts: JSON = {
        str(count): {"type": "integer", "minimum": 0} | ({"description": known[count]} if count in known else {})
        for count in COUNTS[work]
    }
    schemas.put(f"{name}Counts", lambda: closed("Number of items, and of each result.", counts))
    items = {"type": "array", "items": schema(name)} | models.PAGE.keywords
    page = {"items": items, "continuation": schema("Continuation")}
    schemas.put(f"{name}Page", lambda: closed("In unspecified order.", page))
    url = {
        "type": "string",
        "description": "Where to find it.",
        "format": "uri-reference",
        "pattern": f"^/api/{PLACES[work]}/{work}-{JOB_HASH}$",
    }
    schemas.put(f"{name}Asked", lambda: closed("The started job.", {"id": schema(f"{name}Id"), "url": url}))


def _problem(schemas: Schemas, kind: type[problems.Problem], text: str, facts: dict[str, Any]) -> JSON:
    fields: JSON = {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "const": kind.title},
        "status": {"type": "integer", "const": kind.status},
        "detail": {"type": "string", "description": "What is wrong.", "minLength": 1},
        "fix": {"type": "string", "description": "How to fix it.", "minLength": 1},
    }
    return closed(text, fields | {name: schemas.of(hint) for name, hint in facts.items()})


def _headers() -> JSON:
    seconds = {"type": "integer", "minimum": 1}
    found = {
        "RetryAfter": {"description": "Seconds.", "required": True, "schema": seconds},
        "RetryAfterWhileRunning": {
            "description": "Seconds; only while the transfer has not ended.",
            "required": False,
            "schema": seconds,
        },
        "Location": _location("The first of the transfers.", f"transfers/{TRANSFER_ID_PATTERN.pattern}"),
    }
    return found | {
        f"{work.capitalize()}Location": _location("The job.", f"{PLACES[work]}/{work}-{JOB_HASH}") for work in JobKind
    }


def _location(text: str, place: str) -> JSON:
    made = {"type": "string", "format": "uri-reference", "pattern": rf"^(?:\.\./)*{place}$"}
    return {"description": text, "required": True, "schema": made}


def _error(text: str, name: str, headers: JSON | None = None) -> JSON:
    content = {"application/problem+json": {"schema": schema(name)}}
    return {"description": text, **({"headers": headers} if headers else {}), "content": content}


def _asked(work: JobKind) -> JSON:
    name, identity = work.capitalize(), EXAMPLES[work.capitalize()]["id"]
    example = {"id": identity, "url": f"/api/{PLACES[work]}/{identity}"}
    headers = {"Location": ref("headers", f"{name}Location")}
    return answer("The job was started; where to find it.", schema(f"{name}Asked"), example, headers)


RESPONSES: dict[str, JSON] = {
    "Invalid": _error("Invalid request; `fix` shows a valid one.", "Invalid"),
    "Unauthorized": {
        "description": "The key is missing or wrong. The Functions host answers instead of the app, without a problem body. "
        "A local stack requires no key."
    },
    "NotFound": _error("Not found.", "NotFound"),
    "Unforeseen": _error("An unexpected error.", "Unforeseen"),
    "Unavailable": _error(
        "Temporarily unavailable; repeating the request is safe.",
        "Unavailable",
        {"Retry-After": ref("headers", "RetryAfter")},
    ),
    "Accepted": answer(
        "Accepted; where to find the transfers.",
        schema("Accepted"),
        EXAMPLES["Accepted"],
        {"Location": ref("headers", "Location")},
    ),
    **{f"{work.capitalize()}Asked": _asked(work) for work in JobKind},
}

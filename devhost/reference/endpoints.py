"""The description of each endpoint in `triggers/http/endpoints.py:ENDPOINTS`: purpose, parameters, body and answers."""

from dataclasses import dataclass

from dashboard import MEDIA_TYPES
from devhost.reference.examples import EXAMPLES
from devhost.reference.schemas import JSON
from operations.transfers.query import SEARCH_PAGE, SEARCH_PAGES
from rules.jobs.model import JobKind, JobState
from rules.transfers.identity import JOB_ID_PATTERN, JOB_PREFIX
from triggers.http.bodies import MAX_BODY
from triggers.http.endpoints import JOB_PATHS

# The part of a job's id after its kind.
JOB_HASH = JOB_ID_PATTERN.pattern.removeprefix(JOB_PREFIX.pattern)
TAGS = {JobKind.REPLAY: "bulk replay", JobKind.DISCARD: "bulk discard", JobKind.RECONCILE: "reconcile"}
BODY = f"Parsed as JSON regardless of its media type; at most {MAX_BODY // 1024} KiB, with a Content-Length header (the host drops chunked bodies)."
CONFIRMED = "Answers when the cancel is confirmed, or with 503 after about 30 seconds."
FIGURES = "About a minute old. Reads one blob for each route, at most every five seconds."
REPORT = (
    "Each page is one blob of the container `reports`; `class` and `result` filter its lines. "
    "A page is empty if it is beyond the job's `pages`, or was deleted."
)


def ref(kind: str, name: str) -> JSON:
    """A reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> JSON:
    """A reference to a schema."""
    return ref("schemas", name)


@dataclass(frozen=True)
class Operation:
    """The description of one endpoint.

    `answers` are specific to it. `fails` are the statuses of shared answers. 500 and 503 are added unless it is `static`, 401 if
    it needs a key, and 403 if it changes something.
    """

    tag: str
    summary: str
    answers: dict[int, JSON]
    description: str = ""
    parameters: tuple[str, ...] = ()
    body: JSON | None = None
    fails: tuple[int, ...] = (400, 404)
    static: bool = False


def answer(description: str, name: str, example: JSON | None = None, headers: JSON | None = None) -> JSON:
    """A JSON answer with the schema of this name, and by default its example."""
    return response(description, schema(name), example or EXAMPLES[name], headers)


def response(description: str, body: JSON, example: JSON | None = None, headers: JSON | None = None) -> JSON:
    """A response with an example is JSON. A response without one is a problem."""
    content = {"schema": body} | ({"example": example} if example else {})
    media = "application/json" if example else "application/problem+json"
    return {"description": description, **({"headers": headers} if headers else {}), "content": {media: content}}


def conflict(description: str, *names: str, retry: str = "") -> JSON:
    """A 409 with one of these problems; `retry` names its Retry-After header."""
    body = schema(names[0]) if len(names) == 1 else {"anyOf": [schema(name) for name in names]}
    return response(description, body, headers={"Retry-After": ref("headers", retry)} if retry else None)


def body(name: str, example: JSON, more: str = "") -> JSON:
    """A required JSON body."""
    content = {"schema": schema(name), "example": example}
    return {"required": True, "description": f"{BODY}{more}", "content": {"application/json": content}}


OPERATIONS: dict[str, Operation] = {
    "list_transfers": Operation(
        "transfers",
        "A page of transfers; with `name`, the transfer of that blob",
        {
            200: response(
                "The page; with `name`, the transfer.",
                {"anyOf": [schema("TransferPage"), schema("Transfer")]},
                EXAMPLES["TransferPage"],
            ),
            404: response(
                "With `name`: the route, the blob or its transfer does not exist. `detail` lists where the app searched.",
                schema("NotFound"),
            ),
        },
        "Use either `route`, `state`, `since`, `limit` and `continuation`, each optional, or exactly `route` and `name`. With `name`, the "
        "answer is the transfer of the blob's current version. If the blob is gone from the source, it is the transfer that the "
        "target's `transfer_id` names, or else the newest of that name among the first "
        f"{SEARCH_PAGES * SEARCH_PAGE:,} transfers of the route in the order of their ids.",
        ("route", "name", "state", "createdSince", "limit", "continuation"),
        fails=(400,),
    ),
    "get_transfer": Operation(
        "transfers", "One transfer", {200: answer("The transfer.", "Transfer")}, parameters=("transferId",)
    ),
    "share_now": Operation(
        "transfers",
        "Share one existing blob now",
        {
            202: ref("responses", "Accepted"),
            409: conflict(
                "The transfer is ending as `cancelled` or `dead_lettered`; share the blob again after it ends.",
                "RunningConflict",
                retry="RetryAfter",
            ),
        },
        "Also accepted if the transfer is already running, or is ending as `verified` or `superseded`.",
        body=body("ShareRequest", {"route": "default", "name": "2026/report.csv"}),
    ),
    "notify_recipient": Operation(
        "transfers",
        "Notify the recipient of a verified transfer again",
        {
            202: ref("responses", "Accepted"),
            409: conflict(
                "The transfer is not verified, its target holds another version, or its route has no recipient.",
                "NotifyConflict",
            ),
        },
        "The app does this by itself once. A recipient removes duplicates by the event's id. A dead letter `not_notified` of the "
        "transfer is resolved.",
        ("transferId",),
    ),
    "cancel_transfer": Operation(
        "transfers",
        "Cancel a transfer; no incomplete target blob remains",
        {
            202: answer(
                "The cancel is confirmed; the current transfer.",
                "Transfer",
                EXAMPLES["Transfer"] | {"cancelling": True},
            ),
            409: conflict(
                "The transfer has ended, or is ending in another state.",
                "CancelConflict",
                retry="RetryAfterWhileRunning",
            ),
        },
        CONFIRMED,
        ("transferId",),
    ),
    "list_dead_letters": Operation(
        "dead letters",
        "A page of open dead letters",
        {200: answer("The page.", "DeadLetterPage")},
        parameters=("route", "reason", "letterName", "limit", "continuation"),
        fails=(400,),
    ),
    "get_dead_letter": Operation(
        "dead letters",
        "One dead letter, open or resolved",
        {200: answer("The whole record.", "DeadLetter")},
        parameters=("letterId",),
    ),
    "replay_dead_letter": Operation(
        "dead letters",
        "Replay a dead letter",
        {
            202: ref("responses", "Accepted"),
            409: conflict(
                "The transfer is running, the dead letter is resolved, or the current routes do not allow the replay.",
                "RunningConflict",
                "ResolvedConflict",
                "RefusedConflict",
                "RouteConflict",
                retry="RetryAfterWhileRunning",
            ),
        },
        parameters=("letterId",),
    ),
    "discard_dead_letter": Operation(
        "dead letters",
        "Discard a dead letter permanently",
        {
            200: answer(
                "The dead letter is discarded; the whole record.",
                "DeadLetter",
                EXAMPLES["DeadLetter"] | {"resolved_as": "discarded"},
            ),
            409: conflict(
                "The dead letter is being replayed, is already resolved, or failed again at the same time.",
                "RunningConflict",
                "ResolvedConflict",
                "FailedAgainConflict",
                retry="RetryAfterWhileRunning",
            ),
        },
        "A discarded dead letter stays readable as resolved until its retention ends. It cannot be replayed. Its transfer stays "
        "`dead_lettered`; to share the blob again, use POST /api/transfers.",
        ("letterId",),
    ),
}

STARTS = {
    JobKind.REPLAY: (
        "Replay all open dead letters that match the filter, at a limited rate",
        (
            "The job first finds the dead letters, then replays each of them. A dry run only finds them. Starting two jobs "
            "is safe: each transfer runs once."
        ),
    ),
    JobKind.DISCARD: (
        "Discard all open dead letters that match the filter, at a limited rate",
        (
            "The job first finds the dead letters, then discards each of them. A dry run only finds them. Starting two jobs "
            "is safe. A dead letter that failed again after it was found stays open."
        ),
    ),
    JobKind.RECONCILE: (
        "Compare a route's source with its target, and share missing and stale blobs, at a limited rate",
        (
            "The job first lists both sides, then starts a transfer for each missing or stale blob. A dry run ends after the first "
            "step. Starting two jobs is safe: each transfer runs once."
        ),
    ),
}


def _of_jobs(kind: JobKind) -> dict[str, Operation]:
    name, place, tag, job_id = kind.capitalize(), JOB_PATHS[kind], TAGS[kind], f"{kind}Id"
    summary, description = STARTS[kind]
    if kind is JobKind.RECONCILE:
        request = body("ReconcileRequest", {"route": "default", "max_per_second": 50})
    else:
        example = {"reason": "target_unwritable", "dry_run": True}
        request = body(f"{name}Request", example, " `{}` selects every open dead letter.")
    fails = (400, 404) if kind is JobKind.RECONCILE else (400,)
    started = {202: ref("responses", f"{name}Asked")}
    page = answer("The page.", f"{name}Page", {"items": [EXAMPLES[name]], "continuation": None})
    cancelled = {"state": JobState.CANCELLED.value, "phase": None, "cancelling": True}
    cancel = {
        202: answer("The cancel is confirmed; the current job.", name, EXAMPLES[name] | cancelled),
        409: conflict("The job has ended.", "JobConflict"),
    }
    stays = "discarded dead letters stay discarded" if kind is JobKind.DISCARD else "transfers that it started continue"
    listing, paging = f"A page of {tag} jobs, in unspecified order", ("limit", "continuation")
    report = {200: answer("The page.", f"{name}ReportPage")}
    lines = (job_id, "class", "result", "reportContinuation")
    return {
        f"start_{kind}": Operation(tag, summary, started, description, (), request, fails),
        f"list_{place}": Operation(tag, listing, {200: page}, parameters=paging, fails=(400,)),
        f"get_{kind}": Operation(
            tag, "One job: its progress and counts", {200: answer("The job.", name)}, parameters=(job_id,)
        ),
        f"cancel_{kind}": Operation(
            tag, f"Cancel a job; {stays}", cancel, f"{CONFIRMED} The current batch finishes first.", (job_id,)
        ),
        f"get_{kind}_report": Operation(
            tag, "A page of a job's report: first the findings, then the results", report, REPORT, lines
        ),
    }


for each in JobKind:
    OPERATIONS |= _of_jobs(each)


def _health(*, up: bool) -> JSON:
    return {"allOf": [schema("Health"), {"properties": {"up": {"const": up}}}]}


OPERATIONS |= {
    "get_routes": Operation(
        "figures",
        "The figures of each route: what runs, counts, latency, objective and budget",
        {200: answer("The routes.", "Routes")},
        FIGURES,
        fails=(400,),
    ),
    "get_summary": Operation(
        "figures",
        "The figures of all routes together",
        {200: answer("The sums.", "Summary")},
        FIGURES,
        fails=(400,),
    ),
    "get_metrics": Operation(
        "figures",
        "The figures of each route as OpenMetrics text, for those who scrape",
        {
            200: {
                "description": "The metrics.",
                "content": {"application/openmetrics-text": {"schema": {"type": "string"}}},
            }
        },
        "Also reads the queue of events. " + FIGURES,
        fails=(400,),
    ),
    "get_ledger": Operation(
        "figures",
        "A page of the transfers that a route has verified on a day",
        {200: answer("The page; empty for a day without any.", "LedgerPage")},
        "Kept for a year. A transfer is listed about a minute after its end.",
        ("ledgerRoute", "day", "continuation"),
    ),
}
OPERATIONS["health"] = Operation(
    "health",
    "The health of the app: one check for each requirement",
    {
        200: response("Everything works.", _health(up=True), EXAMPLES["Health"]),
        503: response(
            "Something does not work; each failed check has a fix.", _health(up=False), EXAMPLES["Unhealthy"]
        ),
    },
    "Checked at most every 10 seconds. With `?deep=1` the answer is a redirect (307) to `GET /api/health/deep`. All other query "
    "parameters are ignored.",
    fails=(),
)
OPERATIONS["diagnose"] = Operation(
    "health",
    "The doctor: the checks of the app's own accounts, and trials of everything that sharing needs on each route",
    {
        200: response("Everything works.", _health(up=True), EXAMPLES["Health"]),
        503: response(
            "Something does not work; each failed check has a fix with the command.",
            _health(up=False),
            EXAMPLES["Unhealthy"],
        ),
    },
    "It lists each source, writes a blob named `.blob-data-sharing-probe-…` to each target and deletes it, has the service copy one "
    "small blob to such a name, looks for the event of the newest blob, and sends an event `BlobDataSharing.Probe` to each "
    "recipient. No route shares these blobs. What cannot succeed because of another failed check is not tried: its `detail` begins "
    "with `not tried: `, and it is `ok`.",
    fails=(400,),
)


def _file(*media: str) -> JSON:
    content = {each: {"schema": {"type": "string"}} for each in media}
    return {"description": "The file, with an ETag.", "content": content}


UNCHANGED = {"description": "The file is still the one that `If-None-Match` names."}
MOVED = {"description": "The URL had a slash at its end.", "headers": {"Location": ref("headers", "DashboardLocation")}}
OPERATIONS["dashboard"] = Operation(
    "dashboard",
    "A page for the browser that shows transfers, dead letters, jobs and health, and calls this API",
    {200: _file("text/html"), 304: UNCHANGED, 308: MOVED},
    "The page holds no data. Query parameters are ignored.",
    fails=(),
    static=True,
)
OPERATIONS["openapi"] = Operation(
    "dashboard",
    "The description of this API in OpenAPI 3.1",
    {
        200: {"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}},
        304: UNCHANGED,
    },
    "Query parameters are ignored.",
    fails=(),
    static=True,
)
OPERATIONS["dashboard_file"] = Operation(
    "dashboard",
    "A file of the dashboard",
    {200: _file(*dict.fromkeys(MEDIA_TYPES.values())), 304: UNCHANGED},
    "Query parameters are ignored.",
    ("file",),
    fails=(404,),
    static=True,
)

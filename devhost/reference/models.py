"""The bodies that the API accepts and returns, as types. Tests compare every answer of the app with them."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Required, TypedDict

from devhost.reference.schemas import JSON, Has, Named, either, together
from rules.dead_letters import letters
from rules.errors import Reason
from rules.figures.aggregate import SLOTS
from rules.jobs import lifecycle, model, report
from rules.jobs.model import Finding, JobState, Phase, Result
from rules.routes.config import NAME
from rules.routes.model import Engine
from rules.routes.names import MAX_UNITS
from rules.transfers.identity import MESSAGE_ID_PATTERN, NOTICE_ID_PATTERN, TRANSFER_ID_PATTERN
from rules.transfers.states import FINAL, State
from triggers.http.requests import MAX_LIMIT

NEXT = (
    "The token for the next page; null on the last page. A page may be short or even empty while the token is not null."
)
ENUMS: dict[type, str] = {
    State: "The state of a transfer; the last four are final.",
    Reason: "Why a transfer or a message became a dead letter.",
    Engine: "How the storage service copies the blob.",
    JobState: "The state of a job; all except `running` are final.",
    Phase: "The current phase of a job: `survey` finds the lines, `extras` finds target blobs without a source blob, `act` acts on "
    "the lines.",
    Finding: "How the source and the target compare: `match`, the target holds the version; `missing`, the target lacks it; "
    "`stale`, the target holds something else or an incomplete copy; `extra`, only the target has the blob; "
    "`error`, the app refuses the name or cannot read the blob's properties.",
    Result: "The result for a line. `started`: a transfer was started. `discarded`: the dead letter was discarded. "
    "`running`: the transfer was already running. `skipped`: the transfer was cancelled, or its dead letter is open. "
    "`refused`: the current routes or the state of the dead letter do not allow it. "
    "`failed`: requests to storage failed several times.",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ENDS = [state.value for state in State if state in FINAL]

Count = Annotated[int, Has(minimum=0)]
Bytes = Annotated[int, Has(minimum=0)]
SomeText = Annotated[str, Has(minLength=1)]
FinalState = Annotated[str, Named("FinalState", "A final state of a transfer.", enum=ENDS)]
ResolvedAs = Annotated[
    str,
    Named(
        "ResolvedAs",
        "How a dead letter was resolved: the final state of its transfer, `accepted` for a message, or `discarded` on request.",
        enum=[*(end for end in ENDS if end != State.DEAD_LETTERED), "accepted", letters.DISCARDED],
    ),
]
TransferId = Annotated[
    str, Named("TransferId", "The first part identifies the route.", pattern=f"^{TRANSFER_ID_PATTERN.pattern}$")
]
LetterId = Annotated[
    str,
    Named(
        "LetterId",
        "The id of a dead letter: the id of its transfer, or of a message that led to no transfer.",
        pattern=f"^(?:{TRANSFER_ID_PATTERN.pattern}|{NOTICE_ID_PATTERN.pattern}|{MESSAGE_ID_PATTERN.pattern})$",
    ),
]
RouteName = Annotated[str, Named("RouteName", pattern=f"^{NAME.pattern}$")]
Moment = Annotated[
    str,
    Named(
        "Moment",
        "RFC 3339, UTC, to the millisecond.",
        format="date-time",
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
    ),
]
GivenMoment = Annotated[
    str,
    Has(
        format="date-time",
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$",
    ),
]
Continuation = Annotated[str | None, Named("Continuation", NEXT, minLength=1)]
PAGE = Has(maxItems=MAX_LIMIT)
LINES = Has(maxItems=max(report.PAGE, model.MAX_RATE * lifecycle.BATCH_SECONDS))
RATE = Has(minimum=1, maximum=model.MAX_RATE)


Seconds = Annotated[float, Has(minimum=0)]
Currency = Annotated[str, Has(pattern="^[A-Z]{3}$")]
UpdatedAt = Annotated[Moment | None, "When the timer `figures` last ran; null before its first run."]
Etag = Annotated[str, "The version's ETag, without quotes."]
SourceSize = Annotated[int | None, "Bytes; null until the app has read the source.", Has(minimum=0)]
Detail = Annotated[str, Has(maxLength=letters.MAX_DETAIL)]


class Source(TypedDict):
    """The version that is shared."""

    url: Annotated[str, "The blob's URL, its name percent-encoded once, without SAS.", Has(format="uri")]
    name: Annotated[str, "The blob's name, not encoded.", Has(minLength=1)]
    etag: Etag
    size: SourceSize


class Target(TypedDict):
    """The destination."""

    url: Annotated[str, "The target blob's URL, without SAS.", Has(format="uri")]


class Successor(TypedDict):
    """The version that replaced this one, with the id of its transfer on the same route; both null if the blob was deleted."""

    id: TransferId | None
    etag: str | None


class Resolution(TypedDict):
    """How the dead letter with this id was resolved."""

    state: Literal["open", "resolved"]
    resolved_at: Moment | None
    resolved_as: ResolvedAs | None


class Transfer(TypedDict):
    """One version of a blob on one route."""

    id: TransferId
    trace_id: Annotated[
        str, "The id of its trace, from the event to verified: the id without its dash.", Has(pattern="^[0-9a-f]{32}$")
    ]
    route: Annotated[
        RouteName | None, "Null, like source, target and accepted_at, if the orchestration's input cannot be read."
    ]
    source: Source | None
    target: Target | None
    accepted_at: Annotated[Moment | None, "When this attempt was accepted."]
    state: State
    engine: Annotated[Engine | None, "Null until an engine is chosen."]
    copied: Annotated[
        Bytes, "Bytes copied; all bytes once the transfer is verified, otherwise the last progress of a pending copy."
    ]
    total: Annotated[int | None, "Bytes of the version; null until the app has read the source.", Has(minimum=0)]
    target_etag: Annotated[
        str | None,
        "The ETag of the target blob when it was verified, without quotes; null until then, or if the app has not seen it.",
    ]
    attempt: Annotated[Count, "0 for the first attempt; higher numbers are replays, or repeated shares."]
    tries: Annotated[Count, "Number of copies that this attempt tried."]
    resumes: Annotated[Count, "Number of times that this attempt was resumed after its orchestration broke."]
    cancelling: Annotated[bool, "A cancel was requested and confirmed."]
    ending: Annotated[FinalState | None, "The final state, once it is settled and until it is reached."]
    reason: Annotated[Reason | None, "Why the transfer is a dead letter, or why its last try failed."]
    detail: Annotated[str, "The message of the storage service, the host or the app. May be empty."]
    successor: Annotated[Successor | None, "Only if the transfer is superseded."]
    verified_at: Annotated[Moment | None, "When this attempt was verified."]
    updated_at: Moment | None
    next_check_at: Annotated[Moment | None, "When the transfer continues automatically."]
    letter: Annotated[
        Resolution | None, "The dead letter of a dead-lettered transfer, if requested by id or name; otherwise null."
    ]
    trace_url: Annotated[
        str | None, "The URL of the trace, if requested by id or name and `TRACE_URL` is set; otherwise null."
    ]
    hint: Annotated[str | None, "What to check and how to fix it; null without a reason."]


class TransferPage(TypedDict):
    """In unspecified order."""

    items: Annotated[list[Transfer], PAGE]
    continuation: Continuation


class AcceptedTransfer(TypedDict):
    """An accepted transfer."""

    id: TransferId
    url: Annotated[
        str,
        "The transfer's URL.",
        Has(format="uri-reference", pattern=f"^/api/transfers/{TRANSFER_ID_PATTERN.pattern}$"),
    ]


class Accepted(TypedDict):
    """The accepted transfers: one, or for a replayed message one for each route that copies its blob."""

    transfers: Annotated[list[AcceptedTransfer], Has(minItems=1)]


class ShareRequest(TypedDict):
    """Exactly these two fields."""

    route: Annotated[SomeText, "The name of a current route."]
    name: Annotated[SomeText, "The blob's name at the source, compared byte for byte.", Has(maxLength=MAX_UNITS)]


class Attempt(TypedDict):
    """One failed attempt."""

    started_at: Moment
    failed_at: Moment
    reason: Reason
    detail: Detail
    tries: Annotated[Count, "Number of copies that it tried."]


class LetterTransfer(TypedDict):
    """The transfer's route and blobs."""

    route: RouteName
    source: Source
    target: Target


class DeadLetter(TypedDict):
    """A dead letter of a transfer, or of a message that led to no transfer.

    `transfer` and `message` are both null for a transfer whose input cannot be read. `reason` and `detail` are those of the
    newest attempt.
    """

    schema: Annotated[int, Has(const=letters.SCHEMA)]
    id: LetterId
    state: Literal["open", "resolved"]
    reason: Reason
    detail: Detail
    hint: Annotated[SomeText, "What to check and how to fix it."]
    transfer: LetterTransfer | None
    message: Annotated[
        str | None, "The message's body in base64; possible secrets are removed.", Has(contentEncoding="base64")
    ]
    attempts: Annotated[
        dict[str, Attempt],
        "Attempts by number; 0 is the first, higher numbers are replays. Of many attempts, only the first and the newest are kept.",
        Has(
            minProperties=1,
            maxProperties=letters.MAX_ATTEMPTS,
            propertyNames={"type": "string", "pattern": "^(?:0|[1-9][0-9]*)$"},
        ),
    ]
    replays: Annotated[Count, "Number of replays among the attempts.", Has(maximum=letters.MAX_ATTEMPTS)]
    first_failed_at: Moment
    last_failed_at: Moment
    resolved_at: Moment | None
    resolved_as: ResolvedAs | None
    app_version: Annotated[str, "The version of the app that wrote the record."]


class ListedDeadLetter(TypedDict):
    """An open dead letter in the list.

    Dead letters of messages, and of transfers whose input cannot be read, have no route, name, etag or size. A record whose
    metadata was lost has only its id.
    """

    id: LetterId
    reason: Reason | None
    hint: str | None
    route: RouteName | None
    name: Annotated[str | None, "A very long name may be truncated; the record has the full name."]
    etag: str | None
    size: Annotated[int | None, "Bytes; null if the app could not read the source.", Has(minimum=0)]
    first_failed_at: Moment | None
    last_failed_at: Moment | None


class DeadLetterPage(TypedDict):
    """Ordered by id."""

    items: Annotated[list[ListedDeadLetter], PAGE]
    continuation: Continuation


class ReplayRequest(TypedDict, total=False):
    """Which open dead letters to select; each field may be omitted or null."""

    reason: Annotated[Reason | None, "Only dead letters with this reason."]
    route: Annotated[RouteName | None, "Only dead letters of this route, even if it no longer exists."]
    since: Annotated[
        GivenMoment | None,
        "Only dead letters whose last failure is at this time or later; RFC 3339 with a time zone. Not later than `until`.",
    ]
    until: Annotated[
        GivenMoment | None, "Only dead letters whose last failure is before this time; RFC 3339 with a time zone."
    ]
    dry_run: Annotated[bool | None, "Only find and report; change nothing.", Has(default=False)]
    max_per_second: Annotated[
        Annotated[int, RATE] | None,
        "Maximum number of transfers started, or of dead letters discarded, per second, averaged over five seconds; "
        "an integer without a decimal point.",
        Has(default=model.DEFAULT_RATE),
    ]


class DiscardRequest(ReplayRequest):
    """Which open dead letters to select; each field may be omitted or null."""


class ReconcileRequest(TypedDict, total=False):
    """The route to reconcile; the other fields may be omitted or null."""

    route: Required[RouteName]
    prefix: Annotated[
        str | None,
        "Only blobs whose names at the source begin with this, such as a folder. It begins with the route's own prefix.",
    ]
    dry_run: Annotated[bool | None, "Only find and report; start nothing.", Has(default=False)]
    max_per_second: Annotated[
        Annotated[int, RATE] | None,
        "Maximum number of transfers started per second, averaged over five seconds; an integer without a decimal point.",
        Has(default=model.DEFAULT_RATE),
    ]


class EstimatedEgress(TypedDict):
    """An estimate: the bytes times the price that the operator has set."""

    price_per_gib: Annotated[float, Has(minimum=0)]
    currency: Currency
    estimate: Annotated[float, Has(minimum=0)]


class JobFields(TypedDict):
    """The fields of a job except its id and counts. A reconcile has only those that `rules/jobs/status.py:view` shows."""

    state: JobState
    phase: Annotated[Phase | None, "Null after the job has ended."]
    cancelling: Annotated[bool, "A cancel was requested and confirmed."]
    resumes: Annotated[Count, "Number of times that the job was resumed after its orchestration broke."]
    route: RouteName | None
    prefix: Annotated[str, "Only these names are compared; empty for all names of the route."]
    reason: Reason | None
    since: Moment | None
    until: Moment | None
    dry_run: bool
    max_per_second: Annotated[int, "Maximum number of lines acted on per second, averaged over five seconds.", RATE]
    egress: Annotated[
        EstimatedEgress | None,
        "What it would cost to copy the bytes that a dry run has found; null unless it is one and EGRESS_PRICE_PER_GIB is set.",
    ]
    pages: Annotated[Count, "Number of pages in the report so far."]
    detail: Annotated[
        str,
        "The cause of a delay, of a broken orchestration, or of a failure; empty if there is none.",
        Has(maxLength=model.MAX_DETAIL),
    ]
    created_at: Moment
    updated_at: Moment


class Line(TypedDict):
    """A blob in the report of a reconcile."""

    name: SomeText
    etag: Etag
    size: Bytes


class MatchLine(Line):
    """The target holds the complete version."""

    class_: Literal[Finding.MATCH]


class MissingLine(Line):
    """The target does not have the blob."""

    class_: Literal[Finding.MISSING]
    id: TransferId


class StaleLine(Line):
    """The target has the blob, but not the complete version."""

    class_: Literal[Finding.STALE]
    id: TransferId
    detail: Annotated[SomeText, "The difference: another version, no receipt, or an incomplete copy."]


class ExtraLine(Line):
    """The source does not have the blob; the target blob stays. Name, ETag and size are those of the target."""

    class_: Literal[Finding.EXTRA]


class ErrorLine(TypedDict):
    """The app refuses the name, or cannot read the storage service's answer about the blob.

    A refused name becomes a dead letter, except in a dry run.
    """

    class_: Literal[Finding.ERROR]
    name: SomeText
    etag: Annotated[str | None, "The version's ETag, without quotes; null if the service does not return it."]
    size: Annotated[int | None, Has(minimum=0)]
    detail: Annotated[SomeText, "The reason, with details."]


Explanation = Annotated[str, "Why; empty if the result needs no explanation."]


class ReplayedLine(TypedDict):
    """The result for a dead letter."""

    id: LetterId
    name: Annotated[str | None, "The blob's name, as in the list of dead letters."]
    result: Result
    detail: Explanation


class SharedLine(TypedDict):
    """The result for a missing or stale blob."""

    id: TransferId
    name: SomeText
    result: Result
    detail: Explanation


ReportContinuation = Annotated[
    str | None, f"{NEXT} While the job runs, pages are still added.", Has(pattern="^[1-9][0-9]*$")
]


class ReplayReportPage(TypedDict):
    """First the dead letters found, as in the list; then a line for the result of each."""

    items: Annotated[list[ListedDeadLetter | ReplayedLine], LINES]
    continuation: ReportContinuation


class DiscardReportPage(ReplayReportPage):
    """First the dead letters found, as in the list; then a line for the result of each."""


class ReconcileReportPage(TypedDict):
    """First a line for each blob, then a line for the result of each missing or stale blob."""

    items: Annotated[list[MatchLine | MissingLine | StaleLine | ExtraLine | ErrorLine | SharedLine], LINES]
    continuation: ReportContinuation


class Counts(TypedDict):
    """Attempts of transfers that ended, by their final state; the bytes of the verified ones; and what the attempts took."""

    verified: Count
    superseded: Count
    dead_lettered: Count
    cancelled: Count
    bytes: Bytes
    polls: Annotated[Count, "Polls of pending copies."]
    retries: Annotated[Count, "Steps that were repeated after a failure."]
    resumes: Annotated[Count, "Restarts of orchestrations that the host had failed."]


class Running(TypedDict):
    """Transfers that needed more than one step and have not ended. What waits in the queue is not among them."""

    count: Count
    bytes: Bytes
    oldest_at: Moment | None


class Latency(TypedDict):
    """Seconds from the event, or without one from the acceptance, until verified. Null without a transfer."""

    count: Count
    p50: Seconds | None
    p95: Seconds | None
    p99: Seconds | None


class Latencies(TypedDict):
    """Of the last hour and of the last 24 hours, to five minutes."""

    hour: Latency
    day: Latency


class Throughput(TypedDict):
    """What was verified in five minutes, from `at`."""

    at: Moment
    transfers: Count
    bytes: Bytes


class Objective(TypedDict):
    """The route's objective, and how much of it the last 24 hours have met."""

    percentile: Annotated[float, Has(minimum=50, maximum=99.99)]
    within: Annotated[Seconds, "The route's `within`, in seconds."]
    share: Annotated[
        float, "The share of transfers that were verified within it; 1 without transfers.", Has(minimum=0, maximum=1)
    ]
    budget_left: Annotated[float, "1: no transfer was late; 0: as many as the percentile allows; negative: more."]
    met: bool


class Budget(TypedDict):
    """The route's daily budget."""

    daily_bytes: Annotated[int, Has(minimum=1)]
    used: Annotated[Bytes, "The verified bytes of the UTC day."]
    resets_at: Moment


class Egress(TypedDict):
    """The estimated cost of egress: the verified bytes of the UTC day times the price that the operator has set."""

    price_per_gib: Annotated[float, Has(minimum=0)]
    currency: Currency
    today: Annotated[float, Has(minimum=0)]


class Figures(TypedDict):
    """The figures of one route, or of all."""

    running: Running
    today: Annotated[Counts, "Of the UTC day."]
    total: Annotated[Counts, "Since counting began."]
    latency: Latencies
    throughput: Annotated[
        list[Throughput], "Of the last 24 hours, the oldest first. Empty slots are left out.", Has(maxItems=SLOTS)
    ]
    dead_letters: Annotated[dict[str, Count], "Open dead letters by reason, at most about five minutes old."]
    egress: Annotated[Egress | None, "Null unless EGRESS_PRICE_PER_GIB is set."]


class RouteFigures(Figures):
    """The figures of a route."""

    route: RouteName
    source: Annotated[str, Has(format="uri")]
    target: Annotated[str, Has(format="uri")]
    state: Literal["active", "paused", "over_budget"]
    objective: Objective | None
    budget: Budget | None


class Routes(TypedDict):
    """Every configured route."""

    updated_at: UpdatedAt
    routes: list[RouteFigures]


class Queued(TypedDict):
    """Events that wait in `blob-events`, approximately, and when the oldest of the next ones was put."""

    count: Count
    oldest_at: Moment | None


class Summary(Figures):
    """The sums over all configured routes. The dead letters also count those without a route."""

    updated_at: UpdatedAt
    routes: Annotated[Count, "Number of routes."]
    queued: Queued


class LedgerItem(TypedDict):
    """A verified transfer."""

    id: TransferId
    attempt: Count
    state: Literal["verified"]
    name: SomeText
    source: Annotated[str, "The source blob's URL, without SAS.", Has(format="uri")]
    target: Annotated[str, "The target blob's URL, without SAS.", Has(format="uri")]
    size: Annotated[int | None, Has(minimum=0)]
    engine: Annotated[Engine | None, "Null if the target held the version already."]
    source_etag: Etag
    target_etag: Annotated[str | None, "The target's ETag when it was verified; null if the app has not seen it."]
    accepted_at: Moment
    ended_at: Moment
    latency: Seconds
    reason: Reason | None


class LedgerPage(TypedDict):
    """In about the order in which the transfers ended, the oldest first."""

    route: RouteName
    day: Annotated[str, Has(format="date")]
    items: list[LedgerItem]
    continuation: Continuation


class Check(TypedDict):
    """One requirement of the app. `fix` is empty if the check is ok; `detail` may then say what was found."""

    name: SomeText
    ok: bool
    detail: str
    fix: str


class Health(TypedDict):
    """`up` is true if every check is ok."""

    up: bool
    checks: Annotated[list[Check], Has(minItems=2)]
    version: Annotated[SomeText, "The version of the app."]
    read_only: Annotated[bool, "Whether the API refuses every call that changes something."]


# Rules about combinations of fields.
RULES: dict[type, JSON] = {
    Successor: together(id="string", etag="string"),
    Transfer: {
        "allOf": [
            together(route="string", source="object", target="object", accepted_at="string"),
            together(reason="string", hint="string"),
        ]
    },
    DeadLetter: {
        "allOf": [
            either({"transfer": {"type": "null"}}, {"message": {"type": "null"}}),
            either(
                {"state": {"const": "open"}, "resolved_at": {"type": "null"}, "resolved_as": {"type": "null"}},
                {"state": {"const": "resolved"}, "resolved_at": {"type": "string"}, "resolved_as": {"type": "string"}},
            ),
        ]
    },
    Check: either(
        {"ok": {"const": True}, "fix": {"const": ""}},
        {"ok": {"const": False}, "detail": {"minLength": 1}, "fix": {"minLength": 1}},
    ),
}
JOB_RULES = either(
    {"state": {"const": JobState.RUNNING.value}, "phase": {"type": "string"}},
    {
        "state": {"enum": [state.value for state in JobState if state is not JobState.RUNNING]},
        "phase": {"type": "null"},
    },
)

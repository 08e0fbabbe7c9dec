"""Examples of answers, from the local stack. Tests check them against their schemas."""

from devhost.reference.schemas import JSON
from rules.errors import Reason

STORAGE = "http://127.0.0.1:10000"
VIDEO: JSON = {
    "url": f"{STORAGE}/sharingsource/source/large/video.bin",
    "name": "large/video.bin",
    "etag": "0x238565940F38580",
    "size": 314572800,
}
TRANSFER: JSON = {
    "id": "37a8eec1-6c69c15a3740fbd3581a7d8d",
    "trace_id": "37a8eec16c69c15a3740fbd3581a7d8d",
    "route": "default",
    "source": VIDEO,
    "target": {"url": f"{STORAGE}/sharingtarget/target/large/video.bin"},
    "accepted_at": "2026-11-24T19:52:41.763Z",
    "state": "copying",
    "engine": "async",
    "copied": 42334005,
    "total": 314572800,
    "target_etag": None,
    "attempt": 0,
    "tries": 1,
    "resumes": 0,
    "cancelling": False,
    "ending": None,
    "reason": None,
    "detail": "",
    "successor": None,
    "verified_at": None,
    "updated_at": "2026-11-24T19:52:43.830Z",
    "next_check_at": "2026-11-24T19:52:49.830Z",
    "letter": None,
    "trace_url": None,
    "hint": None,
}
SHARED = "37a8eec1-f414334a7d6862b0d4a54a62"
LISTED: JSON = {
    "id": "7f3fa48c-857585a3dc198785883a022a",
    "reason": "target_unwritable",
    "hint": Reason.TARGET_UNWRITABLE.hint,
    "route": "partner",
    "name": "report.csv",
    "etag": "0x261DD95A4A3A280",
    "size": 23,
    "first_failed_at": "2026-11-24T20:16:43.282Z",
    "last_failed_at": "2026-11-24T20:16:54.088Z",
}
NO_CONTAINER = "404 ContainerNotFound: the container or queue does not exist"


def _attempt(started_at: str, failed_at: str, operation: str) -> JSON:
    detail = f"{operation}: {NO_CONTAINER}"
    return {
        "started_at": started_at,
        "failed_at": failed_at,
        "reason": "target_unwritable",
        "detail": detail,
        "tries": 0,
    }


LETTER: JSON = {
    "schema": 1,
    "id": LISTED["id"],
    "state": "resolved",
    "reason": "target_unwritable",
    "detail": f"target.head: {NO_CONTAINER}",
    "hint": LISTED["hint"],
    "transfer": {
        "route": "partner",
        "source": {
            "url": f"{STORAGE}/sharingsource/inbox/report.csv",
            "name": "report.csv",
            "etag": "0x261DD95A4A3A280",
            "size": 23,
        },
        "target": {"url": f"{STORAGE}/sharingtarget/partner/report.csv"},
    },
    "message": None,
    "attempts": {
        "0": _attempt("2026-11-24T20:16:36.869Z", "2026-11-24T20:16:43.282Z", "target.copy"),
        "1": _attempt("2026-11-24T20:16:47.961Z", "2026-11-24T20:16:54.088Z", "target.head"),
    },
    "replays": 1,
    "first_failed_at": "2026-11-24T20:16:43.282Z",
    "last_failed_at": "2026-11-24T20:16:54.088Z",
    "resolved_at": "2026-11-24T20:16:59.195Z",
    "resolved_as": "verified",
    "app_version": "0.1.0",
}
REPLAY: JSON = {
    "id": "replay-e508b68a1a1b126f9aab88b0",
    "state": "done",
    "phase": None,
    "cancelling": False,
    "resumes": 0,
    "route": None,
    "reason": "target_unwritable",
    "since": None,
    "until": None,
    "dry_run": False,
    "max_per_second": 50,
    "counts": {"found": 95, "bytes": 291, "started": 95, "running": 0, "skipped": 0, "refused": 0, "failed": 0},
    "pages": 2,
    "detail": "",
    "created_at": "2026-11-27T02:16:41.500Z",
    "updated_at": "2026-11-27T02:16:48.328Z",
}
DISCARD: JSON = REPLAY | {
    "id": "discard-e508b68a1a1b126f9aab88b0",
    "counts": {"found": 95, "bytes": 291, "discarded": 95, "running": 0, "refused": 0, "failed": 0},
}
RECONCILE: JSON = {
    "id": "reconcile-47041ecaee18a22900398936",
    "state": "running",
    "phase": "act",
    "cancelling": False,
    "resumes": 0,
    "route": "default",
    "prefix": "",
    "dry_run": False,
    "max_per_second": 50,
    "counts": {
        "match": 1,
        "missing": 599,
        "stale": 1,
        "extra": 1,
        "error": 1,
        "found": 600,
        "bytes": 2290,
        "started": 250,
        "running": 0,
        "skipped": 0,
        "refused": 0,
        "failed": 0,
    },
    "egress": None,
    "pages": 4,
    "detail": "",
    "created_at": "2026-11-27T02:15:24.223Z",
    "updated_at": "2026-11-27T02:15:33.561Z",
}


COUNTS: JSON = {"verified": 600, "superseded": 1, "dead_lettered": 1, "cancelled": 0, "bytes": 314573800}
COUNTS |= {"polls": 7, "retries": 2, "resumes": 0}
LATENCY: JSON = {"count": 9, "p50": 1.232, "p95": 3.408, "p99": 8.14}
FIGURES: JSON = {
    "running": {"count": 1, "bytes": 314572800, "oldest_at": "2026-11-30T19:52:43.830Z"},
    "today": COUNTS,
    "total": COUNTS,
    "latency": {"hour": LATENCY, "day": LATENCY | {"count": 600}},
    "throughput": [{"at": "2026-11-30T19:50:00.000Z", "transfers": 9, "bytes": 2290}],
    "dead_letters": {"target_unwritable": 1},
    "egress": {"price_per_gib": 0.02, "currency": "USD", "today": 0.01},
}


def _page(*items: JSON, continuation: str | None = None) -> JSON:
    return {"items": list(items), "continuation": continuation}


EXAMPLES: dict[str, JSON] = {
    "Transfer": TRANSFER,
    "TransferPage": _page(TRANSFER),
    "Accepted": {"transfers": [{"id": SHARED, "url": f"/api/transfers/{SHARED}"}]},
    "DeadLetter": LETTER,
    "DeadLetterPage": _page(LISTED),
    "Replay": REPLAY,
    "Discard": DISCARD,
    "Reconcile": RECONCILE,
    "ReplayReportPage": _page(LISTED),
    "DiscardReportPage": _page({"id": LISTED["id"], "name": "report.csv", "result": "discarded", "detail": ""}),
    "ReconcileReportPage": _page(
        {
            "class": "stale",
            "name": "archive/000.csv",
            "etag": "0x221B9BD643AE140",
            "size": 2,
            "id": "37a8eec1-73f5a916cd4ef45218cb4438",
            "detail": "the target has no receipt",
        },
        {
            "class": "missing",
            "name": "archive/001.csv",
            "etag": "0x24895B0A56DD980",
            "size": 2,
            "id": "37a8eec1-d9dd43e871518520bf435c0d",
        },
        continuation="1",
    ),
    "Routes": {
        "updated_at": "2026-11-30T19:53:15.120Z",
        "routes": [
            {
                "route": "default",
                "source": f"{STORAGE}/sharingsource/source/",
                "target": f"{STORAGE}/sharingtarget/target/",
                "state": "active",
                **FIGURES,
                "objective": {"percentile": 99, "within": 900, "share": 0.998, "budget_left": 0.8, "met": True},
                "budget": {"daily_bytes": 1099511627776, "used": 314573800, "resets_at": "2026-12-01T00:00:00.000Z"},
            }
        ],
    },
    "Summary": {
        "updated_at": "2026-11-30T19:53:15.120Z",
        "routes": 1,
        **FIGURES,
        "queued": {"count": 0, "oldest_at": None},
    },
    "LedgerPage": {
        "route": "default",
        "day": "2026-11-30",
        "items": [
            {
                "id": SHARED,
                "attempt": 0,
                "state": "verified",
                "name": "2026/report.csv",
                "source": f"{STORAGE}/sharingsource/source/2026/report.csv",
                "target": f"{STORAGE}/sharingtarget/target/2026/report.csv",
                "size": 23,
                "engine": "sync",
                "source_etag": "0x261DD95A4A3A280",
                "target_etag": "0x22A41C0F11B2E40",
                "accepted_at": "2026-11-30T19:52:41.763Z",
                "ended_at": "2026-11-30T19:52:42.120Z",
                "latency": 1.232,
                "reason": None,
            }
        ],
        "continuation": None,
    },
    "Health": {
        "up": True,
        "checks": [
            {"name": "queue", "ok": True, "detail": "", "fix": ""},
            {"name": "target of route partner", "ok": True, "detail": "", "fix": ""},
        ],
        "version": "0.1.0",
        "read_only": False,
    },
    "Unhealthy": {
        "up": False,
        "checks": [
            {"name": "queue", "ok": True, "detail": "", "fix": ""},
            {
                "name": "target of route partner",
                "ok": False,
                "detail": f"probe.container: {NO_CONTAINER}",
                "fix": "Check that the container exists and that the app has Storage Blob Data Contributor on it.",
            },
        ],
        "version": "0.1.0",
        "read_only": False,
    },
}

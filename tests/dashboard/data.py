"""What the API of the stub answers: a small deployment on a busy day."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from rules.codec import stamp
from rules.errors import Reason

JSON = dict[str, Any]
NOW = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)
MIB, GIB = 1 << 20, 1 << 30
ROUTES = ("invoices", "reports-to-partner", "media", "archive")
SOURCE, TARGET = "https://contosodata.blob.core.windows.net", "https://partnerinbox.blob.core.windows.net"
FINAL = ("verified", "superseded", "dead_lettered", "cancelled")


def ago(**past: float) -> str:
    return stamp(NOW - timedelta(**past))


def transfer_id(number: int) -> str:
    return f"37a8eec1-{number:024x}"


def transfer(number: int, name: str, state: str = "verified", route: str = ROUTES[0], **fields: Any) -> JSON:
    """A transfer as the API shows it; `size` and `age` (in seconds) describe it."""
    size, age = fields.pop("size", 3 * MIB), fields.pop("age", 60.0)
    reason = fields.get("reason")
    return {
        "id": transfer_id(number),
        "route": route,
        "source": {"url": f"{SOURCE}/{route}/{number}", "name": name, "etag": f"0x8DE2F{number:010X}", "size": size},
        "target": {"url": f"{TARGET}/inbox/{number}"},
        "accepted_at": ago(seconds=age + 5),
        "state": state,
        "engine": "sync" if size <= 256 * MIB else "blocks",
        "copied": size if state == "verified" else 0,
        "total": size,
        "attempt": 0,
        "tries": 1,
        "resumes": 0,
        "cancelling": False,
        "ending": None,
        "reason": reason,
        "detail": "",
        "successor": None,
        "target_etag": f"0x8DE30{number:010X}" if state == "verified" else None,
        "verified_at": ago(seconds=age) if state == "verified" else None,
        "updated_at": ago(seconds=age),
        "next_check_at": None if state in FINAL else ago(seconds=age - 10),
        "letter": {"state": "open", "resolved_at": None, "resolved_as": None} if state == "dead_lettered" else None,
        "hint": Reason(reason).hint if reason else None,
    } | fields


def transfers() -> list[JSON]:
    """Two running transfers, one that waits, a failed one, and some that ended."""
    refused: JSON = {"reason": "target_unwritable", "detail": "target.copy: 403 AuthorizationPermissionMismatch"}
    found = [
        transfer(
            1,
            "masters/2026/interview.mov",
            "copying",
            "media",
            size=82 * GIB,
            copied=51 * GIB,
            age=2,
            accepted_at=ago(minutes=26),
        ),
        transfer(
            2,
            "masters/2026/teaser.mov",
            "copying",
            "media",
            size=6 * GIB,
            copied=GIB,
            age=3,
            engine="async",
            accepted_at=ago(seconds=14),
        ),
        transfer(3, "2026/11/30/inv-20419.pdf", "accepted", reason="throttled", detail="503 ServerBusy", age=9),
        transfer(4, "2026/11/30/inv-20388.pdf", "dead_lettered", attempt=1, tries=8, age=1_260, **refused),
        transfer(5, "2026/11/29/summary.csv", "superseded", ROUTES[1], age=4_000),
        transfer(6, "2026/11/28/old.csv", "cancelled", ROUTES[1], age=9_000),
    ]
    names = (f"2026/11/30/inv-{20_420 - number}.pdf" for number in range(1, 31))
    found += [
        transfer(100 + n, name, size=(n * 37 % 90 + 4) * 4_321, age=30.0 + 45 * n) for n, name in enumerate(names)
    ]
    return found


def letter(number: int, name: str | None, reason: str, route: str | None = ROUTES[0], age: float = 600) -> JSON:
    """A dead letter as a list shows it."""
    return {
        "id": transfer_id(number) if name is not None else f"message-{number:024x}",
        "reason": reason,
        "hint": Reason(reason).hint,
        "route": route if name is not None else None,
        "name": name,
        "etag": f"0x8DE2F{number:010X}" if name is not None else None,
        "size": 48_311 + number if name is not None else None,
        "first_failed_at": ago(seconds=age + 60),
        "last_failed_at": ago(seconds=age),
    }


def letters() -> list[JSON]:
    return [
        letter(4, "2026/11/30/inv-20388.pdf", "target_unwritable", age=1_260),
        *(letter(20 + n, f"2026/11/30/inv-{20_300 + n}.pdf", "target_unwritable", age=1_300 + n) for n in range(5)),
        letter(30, "2026/11/30/weekly.xlsx", "target_conflict", ROUTES[1], 400),
        letter(31, "2026/11/30/daily.xlsx", "target_conflict", ROUTES[1], 420),
        letter(40, None, "malformed", age=5_000),
    ]


def record(item: JSON) -> JSON:
    """The whole record of a listed dead letter."""
    attempt = {
        "started_at": item["first_failed_at"],
        "failed_at": item["first_failed_at"],
        "reason": item["reason"],
        "detail": "target.copy: 403 AuthorizationPermissionMismatch",
        "tries": 8,
    }
    named = item["name"] is not None
    source = {"url": f"{SOURCE}/x", "name": item["name"], "etag": item["etag"], "size": item["size"]}
    return {
        "schema": 1,
        "id": item["id"],
        "state": "open",
        "reason": item["reason"],
        "detail": attempt["detail"],
        "hint": item["hint"],
        "transfer": {"route": item["route"], "source": source, "target": {"url": f"{TARGET}/x"}} if named else None,
        "message": None if named else "eyJpZCI6ICJub3QgYW4gZXZlbnQifQ==",
        "attempts": {"0": attempt, "1": attempt | {"failed_at": item["last_failed_at"]}},
        "replays": 1,
        "first_failed_at": item["first_failed_at"],
        "last_failed_at": item["last_failed_at"],
        "resolved_at": None,
        "resolved_as": None,
        "app_version": "0.1.0",
    }


def job(kind: str, number: int, state: str = "done", **fields: Any) -> JSON:
    """A job as the API shows it; `counts` holds those that are not 0."""
    results = ("started", "running", "skipped", "refused", "failed")
    names = ("found", "bytes", *(("discarded", "running", "refused", "failed") if kind == "discard" else results))
    classes = ("match", "missing", "stale", "extra", "error")
    own: JSON = (
        {"prefix": "", "egress": None} if kind == "reconcile" else {"reason": None, "since": None, "until": None}
    )
    counts = dict.fromkeys((*classes, *names) if kind == "reconcile" else names, 0) | fields.pop("counts", {})
    return {
        "id": f"{kind}-{number:024x}",
        "state": state,
        "phase": "act" if state == "running" else None,
        "cancelling": False,
        "resumes": 0,
        "route": ROUTES[0],
        **own,
        "dry_run": False,
        "max_per_second": 20,
        "counts": counts,
        "pages": 2,
        "detail": "",
        "created_at": ago(minutes=number),
        "updated_at": ago(minutes=number - 1),
    } | fields


def jobs() -> dict[str, list[JSON]]:
    compared = {
        "match": 48_211,
        "missing": 1_204,
        "stale": 17,
        "extra": 3,
        "error": 1,
        "found": 1_221,
        "bytes": 9 * GIB,
    }
    return {
        "reconciles": [
            job("reconcile", 2, "running", counts={**compared, "started": 640}),
            job("reconcile", 300, dry_run=True, counts=compared, prefix="2026/11/"),
        ],
        "replays": [
            job("replay", 40, reason="throttled", counts={"found": 95, "bytes": 40 * MIB, "started": 92, "running": 3})
        ],
        "discards": [
            job("discard", 900, reason="malformed", route=None, counts={"found": 4, "bytes": 0, "discarded": 4})
        ],
    }


def report_lines() -> list[JSON]:
    lines = [
        {
            "class": "missing",
            "name": f"2026/11/30/inv-{n}.pdf",
            "etag": "0x8DE",
            "size": 4_096 * n,
            "id": transfer_id(n),
        }
        for n in range(100, 108)
    ]
    stale = {"class": "stale", "name": "2026/11/01/inv-7.pdf", "etag": "0x8DE", "size": 9_000, "id": transfer_id(90)}
    return [
        *lines,
        stale | {"detail": "the target has no receipt"},
        {"id": transfer_id(100), "name": lines[0]["name"], "result": "started", "detail": ""},
    ]


def _latency(count: int, p50: float, p95: float, p99: float) -> JSON:
    values: list[float | None] = [p50, p95, p99] if count else [None, None, None]
    return {"count": count, **dict(zip(("p50", "p95", "p99"), values, strict=True))}


def _throughput(scale: int) -> list[JSON]:
    """More in the working hours, nothing in some slots of the night."""
    slots = []
    for slot in range(288):
        at = NOW - timedelta(minutes=5 * (288 - slot))
        hours = at.hour + at.minute / 60
        busy = round((scale * max(0, 9 - abs(hours - 12)) + slot * 7919 % 5 - 1) * 2)
        if busy > 0:
            slots.append({"at": stamp(at), "transfers": busy, "bytes": busy * (slot * 31 % 5 + 14) * MIB})
    return slots


def routes() -> JSON:
    """The figures of four routes: one meets its objective, one misses it, one is over its budget, one is paused."""

    def route(name: str, state: str, count: int, **fields: Any) -> JSON:
        total = {"superseded": 14, "dead_lettered": 6, "cancelled": 1}
        return {
            "route": name,
            "source": f"{SOURCE}/{name}/2026/",
            "target": f"{TARGET}/inbox/{name}/",
            "state": state,
            "running": {"count": 0, "bytes": 0, "oldest_at": None},
            "today": {"verified": count, "bytes": count * 3 * MIB, **total},
            "total": {"verified": 90 * count, "bytes": 270 * count * MIB, **total},
            "latency": {"hour": _latency(count // 9, 1.4, 3.9, 9.2), "day": _latency(count, 1.2, 3.4, 8.1)},
            "throughput": _throughput(1),
            "dead_letters": {},
            "objective": None,
            "budget": None,
            "egress": None,
        } | fields

    met = {"percentile": 99, "within": 900, "share": 0.9984, "budget_left": 0.84, "met": True}
    missed = {"percentile": 99, "within": 60, "share": 0.9731, "budget_left": 0, "met": False}
    slow = {"hour": _latency(4, 240, 1_900, 2_600), "day": _latency(31, 210, 1_700, 2_400)}
    return {
        "updated_at": ago(seconds=22),
        "routes": [
            route(
                "invoices",
                "active",
                4_812,
                running={"count": 1, "bytes": 3 * MIB, "oldest_at": ago(seconds=9)},
                objective=missed,
                dead_letters={"target_unwritable": 6},
            ),
            route("reports-to-partner", "active", 391, objective=met, dead_letters={"target_conflict": 2}),
            route(
                "media",
                "over_budget",
                31,
                latency=slow,
                running={"count": 2, "bytes": 88 * GIB, "oldest_at": ago(minutes=26)},
                budget={"daily_bytes": 500 * GIB, "used": 498 * GIB, "resets_at": stamp(NOW + timedelta(hours=10))},
                egress={"price_per_gib": 0.02, "currency": "USD", "today": 9.96},
            ),
            route("archive", "paused", 0),
        ],
    }


def summary() -> JSON:
    return {
        "updated_at": ago(seconds=22),
        "routes": len(ROUTES),
        "running": {"count": 3, "bytes": 88 * GIB, "oldest_at": ago(minutes=26)},
        "today": {"verified": 5_234, "superseded": 42, "dead_lettered": 9, "cancelled": 3, "bytes": 517 * GIB},
        "total": {"verified": 471_060, "superseded": 42, "dead_lettered": 18, "cancelled": 3, "bytes": 44_000 * GIB},
        "latency": {"hour": _latency(581, 1.4, 4.2, 31.0), "day": _latency(5_234, 1.2, 3.8, 24.0)},
        "throughput": _throughput(3),
        "dead_letters": {"target_unwritable": 6, "target_conflict": 2, "malformed": 1},
        "egress": {"price_per_gib": 0.02, "currency": "USD", "today": 9.96},
        "queued": {"count": 12, "oldest_at": ago(seconds=3)},
    }


def ledger() -> list[JSON]:
    return [
        {
            "id": item["id"],
            "attempt": 0,
            "state": item["state"],
            "name": item["source"]["name"],
            "source": item["source"]["url"],
            "target": item["target"]["url"],
            "size": item["total"],
            "engine": item["engine"],
            "source_etag": item["source"]["etag"],
            "target_etag": f"0x8DE30{number:010X}",
            "accepted_at": item["accepted_at"],
            "ended_at": item["updated_at"],
            "latency": 1.2 + number / 10,
            "reason": None,
        }
        for number, item in enumerate(transfers()[6:24])
    ]


def health(*, up: bool = True, read_only: bool = False) -> JSON:
    ok = {"ok": True, "detail": "", "fix": ""}
    checks = [{"name": name, **ok} for name in ("queue", "undelivered events", "dead letters", "reports")]
    checks += [
        {"name": f"{what} route {name}", **ok} for name in ROUTES for what in ("source of", "signing for", "target of")
    ]
    checks.append({"name": "route archive", "ok": True, "detail": "paused", "fix": ""})
    if not up:
        fix = "Check that the container exists and that the app has Storage Blob Data Contributor on it."
        checks[6] |= {"ok": False, "detail": "target.head: 403 AuthorizationPermissionMismatch", "fix": fix}
    return {"up": up, "checks": checks, "version": "0.1.0", "read_only": read_only}


def page(items: Iterable[JSON], limit: int, continuation: str, keep: Callable[[JSON], bool]) -> JSON:
    """A page of a list. As in the API, a filter applies to each page."""
    listed = list(items)
    start = int(continuation or 0)
    following = start + limit
    return {
        "items": [item for item in listed[start:following] if keep(item)],
        "continuation": str(following) if following < len(listed) else None,
    }

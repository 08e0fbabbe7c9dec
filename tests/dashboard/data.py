"""What the API of the stub answers: a small deployment on a busy day."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from rules.codec import stamp
from rules.errors import Reason
from rules.transfers.identity import trace_id

JSON = dict[str, Any]
NOW = datetime(2026, 11, 30, 14, 5, tzinfo=UTC)
MIB, GIB = 1 << 20, 1 << 30
ROUTES = ("invoices", "reports-to-partner", "media", "archive")
SOURCE = "https://contosodata.blob.core.windows.net"
TARGETS = {
    "invoices": "https://contosoaudit.blob.core.windows.net/invoices/",
    "reports-to-partner": "https://fabrikaminbox.blob.core.windows.net/inbox/contoso/",
    "media": "https://contosoeast.blob.core.windows.net/media/",
    "archive": "https://contosocold.blob.core.windows.net/archive/",
}
FINAL = ("verified", "superseded", "dead_lettered", "cancelled")


def ago(**past: float) -> str:
    return stamp(NOW - timedelta(**past))


def digits(number: int, kind: str, length: int) -> str:
    """Hexadecimal digits that look like those of an identity, always the same for a number."""
    return hashlib.sha256(f"{kind}{number}".encode()).hexdigest()[:length]


def transfer_id(number: int) -> str:
    return f"37a8eec1-{digits(number, 'transfer', 24)}"


def job_id(kind: str, number: int) -> str:
    return f"{kind}-{digits(number, kind, 24)}"


def source_etag(number: int) -> str:
    return f"0x8DE2F{digits(number, 'source', 10).upper()}"


def target_etag(number: int) -> str:
    return f"0x8DE2F{digits(number, 'target', 10).upper()}"


def small(number: int) -> int:
    return (number * 37 % 90 + 4) * 4_321


def transfer(number: int, name: str, state: str = "verified", route: str = ROUTES[0], **fields: Any) -> JSON:
    """A transfer as the API shows it; `size` and `age` (in seconds) describe it."""
    size, age = fields.pop("size", 3 * MIB), fields.pop("age", 60.0)
    reason = fields.get("reason")
    return {
        "id": transfer_id(number),
        "trace_id": trace_id(transfer_id(number)),
        "trace_url": f"https://jaeger.example/trace/{trace_id(transfer_id(number))}",
        "route": route,
        "source": {"url": f"{SOURCE}/{route}/{name}", "name": name, "etag": source_etag(number), "size": size},
        "target": {"url": TARGETS[route] + name},
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
        "target_etag": target_etag(number) if state == "verified" else None,
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
        transfer(3, "2026/11/30/inv-20421.pdf", "accepted", reason="throttled", detail="503 ServerBusy", age=9),
        transfer(
            4, "2026/11/30/inv-20388.pdf", "dead_lettered", attempt=1, tries=8, age=1_260, size=small(4), **refused
        ),
        transfer(5, "2026/11/29/summary.csv", "superseded", ROUTES[1], age=4_000),
        transfer(6, "2026/11/28/old.csv", "cancelled", ROUTES[1], age=9_000),
    ]
    for n in range(30):
        age = 30.0 + 45 * n - n * 29 % 23
        if n % 7 == 3:
            name, size = f"2026/11/30/store-{412 + 13 * n:04}-sales.csv", (n * 53 % 70 + 9) * 61_421
            found.append(transfer(100 + n, name, "verified", ROUTES[1], size=size, age=age))
        elif n in {5, 19}:
            name, size = f"proxies/2026/interview-cam-{n % 4}.mp4", (n + 40) * 31_415_926
            found.append(transfer(100 + n, name, "verified", "media", size=size, age=age))
        else:
            found.append(transfer(100 + n, f"2026/11/30/inv-{20_419 - n}.pdf", size=small(n), age=age))
    return found


def letter(number: int, name: str | None, reason: str, route: str | None = ROUTES[0], age: float = 600) -> JSON:
    """A dead letter as a list shows it."""
    return {
        "id": transfer_id(number) if name is not None else f"message-{number:024x}",
        "reason": reason,
        "hint": Reason(reason).hint,
        "route": route if name is not None else None,
        "name": name,
        "etag": source_etag(number) if name is not None else None,
        "size": small(number) if name is not None else None,
        "first_failed_at": ago(seconds=age + 8_200),
        "last_failed_at": ago(seconds=age),
    }


def letters() -> list[JSON]:
    return [
        letter(4, "2026/11/30/inv-20388.pdf", "target_unwritable", age=1_260),
        *(
            letter(20 + n, f"2026/11/30/inv-{20_300 + 7 * n}.pdf", "target_unwritable", age=1_320 + 97 * n)
            for n in range(5)
        ),
        letter(30, "2026/11/30/weekly.xlsx", "target_conflict", ROUTES[1], 403),
        letter(31, "2026/11/30/daily.xlsx", "target_conflict", ROUTES[1], 461),
        letter(40, None, "malformed", age=5_000),
    ]


def record(item: JSON) -> JSON:
    """The whole record of a listed dead letter."""

    def started(text: str) -> str:
        return stamp(datetime.fromisoformat(text) - timedelta(seconds=5))

    attempt = {
        "started_at": started(item["first_failed_at"]),
        "failed_at": item["first_failed_at"],
        "reason": item["reason"],
        "detail": "target.copy: 403 AuthorizationPermissionMismatch",
        "tries": 8,
    }
    named = item["name"] is not None
    last = attempt | {"started_at": started(item["last_failed_at"]), "failed_at": item["last_failed_at"]}
    source = {
        "url": f"{SOURCE}/{item['route']}/{item['name']}",
        "name": item["name"],
        "etag": item["etag"],
        "size": item["size"],
    }
    target = {"url": f"{TARGETS.get(item['route'])}{item['name']}"}
    return {
        "schema": 1,
        "id": item["id"],
        "state": "open",
        "reason": item["reason"],
        "detail": attempt["detail"],
        "hint": item["hint"],
        "transfer": {"route": item["route"], "source": source, "target": target} if named else None,
        "message": None if named else "eyJpZCI6ICJub3QgYW4gZXZlbnQifQ==",
        "attempts": {"0": attempt, "1": last},
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
        "id": job_id(kind, number),
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
            job("reconcile", 1_565, route=ROUTES[1], counts={"match": 3_911}),
            job(
                "reconcile",
                2_610,
                "cancelled",
                route="archive",
                counts={"found": 88_104, "bytes": 3_100 * GIB, "started": 412},
            ),
            job(
                "reconcile",
                3_005,
                route=ROUTES[1],
                counts={"match": 3_899, "missing": 2, "found": 2, "bytes": 5 * MIB, "started": 2},
            ),
        ],
        "replays": [
            job("replay", 40, reason="throttled", counts={"found": 95, "bytes": 40 * MIB, "started": 92, "running": 3}),
            job(
                "replay",
                1_380,
                dry_run=True,
                reason="target_conflict",
                route=None,
                counts={"found": 17, "bytes": 9 * MIB},
            ),
        ],
        "discards": [
            job("discard", 900, reason="malformed", route=None, counts={"found": 4, "bytes": 0, "discarded": 4})
        ],
    }


def report_lines() -> list[JSON]:
    lines = [
        {
            "class": "missing",
            "name": f"2026/11/{n % 5 + 11}/inv-{17_400 + 31 * n}.pdf",
            "etag": source_etag(n),
            "size": small(n),
            "id": transfer_id(n),
        }
        for n in range(100, 108)
    ]
    stale = {"class": "stale", "name": "2026/11/01/inv-16007.pdf", "etag": source_etag(90), "size": 91_204}
    extra = {"class": "extra", "name": "2026/11/02/inv-16044-draft.pdf", "etag": target_etag(91), "size": 88_130}
    return [
        *lines,
        stale | {"id": transfer_id(90), "detail": "the target has no receipt"},
        extra | {"id": None, "detail": ""},
    ]


def _latency(count: int, p50: float, p95: float, p99: float) -> JSON:
    values: list[float | None] = [p50, p95, p99] if count else [None, None, None]
    return {"count": count, **dict(zip(("p50", "p95", "p99"), values, strict=True))}


def _throughput(scale: float, nightly: int = 0) -> list[JSON]:
    """More in the working hours, nothing in some slots of the night, and some large blobs early in the morning."""
    slots = []
    for slot in range(288):
        at = NOW - timedelta(minutes=5 * (288 - slot))
        hours = at.hour + at.minute / 60
        by_hour = max(0.0, 1 - ((hours - 12.5) / 7) ** 2) * (0.7 if 12 <= hours < 13.2 else 1)  # lunch
        noise = int(digits(slot, "noise", 4), 16) / 0xFFFF
        backup = max(0.0, 1 - ((hours - 2.5) / 1.5) ** 2)
        busy = round(scale * by_hour * (0.75 + 0.5 * noise) + 3 * backup + noise - 0.4)
        size = busy * round(30 + 20 * noise) * MIB + round(nightly * backup * (0.8 + 0.4 * noise))
        if busy > 0:
            slots.append({"at": stamp(at), "transfers": busy, "bytes": size})
    return slots


def routes() -> JSON:
    """The figures of four routes: one meets its objective, one misses it, one is over its budget, one is paused."""

    def route(name: str, state: str, count: int, size: int, **fields: Any) -> JSON:
        total = {"superseded": 14, "dead_lettered": 6, "cancelled": 1}
        return {
            "route": name,
            "source": f"{SOURCE}/{name}/",
            "target": TARGETS[name],
            "state": state,
            "running": {"count": 0, "bytes": 0, "oldest_at": None},
            "today": {"verified": count, "bytes": size, **total},
            "total": {"verified": 90 * count, "bytes": 90 * size, **total},
            "latency": {"hour": _latency(count // 9, 1.4, 3.9, 9.2), "day": _latency(count, 1.2, 3.4, 8.1)},
            "throughput": _throughput(1),
            "dead_letters": {},
            "objective": None,
            "budget": None,
            "egress": None,
        } | fields

    met = {"percentile": 99, "within": 900, "share": 0.9984, "budget_left": 0.84, "met": True}
    missed = {"percentile": 99, "within": 60, "share": 0.9731, "budget_left": 0, "met": False}
    steady = {"hour": _latency(43, 0.8, 1.9, 2.7), "day": _latency(391, 0.9, 2.2, 3.1)}
    slow = {"hour": _latency(4, 240, 1_900, 2_600), "day": _latency(31, 210, 1_700, 2_400)}
    return {
        "updated_at": ago(seconds=22),
        "routes": [
            route(
                "invoices",
                "active",
                4_812,
                14 * GIB,
                running={"count": 1, "bytes": 3 * MIB, "oldest_at": ago(seconds=9)},
                objective=missed,
                dead_letters={"target_unwritable": 6},
            ),
            route(
                "reports-to-partner",
                "active",
                391,
                5 * GIB,
                latency=steady,
                objective=met,
                dead_letters={"target_conflict": 2},
            ),
            route(
                "media",
                "over_budget",
                31,
                498 * GIB,
                latency=slow,
                running={"count": 2, "bytes": 88 * GIB, "oldest_at": ago(minutes=26)},
                budget={"daily_bytes": 500 * GIB, "used": 498 * GIB, "resets_at": stamp(NOW + timedelta(hours=10))},
                egress={"price_per_gib": 0.02, "currency": "USD", "today": 9.96},
            ),
            route("archive", "paused", 0, 0),
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
        "throughput": _throughput(40, 9 * GIB),
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
            "target_etag": item["target_etag"],
            "accepted_at": item["accepted_at"],
            "ended_at": item["updated_at"],
            "latency": 0.6 + number * 7 % 19 / 10,
            "reason": None,
        }
        # Oldest first.
        for number, item in enumerate(reversed(transfers()[6:]))
        if item["route"] == ROUTES[0]
    ]


def health(*, up: bool = True, read_only: bool = False) -> JSON:
    ok = {"ok": True, "detail": "", "fix": ""}
    checks = [{"name": name, **ok} for name in ("queue", "undelivered events", "dead letters", "reports")]
    checks += [
        {"name": f"{what} route {name}", **ok} for name in ROUTES for what in ("source of", "signing for", "target of")
    ]
    checks.append({"name": "route archive", "ok": True, "detail": "paused", "fix": ""})
    if not up:
        fix = (
            "Check that the container exists and that the app has Storage Blob Data Contributor on it: `azd provision`."
        )
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

"""Each command: what it asks of the app, what it prints, and its exit code."""

import json
from itertools import count
from typing import Any

import pytest
from sharing import follow
from sharing.commands import cli, jobs, letters, transfers
from sharing.output import ago

from devhost.reference.examples import EXAMPLES
from rules.errors import Reason
from rules.jobs.model import Finding, Result
from rules.transfers.states import FINAL, State
from tests.unit.cli.conftest import Run
from tests.unit.cli.server import Answer, Asked, Server, page, problem

ID, OTHER = "37a8eec1-6c69c15a3740fbd3581a7d8d", "37a8eec1-f414334a7d6862b0d4a54a62"
BEFORE, SHORT = "37a8eec1-0b1f6c9d3740fbd3581a7d8d", "37a8eec1-5e21a07c7d6862b0d4a54a62"
MESSAGE = "message-6c69c15a3740fbd3581a7d8d"
ACCEPTED = Answer(202, {"transfers": [{"id": ID, "url": f"/api/transfers/{ID}"}]})
LETTER = EXAMPLES["DeadLetterPage"]["items"][0]
HOSTILE = "a\x1b[31m\u202egnp.exe\r\n[red]x[/red] \U0001f600\ud800"
ESCAPED = r"a\x1b[31m\u202egnp.exe\r\n[red]x[/red] 😀\ud800"
ROUTE: dict[str, Any] = {
    "route": "partner",
    "source": "https://s.example/in/",
    "target": "https://t.example/out/",
    "state": "over_budget",
    "running": {"count": 3, "bytes": 2048, "oldest_at": None},
    "today": {"verified": 10, "superseded": 0, "dead_lettered": 1, "cancelled": 0, "bytes": 3 * 1024**3},
    "total": {"verified": 99, "superseded": 2, "dead_lettered": 1, "cancelled": 0, "bytes": 5 * 1024**4},
    "latency": {
        "hour": {"count": 0, "p50": None, "p95": None, "p99": None},
        "day": {"count": 9, "p50": 1.2, "p95": 3.4, "p99": 8.0},
    },
    "throughput": [],
    "dead_letters": {"target_unwritable": 2, "throttled": 1},
    "objective": {"percentile": 99, "within": 900, "share": 0.998, "budget_left": 0.8, "met": True},
    "budget": {"daily_bytes": 1000, "used": 900, "resets_at": "2026-12-01T00:00:00Z"},
    "egress": {"price_per_gib": 0.02, "currency": "USD", "today": 1.25},
}


def transfer(state: str = "verified", identity: str = ID, name: str = "report.csv", **more: Any) -> dict[str, Any]:
    source = {**EXAMPLES["Transfer"]["source"], "name": name}
    return {**EXAMPLES["Transfer"], "id": identity, "state": state, "source": source, **more}


def job(kind: str = "Reconcile", state: str = "done", *, dry_run: bool = False, **counts: int) -> dict[str, Any]:
    all_counts = {**dict.fromkeys(EXAMPLES[kind]["counts"], 0), **counts}
    return {**EXAMPLES[kind], "state": state, "phase": None, "dry_run": dry_run, "counts": all_counts}


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def starts(server: Server, path: str, *jobs: dict[str, Any]) -> None:
    """Each POST starts the next of these jobs, which the following GETs answer."""
    identity = jobs[0]["id"]
    started = count()
    server.on(f"POST /{path}", lambda _: (next(started), Answer(202, {"id": identity, "url": ""}))[1])
    server.on(f"GET /{path}/{identity}", *jobs)


def test_the_values_of_options_are_those_of_the_app() -> None:
    assert set(transfers.STATES) == set(State)
    assert set(follow.FINAL) == FINAL
    assert set(follow.UNDER_WAY) == set(State) - FINAL
    assert set(letters.REASONS) == set(Reason)
    assert set(jobs.CLASSES) == set(Finding)
    assert set(jobs.RESULTS) == set(Result)


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_every_command_has_help_with_an_example(run: Run, name: str) -> None:
    done = run(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    assert not name or f"Examples:\n    sharing {name}" in done.out.replace(
        "Examples:\n  sharing", "Examples:\n    sharing"
    )


def test_ls_prints_a_line_for_each_transfer_of_all_pages(run: Run, server: Server) -> None:
    first = page(transfer("copying", copied=50, total=200), continuation="next")
    server.on("GET /transfers", first, page(continuation="more"), page(transfer(identity=OTHER, name="b.csv")))
    done = run("ls", "--route", "default")
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["ID", "STATE", "SIZE", "NAME"],
        [ID, "copying", "25%", "200", "B", "report.csv"],
        [OTHER, "verified", "300.0", "MiB", "b.csv"],
    ]
    assert [asked.query.get("continuation") for asked in server.asked] == [None, "next", "more"]
    assert {asked.query["route"] for asked in server.asked} == {"default"}


def test_ls_sends_its_filters_and_stops_at_its_limit(run: Run, server: Server) -> None:
    server.on("GET /transfers", page(transfer(), transfer(identity=OTHER), continuation="next"))
    done = run("ls", "--state", "verified", "--limit", 1, "--json")
    assert [each["id"] for each in lines(done.out)] == [ID]
    assert [asked.query for asked in server.asked] == [{"state": "verified", "limit": "1"}]


def test_ls_shows_a_transfer_that_cannot_be_read(run: Run, server: Server) -> None:
    unreadable = {**transfer("accepted"), **dict.fromkeys(("route", "source", "target", "accepted_at", "total"))}
    server.on("GET /transfers", page(unreadable))
    server.on(f"GET /transfers/{ID}", unreadable)
    assert ID in run("ls").out
    assert run("show", ID).code == 0


def test_ten_thousand_items_are_printed_page_by_page(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is requested only after the one before it is printed."""
    printed: list[int] = []
    monkeypatch.setattr("sharing.output.Output.json", lambda *_: printed.append(1))
    seen_when_asked: list[int] = []

    def answer(asked: Asked) -> Any:
        number = int(asked.query.get("continuation", "0"))
        seen_when_asked.append(len(printed))
        items = [transfer(identity=f"37a8eec1-{number * 500 + each:024x}") for each in range(500)]
        return page(*items, continuation=str(number + 1) if number < 19 else None)

    server.on("GET /transfers", answer)
    assert run("ls", "--json").code == 0
    assert seen_when_asked == [500 * number for number in range(20)]
    assert len(printed) == 10_000


def test_a_name_is_sent_as_it_is(run: Run, server: Server) -> None:
    server.on("GET /transfers", transfer())
    name = "a b+c%20ü&#?/😀.csv"
    assert run("ls", "--route", "default", "--name", name).code == 0
    assert run("show", "default", name).code == 0
    assert [asked.query for asked in server.asked] == [{"route": "default", "name": name}] * 2


@pytest.mark.parametrize("arguments", [("ls",), ("show", ID), ("watch", ID), ("letters", "--list"), ("ledger", "r")])
def test_a_hostile_name_is_escaped(run: Run, server: Server, arguments: tuple[str, ...]) -> None:
    found = transfer(name=HOSTILE, detail=HOSTILE, reason="internal")
    server.on("GET /transfers", page(found))
    server.on(f"GET /transfers/{ID}", found)
    server.on("GET /dead-letters", page({**LETTER, "name": HOSTILE}))
    entry = {"ended_at": "2026-11-30T01:02:03.004Z", "state": "verified", "size": 1, "latency": 1.2, "name": HOSTILE}
    server.on("GET /ledger", page(entry))
    done = run(*arguments)
    assert ESCAPED in done.out
    assert not set("\x1b\u202e\r\ud800") & set(done.out)
    assert run(*arguments, "--json").out.isascii()


def test_show_prints_reason_and_hint(run: Run, server: Server) -> None:
    found = transfer("dead_lettered", reason="throttled", detail="503", hint="Check it.", letter={"state": "open"})
    server.on(f"GET /transfers/{ID}", found)
    done = run("show", ID)
    assert done.code == 0
    shown = {line.split()[0]: line.split()[1] for line in done.out.splitlines()}
    assert (shown["state"], shown["reason"], shown["letter"]) == ("dead_lettered", "throttled", "open")
    assert shown["trace"] == found["trace_id"]
    server.on(f"GET /transfers/{ID}", {**found, "trace_url": "https://jaeger.example/1"})
    assert "https://jaeger.example/1" in run("show", ID).out
    server.on(f"GET /transfers/{ID}", found)
    assert lines(run("show", ID, "--json").out) == [found]


def test_show_knows_the_kind_of_an_id(run: Run, server: Server) -> None:
    reconcile = job(missing=2, found=2)
    server.on(f"GET /reconciles/{reconcile['id']}", reconcile)
    server.on(f"GET /dead-letters/{MESSAGE}", {**EXAMPLES["DeadLetter"], "id": MESSAGE, "transfer": None})
    assert "2 missing" in run("show", reconcile["id"]).out
    assert MESSAGE in run("show", MESSAGE).out


@pytest.mark.parametrize(
    ("state", "code"), [("verified", 0), ("superseded", 0), ("dead_lettered", 1), ("cancelled", 1)]
)
def test_watch_ends_with_the_transfer(run: Run, server: Server, state: str, code: int) -> None:
    server.on(f"GET /transfers/{ID}", transfer("accepted"), transfer("copying"), transfer(state))
    server.on(f"GET /transfers/{OTHER}", transfer(identity=OTHER))
    done = run("watch", ID, OTHER)
    assert done.code == code
    assert sorted(line.split()[0] for line in done.out.splitlines() if "report.csv" in line) == sorted(
        [state, "verified"]
    )
    assert server.calls().count(f"GET /transfers/{OTHER}") == 1


def test_watch_survives_a_restart_of_the_host(run: Run, server: Server) -> None:
    """Calls get 500 without a body while the worker is dead."""
    server.on(f"GET /transfers/{ID}", transfer("accepted"), Answer(500, b""), transfer())
    assert run("watch", ID, "--json").code == 0


def test_watch_follows_what_runs_on_a_route(run: Run, server: Server) -> None:
    """It also finds a transfer that starts meanwhile, and one that no list of running ones has, and reads how each one ended."""

    def listed(asked: Asked) -> Any:
        looks = sum("since" in each.query for each in server.asked)
        match asked.query.get("state"), looks:
            case "accepted", 0:
                return page(transfer("accepted"))
            case "copying", 1:
                return page(transfer("copying", OTHER))
            case None, 1:
                return page(transfer(identity=BEFORE))
            case None, _:
                return page(transfer(identity=BEFORE), transfer(identity=SHORT))
        return page()

    server.on("GET /transfers", listed)
    server.on(f"GET /transfers/{ID}", transfer())
    server.on(f"GET /transfers/{OTHER}", transfer("dead_lettered", OTHER))
    done = run("watch", "--route", "default", "--json")
    assert done.code == 1
    ended = {each["id"]: each["state"] for each in lines(done.out)}
    assert ended == {ID: "verified", OTHER: "dead_lettered", SHORT: "verified"}
    assert len(lines(done.out)) == 3


def test_watch_of_an_idle_route_ends(run: Run, server: Server) -> None:
    server.on("GET /transfers", page())
    done = run("watch", "--route", "default")
    assert (done.code, done.out) == (0, "")


def test_watch_waits_for_the_event_of_a_blob(run: Run, server: Server) -> None:
    server.on("GET /transfers", problem(404, "its event was not processed yet"), transfer("accepted"))
    server.on(f"GET /transfers/{ID}", transfer())
    assert run("watch", "--route", "default", "--name", "report.csv").code == 0


def test_watch_follows_a_job(run: Run, server: Server) -> None:
    running = {**job(found=2, started=1), "state": "running", "phase": "act"}
    server.on(f"GET /reconciles/{running['id']}", running, job(found=2, started=1, failed=1))
    done = run("watch", running["id"], "--json")
    assert (done.code, [each["state"] for each in lines(done.out)]) == (1, ["done"])


def test_share_prints_the_id_and_waits_if_asked(run: Run, server: Server) -> None:
    server.on("POST /transfers", ACCEPTED)
    server.on(f"GET /transfers/{ID}", transfer("dead_lettered"))
    assert (run("share", "default", "report.csv").code, server.asked[0].body) == (
        0,
        {"route": "default", "name": "report.csv"},
    )
    assert run("share", "default", "report.csv").out == f"{ID}\n"
    assert run("share", "default", "report.csv", "--wait").code == 1


def test_cancel_knows_the_kind_of_an_id(run: Run, server: Server) -> None:
    found = job(state="cancelled")
    server.on(f"DELETE /transfers/{ID}", Answer(202, transfer("copying", cancelling=True)))
    server.on(f"DELETE /reconciles/{found['id']}", Answer(202, found))
    done = run("cancel", ID, found["id"])
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [[ID, "cancelling"], [found["id"], "cancelled"]]


def test_cancel_goes_on_after_a_refusal(run: Run, server: Server) -> None:
    server.on(f"DELETE /transfers/{ID}", problem(409, "already verified"))
    server.on(f"DELETE /transfers/{OTHER}", Answer(202, transfer("cancelled", OTHER)))
    done = run("cancel", ID, OTHER)
    assert (done.code, done.out.split()) == (1, [OTHER, "cancelled"])
    assert "already verified" in done.err
    assert run("cancel", ID).code == 1


def test_letters_are_grouped_by_reason(run: Run, server: Server) -> None:
    message = {**LETTER, "reason": "malformed", "route": None, "name": None}
    server.on("GET /dead-letters", page(LETTER, message, continuation="2"), page({**LETTER, "route": "other"}))
    done = run("letters", "--json")
    assert [(each["reason"], each["count"], each["routes"]) for each in lines(done.out)] == [
        ("target_unwritable", 2, {"partner": 1, "other": 1}),
        ("malformed", 1, {"no route": 1}),
    ]
    server.on("GET /dead-letters", page(LETTER, message))
    assert "target_unwritable" in run("letters").out
    listed = run("letters", "--list", "--reason", "malformed", "--route", "partner", "--name", "x")
    assert len(listed.out.splitlines()) == 3
    assert server.asked[-1].query == {"reason": "malformed", "route": "partner", "name": "x", "limit": "500"}


def test_replay_and_discard_of_one_letter(run: Run, server: Server) -> None:
    server.on(f"POST /dead-letters/{ID}/replay", ACCEPTED)
    server.on(f"DELETE /dead-letters/{ID}", {**EXAMPLES["DeadLetter"], "id": ID, "resolved_as": "discarded"})
    server.on(f"GET /transfers/{ID}", transfer())
    assert run("replay", ID).out == f"{ID}\n"
    assert run("replay", ID, "--wait").code == 0
    assert run("discard", ID).out.split() == [ID, "discarded"]


@pytest.mark.parametrize(("command", "kind"), [("replay", "Replay"), ("discard", "Discard")])
def test_many_letters_are_shown_and_then_confirmed(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, command: str, kind: str
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    questions: list[str] = []

    def confirm(text: str, **_: Any) -> bool:
        questions.append(text)
        return len(questions) > 1

    monkeypatch.setattr("click.confirm", confirm)
    path = f"{command}s"
    starts(server, path, job(kind, dry_run=True, found=12, bytes=2048))
    declined = run(command, "--reason", "throttled")
    assert declined.code == 1
    assert "12 (2.0 KiB)" in questions[0]
    assert server.url in questions[0]
    assert [asked.body for asked in server.asked if asked.body] == [{"reason": "throttled", "dry_run": True}]
    starts(server, path, job(kind, dry_run=True, found=12), job(kind, found=12))
    assert run(command, "--reason", "throttled", "--rate", 5, "--wait").code == 0
    assert [asked.body for asked in server.asked if asked.body][1:] == [
        {"reason": "throttled", "max_per_second": 5, "dry_run": True},
        {"reason": "throttled", "max_per_second": 5},
    ]


def test_yes_skips_the_question_and_the_dry_run(run: Run, server: Server) -> None:
    starts(server, "replays", job("Replay", found=2, started=2))
    done = run("replay", "--all", "--yes")
    assert (done.code, done.out) == (0, f"{EXAMPLES['Replay']['id']}\n")
    assert [asked.body for asked in server.asked] == [{}]


def test_without_a_terminal_nothing_is_asked_and_nothing_is_done(run: Run, server: Server) -> None:
    done = run("discard", "--all")
    assert (done.code, server.asked) == (2, [])
    assert "--yes" in done.err


def test_a_job_that_finds_nothing_is_not_started(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    starts(server, "reconciles", job(dry_run=True, match=5))
    assert run("reconcile", "default").code == 0
    assert server.calls().count("POST /reconciles") == 1


def test_reconcile_waits_until_its_job_has_ended(run: Run, server: Server) -> None:
    running = {**job(found=3), "state": "running", "phase": "survey"}
    starts(server, "reconciles", running, {**running, "phase": "act"}, job(missing=3, found=3, started=3))
    done = run("reconcile", "default", "--prefix", "in/", "--yes", "--wait", "--json")
    assert (done.code, lines(done.out)[0]["counts"]["started"]) == (0, 3)
    assert server.asked[0].body == {"route": "default", "prefix": "in/"}


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (job(found=1, failed=1), 1),
        (job(found=1, skipped=1), 1),
        (job(error=1), 1),
        (job(state="failed"), 1),
        (job(state="cancelled"), 1),
        (job(extra=1, match=1, running=1, found=1), 0),
    ],
)
def test_the_code_of_a_job(run: Run, server: Server, ended: dict[str, Any], code: int) -> None:
    starts(server, "reconciles", ended)
    assert run("reconcile", "default", "--yes", "--wait").code == code


def test_a_dry_run_succeeds_whatever_it_finds(run: Run, server: Server) -> None:
    starts(server, "reconciles", job(dry_run=True, missing=1, error=1, found=1))
    done = run("reconcile", "default", "--dry-run")
    assert done.code == 0
    assert "1 missing" in done.out
    assert server.asked[0].body == {"route": "default", "dry_run": True}


def test_jobs_lists_all_kinds(run: Run, server: Server) -> None:
    for path, kind in (("replays", "Replay"), ("discards", "Discard"), ("reconciles", "Reconcile")):
        server.on(f"GET /{path}", page(job(kind)))
    done = run("jobs")
    assert [line.split("-")[0] for line in done.out.splitlines()[1:]] == ["replay", "discard", "reconcile"]


def test_jobs_prints_the_report_of_one(run: Run, server: Server) -> None:
    identity = EXAMPLES["Reconcile"]["id"]
    server.on(f"GET /reconciles/{identity}/report", {**EXAMPLES["ReconcileReportPage"], "continuation": None})
    done = run("jobs", identity, "--class", "missing", "--result", "started")
    assert server.asked[0].query == {"class": "missing", "result": "started"}
    assert "the target has no receipt" in done.out
    replay = EXAMPLES["Replay"]["id"]
    server.on(f"GET /replays/{replay}/report", EXAMPLES["ReplayReportPage"])
    assert run("jobs", replay).code == 0
    discard = EXAMPLES["Discard"]["id"]
    server.on(f"GET /discards/{discard}/report", EXAMPLES["DiscardReportPage"])
    assert "discarded" in run("jobs", discard).out


@pytest.mark.parametrize(
    ("command", "answer", "code"),
    [
        ("health", EXAMPLES["Health"], 0),
        ("health", Answer(503, EXAMPLES["Unhealthy"]), 1),
        ("doctor", Answer(503, EXAMPLES["Unhealthy"]), 1),
    ],
)
def test_health(run: Run, server: Server, command: str, answer: Any, code: int) -> None:
    path = "/health/deep" if command == "doctor" else "/health"
    server.on(f"GET {path}", answer)
    done = run(command)
    assert done.code == code
    assert ("Check that the container exists" in done.out) is bool(code)
    assert lines(run(command, "--json").out)[0]["up"] is not bool(code)


def test_routes(run: Run, server: Server) -> None:
    bare = {**ROUTE, "route": "bare", "state": "active", **dict.fromkeys(("objective", "budget", "egress"))}
    server.on("GET /routes", {"updated_at": None, "routes": [ROUTE, bare]})
    done = run("routes")
    assert [line.split()[0] for line in done.out.splitlines()] == ["ROUTE", "partner", "bare"]
    assert max(map(len, done.out.splitlines())) <= 80
    one = run("routes", "partner")
    for part in ("over_budget", "10 verified (3.0 GiB), 1 dead_lettered", "99.80%, met", "900 B of 1000 B", "1.25 USD"):
        assert part in one.out
    assert run("routes", "bare").code == 0
    assert run("routes", "nope").code == 4
    assert [each["route"] for each in lines(run("routes", "--json").out)] == ["partner", "bare"]


def test_ledger(run: Run, server: Server) -> None:
    entry = {"ended_at": "2026-11-30T01:02:03.004Z", "state": "verified", "size": 23, "latency": None, "name": "b.csv"}
    server.on("GET /ledger", page(entry, continuation="x"), page(entry))
    done = run("ledger", "default", "--day", "2026-11-30")
    assert done.out.splitlines()[1].split() == ["01:02:03.004", "verified", "23", "B", "-", "b.csv"]
    assert [asked.query for asked in server.asked] == [
        {"route": "default", "day": "2026-11-30"},
        {"route": "default", "day": "2026-11-30", "continuation": "x"},
    ]


def test_notify(run: Run, server: Server) -> None:
    server.on(f"POST /transfers/{ID}/notify", ACCEPTED)
    assert (run("notify", ID).code, server.calls()) == (0, [f"POST /transfers/{ID}/notify"])


def test_open_shows_a_url_without_the_key(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    done = run("--key", "secret", "open")
    assert (done.code, opened, done.out) == (0, [f"{server.url}/api/dashboard"], f"{server.url}/api/dashboard\n")


def test_ago_has_one_unit() -> None:
    assert ago(None) == "-"
    assert ago("2020-01-01T00:00:00Z").endswith(" d")
    assert ago("2999-01-01T00:00:00.123Z") == "0.0 s"

"""Whatever goes wrong: one message with a fix, an exit code, no traceback and no key."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sharing import client

from tests.unit.cli.conftest import Run
from tests.unit.cli.server import Answer, Asked, Server, page, problem
from tests.unit.cli.test_commands import ID, transfer

ROOT = Path(__file__).parents[3]
KEY = "the-function-key"
PROGRAM = [sys.executable, "-m", "sharing"]


def environment(server: Server, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "cli"), "SHARING_URL": server.url, **more}


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (Answer(401, b""), 3, "SHARING_KEY"),
        (Answer(403, b"<html>"), 3, "denies access"),
        (Answer(404, b""), 4, "has no GET /api/transfers"),
        (problem(404, "transfer does not exist"), 4, "does not exist"),
        (problem(400, "`limit` is not valid"), 2, "`limit`"),
        (problem(409, "already verified", **{"Retry-After": "5"}), 1, "already verified"),
        (Answer(500, b""), 3, "500"),
        (problem(500, "an unexpected error occurred"), 3, "unexpected"),
        (Answer(200, b"{broken"), 3, "without the JSON"),
        (Answer(200, b"[" * 100_000), 3, "without the JSON"),
        (Answer(200, b"<html>Welcome"), 3, "without the JSON"),
        (Answer(302, b"", {"Location": "https://elsewhere.example/?code=1"}), 3, "redirects"),
        (Answer(200, {}), 3, "not as expected"),
        (Answer(200, []), 3, "not as expected"),
        (Answer(200, page(transfer(), continuation="same")), 3, "same page"),
        (problem(503, "hostile \x1b[31m"), 3, r"hostile \x1b[31m"),
    ],
)
def test_an_answer_that_is_not_good(run: Run, server: Server, answer: Answer, code: int, text: str) -> None:
    server.on("GET /transfers", answer)
    done = run("--key", KEY, "ls")
    assert done.code == code
    assert text in done.err
    assert KEY not in done.out + done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err
    error = json.loads(run("--json", "ls").err.splitlines()[-1])
    assert error["code"] == code


def test_an_item_without_its_fields(run: Run, server: Server) -> None:
    server.on("GET /transfers", page({"id": ID}))
    assert run("ls").code == 3


def test_an_app_that_is_down(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = run("--url", url, "health")
    assert done.code == 3
    assert "make run" in done.err


def test_an_app_that_is_too_slow(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(0.1))
    server.on("GET /health", Answer(200, {}, delay=0.5))
    done = run("health")
    assert (done.code, "in time" in done.err) == (3, True)


def test_an_app_that_closes_the_connection(run: Run, server: Server) -> None:
    server.on("GET /health", Answer(200, {}, {"Content-Length": "100", "Connection": "close"}))
    assert run("health").code == 3


@pytest.mark.parametrize("status", [503, 429])
def test_retry_after_is_respected(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("sharing.client.time.sleep", pauses.append)
    busy = problem(status, "storage is busy", **{"Retry-After": "30"})
    server.on("GET /transfers", busy, busy, page())
    done = run("ls")
    assert (done.code, pauses) == (0, [30.0, 30.0])
    assert "trying again in 30 s" in done.err


def test_patience_ends(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.0)
    server.on("GET /transfers", problem(503, "storage is busy", **{"Retry-After": "30"}))
    assert (run("ls").code, len(server.asked)) == (3, 1)


@pytest.mark.parametrize("arguments", [("share", "default", "\udcff"), ("show", "default", "\udcff")])
def test_a_name_that_is_not_utf_8(run: Run, server: Server, arguments: tuple[str, ...]) -> None:
    server.on("POST /transfers", problem(400, "the name has a lone surrogate"))
    assert run(*arguments).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("ls", "--state", "gone"),
        ("ls", "--name", "x"),
        ("show", "../health"),
        ("show", "a", "b", "c"),
        ("show", f"{ID}?code=1"),
        ("watch",),
        ("watch", ID, "--route", "default"),
        ("watch", "--name", "x"),
        ("share", "default"),
        ("cancel", "message-6c69c15a3740fbd3581a7d8d"),
        ("notify", "message-6c69c15a3740fbd3581a7d8d"),
        ("replay",),
        ("replay", ID, "--reason", "throttled"),
        ("replay", ID, "--dry-run"),
        ("replay", "replay-6c69c15a3740fbd3581a7d8d"),
        ("discard", "--all", "--route", "default"),
        ("reconcile", "default", "--rate", "0"),
        ("jobs", ID),
        ("jobs", "--class", "match"),
        ("--url", "ftp://example.org", "ls"),
        ("--url", "https://", "ls"),
        ("--url", "http://[", "ls"),
        ("--url", "https://example.org/?code=the-function-key", "ls"),
        ("--url", "https://user:the-function-key@example.org", "ls"),
        ("--url", "http://example.org", "--key", KEY, "ls"),
        ("--key", "the-function-key\n", "ls"),
        ("--key", "the-function-key-ü", "ls"),
    ],
)
def test_wrong_usage_sends_nothing(run: Run, server: Server, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.out, server.asked) == (2, "", [])
    assert done.err
    assert KEY not in done.err


def test_the_key_is_sent_in_one_header_and_printed_nowhere(run: Run, server: Server) -> None:
    server.on("GET /transfers", page(transfer()))
    for done in (run("--key", KEY, "--token", "t", "ls"), run("ls", "--key", KEY, "--json")):
        assert KEY not in done.out + done.err
    sent = [{name.lower(): value for name, value in asked.headers.items()} for asked in server.asked]
    assert [headers["x-functions-key"] for headers in sent] == [KEY, KEY]
    assert [headers.get("authorization") for headers in sent] == ["Bearer t", None]
    assert not any(KEY in asked.query.values() for asked in server.asked)


def test_a_proxy_is_not_asked_for_this_machine(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.on("GET /transfers", page())
    assert run("ls").code == 0


def test_ctrl_c_ends_a_watch(server: Server) -> None:
    server.on(f"GET /transfers/{ID}", transfer("copying"))
    with subprocess.Popen(
        [*PROGRAM, "watch", ID], env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not server.asked:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors.strip()) == (130, "")


def test_a_route_is_watched_in_a_terminal_with_totals_and_failures(server: Server) -> None:
    """Of what has ended, only a failure is printed. Only copies that take a while have a bar."""
    gone = transfer("dead_lettered", f"37a8eec1-{1:024x}", name="lost.csv", reason="target_unwritable")
    done = [transfer(identity=f"37a8eec1-{each:024x}", name="small.csv") for each in range(2, 42)]
    large: Any = transfer("copying", name="large.mov", copied=1024, total=4096)
    waits: Any = transfer("accepted", f"37a8eec1-{43:024x}", name="waits.csv", reason=None)

    def listed(asked: Asked) -> Any:
        looks = sum("since" in each.query for each in server.asked)
        if "state" in asked.query:
            return page(*([large, waits] if looks == 0 and asked.query["state"] == "accepted" else []))
        return page(*([large, waits] if looks == 1 else [gone, *done]))

    server.on("GET /transfers", listed)
    for each in (large, waits):
        server.on(f"GET /transfers/{each['id']}", {**each, "state": "verified"})
    found = in_terminal(server, "watch", "--route", "default", code=1)
    plain = re.sub("\x1b[^A-Za-z]*[A-Za-z]", "", found)
    assert "2 running" in plain
    assert "large.mov" in plain
    assert "25%" in plain
    assert "lost.csv" in plain
    assert "target_unwritable" in plain
    assert "small.csv" not in plain
    assert "waits.csv" not in plain
    assert "42 verified, 1 dead_lettered: " in plain.splitlines()[-1]


def test_a_reader_that_closes_the_pipe_gets_no_traceback(server: Server) -> None:
    server.on("GET /transfers", page(*(transfer(identity=f"37a8eec1-{each:024x}") for each in range(5_000))))
    for options in ([], ["--json"]):
        with subprocess.Popen(
            [*PROGRAM, "ls", *options], env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            process.wait(30)


def in_terminal(server: Server, *arguments: str, code: int = 0, more: dict[str, str] | None = None) -> str:
    """Run the program in a terminal. Return its output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*PROGRAM, *arguments], environment(server, TERM="xterm", COLUMNS="80", **more or {}))  # noqa: S606
    found = b""
    try:
        while part := os.read(terminal, 4096):
            found += part
    except OSError:  # the end of a terminal on Linux
        pass
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
    return found.decode()


@pytest.mark.parametrize(
    ("more", "options", "colors"), [({}, (), True), ({"NO_COLOR": "1"}, (), False), ({}, ("--json",), False)]
)
def test_colors_and_bars_are_for_terminals(
    server: Server, more: dict[str, str], options: tuple[str, ...], *, colors: bool
) -> None:
    running: Any = transfer("copying", copied=1024, total=4096, name="[red]a[/red]")
    server.on(f"GET /transfers/{ID}", running, transfer(copied=4096, total=4096))
    found = in_terminal(server, "watch", ID, *options, more=more)
    assert ("\x1b[3" in found) is colors
    assert ("25%" in found) is not bool(options)
    assert options or "[red]a[/red]" in found


def test_the_doctor_prints_failures_last_and_each_command_on_one_line(server: Server) -> None:
    """A command that is broken into lines cannot be copied."""
    command = "az role assignment create --assignee 1 --role 'Storage Blob Data Contributor' --scope " + "x" * 60
    fails = {
        "name": "target of route a",
        "ok": False,
        "detail": "403",
        "fix": f"Give the app the role: `{command}`. Then wait.",
    }
    checks = [
        fails,
        {"name": "copying on route a", "ok": True, "detail": "not tried: target of route a fails", "fix": ""},
        {"name": "queue", "ok": True, "detail": "", "fix": ""},
    ]
    body = {"up": False, "checks": checks, "version": "0.1.0", "read_only": False}
    server.on("GET /health/deep", Answer(503, body))
    found = in_terminal(server, "doctor", code=1, more={"NO_COLOR": "1"}).replace("\r", "").splitlines()
    assert [line.split()[0] for line in found[:3]] == ["-", "ok", "FAILS"]
    steps = [line.removeprefix("  fix").strip() for line in found[4:7]]
    assert steps == ["Give the app the role:", command, "Then wait."]

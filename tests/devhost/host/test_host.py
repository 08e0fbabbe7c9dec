"""The process: refused and disabled functions, output, exit, and recovery from `kill -9`."""

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


def test_one_bad_function_is_disabled_alone(host: Any) -> None:
    """The others run at the start, over HTTP and through the admin API."""
    assert "the function 'bad_schedule' is in error and disabled" in host.log.read_text()
    assert host.call("GET", "/api/hello?a=1&a=2&b=")[1]["params"] == {"a": "1,2"}
    assert host.call("GET", "/admin/host/status")[1]["state"] == "Running"
    assert host.call("POST", "/admin/functions/yearly", {"input": ""})[0] == 202
    assert host.call("POST", "/admin/functions/unknown", {"input": ""})[0] == 404


def test_a_timer_of_a_year_is_monitored_and_runs_at_the_start(host: Any) -> None:
    assert set(host.notes("at_start")[0]) == {"Last", "Next", "LastUpdated"}


def test_keys_are_asked_for_on_demand(launch: Callable[..., Any]) -> None:
    """401 with an empty body; anonymous routes need no key; the master key is valid everywhere."""
    host = launch(DEVHOST_KEYS="1").ready()
    keys = json.loads((host.folder / "state/host-keys.json").read_text())
    assert host.call("GET", "/api/hello")[:2] == (401, None)
    assert host.call("GET", f"/api/hello?code={keys['function']}")[0] == 200
    assert host.call("GET", "/api/hello", x_functions_key=keys["master"])[0] == 200
    assert host.call("GET", "/admin/host/status")[0] == 401
    assert host.call("POST", "/admin/host/restart")[0] == 401
    assert host.durable("GET", "/instances")[0] == 401
    assert host.durable("GET", "/instances", x_functions_key=keys["function"])[0] == 403
    assert host.durable("GET", f"/instances?code={keys['system']}")[0] == 200
    assert host.start("chain", "with-keys") == "with-keys", "the SDK's client uses the RPC port, which requires no key"
    assert host.end() == 0


def test_a_busy_port_is_one_line_that_names_it(launch: Callable[..., Any], tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104  # the host listens everywhere as well
        port = str(other.getsockname()[1])
        host = launch(folder=tmp_path, HOST_PORT=port)
        assert host.process.wait(30) == 1
    last = host.log.read_text().splitlines()[-1]
    assert port in last
    assert "HOST_PORT" in last


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("@app.route()\ndef f(req: func.HttpRequest, other: int) -> str:\n    return ''", "declared in Python but not"),
        ("@app.route()\ndef f(req: int) -> str:\n    return ''", "does not match its annotation"),
    ],
)
def test_an_error_in_one_place_loses_the_whole_app(
    launch: Callable[..., Any], tmp_path: Path, source: str, reason: str
) -> None:
    """The host still answers, but without functions."""
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    good = "import azure.functions as func\napp = func.FunctionApp()\n@app.route()\ndef ping(req):\n    return 'pong'\n"
    (tmp_path / "function_app.py").write_text(good + source)
    host = launch(tmp_path, tmp_path).ready()
    assert host.call("GET", "/api/ping")[0] == 404
    assert reason in host.log.read_text()
    assert host.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(launch: Callable[..., Any], number: int) -> None:
    host = launch().ready()
    host.start("waits", "open")
    assert host.end(number) == 0
    assert "Traceback" not in host.log.read_text()


def test_timers_fire_early_on_demand(launch: Callable[..., Any]) -> None:
    """As on the real host, `FireAt` may be later than the episode after the timer."""
    host = launch(DEVHOST_EARLY_TIMERS="1").ready()
    for n in range(20):
        host.start("waits", f"early-{n}", 1)
    assert {host.wait(f"early-{n}")["output"] for n in range(20)} == {"too late"}
    histories = [host.status(f"early-{n}", "?showHistory=true")["historyEvents"] for n in range(20)]
    assert any(one[2]["FireAt"] > one[-1]["Timestamp"] for one in histories)
    assert host.end() == 0


def test_kill_9_loses_nothing(launch: Callable[..., Any]) -> None:
    """A running activity runs again, timers fire, and no result is lost or duplicated."""
    first = launch().ready()
    first.start("naps", "nap", 4)  # longer than a busy machine takes until the kill
    first.start("waits", "wait", 2)
    for n in range(20):
        first.start("chain", f"chain-{n}")
    while not first.notes("slow"):
        time.sleep(0.01)
    first.end(signal.SIGKILL)

    second = launch(folder=first.folder).ready()
    assert second.wait("nap")["output"] == "awake"
    assert second.wait("wait")["output"] == "too late"
    assert all(second.wait(f"chain-{n}")["runtimeStatus"] == "Completed" for n in range(20))
    assert second.notes("slow") == [4, 4], "the running activity ran again"
    assert second.end() == 0


LATE = """
import os
import azure.durable_functions as df
app = df.DFApp()

@app.orchestration_trigger(context_name="context")
def asks(context):
    return (yield context.call_activity("late", 1))

if os.environ.get("LATE"):
    @app.activity_trigger(input_name="value")
    def late(value: int) -> str:
        return "here"
"""


def test_the_call_of_an_activity_that_the_host_does_not_have_is_lost(
    launch: Callable[..., Any], tmp_path: Path
) -> None:
    """A later host that has the activity does not run the call; the instance stays Running."""
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(LATE)
    first = launch(tmp_path, tmp_path).ready()
    first.durable("POST", "/orchestrators/asks/lost")
    first.wait("lost", "Running")
    assert first.end() == 0
    second = launch(tmp_path, tmp_path, LATE="1").ready()
    second.durable("POST", "/orchestrators/asks/found")
    assert second.wait("found")["output"] == "here"
    assert second.status("lost")["runtimeStatus"] == "Running"
    assert second.end() == 0
    with closing(sqlite3.connect(tmp_path / "state/host.sqlite")) as state:
        assert state.execute("SELECT count(*) FROM activities").fetchone() == (0,)

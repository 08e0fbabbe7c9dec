"""Worker deaths and job host restarts: the failures, their texts, and the recovery."""

import asyncio
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devhost.host import worker
from devhost.host.engine import Engine
from devhost.host.hub import Hub
from devhost.host.indexing import Function
from devhost.host.store import Store
from devhost.host.worker import FunctionError, Worker
from tests.devhost.host.conftest import until
from tests.devhost.host.messages import noted, queue

DIED = f"{sys.executable} exited with code 137 (0x89)"
MISSING = "Did not find any initialized language workers"
CHANGED = (
    "Non-Deterministic workflow detected: A previous execution of this orchestration scheduled an activity task with "
    "sequence ID 0 and name 'slow' (version ''), but the current replay execution hasn't (yet?) scheduled this task."
)


def function(kind: str, name: str) -> Function:
    return Function(name, kind, {"name": "x"}, lambda x: x, {"x": kind}, False, None, False, "")  # noqa: FBT003


def dead(notice: float, patch: pytest.MonkeyPatch) -> Worker:
    """Return a worker that has just died; the host notices it after `notice` seconds."""
    patch.setattr(worker, "NOTICE", notice)
    found = Worker([function("orchestrationTrigger", "orch"), function("activityTrigger", "act")], str, None)
    found.die()
    return found


@pytest.mark.parametrize(("notice", "text"), [(60, DIED), (0, MISSING)])
def test_an_orchestration_that_is_called_meanwhile_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notice: float, text: str
) -> None:
    """A call in the dying worker and a later one fail with the texts of the real host."""

    async def run() -> None:
        engine = Engine(store, dead(notice, monkeypatch), max_activities=1)
        playing = asyncio.create_task(engine.run())
        instance = await Hub(engine, None).start("orch", None, None, None)
        async with asyncio.timeout(30):
            while (found := store.get(instance)) and found.live:  # noqa: ASYNC110  # the engine has no notification
                await asyncio.sleep(0.01)
        playing.cancel()
        assert found
        assert (found.status, found.output) == (
            "Failed",
            f"\"Orchestrator function 'orch' failed: One or more errors occurred. ({text})\"",
        )

    store = Store(tmp_path / "host.sqlite")
    asyncio.run(run())
    store.close()


@pytest.mark.parametrize(("notice", "text"), [(60, DIED), (0, MISSING)])
def test_an_activity_without_a_worker_fails(monkeypatch: pytest.MonkeyPatch, notice: float, text: str) -> None:
    with pytest.raises(FunctionError) as failure:
        asyncio.run(dead(notice, monkeypatch).activity("act", "1"))
    assert failure.value.text == text


def unlucky(host: Any, disturb: Callable[[], None]) -> str:
    """Call `disturb` while an activity and a message run; check the effect on both orchestrations and on HTTP."""
    before = host.call("GET", "/api/born")[1]
    host.start("naps", "nap", 20)
    until(lambda: host.notes("slow"))
    disturb()
    until(lambda: host.call("GET", "/api/born")[:2] == (500, None))
    assert host.durable("POST", "/orchestrators/chain/unlucky")[0] == 202
    failed = re.escape("Orchestrator function 'chain' failed: One or more errors occurred. ")
    assert re.fullmatch(f"{failed}\\(({MISSING}|{re.escape(DIED)})\\)", host.wait("unlucky")["output"])
    ended = host.wait("nap")
    assert ended["runtimeStatus"] == "Failed"
    assert ended["output"].startswith(CHANGED)
    assert f"'slow' failed: {DIED}" in host.log.read_text()
    until(lambda: host.call("GET", "/api/born")[0] == 200)
    assert host.call("GET", "/api/born")[1] != before, "the app was not loaded again"
    host.start("chain", "afterwards")
    assert host.wait("afterwards")["runtimeStatus"] == "Completed"
    assert host.notes("slow") == [20], "an activity was run again"
    return str(before)


def test_a_worker_that_dies_takes_everything_with_it(launch: Callable[..., Any], queues: str) -> None:
    """For a second no worker is up. A message loses an attempt and reappears after a second, independent of host.json."""
    pause = {"AzureFunctionsJobHost__extensions__queues__visibilityTimeout": "00:05:00"}
    with queue(queues, "deaths") as deaths:
        host = launch(QUEUES=queues, QUEUE="deaths", **pause).ready()
        deaths.send_message("SLEEP 3")
        noted(host, "SLEEP 3")
        unlucky(host, lambda: host.process.send_signal(signal.SIGUSR1))
        until(lambda: host.notes("awake"))
        assert [one["count"] for one in host.notes("queue")] == [1, 2]
        until(lambda: deaths.get_queue_properties().approximate_message_count == 0)
    assert host.notes("awake") == ["SLEEP 3"]
    assert host.end() == 0


def test_the_third_death_ends_the_host(launch: Callable[..., Any]) -> None:
    """The exit code is not 0. A signal without a worker does not count as a death."""
    host = launch().ready()

    def logged(text: str, times: int) -> None:
        until(lambda: host.log.read_text().count(text) == times)

    for death in (1, 2):
        host.process.send_signal(signal.SIGUSR1)
        host.process.send_signal(signal.SIGUSR1)
        logged("a new worker is up", death)
        assert host.log.read_text().count(" calls failed") == death  # a failed call may log the death, too
        assert host.call("GET", "/api/hello")[0] == 200
    assert host.end(signal.SIGUSR1) == 1
    assert (
        "Exceeded language worker restart retry count for runtime:python. Shutting down and proactively recycling the "
        "Functions Host to recover"
    ) in host.log.read_text()


def test_a_job_host_that_restarts_in_place_loses_what_runs(launch: Callable[..., Any], queues: str) -> None:
    """The running message is neither retried nor released. The new listener works."""
    with queue(queues, "restarts") as restarts:
        host = launch(QUEUES=queues, QUEUE="restarts").ready()
        restarts.send_message("SLEEP 30")
        noted(host, "SLEEP 30")

        def restart() -> None:
            assert host.call("POST", "/admin/host/restart")[0] == 200

        unlucky(host, restart)
        restarts.send_message("next")
        noted(host, "next")
        until(lambda: restarts.get_queue_properties().approximate_message_count == 1)
        assert not list(restarts.receive_messages()), "the old listener keeps its lock"
    assert [one["count"] for one in host.notes("queue") if one["body"] == "SLEEP 30"] == [1]
    assert len(host.notes("at_start")) == 2
    assert host.end() == 0

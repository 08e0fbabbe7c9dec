"""The stand-in answers a sequence of requests as a real Functions host 4.1037 with Durable extension 3.19.0 did."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from devhost.host.events import Kind
from tests.devhost.host import recorded
from tests.devhost.host.conftest import Running, until

EPISODES = recorded.records("episodes.jsonl")
ANSWERS = {answer["what"]: answer for answer in recorded.records("management.jsonl")}
TOKEN = "x-ms-continuation-token"
KEPT = ("location", "retry-after", "content-type", TOKEN)
BOOKKEEPING = (Kind.ORCHESTRATOR_STARTED, Kind.ORCHESTRATOR_COMPLETED)
ENDED = ("Completed", "Failed", "Terminated")
STARTED = ("chain", "fan", "fan_fail", "any_timer", "any_timer_left_open", "timer", "retry_ok", "retry_fail", "activity_fails",
           "raises", "sub", "again", "poll", "unknown_activity", "long_timer")  # fmt: skip
ASKED = (*STARTED[:-1], "event_or_timer-out", "event_or_timer-in", "two_events-early", "two_events-raw")


def as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


class Drive:
    """Sends the recorded requests in their order. Instead of the recording's pauses it waits for states."""

    def __init__(self, host: Running) -> None:
        self.host, self.answers = host, dict[str, Any]()
        self._rpc = 0

    def run(self) -> None:
        rpc = self.ask("durable client binding")["body"]["_rpc_base_url"]
        self._rpc = int(re.findall(r":(\d+)/", rpc)[0])
        self._start()
        self._signal()
        self._refuse()
        self._turn()
        self._look()
        self._repeat()
        self._query()
        self._purge()

    def ask(self, what: str) -> Any:
        """Send a recorded request and keep the answer."""
        request = ANSWERS[what]
        port = self._rpc if request["path"].startswith("/durabletask") else self.host.port
        headers = {"Content-Type": request["content_type"]} if request["content_type"] else {}
        self.answers[what] = recorded.ask(port, request["method"], request["path"], headers, request["request"])
        return self.answers[what]

    def episodes(self, instance: str) -> list[Any]:
        """What the app has written down of an instance."""
        return [episode for episode in self.host.notes("episodes.jsonl") if episode["instance"] == instance]

    def played(self, instance: str, count: int) -> None:
        """Wait for a number of calls of the orchestrator."""
        until(lambda: len(self.episodes(instance)) >= count)

    def _new(self, name: str, instance: str, data: Any = None) -> None:
        assert self.host.call("POST", f"/api/new/{name}/{instance}", data)[0] == 200

    def _start(self) -> None:
        for name in STARTED:
            self._new(name, name)
        self._new("event_or_timer", "event_or_timer-out", {"seconds": 3})
        self._new("event_or_timer", "event_or_timer-in", {"seconds": 60})
        for name in ("two_events-early", "two_events-raw"):
            self._new("two_events", name)
        for name in ("sleeper-terminate", "sleeper-suspend", "sleeper-restart"):
            self._new("sleeper", name)
        self.played("sleeper-restart", 1)

    def _signal(self) -> None:
        self.host.call("POST", "/api/raise/event_or_timer-in/go", {"k": [1, "ü"]})
        self.host.call("POST", "/api/raise/two_events-early/two", {"n": 2})
        self.played("two_events-early", 2)
        self.host.call("POST", "/api/raise/two_events-early/one", body=True)
        self.ask("raise event, other case")
        self.played("two_events-raw", 2)
        for what in ("JSON string", "bad body", "bad content type", "unknown instance"):
            self.ask(f"raise event, {what}")

    def _refuse(self) -> None:
        """Start instances with unusual ids and bodies."""
        for what in ANSWERS:
            if what.startswith(("start of", "start, ", "start with")) or what.endswith(
                "running instance, through the SDK client"
            ):
                self.ask(what)

    def _turn(self) -> None:
        self.ask("status of a running instance")
        self.ask("status of an unknown instance")
        self.ask("suspend")
        self.host.wait("sleeper-suspend", "Suspended")
        self.ask("status of a suspended instance")
        self.ask("suspend a suspended one")
        self.ask("raise event at a suspended one")
        self.played("sleeper-suspend", 3)
        self.ask("resume")
        self.host.wait("sleeper-suspend", "Running")
        self.ask("terminate")
        self.host.wait("sleeper-terminate")
        for what in (
            "status of a terminated instance",
            "terminate a terminated one",
            "terminate an unknown one",
            "suspend a terminated one",
        ):
            self.ask(what)

    def _look(self) -> None:
        """The end of each instance, and how it came to it."""
        for name in ASKED:
            what = f"final status with history: {name}"
            if ANSWERS[what]["body"]["runtimeStatus"] in ENDED:
                self.host.wait(name)
            else:
                self.played(name, sum(episode["instance"] == name for episode in EPISODES))
            self.ask(what)
        self.ask("status of a failed one, error wanted")

    def _repeat(self) -> None:
        self.ask("start_new of a completed instance, through the SDK client")
        self.host.wait("chain")
        self.ask("status after starting a completed one again")
        self.ask("rewind a failed one")
        self.host.wait("activity_fails", "Failed")
        self.played("activity_fails", 4)
        self.ask("rewind a completed one")
        for what in ("restart, same id", "restart, new id"):
            started = self.ask(what)["body"]
            self.host.wait(started["id"])
        self.ask("restart an unknown one")

    def _query(self) -> None:
        for n in range(25):
            self._new("timer", f"page-{n:03}")
        for n in range(25):
            self.host.wait(f"page-{n:03}")
        token, page = "", 0
        while token or not page:
            page += 1
            path = "/runtime/webhooks/durabletask/instances?top=10&instanceIdPrefix=page-"
            answer = recorded.ask(self.host.port, "GET", path, {TOKEN: token}, None)
            token, found = answer["headers"].get(TOKEN, ""), answer["body"]
            ids = [one["instanceId"] for one in found]
            self.answers[f"query page {page} (top=10, prefix)"] = {
                "status": answer["status"], "count": len(ids), "ids": ids, "token": token or None, "first": found[0],
            }  # fmt: skip
        for what in ANSWERS:
            if what.startswith(("query by", "query,", "query top", "query on")):
                self.ask(what)

    def _purge(self) -> None:
        for what in ANSWERS:
            if what.startswith("purge"):
                self.ask(what)


@pytest.fixture(scope="module")
def driven(launch: Callable[..., Running]) -> Drive:
    """Run the whole drive."""
    drive = Drive(launch(recorded.FOLDER / "durable").ready())
    drive.run()
    return drive


@pytest.fixture(scope="module")
def episodes(driven: Drive) -> dict[str, list[Any]]:
    return by_instance(driven.host.notes("episodes.jsonl"))


def by_instance(episodes: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Group the calls by instance in their order; of `fan` keep the first, and the last with its events alone."""
    found: dict[str, list[Any]] = {}
    for episode in recorded.plain(episodes):
        found.setdefault(episode.pop("instance"), []).append(episode)
    fan = found["fan"]
    history = [event for event in fan[-1]["in"]["history"] if event["EventType"] not in BOOKKEEPING]
    fan[-1]["in"]["history"] = sorted((event | {"IsPlayed": None} for event in history), key=as_text)
    found["fan"] = [fan[0], fan[-1]]
    return found


RECORDED = by_instance(recorded.records("episodes.jsonl"))


@pytest.mark.parametrize("instance", RECORDED)
def test_an_orchestrator_is_called_as_it_was(episodes: dict[str, list[Any]], instance: str) -> None:
    """As often and with the same histories (events, numbers, fields, IsPlayed), so the SDK returned the same."""
    assert recorded.differences(episodes[instance], RECORDED[instance]) == []


@pytest.mark.parametrize("what", ANSWERS)
def test_the_management_api_answers_as_it_did(driven: Drive, what: str) -> None:
    want, got = ANSWERS[what], driven.answers[what]
    got["headers"] = {name: value for name, value in got.get("headers", {}).items() if name in KEPT}
    names = want.keys() & {"status", "headers", "body", "count", "ids", "token", "first"}
    assert recorded.differences(*(comparable(what, one, names) for one in (got, want))) == []


FUNCTIONS = recorded.records("functions.jsonl")


@pytest.fixture(scope="module")
def web(launch: Callable[..., Running]) -> Running:
    return launch(recorded.FOLDER / "http", DEVHOST_KEYS="1").ready()


@pytest.mark.parametrize("want", FUNCTIONS, ids=[one["what"] for one in FUNCTIONS])
def test_http_functions_answer_as_they_did(web: Running, want: dict[str, Any]) -> None:
    """Routes, parameters, methods, encodings, keys, errors. The length of a body with its own URL depends on the port."""
    keys = json.loads((web.folder / "state/host-keys.json").read_text())
    names = {"FUNCTIONKEY": keys["function"], "MASTERKEY": keys["master"]}
    path, headers = (_replaced(want[name], names) for name in ("path", "request_headers"))
    body = want["request"]
    if body and "Content-Length" in headers:  # the recording has only the beginning of a long one
        body = body.ljust(int(headers["Content-Length"]) - len(body.encode()) + len(body), body[0])
    got = recorded.ask(web.port, want["method"], path, headers, body, name="127.0.0.1")
    got = _replaced(got, {key: name for name, key in names.items()})
    got["headers"] = {name: value for name, value in got["headers"].items() if name not in ("date", "server")}
    if isinstance(got["body"], str) and want["body"]:  # as above
        got["body"] = got["body"][: len(want["body"])]
    compared = {"status", "headers", "body"} | (set() if isinstance(want["body"], dict) else {"length"})
    assert recorded.differences(*(comparable(want["what"], one, compared) for one in (got, want))) == []


def _replaced(value: Any, names: dict[str, str]) -> Any:
    text = json.dumps(value)
    for name, other in names.items():
        text = text.replace(name, other)
    return json.loads(text)


def comparable(what: str, answer: dict[str, Any], names: Iterable[str]) -> Any:
    """Return the parts of an answer that must be equal.

    These are the only differences that are allowed:

    - three concurrent activities answer in any order, so in `fan` (see also `by_instance`);
    - ids that the host makes sort anywhere in a list, so they are looked up by id, and a token may name any;
    - the stand-in has another welcome page, id and uptime, and no extension bundle;
    - for the list of functions the recording has only a description.
    """
    found = recorded.plain({name: answer.get(name) for name in names})
    match what:
        case "final status with history: fan":
            found["body"]["historyEvents"].sort(key=as_text)
        case "query by status, no input":
            found["body"].sort(key=as_text)
        case "query by unknown status" | "query, bad time":  # the recording has only one of them
            found["body"] = [one for one in found["body"] if one["instanceId"] == "@at"]
        case "query top=0":
            found["headers"][TOKEN] = bool(found["headers"][TOKEN])
        case "host status":
            own = ("id", "processUptime", "extensionBundle")
            return found["status"], {name: value for name, value in found["body"].items() if name not in own}
        case "root" | "functions":
            return found["status"], found["headers"]["content-type"].partition(";")[0]
    return found

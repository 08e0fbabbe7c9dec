"""The HTTP API: every answer is JSON, every error is a problem with a fix, and nothing of the key comes back."""

import json
import logging
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import pytest

from adapters.translation import (
    INSTANCES_FIND,
    INSTANCES_PAGE,
    LETTERS_LIST,
    LETTERS_READ,
    SOURCE_HEAD,
    error_for_answer,
)
from operations.log import LOGGER
from operations.transfers.accept import refuse
from rules.errors import Reason
from rules.events import RejectedEvent
from rules.jobs.lifecycle import cancelled
from rules.jobs.model import JobKind
from rules.jobs.status import progress as progress_of
from rules.transfers.model import Run
from tests.unit.job_runs import run_to_end
from tests.unit.samples import NAME, NOW
from tests.unit.triggers.api import KEY, ROUTES, UNKNOWN, Answer, Api, dead
from tests.unit.world import World
from triggers.http.endpoints import PLACES

ASK = {work: f"start_{work}" for work in JobKind}


def is_problem(answer: Answer, status: int) -> bool:
    """Whether it is an error as RFC 9457 has them, with our fix, and without the key."""
    body = answer.body
    assert KEY not in answer.text
    assert body["status"] == answer.status == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert body["fix"]
    return answer.mimetype == "application/problem+json"


class TestTransfers:
    """Lists, one, share, cancel."""

    async def test_a_list_has_items_and_a_continuation(self, world: World, api: Api) -> None:
        """Followed to its end, it holds each once."""
        made = {world.put(f"in/{number}").id for number in range(3)}
        for name in range(3):
            world.put_instance(world.put(f"in/x{name}"), "Running")
        first = (await api.call("list_transfers", limit="2")).body
        second = (await api.call("list_transfers", limit="2", continuation=first["continuation"])).body
        assert len(first["items"]) == 2
        assert len(second["items"]) == 1
        assert second["continuation"] is None
        assert made.isdisjoint(item["id"] for item in first["items"] + second["items"])

    async def test_one_is_found_by_id_and_by_route_and_name(self, world: World, api: Api) -> None:
        """The same answer."""
        transfer = world.put()
        world.put_instance(transfer, "Running")
        by_id = await api.call("get_transfer", transfer.id)
        by_name = await api.call("list_transfers", route="default", name=NAME)
        assert by_id.status == by_name.status == 200
        assert by_id.body == by_name.body
        assert by_id.body["id"] == transfer.id

    async def test_sharing_now_is_accepted_and_says_where_to_look(self, world: World, api: Api) -> None:
        """Twice is the same id."""
        transfer = world.put()
        for _ in range(2):
            answer = await api.call("share_now", None, json.dumps({"route": "default", "name": NAME}).encode())
            assert answer.status == 202
            assert answer.headers["Location"] == f"transfers/{transfer.id}"
            assert answer.body == {"transfers": [{"id": transfer.id, "url": f"/api/transfers/{transfer.id}"}]}
        assert world.request_names.count("instances.start") == 1

    async def test_a_cancel_that_was_noticed_is_accepted(self, world: World, api: Api) -> None:
        """With the transfer as it is."""
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW, cancelling=True))
        answer = await api.call("cancel_transfer", transfer.id)
        assert (answer.status, answer.body["cancelling"]) == (202, True)

    async def test_cancelling_what_has_ended_is_a_conflict_with_its_state(self, world: World, api: Api) -> None:
        """409."""
        answer = await api.call("cancel_transfer", (await dead(world)).id)
        assert is_problem(answer, 409)
        assert answer.body["state"] == "dead_lettered"


class TestLetters:
    """Lists, one, replay, discard."""

    async def test_a_list_is_filtered_by_route_and_reason(self, world: World, api: Api) -> None:
        """Messages have no route."""
        transfer = await dead(world)
        message = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))

        async def listed(**query: str) -> list[str]:
            return [item["id"] for item in (await api.call("list_dead_letters", **query)).body["items"]]

        assert await listed() == [transfer.id, message]
        assert await listed(route="default") == [transfer.id]
        assert await listed(route="nobody") == []
        assert await listed(reason="malformed") == [message]
        assert await listed(name=NAME) == [transfer.id]
        assert await listed(name=NAME, route="default", reason="throttled") == [transfer.id]
        assert await listed(name="in/other") == []

    async def test_one_is_the_whole_record(self, world: World, api: Api) -> None:
        """With its hint."""
        transfer = await dead(world)
        body = (await api.call("get_dead_letter", transfer.id)).body
        assert (body["id"], body["state"], body["reason"]) == (transfer.id, "open", "throttled")
        assert body["hint"] == Reason.THROTTLED.hint

    async def test_a_replay_is_accepted_once_then_a_conflict_with_a_time_to_come_back(
        self, world: World, api: Api
    ) -> None:
        """202, 409 with Retry-After while it runs."""
        transfer = await dead(world)
        assert (await api.call("replay_dead_letter", transfer.id)).status == 202
        answer = await api.call("replay_dead_letter", transfer.id)
        assert is_problem(answer, 409)
        assert answer.headers["Retry-After"] == "30"
        assert answer.body["id"] == transfer.id

    async def test_a_resolved_one_is_a_conflict(self, world: World, api: Api) -> None:
        """With what became of it."""
        transfer = await dead(world)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        answer = await api.call("replay_dead_letter", transfer.id)
        assert is_problem(answer, 409)
        assert answer.body["resolved_as"] == "verified"

    async def test_a_discard_is_answered_with_the_record_and_its_transfer_shows_it(
        self, world: World, api: Api
    ) -> None:
        """A second one is a conflict, and so is a replay; the transfer stays as it ended."""
        transfer = await dead(world)
        answer = await api.call("discard_dead_letter", transfer.id)
        assert (answer.status, answer.body["state"], answer.body["resolved_as"]) == (200, "resolved", "discarded")
        assert (await api.call("get_dead_letter", transfer.id)).body == answer.body
        for again in ("discard_dead_letter", "replay_dead_letter"):
            refused = await api.call(again, transfer.id)
            assert is_problem(refused, 409)
            assert refused.body["resolved_as"] == "discarded"
        resolution = {name: answer.body[name] for name in ("state", "resolved_at", "resolved_as")}
        for shown in (
            await api.call("get_transfer", transfer.id),
            await api.call("list_transfers", route="default", name=NAME),
        ):
            assert (shown.body["state"], shown.body["letter"]) == ("dead_lettered", resolution)
        assert (await api.call("list_dead_letters")).body["items"] == []

    async def test_a_discard_beside_a_replay_is_a_conflict_with_a_time_to_come_back(
        self, world: World, api: Api
    ) -> None:
        """As a second replay is."""
        transfer = await dead(world)
        await api.call("replay_dead_letter", transfer.id)
        answer = await api.call("discard_dead_letter", transfer.id)
        assert is_problem(answer, 409)
        assert answer.headers["Retry-After"] == "30"


BY_ID = ["get_transfer", "cancel_transfer", "get_dead_letter", "replay_dead_letter", "discard_dead_letter"]


@pytest.mark.parametrize("name", BY_ID)
class TestIds:
    """What is asked by an id."""

    async def test_an_unknown_one_is_404(self, api: Api, name: str) -> None:
        """With where to find some."""
        assert is_problem(await api.call(name, UNKNOWN), 404)

    @pytest.mark.parametrize(
        "path_id", ["", "x", "../etc", UNKNOWN.upper(), UNKNOWN + "\n", UNKNOWN + "0", "37a8eec1", "a" * 5_000, "%2F"]
    )
    async def test_one_that_is_none_is_400_and_nothing_is_asked(
        self, world: World, api: Api, name: str, path_id: str
    ) -> None:
        """The host checks ids hardly at all."""
        assert is_problem(await api.call(name, path_id), 400)
        assert world.requests == []

    async def test_a_parameter_that_it_does_not_have_is_400(self, api: Api, name: str) -> None:
        """A typo is told, not ignored."""
        assert is_problem(await api.call(name, UNKNOWN, verbose="1"), 400)


BAD_QUERIES: list[tuple[str, dict[str, str]]] = [
    *[("list_transfers", {"limit": text}) for text in ("0", "-1", "501", "1e2", " 5", "", "\u0663", "9" * 50)],
    *[("list_transfers", {"state": text}) for text in ("Verified", "running", "", "verified,cancelled")],
    *[("list_transfers", {"route": text}) for text in ("", "a b", "-x", "x" * 41, "../x", "default\n")],
    *[("list_transfers", {"continuation": text}) for text in ("x", "bnVsbA==", "\u00e9", "W10=", '["",""]')],
    ("list_transfers", {"name": NAME}),
    ("list_transfers", {"route": "default", "name": NAME, "limit": "5"}),
    ("list_transfers", {"route": "default", "name": NAME, "state": "verified"}),
    ("list_transfers", {"route": "default", "name": "elsewhere"}),
    ("list_transfers", {"route": "default", "name": "in/../x"}),
    ("list_transfers", {"stat": "verified"}),
    *[("list_dead_letters", {"limit": text}) for text in ("0", "501", "x")],
    *[("list_dead_letters", {"reason": text}) for text in ("", "Throttled", "other")],
    ("list_dead_letters", {"route": "a b"}),
    ("list_dead_letters", {"continuation": "x"}),
    ("list_dead_letters", {"names": NAME}),
    ("share_now", {"route": "default"}),
    *[("list_replays", {"limit": text}) for text in ("0", "501", "x")],
    *[("list_discards", {"limit": text}) for text in ("0", "501", "x")],
    *[("list_reconciles", {"continuation": text}) for text in ("x", '["",""]')],
    *[(name, {"state": "running"}) for name in ("list_replays", "list_discards", "list_reconciles")],
    *[(name, {"dry_run": "true"}) for name in ("start_replay", "start_discard", "start_reconcile")],
]


@pytest.mark.parametrize(("name", "query"), BAD_QUERIES)
async def test_a_bad_parameter_is_400_with_a_fix(api: Api, name: str, query: dict[str, str]) -> None:
    """Whatever is in it."""
    assert is_problem(await api.call(name, **query), 400)


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:7071/api/", "https://gw.example/prefix/api/", "https://gw.example/"]
)
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", ["share_now", "replay_dead_letter", "start_replay", "start_reconcile"])
async def test_a_location_leads_to_its_place_behind_any_ingress(
    world: World, api: Api, name: str, slash: str, base: str
) -> None:
    """The client resolves it against the URL that it asked for, which the app may never see."""
    transfer = await dead(world, "in/dead") if name == "replay_dead_letter" else world.put()
    sent = {"share_now": {"route": "default", "name": NAME}, "start_reconcile": {"route": "default"}}.get(name, {})
    path_id = transfer.id if name == "replay_dead_letter" else None
    answer = await api.call(name, path_id, json.dumps(sent).encode(), slash)
    assert answer.status == 202
    asked = base + ROUTES[name].replace("{id}", transfer.id) + slash
    [shown] = answer.body.get("transfers", [answer.body])
    place = next((PLACES[work] for work, ask in ASK.items() if ask == name), "transfers")
    assert urljoin(asked, answer.headers["Location"]) == f"{base}{place}/{shown['id']}"
    assert shown["url"] == f"/api/{place}/{shown['id']}"


class TestJobs:
    """Bulk replay and reconcile: asked for, listed, looked at, reported, cancelled."""

    async def asked(self, api: Api, work: JobKind, **body: Any) -> str:
        """Ask for a job; its id."""
        answer = await api.call(ASK[work], None, json.dumps(body).encode())
        identity = str(answer.body["id"])
        assert answer.status == 202
        assert answer.body == {"id": identity, "url": f"/api/{PLACES[work]}/{identity}"}
        assert urljoin(f"https://gw.example/v1/{ROUTES[ASK[work]]}", answer.headers["Location"]).endswith(
            f"/v1/{PLACES[work]}/{identity}"
        )
        return identity

    async def test_one_is_asked_for_looked_at_and_listed(self, world: World, api: Api) -> None:
        """Each kind in its own place, and none of them a transfer."""
        replay = await self.asked(api, JobKind.REPLAY, reason="throttled", since="2026-11-24T19:02:44Z")
        discard = await self.asked(api, JobKind.DISCARD, reason="throttled", until="2026-11-24T19:02:44Z")
        reconcile = await self.asked(api, JobKind.RECONCILE, route="default", dry_run=True, max_per_second=7)
        shown = (await api.call("get_replay", replay)).body
        assert (shown["id"], shown["state"], shown["phase"], shown["reason"]) == (
            replay,
            "running",
            "survey",
            "throttled",
        )
        assert (shown["since"], shown["until"]) == ("2026-11-24T19:02:44.000Z", None)
        shown = (await api.call("get_reconcile", reconcile)).body
        assert (shown["route"], shown["dry_run"], shown["max_per_second"]) == ("default", True, 7)
        assert [item["id"] for item in (await api.call("list_replays")).body["items"]] == [replay]
        assert [item["id"] for item in (await api.call("list_reconciles")).body["items"]] == [reconcile]
        shown = (await api.call("get_discard", discard)).body
        assert (shown["reason"], shown["until"]) == ("throttled", "2026-11-24T19:02:44.000Z")
        assert (shown["counts"]["discarded"], "started" in shown["counts"]) == (0, False)
        assert [item["id"] for item in (await api.call("list_discards")).body["items"]] == [discard]
        assert (await api.call("list_transfers")).body["items"] == []
        assert {instance.id for instance in world.instances.kept.values() if instance.job} == {
            replay,
            discard,
            reconcile,
        }

    async def test_lists_are_followed_to_their_end(self, api: Api) -> None:
        """Each once; the continuation of one list is none of another's."""
        made = {await self.asked(api, JobKind.REPLAY) for _ in range(5)}
        first = (await api.call("list_replays", limit="3")).body
        second = (await api.call("list_replays", limit="3", continuation=first["continuation"])).body
        assert {item["id"] for item in first["items"] + second["items"]} == made
        assert (len(first["items"]), second["continuation"]) == (3, None)
        assert is_problem(await api.call("list_reconciles", continuation=first["continuation"]), 400)

    async def test_a_reconcile_of_no_route_of_today_is_404(self, api: Api) -> None:
        """With those that there are."""
        answer = await api.call("start_reconcile", None, b'{"route":"nobody"}')
        assert is_problem(answer, 404)
        assert "default" in answer.body["fix"]

    async def test_a_report_is_paged_and_filtered(self, world: World, api: Api) -> None:
        """By class and by result; a page may be empty as long as there is a continuation."""
        for number in range(501):
            world.put(f"in/{number:03}")
        identity = await self.asked(api, JobKind.RECONCILE, route="default", max_per_second=100)
        job = world.instances.kept[identity].job
        assert job is not None
        ended = await run_to_end(world, job)
        world.instances.become(identity, "Completed", json.loads(json.dumps(progress_of(ended))))

        async def pages(**query: str) -> list[list[Any]]:
            found = list[list[Any]]()
            following: str | None = "0"
            while following is not None:
                answer = await api.call("get_reconcile_report", identity, continuation=following, **query)
                assert answer.status == 200
                found.append(answer.body["items"])
                following = answer.body["continuation"]
            return found

        assert [len(page) for page in await pages()] == [500, 1, 500, 1]
        assert [len(page) for page in await pages(**{"class": "missing"})] == [500, 1, 0, 0]
        assert [len(page) for page in await pages(result="started")] == [0, 0, 500, 1]
        assert [len(page) for page in await pages(**{"class": "stale"})] == [0, 0, 0, 0]
        first = await api.call("get_reconcile_report", identity)
        assert first.body["continuation"] == "1"
        beyond = await api.call("get_reconcile_report", identity, continuation="999999999")
        assert beyond.body == {"items": [], "continuation": None}

    @pytest.mark.parametrize(
        "query",
        [
            {"continuation": "-1"},
            {"continuation": "x"},
            {"continuation": "1.5"},
            {"continuation": "9" * 10},
            {"continuation": "\u0663"},
            {"continuation": "1\n"},
            {"class": "Missing"},
            {"class": "missing,stale"},
            {"result": "missing"},
            {"limit": "5"},
        ],
    )
    async def test_a_bad_parameter_of_a_report_is_400(self, world: World, api: Api, query: dict[str, str]) -> None:
        """And nothing is read."""
        identity = await self.asked(api, JobKind.RECONCILE, route="default")
        world.requests.clear()
        assert is_problem(await api.call("get_reconcile_report", identity, **query), 400)
        assert world.requests == []

    async def test_a_cancel_that_was_noticed_is_accepted_and_a_late_one_a_conflict(
        self, world: World, api: Api
    ) -> None:
        """With the job as it is; with its state."""
        identity = await self.asked(api, JobKind.REPLAY)
        job = world.instances.kept[identity].job
        assert job is not None
        world.instances.become(identity, "Running", custom=progress_of(replace(job, cancelling=True)))
        answer = await api.call("cancel_replay", identity)
        assert (answer.status, answer.body["cancelling"]) == (202, True)
        world.instances.become(identity, "Completed", progress_of(cancelled(job, NOW)))
        answer = await api.call("cancel_replay", identity)
        assert is_problem(answer, 409)
        assert answer.body["state"] == "cancelled"

    @pytest.mark.parametrize("call", ["get_replay", "get_replay_report", "cancel_replay"])
    async def test_ids_are_checked_at_the_edge(self, world: World, api: Api, call: str) -> None:
        """Unknown is 404; what is none, or of the other kind, is 400 and nothing is asked."""
        assert is_problem(await api.call(call, "replay-" + "0" * 24), 404)
        world.requests.clear()
        wrong = ["", "x", UNKNOWN, "reconcile-" + "0" * 24, "replay-" + "0" * 23, "replay-" + "G" * 24, "replay-" * 900]
        for identity in wrong:
            assert is_problem(await api.call(call, identity), 400)
        assert is_problem(await api.call(call, "replay-" + "0" * 24, verbose="1"), 400)
        assert world.requests == []

    @pytest.mark.parametrize("call", ["start_replay", "start_discard", "start_reconcile"])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b'{"route":"\xff"}',
            '{"route":"default"}'.encode("utf-16"),
            b'{"dry-run":true}',
            b'{"route":"default","max_per_second":0}',
            b"{}" + b" " * 20_000,
        ],
    )
    async def test_a_bad_body_is_400_and_starts_nothing(self, world: World, api: Api, call: str, body: bytes) -> None:
        """`tests/unit/triggers/test_bodies.py` has them all."""
        assert is_problem(await api.call(call, None, body), 400)
        assert world.requests == []

    async def test_a_transfers_id_is_no_jobs_and_a_jobs_no_letters(self, api: Api) -> None:
        """Each call has ids of its own."""
        identity = await self.asked(api, JobKind.REPLAY)
        for call in BY_ID:
            assert is_problem(await api.call(call, identity), 400)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"{}",
        b'{"route":"default"}',
        b'{"route":"default","name":""}',
        b'{"route":"default","name":5}',
        b'{"route":"default","name":null}',
        b'{"route":"default","name":["a"]}',
        b'{"route":"default","name":"in/a","force":true}',
        b'{"route":"default","name":"in/\\ud800"}',
        b'{"route":"default","name":"elsewhere"}',
        b"[" * 100_000,
    ],
)
async def test_a_bad_body_is_400_with_a_fix(world: World, api: Api, body: bytes) -> None:
    """And nothing is started; a chunked body arrives empty, and the fix says so."""
    assert is_problem(await api.call("share_now", None, body), 400)
    assert world.instances.kept == {}


@pytest.mark.parametrize(("route", "name"), [("nobody", NAME), ("default", "in/absent")])
async def test_what_does_not_exist_is_404(api: Api, route: str, name: str) -> None:
    """No such route, no such blob; by either way of asking."""
    body = json.dumps({"route": route, "name": name}).encode()
    assert is_problem(await api.call("share_now", None, body), 404)
    assert is_problem(await api.call("list_transfers", route=route, name=name), 404)


async def test_the_key_is_a_parameter_of_no_call(api: Api) -> None:
    """The host puts it among them: it is neither refused nor read nor echoed."""
    for name in ("list_transfers", "list_dead_letters", "list_replays", "list_discards", "list_reconciles", "health"):
        answer = await api.call(name)
        assert answer.status == 200
        assert KEY not in answer.text
        assert KEY not in str(answer.headers)


@pytest.mark.parametrize(
    ("name", "path_id", "request_"),
    [
        ("list_transfers", None, INSTANCES_PAGE),
        ("get_transfer", UNKNOWN, INSTANCES_FIND),
        ("cancel_transfer", UNKNOWN, INSTANCES_FIND),
        ("list_dead_letters", None, LETTERS_LIST),
        ("get_dead_letter", UNKNOWN, LETTERS_READ),
        ("replay_dead_letter", UNKNOWN, LETTERS_READ),
        ("discard_dead_letter", UNKNOWN, LETTERS_READ),
        ("get_discard", "discard-" + "0" * 24, INSTANCES_FIND),
        ("list_replays", None, INSTANCES_PAGE),
        ("get_reconcile", "reconcile-" + "0" * 24, INSTANCES_FIND),
        ("get_replay_report", "replay-" + "0" * 24, INSTANCES_FIND),
        ("cancel_reconcile", "reconcile-" + "0" * 24, INSTANCES_FIND),
    ],
)
async def test_a_failure_of_storage_is_503_with_a_time_to_come_back(
    world: World, api: Api, name: str, path_id: str | None, request_: object
) -> None:
    """And a line in the log."""
    world.refuse(request_, error_for_answer(LETTERS_READ, 503, "ServerBusy"))  # type: ignore[arg-type]
    answer = await api.call(name, path_id)
    assert is_problem(answer, 503)
    assert answer.headers["Retry-After"] == "30"


async def test_an_error_that_nobody_foresaw_is_500_without_its_text(
    world: World, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Its text may hold anything, so it goes to the log alone: one line, without what follows `sig=`."""
    caplog.set_level(logging.INFO, LOGGER.name)
    world.refuse(LETTERS_LIST, RuntimeError("GET https://x/y?sig=c2VjcmV0&se=1\r\nfailed"))
    answer = await api.call("list_dead_letters")
    assert is_problem(answer, 500)
    assert "GET" not in answer.text
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER.name]
    assert json.loads(line)["action"] == "http.failed"
    assert line.isprintable()
    assert "c2VjcmV0" not in line


async def test_health_is_200_when_up_and_503_when_not(world: World, api: Api) -> None:
    """With the version, and the fix."""
    answer = await api.call("health")
    assert (answer.status, answer.body["up"], answer.body["version"]) == (200, True, "0.1.0")
    world.pass_time(11)
    world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 404, "ContainerNotFound"))
    answer = await api.call("health")
    assert (answer.status, answer.body["up"]) == (503, False)


async def test_health_takes_any_parameter_and_never_looks_at_it(api: Api) -> None:
    """Probes add what they like."""
    assert (await api.call("health", cachebuster="1")).status == 200


async def test_no_browser_takes_an_answer_for_a_page(world: World, api: Api) -> None:
    """Names are anything, and an answer shows them."""
    transfer = world.put("in/<script>alert(1)</script>")
    world.put_instance(transfer, "Running")
    for answer in [await api.call("get_transfer", transfer.id), await api.call("get_transfer", "x")]:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("name", ["in/a\r\nSet-Cookie: x=1", "in/\u202egnp", "in/\x1b[31m"])
async def test_a_name_with_control_characters_breaks_no_answer(api: Api, name: str) -> None:
    """RejectedEvent or shown, it stays inside its JSON text."""
    answer = await api.call("list_transfers", route="default", name=name)
    assert answer.status in {400, 404}
    assert answer.text.isascii()
    assert answer.text.isprintable()
    assert all(value.isprintable() for value in answer.headers.values())


async def test_a_cancel_that_nobody_notices_is_503(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """After half a minute, which passes at once here."""
    monkeypatch.setattr("operations.transfers.cancel.PAUSES", (0, 0))
    transfer = world.put()
    world.put_instance(transfer, "Running")
    answer = await api.call("cancel_transfer", transfer.id)
    assert is_problem(answer, 503)
    assert answer.headers["Retry-After"] == "30"
    assert world.instances.cancels == [transfer.id] * 2


async def test_a_transfer_whose_route_is_gone_is_still_listed(world: World, api: Api) -> None:
    """Routes come and go, transfers stay."""
    transfer = world.put()
    world.put_instance(transfer, "Running")
    world.ports = replace(world.ports, routes=())
    assert [item["id"] for item in (await api.call("list_transfers", route="default")).body["items"]] == [transfer.id]

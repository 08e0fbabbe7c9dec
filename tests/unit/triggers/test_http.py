"""The HTTP API: every answer is JSON, every error is a problem with a fix, and no answer holds the key."""

import json
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urljoin

import pytest

from adapters.translation import (
    DEAD_LETTERS_LIST,
    DEAD_LETTERS_READ,
    INSTANCES_FIND,
    INSTANCES_PAGE,
    SOURCE_HEAD,
    error_for_answer,
)
from operations.log import LOGGER
from operations.transfers.accept import refuse
from rules import codec
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.jobs.lifecycle import cancel
from rules.jobs.model import JobKind
from rules.jobs.status import progress as progress_of
from rules.transfers.model import Run
from tests.unit.job_runs import run_to_end
from tests.unit.samples import NAME, NOW
from tests.unit.triggers.api import KEY, ROUTES, UNKNOWN, Answer, Api, dead
from tests.unit.world import World
from triggers.http.endpoints import ENDPOINTS, JOB_PATHS

ASK = {work: f"start_{work}" for work in JobKind}


def is_problem(answer: Answer, status: int) -> bool:
    """Whether the answer is an error as in RFC 9457, with a fix and without the key."""
    body = answer.body
    assert KEY not in answer.text
    assert body["status"] == answer.status == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    assert body["fix"]
    return answer.mimetype == "application/problem+json"


class TestTransfers:
    async def test_the_pages_of_a_list_have_each_transfer_once(self, world: World, api: Api) -> None:
        made = {world.put(f"in/{number}").id for number in range(3)}
        for name in range(3):
            world.put_instance(world.put(f"in/x{name}"), "Running")
        first = (await api.call("list_transfers", limit="2")).body
        second = (await api.call("list_transfers", limit="2", continuation=first["continuation"])).body
        assert len(first["items"]) == 2
        assert len(second["items"]) == 1
        assert second["continuation"] is None
        assert made.isdisjoint(item["id"] for item in first["items"] + second["items"])

    async def test_a_list_since_a_time_has_what_was_started_then_or_later(self, world: World, api: Api) -> None:
        for hours in (1, 2, 3):
            made = world.put(f"in/{hours}")
            world.put_instance(made, "Running")
            world.instances.created[made.id] = NOW + timedelta(hours=hours)
        since = codec.stamp(NOW + timedelta(hours=2))
        found = (await api.call("list_transfers", since=since)).body["items"]
        assert {item["source"]["name"] for item in found} == {"in/2", "in/3"}
        assert is_problem(await api.call("list_transfers", since="yesterday"), 400)

    async def test_a_transfer_is_found_by_id_and_by_route_and_name(self, world: World, api: Api) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Running")
        by_id = await api.call("get_transfer", transfer.id)
        by_name = await api.call("list_transfers", route="default", name=NAME)
        assert by_id.status == by_name.status == 200
        assert by_id.body == by_name.body
        assert by_id.body["id"] == transfer.id

    async def test_sharing_is_accepted_with_a_location(self, world: World, api: Api) -> None:
        transfer = world.put()
        for _ in range(2):
            answer = await api.call("share_now", None, json.dumps({"route": "default", "name": NAME}).encode())
            assert answer.status == 202
            assert answer.headers["Location"] == f"transfers/{transfer.id}"
            assert answer.body == {"transfers": [{"id": transfer.id, "url": f"/api/transfers/{transfer.id}"}]}
        assert world.request_names.count("instances.start") == 1

    async def test_a_confirmed_cancel_is_accepted(self, world: World, api: Api) -> None:
        transfer = world.put()
        world.put_instance(transfer, "Running", Run(transfer, NOW, cancelling=True))
        answer = await api.call("cancel_transfer", transfer.id)
        assert (answer.status, answer.body["cancelling"]) == (202, True)

    async def test_cancelling_an_ended_transfer_is_a_conflict_with_its_state(self, world: World, api: Api) -> None:
        answer = await api.call("cancel_transfer", (await dead(world)).id)
        assert is_problem(answer, 409)
        assert answer.body["state"] == "dead_lettered"


class TestDeadLetters:
    async def test_a_list_is_filtered_by_route_and_reason(self, world: World, api: Api) -> None:
        transfer = await dead(world)
        message = await refuse(world.ports, b"hello", RejectedEvent(Reason.MALFORMED, "no JSON"))

        async def listed(**query: str) -> list[str]:
            return [item["id"] for item in (await api.call("list_dead_letters", **query)).body["items"]]

        assert await listed() == [transfer.id, message]
        assert await listed(route="default") == [transfer.id]
        assert await listed(route="unknown") == []
        assert await listed(reason="malformed") == [message]
        assert await listed(name=NAME) == [transfer.id]
        assert await listed(name=NAME, route="default", reason="throttled") == [transfer.id]
        assert await listed(name="in/other") == []

    async def test_a_dead_letter_is_shown_with_its_hint(self, world: World, api: Api) -> None:
        transfer = await dead(world)
        body = (await api.call("get_dead_letter", transfer.id)).body
        assert (body["id"], body["state"], body["reason"]) == (transfer.id, "open", "throttled")
        assert body["hint"] == Reason.THROTTLED.hint

    async def test_a_replay_is_accepted_once_then_a_conflict_with_retry_after(self, world: World, api: Api) -> None:
        transfer = await dead(world)
        assert (await api.call("replay_dead_letter", transfer.id)).status == 202
        answer = await api.call("replay_dead_letter", transfer.id)
        assert is_problem(answer, 409)
        assert answer.headers["Retry-After"] == "30"
        assert answer.body["id"] == transfer.id

    async def test_replaying_a_resolved_dead_letter_is_a_conflict(self, world: World, api: Api) -> None:
        transfer = await dead(world)
        await world.dead_letters.resolve(transfer.id, 0, "verified", NOW)
        answer = await api.call("replay_dead_letter", transfer.id)
        assert is_problem(answer, 409)
        assert answer.body["resolved_as"] == "verified"

    async def test_a_discard_is_answered_with_the_record_and_its_transfer_shows_it(
        self, world: World, api: Api
    ) -> None:
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

    async def test_a_discard_during_a_replay_is_a_conflict_with_retry_after(self, world: World, api: Api) -> None:
        transfer = await dead(world)
        await api.call("replay_dead_letter", transfer.id)
        answer = await api.call("discard_dead_letter", transfer.id)
        assert is_problem(answer, 409)
        assert answer.headers["Retry-After"] == "30"


BY_ID = ["get_transfer", "cancel_transfer", "get_dead_letter", "replay_dead_letter", "discard_dead_letter"]


@pytest.mark.parametrize("name", BY_ID)
class TestIds:
    async def test_an_unknown_id_is_404(self, api: Api, name: str) -> None:
        assert is_problem(await api.call(name, UNKNOWN), 404)

    @pytest.mark.parametrize(
        "path_id", ["", "x", "../etc", UNKNOWN.upper(), UNKNOWN + "\n", UNKNOWN + "0", "37a8eec1", "a" * 5_000, "%2F"]
    )
    async def test_an_invalid_id_is_400_without_a_request(
        self, world: World, api: Api, name: str, path_id: str
    ) -> None:
        assert is_problem(await api.call(name, path_id), 400)
        assert world.requests == []

    async def test_an_unknown_parameter_is_400(self, api: Api, name: str) -> None:
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
async def test_an_invalid_parameter_is_400_with_a_fix(api: Api, name: str, query: dict[str, str]) -> None:
    assert is_problem(await api.call(name, **query), 400)


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:7071/api/", "https://gw.example/prefix/api/", "https://gw.example/"]
)
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", ["share_now", "replay_dead_letter", "start_replay", "start_reconcile"])
async def test_a_location_is_correct_behind_any_ingress(
    world: World, api: Api, name: str, slash: str, base: str
) -> None:
    """The client resolves it against its own URL, which the app may not see."""
    transfer = await dead(world, "in/dead") if name == "replay_dead_letter" else world.put()
    sent = {"share_now": {"route": "default", "name": NAME}, "start_reconcile": {"route": "default"}}.get(name, {})
    path_id = transfer.id if name == "replay_dead_letter" else None
    answer = await api.call(name, path_id, json.dumps(sent).encode(), slash)
    assert answer.status == 202
    url = base + ROUTES[name].replace("{id}", transfer.id) + slash
    [shown] = answer.body.get("transfers", [answer.body])
    place = next((JOB_PATHS[work] for work, ask in ASK.items() if ask == name), "transfers")
    assert urljoin(url, answer.headers["Location"]) == f"{base}{place}/{shown['id']}"
    assert shown["url"] == f"/api/{place}/{shown['id']}"


class TestJobs:
    async def start_job(self, api: Api, work: JobKind, **body: Any) -> str:
        answer = await api.call(ASK[work], None, json.dumps(body).encode())
        identity = str(answer.body["id"])
        assert answer.status == 202
        assert answer.body == {"id": identity, "url": f"/api/{JOB_PATHS[work]}/{identity}"}
        assert urljoin(f"https://gw.example/v1/{ROUTES[ASK[work]]}", answer.headers["Location"]).endswith(
            f"/v1/{JOB_PATHS[work]}/{identity}"
        )
        return identity

    async def test_a_job_is_started_shown_and_listed_by_its_kind(self, world: World, api: Api) -> None:
        replay = await self.start_job(api, JobKind.REPLAY, reason="throttled", since="2026-11-24T19:02:44Z")
        discard = await self.start_job(api, JobKind.DISCARD, reason="throttled", until="2026-11-24T19:02:44Z")
        reconcile = await self.start_job(api, JobKind.RECONCILE, route="default", dry_run=True, max_per_second=7)
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

    async def test_the_pages_of_a_list_have_each_job_once(self, api: Api) -> None:
        made = {await self.start_job(api, JobKind.REPLAY) for _ in range(5)}
        first = (await api.call("list_replays", limit="3")).body
        second = (await api.call("list_replays", limit="3", continuation=first["continuation"])).body
        assert {item["id"] for item in first["items"] + second["items"]} == made
        assert (len(first["items"]), second["continuation"]) == (3, None)
        assert is_problem(await api.call("list_reconciles", continuation=first["continuation"]), 400)

    async def test_a_reconcile_of_an_unknown_route_is_404(self, api: Api) -> None:
        answer = await api.call("start_reconcile", None, b'{"route":"unknown"}')
        assert is_problem(answer, 404)
        assert "default" in answer.body["fix"]

    async def test_a_report_has_pages_and_filters(self, world: World, api: Api) -> None:
        """A page may be empty while there is a continuation."""
        for number in range(501):
            world.put(f"in/{number:03}")
        identity = await self.start_job(api, JobKind.RECONCILE, route="default", max_per_second=100)
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
    async def test_an_invalid_parameter_of_a_report_is_400(self, world: World, api: Api, query: dict[str, str]) -> None:
        identity = await self.start_job(api, JobKind.RECONCILE, route="default")
        world.requests.clear()
        assert is_problem(await api.call("get_reconcile_report", identity, **query), 400)
        assert world.requests == []

    async def test_a_confirmed_cancel_is_accepted_and_a_late_one_is_a_conflict(self, world: World, api: Api) -> None:
        identity = await self.start_job(api, JobKind.REPLAY)
        job = world.instances.kept[identity].job
        assert job is not None
        world.instances.become(identity, "Running", custom=progress_of(replace(job, cancelling=True)))
        answer = await api.call("cancel_replay", identity)
        assert (answer.status, answer.body["cancelling"]) == (202, True)
        world.instances.become(identity, "Completed", progress_of(cancel(job, NOW)))
        answer = await api.call("cancel_replay", identity)
        assert is_problem(answer, 409)
        assert answer.body["state"] == "cancelled"

    @pytest.mark.parametrize("call", ["get_replay", "get_replay_report", "cancel_replay"])
    async def test_an_unknown_job_is_404_and_an_invalid_id_is_400_without_a_request(
        self, world: World, api: Api, call: str
    ) -> None:
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
    async def test_an_invalid_body_is_400_and_starts_nothing(
        self, world: World, api: Api, call: str, body: bytes
    ) -> None:
        assert is_problem(await api.call(call, None, body), 400)
        assert world.requests == []

    async def test_ids_of_jobs_are_rejected_for_transfers_and_dead_letters(self, api: Api) -> None:
        identity = await self.start_job(api, JobKind.REPLAY)
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
async def test_an_invalid_body_is_400_with_a_fix(world: World, api: Api, body: bytes) -> None:
    assert is_problem(await api.call("share_now", None, body), 400)
    assert world.instances.kept == {}


@pytest.mark.parametrize(("route", "name"), [("unknown", NAME), ("default", "in/absent")])
async def test_an_unknown_route_or_blob_is_404(api: Api, route: str, name: str) -> None:
    body = json.dumps({"route": route, "name": name}).encode()
    assert is_problem(await api.call("share_now", None, body), 404)
    assert is_problem(await api.call("list_transfers", route=route, name=name), 404)


async def test_the_key_parameter_is_neither_rejected_nor_echoed(api: Api) -> None:
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
        ("list_dead_letters", None, DEAD_LETTERS_LIST),
        ("get_dead_letter", UNKNOWN, DEAD_LETTERS_READ),
        ("replay_dead_letter", UNKNOWN, DEAD_LETTERS_READ),
        ("discard_dead_letter", UNKNOWN, DEAD_LETTERS_READ),
        ("get_discard", "discard-" + "0" * 24, INSTANCES_FIND),
        ("list_replays", None, INSTANCES_PAGE),
        ("get_reconcile", "reconcile-" + "0" * 24, INSTANCES_FIND),
        ("get_replay_report", "replay-" + "0" * 24, INSTANCES_FIND),
        ("cancel_reconcile", "reconcile-" + "0" * 24, INSTANCES_FIND),
    ],
)
async def test_a_failure_of_storage_is_503_with_retry_after(
    world: World, api: Api, name: str, path_id: str | None, request_: object
) -> None:
    world.refuse(request_, error_for_answer(DEAD_LETTERS_READ, 503, "ServerBusy"))  # type: ignore[arg-type]
    answer = await api.call(name, path_id)
    assert is_problem(answer, 503)
    assert answer.headers["Retry-After"] == "30"


async def test_an_unexpected_error_is_500_and_only_the_log_has_its_text(
    world: World, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    world.refuse(DEAD_LETTERS_LIST, RuntimeError("GET https://x/y?sig=c2VjcmV0&se=1\r\nfailed"))
    answer = await api.call("list_dead_letters")
    assert is_problem(answer, 500)
    assert "GET" not in answer.text
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER.name]
    assert json.loads(line)["action"] == "http.failed"
    assert line.isprintable()
    assert "c2VjcmV0" not in line


@pytest.mark.parametrize(
    "pasted",
    [
        "?sig=c2VjcmV0&code=a2V5",
        "\nsig=c2VjcmV0",
        "\u2028sig=c2VjcmV0",
        "\x1b[31m\ud800?code=c2VjcmV0",
        "x%26sig%3Dc2VjcmV0",
        "a" * 34 + "'sig=c2VjcmV0",
    ],
)
async def test_a_secret_in_a_request_is_not_echoed(api: Api, pasted: str) -> None:
    sent, query = json.dumps({pasted: 1}).encode(), quote(pasted, errors="replace")
    for answer in [
        await api.call("start_replay", None, sent),
        await api.call("list_transfers", **{pasted: "1"}),
        await api.call("list_transfers", "", b"", f"?{query}=&{query}="),
        await api.call("list_transfers", "", b"", f"?{query}=1&{query}=2", **{pasted: "1,2"}),
    ]:
        assert is_problem(answer, 400)
        assert "c2V" not in answer.text
        assert answer.body["detail"].isprintable()


async def test_health_is_200_when_up_and_503_when_not(world: World, api: Api) -> None:
    answer = await api.call("health")
    assert (answer.status, answer.body["up"], answer.body["version"]) == (200, True, "0.1.0")
    world.pass_time(11)
    world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 404, "ContainerNotFound"))
    answer = await api.call("health")
    assert (answer.status, answer.body["up"]) == (503, False)


async def test_health_ignores_parameters(api: Api) -> None:
    """Probes add parameters of their own."""
    assert (await api.call("health", cachebuster="1")).status == 200


async def test_answers_tell_browsers_not_to_render_them(world: World, api: Api) -> None:
    transfer = world.put("in/<script>alert(1)</script>")
    world.put_instance(transfer, "Running")
    for answer in [await api.call("get_transfer", transfer.id), await api.call("get_transfer", "x")]:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("name", ["in/a\r\nSet-Cookie: x=1", "in/\u202egnp", "in/\x1b[31m"])
async def test_a_name_with_control_characters_is_escaped(api: Api, name: str) -> None:
    answer = await api.call("list_transfers", route="default", name=name)
    assert answer.status in {400, 404}
    assert answer.text.isascii()
    assert answer.text.isprintable()
    assert all(value.isprintable() for value in answer.headers.values())


async def test_an_unconfirmed_cancel_is_503(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.transfers.cancel.PAUSES", (0, 0))
    transfer = world.put()
    world.put_instance(transfer, "Running")
    answer = await api.call("cancel_transfer", transfer.id)
    assert is_problem(answer, 503)
    assert answer.headers["Retry-After"] == "30"
    assert world.instances.cancels == [transfer.id] * 2


async def test_a_transfer_whose_route_was_removed_is_still_listed(world: World, api: Api) -> None:
    transfer = world.put()
    world.put_instance(transfer, "Running")
    world.ports = replace(world.ports, routes=())
    assert [item["id"] for item in (await api.call("list_transfers", route="default")).body["items"]] == [transfer.id]


class TestReadOnly:
    """With READ_ONLY, every call that changes something is refused without a request; the others work."""

    @pytest.mark.parametrize("name", [endpoint.name for endpoint in ENDPOINTS if endpoint.method != "GET"])
    async def test_a_change_is_refused(self, world: World, api: Api, name: str) -> None:
        world.ports = replace(world.ports, read_only=True)
        assert is_problem(await api.call(name, UNKNOWN, b"{}"), 403)
        assert world.requests == []

    async def test_reading_works_and_health_says_so(self, world: World, api: Api) -> None:
        assert (await Api(World()).call("health")).body["read_only"] is False
        world.ports = replace(world.ports, read_only=True)
        assert (await api.call("health")).body["read_only"] is True
        assert (await api.call("get_transfer", (await dead(world)).id)).status == 200

"""The hostile corpora on a running stack: every message leads to its verdict, and every name arrives byte for byte.

The module has its own stack, because it makes hundreds of dead letters. `SOAK=long` sends every message instead of every third;
`tests/corpora` decides on all of them.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from rules import redaction
from rules.codec import plain_body
from rules.events.decide import EventDecision, decide_on
from rules.events.parse import RejectedEvent
from rules.routes.config import read
from rules.routes.model import Route
from rules.transfers.identity import message_id
from tests.corpora.corpora import MESSAGES, NAMES, URLS, message, text
from tests.e2e import search
from tests.e2e.client import FINAL, TIMEOUT, Client
from tests.e2e.events import created_event, is_drained, message_dead_letters
from tests.e2e.stacks import environment, restart, running_stack
from tests.e2e.storm import LONG

ACCEPTED = [text(case["blob"]) for case in NAMES if case["verdict"] == "accepted"]
# U+FFFD in an event marks a lost character (rule 13), so only a request or a reconcile shares a blob with that name.
SHARED_BY_EVENT = [name for name in ACCEPTED if "\ufffd" not in name]
# The corpora name the account on Azure. Here it is on the emulator, which has no `dfs` endpoint.
AZURE = re.compile(rb"https:(\\?/)\1sharingsource\.blob\.core\.windows\.net")
DFS_HOST = b"sharingsource.dfs.core.windows.net"
# Characters that XML cannot represent: the service refuses a message with one, the emulator accepts but never delivers it.
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# The service refuses these messages, because they exceed 64 KiB, some of them only in base64.
TOO_LARGE = {
    "CloudEvents: 1,000 in an array",
    "Event Grid: 1,000 in an array",
    "an extra field: 15,000 objects deep",
    "data 15,000 objects deep",
    "lists and objects in turn, 12,000 deep",
    "64 KiB of NULs",
    "a path: 64 KiB of letters",
}
SENT = [case for number, case in enumerate(MESSAGES + URLS) if LONG or number % 3 == 0 or case["name"] in TOO_LARGE]
WORKERS = 8
LONG_PREFIX = "p" * 250 + "/"
LONG_NAME = "n" * 800


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A stack with a route for the messages, one for the names, and two routes that are misconfigured."""
    state = tmp_path_factory.mktemp("corpus")
    settings = environment(state)
    # Otherwise the host would try each unreadable message ten times.
    settings["AzureFunctionsJobHost__extensions__queues__maxDequeueCount"] = "2"
    emulator = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    routes = correct_routes(emulator) | {
        "moved": (
            f"{emulator.replace('127.0.0.1', 'localhost')}/sharingsource/moved/",
            f"{emulator}/sharingtarget/moved/",
        ),
        "tight": (f"{emulator}/sharingsource/tight/", f"{emulator}/sharingtarget/tight/{LONG_PREFIX}"),
    }
    with running_stack(state, {**settings, "ROUTES": routes_setting(routes)}) as running:
        for container in ("names", "moved", "tight"):
            running.create_container("sharingsource", container)
            running.create_container("sharingtarget", container)
        yield running


def correct_routes(emulator: str) -> dict[str, tuple[str, str]]:
    """The routes as they should be: source and target by name."""
    source, target = f"{emulator}/sharingsource", f"{emulator}/sharingtarget"
    plain = {name: (f"{source}/{name}/", f"{target}/{name}/") for name in ("names", "moved", "tight")}
    return {"default": (f"{source}/source/in/", f"{target}/target/out/"), **plain}


def routes_setting(routes: dict[str, tuple[str, str]]) -> str:
    return json.dumps([{"name": name, "source": source, "target": target} for name, (source, target) in routes.items()])


def routes_of(client: Client) -> tuple[Route, ...]:
    return read(client.stack.environment["ROUTES"])


def local_message(client: Client, case: dict[str, Any]) -> bytes:
    """A corpus message, with this stack's account and in a form that a queue can store."""
    body = message(case)
    clear = plain_body(body)
    source = re.sub(b"https?:", b"", client.stack.account("sharingsource").encode())
    localized = AZURE.sub(lambda found: b"http:" + source.replace(b"/", found[1]), clear)
    if localized != clear:
        body = localized if clear == body else base64.b64encode(localized)
    try:
        return base64.b64encode(body) if NOT_IN_XML.search(body.decode()) else body
    except UnicodeDecodeError:
        return base64.b64encode(body)


def verdict_of(decision: EventDecision) -> str:
    if decision.rejection:
        return str(decision.rejection.reason)
    if decision.found:
        return str(decision.found.lookup.cause)
    return "accepted" if decision.transfers else "folder" if decision.folders else "ignored"


def in_parallel(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, items))


@pytest.fixture(scope="module")
def sent(client: Client) -> dict[bytes, EventDecision]:
    """Every message that the queue accepts, with the expected decision. All are in the queue."""
    queue = client.queue()

    def send(case: dict[str, Any]) -> tuple[bytes, EventDecision] | str:
        body = local_message(client, case)
        try:
            queue.send_message(body.decode())
        except HttpResponseError as error:
            if error.status_code != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                raise
            return str(case["name"])
        found = decide_on(body, routes_of(client))
        uses_dfs = case["verdict"] == "accepted" and DFS_HOST in plain_body(body)
        assert verdict_of(found) == ("not_allowed" if uses_dfs else case["verdict"]), case["name"]
        return body, found

    results = in_parallel(send, SENT)
    assert {name for name in results if isinstance(name, str)} == TOO_LARGE & {case["name"] for case in SENT}
    return dict(pair for pair in results if not isinstance(pair, str))


def test_every_message_leads_to_its_verdict(client: Client, sent: dict[bytes, EventDecision]) -> None:
    """Both queues end empty, and each refused message has exactly one dead letter."""
    # The host tries unreadable messages ten times; then the timer drains them.
    client.until(lambda: queue_depth(client, "blob-events") == 0, "blob-events is empty", 2 * TIMEOUT)
    client.until(partial(is_drained, client, client.queue("blob-events-poison")), "its poison queue is empty")
    kept = {item["id"]: item["reason"] for item in client.list_all("/dead-letters")}
    refused = {message_id(body): found.rejection for body, found in sent.items() if found.rejection}
    assert kept == {identity: refusal.reason for identity, refusal in refused.items()}
    others = {"accepted", "ignored", "announced", "renamed", "tier_changed", "folder"}
    assert {verdict_of(found) for found in sent.values()} == set(kept.values()) | others
    transfers = {transfer.id for found in sent.values() for transfer in found.transfers}
    client.until(lambda: all(state in FINAL for state, _ in endings(client).values()), "all transfers have ended")
    # The blobs do not exist, so they count as deleted.
    assert endings(client) == dict.fromkeys(transfers, ("superseded", {"id": None, "etag": None}))


def endings(client: Client) -> dict[str, tuple[str, Any]]:
    return {item["id"]: (item["state"], item["successor"]) for item in client.list_all("/transfers")}


def test_every_dead_letter_has_its_reason_and_its_message(client: Client, sent: dict[bytes, EventDecision]) -> None:
    """A possible secret is removed from the message. Without a change of routes, a replay is refused."""
    for body, refusal in one_of_each(sent):
        dead_letter = client.api("GET", f"/dead-letters/{message_id(body)}").body
        assert (dead_letter["state"], dead_letter["reason"], dead_letter["detail"]) == (
            "open",
            refusal.reason,
            refusal.detail,
        )
        kept = base64.b64decode(dead_letter["message"])
        assert kept == redaction.without_secrets(body)
        why = (
            "a possible secret was removed"
            if redaction.is_redacted(kept)
            else f"the message was refused again: {refusal.detail}"
        )
        assert refused_replay(client, message_id(body)).startswith(why)


def one_of_each(sent: dict[bytes, EventDecision]) -> list[tuple[bytes, RejectedEvent]]:
    """One refused message for each detail and reason, with and without a secret."""
    refused = [(body, found.rejection) for body, found in sent.items() if found.rejection]
    return list(
        {(refusal, redaction.without_secrets(body) == body): (body, refusal) for body, refusal in refused}.values()
    )


def refused_replay(client: Client, dead_letter: str) -> str:
    """Replay a dead letter, which must be refused. Return the detail."""
    answer = client.api("POST", f"/dead-letters/{dead_letter}/replay")
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (409, "application/problem+json")
    assert answer.body["fix"]
    return str(answer.body["detail"])


def test_a_message_can_be_replayed_once_the_routes_are_fixed(client: Client) -> None:
    wrong = client.stack.environment
    sent = {"moved": refused_event(client, "moved", "report.csv"), "tight": refused_event(client, "tight", LONG_NAME)}
    reasons = {
        route: client.api("GET", f"/dead-letters/{dead_letter}").body["reason"] for route, dead_letter in sent.items()
    }
    assert reasons == {"moved": "not_allowed", "tight": "invalid_name"}
    for dead_letter in sent.values():
        assert refused_replay(client, dead_letter).startswith("the message was refused again")
    correct = correct_routes(client.stack.account("").rstrip("/"))
    restart(client, {**wrong, "ROUTES": routes_setting({"default": correct["default"]})})
    try:
        for dead_letter in sent.values():
            assert refused_replay(client, dead_letter) == "the message would be ignored: no route carries this blob"
        restart(client, {**wrong, "ROUTES": routes_setting(correct)})
        for route, dead_letter in sent.items():
            check_replay(client, route, dead_letter)
    finally:
        restart(client, wrong)


def refused_event(client: Client, container: str, name: str) -> str:
    """Upload a blob and send its event, which must be refused. Return the dead letter's id."""
    old = {item["id"] for item in message_dead_letters(client)}
    client.control.events(mode="drop")
    try:
        etag = client.put(name, f"through {container}".encode(), container)
    finally:
        client.control.events(mode="deliver")
    client.queue().send_message(created_event(client.source(name, container).url, container, name, etag))
    new = client.until(
        lambda: [item["id"] for item in message_dead_letters(client) if item["id"] not in old], "it is refused"
    )
    assert len(new) == 1
    return str(new[0])


def check_replay(client: Client, route: str, dead_letter: str) -> None:
    answer = client.api("POST", f"/dead-letters/{dead_letter}/replay")
    assert answer.status == 202
    transfer = client.until_ended(answer.body["transfers"][0]["id"])
    assert (answer.headers["Location"], transfer["state"]) == (f"../../transfers/{transfer['id']}", "verified")
    name = transfer["source"]["name"]
    assert (
        client.read(client.target(name, route))
        == client.read(client.source(name, route))
        == f"through {route}".encode()
    )
    resolved = client.api("GET", f"/dead-letters/{dead_letter}").body
    assert (resolved["state"], resolved["resolved_as"]) == ("resolved", "accepted")
    assert refused_replay(client, dead_letter) == f"dead letter {dead_letter} is already resolved"


def test_every_name_arrives_byte_for_byte(client: Client) -> None:
    assert len(SHARED_BY_EVENT) > 300
    in_parallel(lambda name: client.put(name, name.encode(), "names"), SHARED_BY_EVENT)
    transfers = client.until(lambda: verified_transfer(client, len(SHARED_BY_EVENT)), "all are verified", 2 * TIMEOUT)
    assert {item["source"]["name"] for item in transfers} == set(SHARED_BY_EVENT)
    target = client.accounts["sharingtarget"].get_container_client("names")
    assert sorted(target.list_blob_names()) == sorted(SHARED_BY_EVENT)
    assert in_parallel(lambda name: client.read(client.target(name, "names")), SHARED_BY_EVENT) == [
        name.encode() for name in SHARED_BY_EVENT
    ]


def verified_transfer(client: Client, count: int) -> list[dict[str, Any]] | None:
    found = client.list_all("/transfers?route=names&state=verified")
    return found if len(found) == count else None


def test_a_message_with_a_secret_is_stored_without_it(client: Client, sent: dict[bytes, EventDecision]) -> None:
    secrets = search.known_secrets(client)
    short = {body: found for body, found in sent.items() if len(body) < 10_000}  # the long ones contain only padding
    with_secret = [message_id(body) for body, found in short.items() if found.rejection and secrets.find(body)]
    assert len(with_secret) > 2
    container = client.accounts["sharingstate"].get_container_client("dead-letters")
    kept = {identity: container.download_blob(f"open/{identity}.json").readall() for identity in with_secret}
    assert secrets.leaks(kept.items()) == {}
    assert {queue_depth(client, name) for name in ("blob-events", "blob-events-poison")} == {0}


def queue_depth(client: Client, name: str) -> int | None:
    """The number of messages in a queue, including invisible ones."""
    return client.queue(name).get_queue_properties().approximate_message_count

"""Attacks that the app rejects before it calls storage: see docs/security.md."""

import ast
import asyncio
import io
import json
import logging
import re

import pytest
from azure.durable_functions import DurableOrchestrationClient
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.translation import SOURCE_HEAD, SOURCE_SIGN, error_for_answer
from operations.log import LOGGER, log
from operations.transfers.accept import accept
from rules.redaction import text_without_secrets
from rules.transfers.identity import MESSAGE_ID_PATTERN, TRANSFER_ID_PATTERN
from tests.corpora.corpora import MESSAGES, URLS, message
from tests.docs.pages import modules, page
from tests.unit.samples import LONG, NAME
from tests.unit.triggers.api import Api
from tests.unit.world import World

# Their answers hold URLs with the extension's system key, which gives full control of every orchestration.
OF_THE_SYSTEM_KEY = frozenset(
    {
        "create_check_status_response",
        "create_http_management_payload",
        "get_client_response_links",
        "wait_for_completion_or_create_check_status_response",
    }
)
BY_ID = ("get_transfer", "cancel_transfer", "get_dead_letter", "replay_dead_letter")
VALID = "37a8eec1-45a195a412908b31b025fa37"
HOSTILE_IDS = [
    "",
    "..",
    "../open/" + VALID,
    "%2e%2e%2f" + VALID,
    f"../../other/{VALID}",
    f"{VALID}.json",
    f"{VALID}\n",
    f" {VALID}",
    f"{VALID}\x00",
    f"{VALID}/../{VALID}",
    VALID.upper(),
    VALID.replace("3", "٣"),
    VALID.replace("-", "\N{NON-BREAKING HYPHEN}"),
    f"message-{VALID}",
    f"open/{VALID}",
    "*",
    "' OR 1=1 --",
    "a" * 10_240,
]


def test_the_app_never_creates_urls_with_the_system_key() -> None:
    assert {name for name in OF_THE_SYSTEM_KEY if not hasattr(DurableOrchestrationClient, name)} == set()
    used = {
        (path.name, name)
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (getattr(node, "attr", None), getattr(node, "id", None), getattr(node, "name", None))
        if name in OF_THE_SYSTEM_KEY
    }
    assert used == set()


@pytest.mark.parametrize("name", BY_ID)
@pytest.mark.parametrize("identity", HOSTILE_IDS, ids=ascii)
async def test_an_invalid_id_is_rejected_without_a_request(name: str, identity: str) -> None:
    world = World()
    answer = await Api(world).call(name, identity)
    assert answer.status == 400
    assert world.requests == []


WORLD = World()
API = Api(WORLD)


@settings(max_examples=1_000 if LONG else 300, deadline=None)
@example(VALID + "\N{COMBINING ACUTE ACCENT}")
@given(
    st.text(max_size=100)
    | st.from_regex(TRANSFER_ID_PATTERN).map(lambda found: f"{found}x")
    | st.from_regex(r"\A[./%0-9a-f-]+\Z")
)
def test_any_text_is_a_valid_id_or_is_rejected_without_a_request(identity: str) -> None:
    before = len(WORLD.requests)
    answer = asyncio.run(API.call("replay_dead_letter", identity))
    valid = TRANSFER_ID_PATTERN.fullmatch(identity) or MESSAGE_ID_PATTERN.fullmatch(identity)
    assert answer.status == (404 if valid else 400)
    assert (len(WORLD.requests) > before) is bool(valid)


# Verdicts of messages whose blob the app looks up or reconciles, always at the source of a route.
LOOKED_UP = {"announced", "renamed", "tier_changed", "folder"}


@pytest.mark.parametrize(
    "case",
    [case for case in MESSAGES + URLS if case["verdict"] not in {"accepted", *LOOKED_UP}],
    ids=lambda case: ascii(case["name"]),
)
async def test_a_forged_message_reaches_no_source_and_no_target(case: dict[str, str]) -> None:
    world = World()
    await accept(world.ports, world.instances, message(case))
    assert world.instances.kept == {}
    assert set(world.request_names) <= {"dead_letters.read", "dead_letters.write"}
    assert world.request_names.count("dead_letters.write") == (case["verdict"] != "ignored")
    assert len(world.requests) <= 5


@pytest.mark.parametrize(
    "case", [case for case in MESSAGES if case["verdict"] in LOOKED_UP], ids=lambda case: ascii(case["name"])
)
async def test_a_forged_message_without_a_version_costs_at_most_a_look_at_the_routes_own_source(
    case: dict[str, str],
) -> None:
    world = World()
    await accept(world.ports, world.instances, message(case))
    assert set(world.request_names) <= {"source.head", "events.put", "instances.find", "instances.start"}
    assert [subject for name, subject in world.requests if name == "source.head" and NAME not in subject] == []
    assert len(world.requests) <= 2


@settings(max_examples=1_000 if LONG else 300, deadline=None)
@given(st.text() | st.text("\r\n\x1b\u0085\u2028\u2029\ufeff\u202e{}\"'\\,:\x00\x7f %s", min_size=1), st.text())
def test_any_name_is_logged_on_one_line(name: str, route: str) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        log("transfer.accepted", f"about {name}", name=name, route=route)
    finally:
        LOGGER.removeHandler(handler)
    (line,) = written.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    text = text_without_secrets(f"about {name}")
    assert json.loads(line) == {
        "action": "transfer.accepted",
        "text": text,
        "name": name,
        "route": text_without_secrets(route),
    }


async def test_the_anonymous_health_endpoint_names_no_account_and_no_blob() -> None:
    world = World()
    world.refuse(SOURCE_HEAD, error_for_answer(SOURCE_HEAD, 403, "AuthorizationFailure"))
    world.refuse(SOURCE_SIGN, error_for_answer(SOURCE_SIGN, 403, "AuthorizationPermissionMismatch"))
    answer = await Api(world).call("health")
    assert answer.status == 503
    assert "AuthorizationFailure" in answer.text
    for route in world.routes:
        for place in (route.source, route.target):
            assert place.account not in answer.text
            assert place.prefix not in answer.text
    assert "://" not in answer.text


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_python_package_is_pinned_by_its_hash(name: str) -> None:
    packages = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", page(name), flags=re.MULTILINE).strip())
    assert len(packages) > 30
    assert [text for text in packages if not re.match(r"[\w.-]+==\S+(?s:.*)--hash=sha256:[0-9a-f]{64}", text)] == []


def test_every_package_of_the_emulator_is_pinned_by_its_hash() -> None:
    packages = json.loads(page("devhost/storage/package-lock.json"))["packages"]
    assert len(packages) > 100
    assert [
        name for name, package in packages.items() if name and not package.get("integrity", "").startswith("sha512-")
    ] == []
    installs = re.findall(r"pip install .*--requirement.*", page("Makefile"))
    assert ["--require-hashes" in line for line in installs] == [True, True]

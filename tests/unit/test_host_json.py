"""host.json: the host knows its keys and accepts its values. The app avoids calls of the SDK whose answers mislead."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from devhost.host import config
from devhost.host.config import HUB_NAME, ConfigError, timespan
from rules.transfers.identity import MESSAGE_ID_PATTERN, TRANSFER_ID_PATTERN
from rules.transfers.model import Outcome, Verdict
from tests.docs.pages import ROOT, modules, page
from tests.unit.orchestrators.conftest import MakeHarness, make_harness  # noqa: F401  # a fixture
from tests.unit.orchestrators.harness import AGAIN, FORBIDDEN, SETTLE, SUPERSEDED, THROTTLED, VERIFIED, WAITING
from tests.unit.samples import RUN


def strict(text: str) -> dict[str, Any]:
    """Parse a JSON object as the Python worker does. Raises ValueError for other JSON and for a repeated key."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"a key occurs twice among {[key for key, _ in pairs]}")
        return found

    found: dict[str, Any] = json.loads(text, object_pairs_hook=once)
    return found


HOST = strict(page("host.json"))
DURABLE, QUEUES = HOST["extensions"]["durableTask"], HOST["extensions"]["queues"]


def number(low: int, high: int) -> Callable[[Any], bool]:
    """Return a check for a whole number within bounds."""
    return lambda value: type(value) is int and low <= value <= high


def span(low: timedelta, high: timedelta) -> Callable[[Any], bool]:
    """Return a check for a time span within bounds."""

    def holds(value: Any) -> bool:
        try:
            return isinstance(value, str) and low <= timespan(value) <= high
        except ConfigError:
            return False

    return holds


def text(pattern: str) -> Callable[[Any], bool]:
    """Return a check for a text that matches the pattern."""
    return lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value))


def is_bool(value: Any) -> bool:
    return isinstance(value, bool)


SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
LEVEL = text("Trace|Debug|Information|Warning|Error|Critical|None")
HUB = "extensions.durableTask"
STORE = f"{HUB}.storageProvider"
# The keys of the host and its extensions that this app may use, and a check of the value of each.
KNOWN: dict[str, Callable[[Any], bool]] = {
    "version": text("2\\.0"),
    "functionTimeout": span(MINUTE, DAY),
    "logging.logLevel.*": LEVEL,
    "logging.applicationInsights.samplingSettings.isEnabled": is_bool,
    "logging.applicationInsights.samplingSettings.excludedTypes": text(r"\w+(;\w+)*"),
    "logging.applicationInsights.samplingSettings.maxTelemetryItemsPerSecond": number(1, 1_000),
    "extensionBundle.id": text("Microsoft\\.Azure\\.Functions\\.ExtensionBundle"),
    "extensionBundle.version": text(r"\[\d+\.\d+\.\d+, \d+\.\d+\.\d+\)"),
    "extensions.http.routePrefix": text("[a-z]+"),
    "extensions.queues.messageEncoding": text("none|base64"),
    "extensions.queues.batchSize": number(1, 32),
    "extensions.queues.newBatchThreshold": number(0, 1_000),
    "extensions.queues.maxPollingInterval": span(SECOND / 10, 10 * MINUTE),
    "extensions.queues.visibilityTimeout": span(SECOND, 10 * MINUTE),
    "extensions.queues.maxDequeueCount": number(1, 100),
    f"{HUB}.hubName": text(HUB_NAME.pattern),
    f"{HUB}.defaultVersion": text(r"\d+\.\d+"),
    f"{HUB}.versionMatchStrategy": text("None|Strict|CurrentOrOlder"),
    f"{HUB}.versionFailureStrategy": text("Reject|Fail"),
    f"{HUB}.maxConcurrentActivityFunctions": number(1, 1_000),
    f"{HUB}.maxConcurrentOrchestratorFunctions": number(1, 1_000),
    f"{HUB}.extendedSessionsEnabled": lambda value: value is False,
    f"{HUB}.storeInputsInOrchestrationHistory": is_bool,
    f"{HUB}.useGracefulShutdown": is_bool,
    f"{STORE}.type": text("AzureStorage|azureManaged"),
    f"{STORE}.partitionCount": number(1, 16),
    f"{STORE}.useTablePartitionManagement": is_bool,
    f"{STORE}.controlQueueBatchSize": number(1, 32),
    f"{STORE}.controlQueueBufferThreshold": number(1, 1_000),
    f"{STORE}.maxQueuePollingInterval": span(SECOND / 10, 10 * MINUTE),
    f"{STORE}.controlQueueVisibilityTimeout": span(10 * SECOND, 10 * MINUTE),
    f"{STORE}.workItemQueueVisibilityTimeout": span(10 * SECOND, 10 * MINUTE),
    f"{HUB}.tracing.version": text("None|V1|V2"),
    f"{HUB}.tracing.distributedTracingEnabled": is_bool,
}


def flatten(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its dotted path. Log categories become `*`, because their names contain dots."""
    for key, item in value.items():
        if isinstance(item, dict) and not path.endswith("logLevel."):
            yield from flatten(item, f"{path}{key}.")
        else:
            yield (f"{path}*" if path.endswith("logLevel.") else path + key), item


def invalid_keys(host: dict[str, Any]) -> list[str]:
    """The keys that are unknown or have an invalid value."""
    return [key for key, value in flatten(host) if key not in KNOWN or not KNOWN[key](value)]


def test_every_key_of_host_json_is_known_and_its_value_is_valid() -> None:
    """The host silently ignores unknown keys."""
    assert invalid_keys(HOST) == []


def changed(path: str, value: Any, *, name: str | None = None) -> dict[str, Any]:
    """host.json with another value, or with a key under another name."""
    host: dict[str, Any] = json.loads(json.dumps(HOST))
    *sections, key = path.split(".")
    place = host
    for part in sections:
        place = place.setdefault(part, {})
    place.pop(key, None)
    place[name or key] = value
    return host


@pytest.mark.parametrize("path", [path for path, _ in flatten(HOST) if not path.endswith("*")])
def test_a_typo_in_host_json_is_found(path: str) -> None:
    """The typos are another case and a missing last character, in each of its keys."""
    key = path.rpartition(".")[2]
    for typo in (key.lower() if key.lower() != key else key.upper(), key[:-1]):
        host = changed(path, dict(flatten(HOST))[path], name=typo)
        assert invalid_keys(host) == [path.removesuffix(key) + typo]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{HUB}.extendedSessionsEnabled", True),
        (f"{HUB}.maxConcurrentActivityFunctions", 0),
        (f"{HUB}.maxConcurrentOrchestratorFunctions", 0),
        (f"{STORE}.partitionCount", 0),
        (f"{STORE}.partitionCount", 17),
        (f"{STORE}.type", "AzureTables"),
        (f"{HUB}.hubName", "blob-data-sharing"),
        (f"{HUB}.hubName", "ab"),
        (f"{HUB}.versionMatchStrategy", "Older"),
        (f"{HUB}.versionFailureStrategy", "Ignore"),
        (f"{HUB}.tracing.version", "V3"),
        ("extensions.queues.messageEncoding", "utf8"),
        ("extensions.queues.batchSize", 0),
        ("extensions.queues.batchSize", 33),
        ("extensions.queues.batchSize", "16"),
        ("extensions.queues.maxPollingInterval", "00:00:00.0999"),
        (f"{STORE}.controlQueueVisibilityTimeout", "1 minute"),
    ],
)
def test_a_fatal_value_in_host_json_is_found(path: str, value: Any) -> None:
    """The real host answers 503 to every call with it."""
    assert invalid_keys(changed(path, value)) == [path]


@pytest.mark.parametrize("version", ["2", "v10", "1.10.0", "0e6109b", ""])
def test_a_version_that_does_not_compare_is_found(version: str) -> None:
    """The host compares `major.minor` as numbers, and anything else as text."""
    assert invalid_keys(changed(f"{HUB}.defaultVersion", version)) == [f"{HUB}.defaultVersion"]


@pytest.mark.parametrize(
    "line",
    [
        '{ // a comment\n"version": "2.0"}',
        '{"version": "2.0" /* a comment */}',
        '{"version": "2.0",}',
        '{"version": "2.0", "version": "2.0"}',
        '\ufeff{"version": "2.0"}',
    ],
)
def test_json_that_is_not_strict_is_found(line: str) -> None:
    """The Python worker cannot read it: the host is `Running` without functions. Of a repeated key, one value is lost."""
    with pytest.raises(ValueError, match=r"line 1|twice|BOM"):
        strict(line)


def test_tracing_is_on() -> None:
    """`version` has no effect without `distributedTracingEnabled`."""
    assert DURABLE["tracing"] == {"distributedTracingEnabled": True, "version": "V2"}


def test_a_host_that_ends_holds_few_messages() -> None:
    """Each of them becomes visible again only ten minutes after it was taken."""
    assert QUEUES["batchSize"] + QUEUES["newBatchThreshold"] <= 8


def test_the_stand_in_for_the_host_accepts_host_json() -> None:
    """It refuses values that are fatal to the real host."""
    assert config.load(ROOT, {}).queues.encoding == "none"


def test_the_timeouts_of_recovery_are_a_minute() -> None:
    """The default is five minutes. After `kill -9`, work continues after 73 seconds instead of 312."""
    store = DURABLE["storageProvider"]
    timeouts = [store["controlQueueVisibilityTimeout"], store["workItemQueueVisibilityTimeout"]]
    assert [timespan(value) for value in timeouts] == [MINUTE, MINUTE]


def test_a_message_becomes_poison_only_after_minutes() -> None:
    """By then, a restart of storage is over."""
    assert timespan(QUEUES["visibilityTimeout"]) * QUEUES["maxDequeueCount"] >= 5 * MINUTE


def test_the_host_accepts_ids_and_names() -> None:
    """They consist of letters, digits and dashes, which URLs, table keys and blob names need not encode."""
    safe = re.compile("[A-Za-z0-9-]{1,90}")
    assert safe.fullmatch(RUN.transfer.id)
    for pattern in (TRANSFER_ID_PATTERN, MESSAGE_ID_PATTERN):
        for hostile in ("#", "?", "@x", " ", "\\", "/", "\x00", "é"):
            assert not pattern.fullmatch(RUN.transfer.id[:-1] + hostile)
            assert not pattern.fullmatch(f"message-{'0' * 63}{hostile}")
    assert HUB_NAME.fullmatch(DURABLE["hubName"])


# Methods of the SDK that do not do what their names suggest.
MISLEADING = {
    "get_status_all": "returns only the first hundred",
    "get_status_by": "returns only the first hundred, and ignores a filter that it cannot read",
    "purge_instance_history_by": "deletes every finished instance of its period, regardless of the ids",
    "create_check_status_response": "reveals the system key",
    "create_http_management_payload": "reveals the system key",
    "wait_for_completion_or_create_check_status_response": "reveals the system key",
    "get_client_response_links": "reveals the system key",
    "call_activity_with_retry": "cannot back off, and its last timer fires immediately",
    "get_json": "fails as a 500 with an empty body",
}


def test_the_app_does_not_call_misleading_methods() -> None:
    called = {
        node.attr: f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert {name: called[name] for name in MISLEADING if name in called} == {}


LOST = RuntimeError("python exited with code 137")
WALKS: dict[str, dict[str, Any]] = {
    "small": {"start": VERIFIED},
    "polled": {"start": [WAITING, VERIFIED], "check": [WAITING, AGAIN]},
    "superseded": {"start": SUPERSEDED, "record": SETTLE},
    "refused": {"start": [LOST, THROTTLED, FORBIDDEN], "record": SETTLE, "clean": Outcome(Verdict.DONE)},
}
# Running instances keep the version that they started with. To change a line here, raise `defaultVersion`, branch on
# `context.version`, and add the new version's lines beside the old ones.
ACTIONS = {
    "1.0": {
        "small": "any(cancel transfer_start)",
        "polled": "any(cancel transfer_start) any(timer) any(transfer_check) any(timer) any(transfer_check) any(transfer_start)",
        "superseded": "any(cancel transfer_start) transfer_record timer transfer_clean",
        "refused": "any(cancel transfer_start) any(timer) any(transfer_start) any(timer) any(transfer_start) transfer_record timer transfer_clean transfer_close",
    }
}


@pytest.mark.parametrize("walk", WALKS)
def test_the_actions_of_a_transfer_are_those_of_its_version(make_harness: MakeHarness, walk: str) -> None:  # noqa: F811  # the fixture
    """A release that changes them without a new version breaks the running instances."""
    harness = make_harness(**WALKS[walk]).run()
    assert len(harness.inputs) == 1
    assert " ".join(map(describe, harness.actions)) == ACTIONS[DURABLE["defaultVersion"]][walk]


def describe(action: dict[str, Any]) -> str:
    """An action as text: the name of an activity or event, `timer`, or `any(...)` with the new actions of a `task_any`."""
    match action["actionType"]:
        case 0:
            return str(action["functionName"])
        case 5:
            return "timer"
        case 6:
            return str(action["externalEventName"])
        case 11:
            return f"any({' '.join(map(describe, action['compoundActions']))})"
        case other:
            raise AssertionError(f"unknown type of action: {other}")

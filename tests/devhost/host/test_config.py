"""host.json and the environment: the defaults, and the values that the real host cannot start with."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from devhost.host import config
from devhost.host.config import ConfigError


def load(folder: Path, extensions: dict[str, Any], **environment: str) -> config.Config:
    """Load the configuration of an app whose host.json has these extensions."""
    (folder / "function_app.py").touch()
    (folder / "host.json").write_text(json.dumps({"version": "2.0", "extensions": extensions}))
    return config.load(folder, environment)


def test_the_defaults_are_the_real_hosts(tmp_path: Path) -> None:
    found = load(tmp_path, {})
    assert (found.port, found.route_prefix, found.hub) == (7071, "api", "TestHubName")
    assert (found.queues.encoding, found.queues.max_dequeue_count, found.queues.batch_size) == ("base64", 5, 16)
    assert found.queues.max_polling_interval == timedelta(minutes=1)
    assert found.queues.visibility_timeout == timedelta(0)
    assert found.queues.new_batch_threshold == 8 * (os.cpu_count() or 1)


@pytest.mark.parametrize(
    "extensions",
    [
        {"durableTask": {"extendedSessionsEnabled": True}},
        {"durableTask": {"maxConcurrentActivityFunctions": 0}},
        {"durableTask": {"maxConcurrentOrchestratorFunctions": 0}},
        {"durableTask": {"storageProvider": {"partitionCount": 0}}},
        {"durableTask": {"storageProvider": {"partitionCount": 17}}},
        {"durableTask": {"storageProvider": {"type": "AzureStorag"}}},
        {"durableTask": {"versionMatchStrategy": "Older"}},
        {"durableTask": {"versionFailureStrategy": "Ignore"}},
        {"durableTask": {"tracing": {"version": "V3"}}},
        {"durableTask": {"hubName": "ab"}},
        {"durableTask": {"hubName": "with-dash"}},
        {"durableTask": {"hubName": "%HUB%"}},
        {"durableTask": {"hubName": "%NOWHERE%"}},
        {"durableTask": {"tracing": {"distributedTracingEnabled": True, "version": "V3"}}},
        {"queues": {"messageEncoding": "utf8"}},
        {"queues": {"batchSize": 0}},
        {"queues": {"batchSize": 33}},
        {"queues": {"maxPollingInterval": "00:00:00.099"}},
        {"queues": {"visibilityTimeout": "soon"}},
    ],
)
def test_a_fatal_value_is_refused(tmp_path: Path, extensions: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, extensions, HUB="a-b")
    assert "\n" not in str(refusal.value)


def test_words_are_read_in_any_case(tmp_path: Path) -> None:
    load(tmp_path, {"durableTask": {"versionMatchStrategy": "strict", "storageProvider": {"type": "AZURESTORAGE"}}})


def test_unknown_keys_are_ignored_silently(tmp_path: Path) -> None:
    """As on the real host, typos are accepted."""
    assert load(tmp_path, {"queues": {"batchsize": 99}, "nonsense": 1}).queues.batch_size == 16


@pytest.mark.parametrize("port", ["x", "-1", "70710"])
def test_an_invalid_port_is_named(tmp_path: Path, port: str) -> None:
    with pytest.raises(ConfigError, match="HOST_PORT"):
        load(tmp_path, {}, HOST_PORT=port)


@pytest.mark.parametrize(
    ("tracing", "traced"),
    [({}, False), ({"version": "V2"}, False), ({"distributedTracingEnabled": True, "version": "V2"}, True)],
)
def test_a_version_alone_traces_nothing(tmp_path: Path, tracing: dict[str, Any], *, traced: bool) -> None:
    assert load(tmp_path, {"durableTask": {"tracing": tracing}}).traced is traced

"""The host's configuration: the environment and `host.json`, with the refusals of the real host.

Like the real host, it ignores unknown keys silently. The refused values were measured: with one of them, a real host never
answers.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Any

MAX_PORT = 65535
HUB_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,44}")
MIN_POLLING = timedelta(milliseconds=100)
OVERRIDE = "AzureFunctionsJobHost__"
# Settings of `extensions` with fixed values, in any case, and whole numbers with their ranges. Other values are fatal.
WORDS = {
    "durableTask.storageProvider.type": ("AzureStorage", "azureManaged", "mssql", "netherite"),
    "durableTask.versionMatchStrategy": ("None", "Strict", "CurrentOrOlder"),
    "durableTask.versionFailureStrategy": ("Reject", "Fail"),
    "durableTask.tracing.version": ("None", "V1", "V2"),
    "queues.messageEncoding": ("base64", "none"),
}
RANGES = {
    "durableTask.maxConcurrentActivityFunctions": (1, sys.maxsize),
    "durableTask.maxConcurrentOrchestratorFunctions": (1, sys.maxsize),
    "durableTask.storageProvider.partitionCount": (1, 16),
    "queues.batchSize": (1, 32),
    "queues.maxDequeueCount": (1, sys.maxsize),
}


class ConfigError(Exception):
    """The host cannot start; the text names the value and the fix."""


@dataclass(frozen=True)
class Queues:
    """`extensions.queues`."""

    encoding: str
    max_dequeue_count: int
    visibility_timeout: timedelta
    batch_size: int
    new_batch_threshold: int
    max_polling_interval: timedelta


@dataclass(frozen=True)
class Config:
    """The configuration of a host."""

    app: Path
    port: int
    state: Path
    keys: bool
    early_timers: bool
    route_prefix: str
    queues: Queues
    hub: str
    max_activities: int
    default_version: str | None
    traced: bool


def load(app: Path, environment: Mapping[str, str]) -> Config:
    """Read the environment and the app's host.json. Raises ConfigError."""
    if not (app / "function_app.py").is_file():
        raise ConfigError(f"no function_app.py in {app}. Fix: --app <folder of the app>")
    host = _overridden(_read(app / "host.json"), environment)
    extensions = host.get("extensions") or {}
    durable = extensions.get("durableTask") or {}
    hub = resolve(durable.get("hubName", "TestHubName"), environment)
    _check(extensions)
    if durable.get("extendedSessionsEnabled"):
        raise ConfigError("durableTask.extendedSessionsEnabled must not be true: Python has no extended sessions")
    if not HUB_NAME.fullmatch(hub):
        raise ConfigError(
            f"durableTask.hubName is '{hub}'; it must be 3 to 45 letters and digits and start with a letter"
        )
    return Config(
        app=app,
        port=_number(environment, "HOST_PORT", 7071),
        state=Path(environment.get("DEVHOST_STATE", ".local")).absolute(),
        keys=environment.get("DEVHOST_KEYS") == "1",
        early_timers=environment.get("DEVHOST_EARLY_TIMERS") == "1",
        route_prefix=((extensions.get("http") or {}).get("routePrefix", "api")).strip("/"),
        queues=_queues(extensions.get("queues") or {}),
        hub=hub,
        max_activities=durable.get("maxConcurrentActivityFunctions", 10 * (os.cpu_count() or 1)),
        default_version=durable.get("defaultVersion"),
        traced=(durable.get("tracing") or {}).get("distributedTracingEnabled") is True,
    )


def resolve(text: str, environment: Mapping[str, str]) -> str:
    """Replace `%NAME%` by the app setting NAME. Raises ConfigError if it does not exist."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in environment:
            raise ConfigError(f"'{found[0]}' does not resolve to a value: set the app setting {found[1]}")
        return environment[found[1]]

    return re.sub(r"%([^%]+)%", value, text)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"no host.json in {path.parent}")
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("version") != "2.0":
        raise ConfigError(f'{path} must be an object with "version": "2.0"')
    return found


def _overridden(host: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Apply app settings such as `AzureFunctionsJobHost__extensions__queues__maxDequeueCount` to host.json."""
    for name in sorted(name for name in environment if name.startswith(OVERRIDE)):
        *path, last = name.removeprefix(OVERRIDE).split("__")
        section = host
        for key in path:
            section = section.setdefault(key, {})
        try:
            section[last] = json.loads(environment[name])
        except ValueError:
            section[last] = environment[name]
    return host


def _check(extensions: dict[str, Any]) -> None:
    def setting(path: str) -> Any:
        *sections, key = path.split(".")
        return reduce(lambda section, name: section.get(name) or {}, sections, extensions).get(key)

    for path, words in WORDS.items():
        found = setting(path)
        if found is not None and str(found).lower() not in map(str.lower, words):
            raise ConfigError(f"{path} is {found!r}; it must be one of {', '.join(words)}")
    for path, (low, high) in RANGES.items():
        found = setting(path)
        if found is not None and not (isinstance(found, int) and low <= found <= high):
            raise ConfigError(f"{path} is {found!r}; it must be a whole number from {low} to {high}")


def _queues(queues: dict[str, Any]) -> Queues:
    batch = queues.get("batchSize", 16)
    polling = timespan(queues.get("maxPollingInterval", "00:01:00"))
    if polling < MIN_POLLING:
        raise ConfigError(f"queues.maxPollingInterval is {polling}; it must be 100 milliseconds or more")
    return Queues(
        encoding=str(queues.get("messageEncoding", "base64")).lower(),
        max_dequeue_count=queues.get("maxDequeueCount", 5),
        visibility_timeout=timespan(queues.get("visibilityTimeout", "00:00:00")),
        batch_size=batch,
        new_batch_threshold=queues.get("newBatchThreshold", batch // 2 * (os.cpu_count() or 1)),
        max_polling_interval=polling,
    )


def timespan(text: str) -> timedelta:
    """Read `[d.]hh:mm:ss`, as in host.json and schedules. Raises ConfigError."""
    found = re.fullmatch(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?", str(text))
    if not found:
        raise ConfigError(f"'{text}' is not a time span (hh:mm:ss)")
    days, hours, minutes, seconds = (int(found[n] or 0) for n in range(1, 5))
    fraction = float(f"0.{found[5] or 0}")
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds + fraction)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit() or int(text) > MAX_PORT:
        raise ConfigError(f"{name} is '{text}'; it must be a port number")
    return int(text)

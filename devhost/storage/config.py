"""What the environment says, read once at the start."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

HOST = "127.0.0.1"
STATE_ACCOUNT = "sharingstate"
EVENTS_ACCOUNT = "sharingevents"
EVENT_QUEUE = "blob-events"
ACCOUNTS = ("sharingsource", "sharingtarget", STATE_ACCOUNT, EVENTS_ACCOUNT)
CONTAINERS = (
    ("sharingsource", "source"),
    ("sharingtarget", "target"),
    (STATE_ACCOUNT, "dead-letters"),
    (STATE_ACCOUNT, "reports"),
    (EVENTS_ACCOUNT, "event-dead-letters"),
)
QUEUES = (EVENT_QUEUE, f"{EVENT_QUEUE}-poison")
WATCH = re.compile(r"([^/@]+)/([^/@]+)(?:@([^/@]+))?")

# Published by Microsoft for the emulator, so no secret: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

Place = tuple[str, str]
"""An account and a container in it."""


class Watch(NamedTuple):
    """A container whose new blobs are events, and the account whose queue gets them."""

    account: str
    container: str
    events: str = EVENTS_ACCOUNT

    def __str__(self) -> str:
        return f"{self.account}/{self.container}{'' if self.events == EVENTS_ACCOUNT else f'@{self.events}'}"


class StackError(Exception):
    """The stack cannot run; the message is one line that names the cause and the fix."""


@dataclass(frozen=True, slots=True)
class Config:
    """Where the stack listens, where it keeps its data, what it watches, how fast it copies."""

    blob_port: int
    queue_port: int
    table_port: int
    state: Path
    accounts: tuple[str, ...]
    watch: frozenset[Watch]
    copy_rate: float
    """Bytes a second of an asynchronous copy."""
    copy_seconds: float
    """What the smallest asynchronous copy takes."""
    key: str = field(default=KEY, repr=False)
    """The key of every account; another than the published one tells a leak from a constant."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Config:
        """Read the variables that `--help` lists; raise StackError for one that makes no sense."""
        accounts = tuple(dict.fromkeys((*ACCOUNTS, *_words(env.get("DEVHOST_ACCOUNTS", "")))))
        return cls(
            blob_port=_port(env, "AZURITE_BLOB_PORT", 10000),
            queue_port=_port(env, "AZURITE_QUEUE_PORT", 10001),
            table_port=_port(env, "AZURITE_TABLE_PORT", 10002),
            state=Path(env.get("DEVHOST_STATE") or ".local").absolute() / "storage",
            accounts=accounts,
            watch=watches(env.get("DEVHOST_WATCH") or "sharingsource/source", accounts),
            copy_rate=_positive(env, "DEVHOST_COPY_RATE", 100 * 1024 * 1024),
            copy_seconds=_positive(env, "DEVHOST_COPY_SECONDS", 1),
            key=account_key(env),
        )


def account_key(env: Mapping[str, str]) -> str:
    """The key of every account; StackError, which does not show it, for one that is none."""
    key = env.get("DEVHOST_KEY") or KEY
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise StackError(f"DEVHOST_KEY is not base64. Fix: unset it to use the published key, {KEY}") from None
    return key


def watches(text: str, accounts: Collection[str]) -> frozenset[Watch]:
    """Read `account/container,account/container@events-account`; the events account must be one of `accounts`."""
    found = [WATCH.fullmatch(word) for word in _words(text)]
    read = frozenset(Watch(each[1], each[2], each[3] or EVENTS_ACCOUNT) for each in found if each)
    if not all(found):
        fix = "sharingsource/source,sharingsource/other@sharingevents"
        raise StackError(f"'{text}' is not a list of account/container or account/container@events-account. Fix: {fix}")
    if missing := sorted({watch.events for watch in read}.difference(accounts)):
        raise StackError(f"'{text}' names an unknown events account. Fix: DEVHOST_ACCOUNTS={missing[0]}")
    return read


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    value = _positive(env, name, default)
    if value != int(value) or value > 65535:  # noqa: PLR2004  # the last port there is
        raise StackError(f"{name}={env[name]} is not a port. Fix: a number from 1 to 65535")
    return int(value)


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise StackError(f"{name}={text} is not a positive number. Fix: {name}={default}")
    return value

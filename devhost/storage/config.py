"""The configuration of the storage half, read from the environment at the start."""

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

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
    (STATE_ACCOUNT, "figures"),
    (STATE_ACCOUNT, "ledger"),
    (EVENTS_ACCOUNT, "event-dead-letters"),
)
QUEUES = (EVENT_QUEUE, f"{EVENT_QUEUE}-poison")
FEED_QUEUE = "transfer-ends"
WATCH = re.compile(r"(?:(created|renamed):)?([^/@:]+)/([^/@:]+)(?:@([^/@:]+))?")

# Published by Microsoft for the emulator: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Kind(StrEnum):
    """What a subscription delivers."""

    CREATED = "created"
    """BlobCreated and BlobTierChanged."""
    RENAMED = "renamed"
    """BlobRenamed and DirectoryRenamed, which only an account with a hierarchical namespace raises."""


class Watch(NamedTuple):
    """A container whose blobs raise events, the account whose queue receives them, and the kind; None stands for both."""

    account: str
    container: str
    events: str = EVENTS_ACCOUNT
    kind: Kind | None = None

    def __str__(self) -> str:
        kind = f"{self.kind}:" if self.kind else ""
        return f"{kind}{self.account}/{self.container}{'' if self.events == EVENTS_ACCOUNT else f'@{self.events}'}"


class StackError(Exception):
    """The local stack cannot start, or a part of it ended unexpectedly. The message names the cause and the fix."""


@dataclass(frozen=True, slots=True)
class Config:
    """The ports, the state directory, the accounts, the watched containers and the speed of copies."""

    blob_port: int
    queue_port: int
    table_port: int
    state: Path
    accounts: tuple[str, ...]
    watch: frozenset[Watch]
    copy_rate: float
    """Bytes per second of an asynchronous copy."""
    copy_seconds: float
    """The minimum duration of an asynchronous copy."""
    key: str = field(default=KEY, repr=False)
    """The key of every account. A test sets another key to distinguish a leak from the published constant."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the variables that `--help` lists; raise StackError for an invalid one."""
        accounts = tuple(dict.fromkeys((*ACCOUNTS, *_words(env.get("DEVHOST_ACCOUNTS", "")))))
        return cls(
            blob_port=port(env, "AZURITE_BLOB_PORT", 10000),
            queue_port=port(env, "AZURITE_QUEUE_PORT", 10001),
            table_port=port(env, "AZURITE_TABLE_PORT", 10002),
            state=Path(env.get("DEVHOST_STATE") or ".local").absolute() / "storage",
            accounts=accounts,
            watch=watches(env.get("DEVHOST_WATCH") or "sharingsource/source", accounts),
            copy_rate=_positive(env, "DEVHOST_COPY_RATE", 100 * 1024 * 1024),
            copy_seconds=_positive(env, "DEVHOST_COPY_SECONDS", 1),
            key=_key(env),
        )


def _key(env: Mapping[str, str]) -> str:
    key = env.get("DEVHOST_KEY") or KEY
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        raise StackError(f"DEVHOST_KEY is not base64. Fix: unset it to use the published key, {KEY}") from None
    return key


def watches(text: str, accounts: Collection[str]) -> frozenset[Watch]:
    """Read `account/container,renamed:account/container@events-account`; the events account must be one of `accounts`."""
    found = [WATCH.fullmatch(word) for word in _words(text)]
    read = frozenset(
        Watch(each[2], each[3], each[4] or EVENTS_ACCOUNT, Kind(each[1]) if each[1] else None) for each in found if each
    )
    if not all(found):
        fix = "sharingsource/source,sharingsource/other@sharingevents"
        raise StackError(f"'{text}' is not a list of account/container or account/container@events-account. Fix: {fix}")
    if missing := sorted({watch.events for watch in read}.difference(accounts)):
        raise StackError(f"'{text}' names an unknown events account. Fix: DEVHOST_ACCOUNTS={missing[0]}")
    return read


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def port(env: Mapping[str, str], name: str, default: int) -> int:
    """Read a port from a variable; raise StackError if it is invalid."""
    text = env.get(name) or str(default)
    if not (text.isdecimal() and 0 < int(text[:6]) <= 65535):  # noqa: PLR2004  # the highest port
        raise StackError(f"{name}={text!r} is not a port. Fix: a number from 1 to 65535, or unset it for {default}")
    return int(text)


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise StackError(f"{name}={text} is not a positive number. Fix: {name}={default}")
    return value

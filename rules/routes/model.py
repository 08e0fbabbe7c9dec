"""Routes, and the places that they connect."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from rules.routes.filters import is_excluded
from rules.routes.names import is_probe, percent_encoded

# The most bytes that a blob can have: 50,000 blocks of 4,000 MiB.
MAX_SIZE = 50_000 * 4_000 * 1024 * 1024
# The access tiers that a copy can set, and the value of `Route.tier` for that of the source.
TIERS, SAME_TIER = ("Hot", "Cool", "Cold"), "same"


class Engine(StrEnum):
    """How the storage service copies: Copy Blob From URL, Copy Blob, or Put Block From URL with Put Block List."""

    SYNC = "sync"
    ASYNC = "async"
    BLOCKS = "blocks"


class EnginePreference(StrEnum):
    """The engine that a route asks for; with `auto`, `policies.choose_engine` chooses."""

    AUTO = "auto"
    SYNC = "sync"
    ASYNC = "async"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Blob:
    """The address of a blob. `name` is raw: the characters that its owner used, not encoded."""

    endpoint: str
    container: str
    name: str

    @property
    def url(self) -> str:
        """The canonical URL, without SAS: the name percent-encoded once, except `/` and `~`."""
        return f"{self.endpoint}/{self.container}/{percent_encoded(self.name)}"


@dataclass(frozen=True, slots=True)
class Place:
    """A container and a prefix in it, as source or target of a route. `endpoint` has no trailing slash."""

    endpoint: str
    container: str
    prefix: str = ""

    @property
    def account(self) -> str:
        """The account's name: the first label of the host, or the first path segment of the emulator's URL."""
        host, _, path = self.endpoint.removeprefix("https://").removeprefix("http://").partition("/")
        return path or host.partition(".")[0]

    @property
    def url(self) -> str:
        """The canonical URL of the container and prefix."""
        return self.blob("").url

    def blob(self, rest: str) -> Blob:
        """Return the blob of this place with this rest of the name after the prefix."""
        return Blob(self.endpoint, self.container, self.prefix + rest)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where a route announces what it has shared: a storage queue, or with `queue` empty an Event Grid topic.

    `endpoint` is that of the queue service, or the topic's whole URL. `tenant`: as `Route.tenant`.
    """

    endpoint: str
    queue: str = ""
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """So many percent of a route's transfers are verified within this time."""

    percentile: float
    within: timedelta


@dataclass(frozen=True, slots=True)
class Route:
    """A source, a target and how to copy between them. Several routes may have the same source.

    `exclude`, `min_size` and `max_size` are its filters.
    """

    name: str
    source: Place
    target: Place
    suffix: str = ""
    engine: EnginePreference = EnginePreference.AUTO
    deadline: timedelta | None = None
    tier: str | None = None
    reconcile: timedelta | None = None
    exclude: tuple[str, ...] = ()
    min_size: int = 0
    max_size: int | None = None
    # Events are ignored, and no scheduled reconcile starts.
    paused: bool = False
    objective: Objective | None = None
    # The bytes of a UTC day after which events are ignored, and whether that is so now: the configuration does not tell.
    daily_bytes: int | None = None
    over_budget: bool = False
    # The Entra tenant of the target's account, if it is not the app's own. Not a part of `Place`: a transfer does not store it.
    tenant: str | None = None
    notify: Recipient | None = None

    def foreign_endpoints(self) -> list[tuple[str, str]]:
        """Return the endpoints in other tenants, each with its tenant."""
        ends = [
            (self.target.endpoint, self.tenant),
            *([(self.notify.endpoint, self.notify.tenant)] if self.notify else []),
        ]
        return [(endpoint, tenant) for endpoint, tenant in ends if tenant]

    @property
    def ignores_events(self) -> bool:
        """Whether events are ignored, and no scheduled reconcile starts."""
        return self.paused or self.over_budget

    def starts_in(self, account: str, container: str) -> bool:
        """Whether the source is in this container."""
        return (self.source.account, self.source.container) == (account, container)

    def covers(self, account: str, container: str, name: str) -> bool:
        """Whether the name has the prefix, the rest ends with the suffix, and it is no probe. The filters may still exclude it."""
        return (
            self.starts_in(account, container)
            and name.startswith(self.source.prefix)
            and name.removeprefix(self.source.prefix).endswith(self.suffix)
            and not is_probe(name)
        )

    def excludes(self, rest: str) -> bool:
        """Whether a filter excludes names with this rest after the prefix."""
        return is_excluded(self.exclude, rest)

    def excludes_folder(self, prefix: str) -> bool:
        """Whether a filter excludes every name that begins with this folder, which ends with a slash."""
        return is_excluded(
            tuple(glob for glob in self.exclude if glob.endswith("*")), prefix.removeprefix(self.source.prefix)
        )

    def carries(self, account: str, container: str, name: str) -> bool:
        """Whether the route copies blobs of this name, if it `admits` their size."""
        return self.covers(account, container, name) and not self.excludes(name.removeprefix(self.source.prefix))

    def admits(self, size: int) -> bool:
        """Whether the filters let blobs of this size through."""
        return self.min_size <= size and (self.max_size is None or size <= self.max_size)


@dataclass(frozen=True, slots=True)
class Pause:
    """The record that a route is paused, since about this time. `ending`: the app starts the reconcile that follows it."""

    route: str
    since: datetime
    ending: bool = False

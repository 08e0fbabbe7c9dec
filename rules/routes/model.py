"""Routes and the places that they connect."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from rules.routes.names import percent_encoded


class Engine(StrEnum):
    """How the storage service is asked to copy."""

    SYNC = "sync"
    ASYNC = "async"


class EnginePreference(StrEnum):
    """The engine that a route wants; `auto` leaves it to `policies.choose_engine`."""

    AUTO = "auto"
    SYNC = "sync"
    ASYNC = "async"


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob's address. `name` is raw: exactly the characters that its owner gave it."""

    endpoint: str
    container: str
    name: str

    @property
    def url(self) -> str:
        """The canonical URL: the name percent-encoded once, `/` and `~` kept, without SAS."""
        return f"{self.endpoint}/{self.container}/{percent_encoded(self.name)}"


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a route: a container and a prefix in it. `endpoint` has no trailing slash."""

    endpoint: str
    container: str
    prefix: str = ""

    @property
    def account(self) -> str:
        """The account's name: the first label of its host, or the emulator's first path segment."""
        host, _, path = self.endpoint.removeprefix("https://").removeprefix("http://").partition("/")
        return path or host.partition(".")[0]

    @property
    def url(self) -> str:
        """The canonical URL of the container and prefix."""
        return self.blob("").url

    def blob(self, rest: str) -> Blob:
        """The blob of this place whose name goes on with `rest` after the prefix."""
        return Blob(self.endpoint, self.container, self.prefix + rest)


@dataclass(frozen=True, slots=True)
class Route:
    """Where versions go. Several routes with one source are several targets."""

    name: str
    source: Place
    target: Place
    suffix: str = ""
    engine: EnginePreference = EnginePreference.AUTO
    deadline: timedelta | None = None
    tier: str | None = None
    reconcile: timedelta | None = None

    def starts_in(self, account: str, container: str) -> bool:
        """Whether its source is that container, or a part of it."""
        return (self.source.account, self.source.container) == (account, container)

    def carries(self, account: str, container: str, name: str) -> bool:
        """Whether a blob of that name, there, is this route's: prefix, anything, suffix; the target keeps the last two."""
        return (
            self.starts_in(account, container)
            and name.startswith(self.source.prefix)
            and name.removeprefix(self.source.prefix).endswith(self.suffix)
        )

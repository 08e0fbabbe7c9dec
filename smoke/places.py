"""Routes, and the blobs at their ends. A prefix is a blob whose name others begin with."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from smoke.trouble import Trouble

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob, or the prefix of many: its account's endpoint, its container, its name as it is, not encoded."""

    endpoint: str
    container: str
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """What ROUTES says of one route, as far as it matters here."""

    name: str
    source: Blob
    target: Blob
    suffix: str
    engine: str

    def carry(self, blob: Blob) -> Blob | None:
        """Where this route takes a blob; None if it does not."""
        if (blob.endpoint, blob.container) != (self.source.endpoint, self.source.container):
            return None
        if not (blob.name.startswith(self.source.name) and blob.name.endswith(self.suffix)):
            return None
        return replace(self.target, name=self.target.name + blob.name.removeprefix(self.source.name))


def read(text: str) -> tuple[Route, ...]:
    """The routes of ROUTES, which the app has checked already.

    Raises:
        Trouble: it is not what the app would take.
    """
    try:
        return tuple(_route(item) for item in json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise Trouble(
            f"ROUTES cannot be read ({type(error).__name__}). Fix: azd provision --no-state, which writes it again"
        ) from None


def _route(item: dict[str, Any]) -> Route:
    return Route(
        item["name"], _end(item["source"]), _end(item["target"]), item.get("suffix", ""), item.get("engine", "auto")
    )


def _end(url: str) -> Blob:
    parts = urlsplit(url)
    endpoint, path = f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
    if is_loopback(url):  # the emulator has its accounts in the path
        account, _, path = path.partition("/")
        endpoint = f"{endpoint}/{account}"
    container, _, prefix = path.partition("/")
    return Blob(endpoint, container, unquote(prefix))


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    return urlsplit(url).hostname in LOOPBACK


def safe(url: str, name: str) -> str:
    """A URL that a key or a token may be sent to: by TLS, or to this machine.

    Raises:
        Trouble: it is another.
    """
    if urlsplit(url).scheme == "https" or is_loopback(url):
        return url.rstrip("/")
    raise Trouble(f"{name} is {url!r}, and keys are sent only over https. Fix: use https")


def journey(routes: Iterable[Route], blob: Blob) -> Iterator[tuple[Route, Blob]]:
    """Every route that carries a blob, and where to; what arrives in another route's source goes on from there."""
    routes = tuple(routes)
    for route in routes:
        if (there := route.carry(blob)) is not None:
            yield route, there
            yield from journey(routes, there)

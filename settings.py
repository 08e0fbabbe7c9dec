"""The only reader of the app's own environment: one frozen dataclass, and for every mistake one message with its fix."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from rules.models import Route
from rules.policies import Times
from rules.redaction import text_without_secrets
from rules.routes import InvalidRoute, is_loopback, read

# The host's own connection: its account holds the queue, the dead letters and the task hub.
STATE = "AzureWebJobsStorage"
VARIABLES: dict[str, str] = {
    "ROUTES": "The routes, a JSON list. Required.",
    STATE: "The state account as a connection string: the emulator on loopback alone.",
    f"{STATE}__accountName": "The state account by its name, reached with the app's identity.",
    f"{STATE}__clientId": "The client id of the user-assigned identity to use; left out for the system-assigned one.",
    f"{STATE}__blobServiceUri": "The state account's blob endpoint, instead of its name.",
    f"{STATE}__queueServiceUri": "The state account's queue endpoint, instead of its name.",
    "WINDOW_SECONDS": "The protocol's window; request timeout and settle are 4 and 6 times as long. Default 15.",
}
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
ROUTES_FIX = (
    'Set it to a JSON list such as [{"name":"default","source":"https://mysource.blob.core.windows.net/source/",'
    '"target":"https://mytarget.blob.core.windows.net/target/"}].'
)
STATE_FIX = f"Set {STATE}__accountName to the state account's name."
# A URL's query and user, and what follows a key's or a signature's name: a message is pasted into tickets.
SECRET = re.compile(r"(?i)(\?|(?:AccountKey|SharedAccessSignature|sig)=)[^\"'\s;]+|(//)[^/\"'\s]*(?=@)")


class InvalidSetting(ValueError):
    """A setting that stops the start; the message names the variable, its value and the fix, and holds no secret."""

    def __init__(self, variable: str, value: str | None, problem: str, fix: str) -> None:
        shown = "is not set" if value is None else f"is {_without_secrets(value)!r}"
        super().__init__(f"The setting {variable} {shown}: {_without_secrets(problem)}. Fix: {fix}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the app is told. `key` is the emulator's account key, and None on Azure."""

    routes: tuple[Route, ...]
    state_blobs: str
    state_queues: str
    key: str | None = field(default=None, repr=False)
    client_id: str | None = None
    times: Times = field(default_factory=Times)


def from_env(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        InvalidSetting: the first one that is missing or wrong.
    """
    state_blobs, state_queues, key = _state(environment)
    routes = _routes(environment.get("ROUTES"))
    _one_world(routes, key)
    client_id = environment.get(f"{STATE}__clientId") or None
    return Settings(routes, state_blobs, state_queues, key, client_id, _times(environment.get("WINDOW_SECONDS")))


def _routes(text: str | None) -> tuple[Route, ...]:
    if not text:
        raise InvalidSetting("ROUTES", text, "the app does not know what to share", ROUTES_FIX)
    try:
        return read(text)
    except InvalidRoute as error:
        raise InvalidSetting("ROUTES", text, str(error), ROUTES_FIX) from None


def _without_secrets(text: str) -> str:
    return text_without_secrets(SECRET.sub(r"\1\2...", text))


def _times(text: str | None) -> Times:
    if text is None:
        return Times()
    fix = "Set it to seconds between 0.5 and 60, or leave it out for 15."
    try:
        window = float(text)
    except ValueError:
        raise InvalidSetting("WINDOW_SECONDS", text, "it is no number", fix) from None
    if not 0.5 <= window <= 60:  # noqa: PLR2004  # said in the fix
        raise InvalidSetting("WINDOW_SECONDS", text, "it is out of range", fix)
    return Times(window)


def _state(environment: Mapping[str, str]) -> tuple[str, str, str | None]:
    """The state account's blob and queue endpoints, and the emulator's key."""
    if connection := environment.get(STATE):
        return _emulator(connection)
    if account := environment.get(f"{STATE}__accountName"):
        if not ACCOUNT.fullmatch(account):
            raise InvalidSetting(f"{STATE}__accountName", account, "it is no account name", STATE_FIX)
        return f"https://{account}.blob.core.windows.net", f"https://{account}.queue.core.windows.net", None
    return _endpoint(environment, "blob"), _endpoint(environment, "queue"), None


def _endpoint(environment: Mapping[str, str], service: str) -> str:
    variable = f"{STATE}__{service}ServiceUri"
    url = environment.get(variable)
    if url is None:
        raise InvalidSetting(variable, None, "the app does not know its state account", STATE_FIX)
    parts = _split(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.username or parts.path.strip("/"):
        fix = f"Set it to https://<account>.{service}.core.windows.net, or set {STATE}__accountName instead."
        raise InvalidSetting(variable, url, "it is no https endpoint", fix)
    return url.rstrip("/")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets that do not close
        return urlsplit("")


def _emulator(connection: str) -> tuple[str, str, str]:
    """A connection string holds a key, so it is never shown, and taken for the emulator alone."""
    fields = dict(part.partition("=")[::2] for part in connection.split(";") if part)
    blobs, queues, key = fields.get("BlobEndpoint", ""), fields.get("QueueEndpoint", ""), fields.get("AccountKey", "")
    local = all(is_loopback(_split(url).hostname or "") for url in (blobs, queues))
    if not (local and key):
        problem = "a connection string is taken for the emulator on this machine alone, with BlobEndpoint, QueueEndpoint and AccountKey"
        raise InvalidSetting(STATE, "(hidden)", problem, f"Remove it: on Azure, s{STATE_FIX[1:]}")
    return blobs.rstrip("/"), queues.rstrip("/"), key


def _one_world(routes: tuple[Route, ...], key: str | None) -> None:
    """All accounts are the emulator's, or none: its key opens nothing else, and the identity opens nothing of it."""
    where, others = ("on Azure", "the emulator") if key is None else ("the emulator", "on Azure")
    for route in routes:
        for place in (route.source, route.target):
            if is_loopback(urlsplit(place.endpoint).hostname or "") is (key is None):
                problem = f"the route {route.name!r} leads to {place.url} ({others}), and the state account is {where}"
                raise InvalidSetting("ROUTES", place.url, problem, f"Let every account be {where}.")

"""Reads the app's environment variables into a frozen dataclass. Errors name the variable, its value and a fix."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from rules.figures.view import Price
from rules.redaction import text_without_secrets
from rules.routes.config import GUID, InvalidRoute, is_loopback, read
from rules.routes.model import Place, Route
from rules.transfers.blocks import MIB, Sizes
from rules.transfers.policies import Times

# The app's own accounts, by the names of the host's connections. Event Grid writes to the events account. That account
# therefore holds only the queue blob-events, its poison queue and the container event-dead-letters.
STATE, EVENTS = "AzureWebJobsStorage", "EVENTS"
OWN_ACCOUNTS = {STATE: "state account", EVENTS: "events account"}


def _variables(connection: str, account: str) -> dict[str, str]:
    return {
        connection: f"The {account} as a connection string; only for an emulator on loopback.",
        f"{connection}__accountName": f"The {account}'s name; the app uses its identity.",
        f"{connection}__clientId": "The client ID of the user-assigned identity. Omit it to use the system-assigned identity.",
        f"{connection}__blobServiceUri": f"The {account}'s blob endpoint, instead of the account name.",
        f"{connection}__queueServiceUri": f"The {account}'s queue endpoint, instead of the account name.",
    }


VARIABLES: dict[str, str] = {
    "ROUTES": "The routes, a JSON list. Required.",
    **_variables(STATE, OWN_ACCOUNTS[STATE]),
    **_variables(EVENTS, OWN_ACCOUNTS[EVENTS]),
    "SHARING_CLIENT_ID": "The client ID of the app registration that writes to targets in other tenants ([partners.md](partners.md)). Required if a route names a tenant.",
    "READ_ONLY": "`true`: the API refuses every call that changes something, with 403. Events, schedules and timers go on. Default: `false`.",
    "EGRESS_PRICE_PER_GIB": "What a GiB of egress costs, a number such as 0.02. [Figures](figures.md#egress) and dry runs then estimate costs.",
    "EGRESS_CURRENCY": "The currency of that price, three letters. Default: USD.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "The URL of an OpenTelemetry collector, such as `https://collector.example:4318`. Each minute the app sends its [metrics](figures.md#metrics) to `/v1/metrics` below it, as OTLP/HTTP in JSON. `http` only on loopback or without headers.",
    "OTEL_EXPORTER_OTLP_HEADERS": "The headers of these requests, such as `api-key=...`: pairs with commas between them, their values URL-encoded. A secret; the app never shows it.",
    "OTEL_SERVICE_NAME": "The service that the metrics belong to. Default: `blob-data-sharing`.",
    "TRACE_URL": "The URL of a transfer's trace, with `{trace_id}` where its 32 digits go, such as `https://jaeger.example/trace/{trace_id}`. The API and the [dashboard](dashboard.md) then link to it.",
    "WINDOW_SECONDS": "The protocol's window: for how many seconds after a read the app may act on it, 0.5 to 60. The request timeout is 4 times and the settle time 6 times as long. Default: 15.",
    "SIZE_UNIT_BYTES": "The unit of the engines' sizes: sync copies up to 256 units, one activity stages up to 2,048, a block has 32 or more. 1 to 1048576. Smaller than the default, 1048576, is for tests with small blobs.",
}
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
ROUTES_FIX = (
    'Set it to a JSON list such as [{"name":"default","source":"https://mysource.blob.core.windows.net/source/",'
    '"target":"https://mytarget.blob.core.windows.net/target/"}].'
)
# The query and user of a URL, and the values of keys and signatures. Errors must not show them: error messages are pasted
# into tickets.
SECRET = re.compile(r"(?i)(\?|(?:AccountKey|SharedAccessSignature|sig)=)[^\"'\s;]+|(//)[^/\"'\s]*(?=@)")


HEADER_NAME, HEADER_VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(r"[\x20-\x7e]+")


class InvalidSetting(ValueError):
    """A setting that stops the start. The message names the variable, its value and the fix, and holds no secret."""

    def __init__(self, variable: str, value: str | None, problem: str, fix: str) -> None:
        shown = "is not set" if value is None else f"is {_without_secrets(value)!r}"
        super().__init__(f"The setting {variable} {shown}: {_without_secrets(problem)}. Fix: {fix}")


@dataclass(frozen=True, slots=True)
class Account:
    """The endpoints of one of the app's own accounts. `key` is the emulator's account key, None on Azure."""

    blobs: str
    queues: str
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where the app sends its metrics, and where its traces can be seen. `headers` may hold a secret."""

    metrics_url: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    service: str = "blob-data-sharing"
    trace_url: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated settings."""

    routes: tuple[Route, ...]
    state: Account
    events: Account
    client_id: str | None = None
    sharing_client_id: str | None = None
    times: Times = field(default_factory=Times)
    sizes: Sizes = field(default_factory=Sizes)
    price: Price | None = None
    read_only: bool = False
    telemetry: Telemetry = field(default_factory=Telemetry)

    @property
    def key(self) -> str | None:
        """The emulator's account key, the same for all accounts; None on Azure."""
        return self.state.key


def from_env(environment: Mapping[str, str]) -> Settings:
    """Read and validate the settings.

    Raises:
        InvalidSetting: for the first setting that is missing or invalid.
    """
    state, events = (_account(environment, connection) for connection in OWN_ACCOUNTS)
    _check_own_accounts(environment, state, events)
    client_id = _client_id(environment, events)
    routes = _routes(environment.get("ROUTES"))
    _check_all_on_azure_or_emulator(routes, state.key)
    _check_not_own_account(routes, (state, events))
    sharing_client_id = _sharing_client_id(environment, routes, client_id)
    times = Times(_number(environment, "WINDOW_SECONDS", Times().window, (0.5, 60)))
    sizes = Sizes(round(_number(environment, "SIZE_UNIT_BYTES", MIB, (1, MIB))))
    price = _price(environment)
    read_only = _read_only(environment)
    telemetry = _telemetry(environment)
    return Settings(routes, state, events, client_id, sharing_client_id, times, sizes, price, read_only, telemetry)


def _routes(text: str | None) -> tuple[Route, ...]:
    if not text:
        raise InvalidSetting("ROUTES", text, "no route is configured", ROUTES_FIX)
    try:
        return read(text)
    except InvalidRoute as error:
        raise InvalidSetting("ROUTES", text, str(error), ROUTES_FIX) from None


def _price(environment: Mapping[str, str]) -> Price | None:
    variable, currency = "EGRESS_CURRENCY", environment.get("EGRESS_CURRENCY") or "USD"
    if not re.fullmatch("[A-Z]{3}", currency):
        raise InvalidSetting(variable, currency, "not a currency", "Set it to three capital letters, such as EUR.")
    if not environment.get("EGRESS_PRICE_PER_GIB"):
        return None
    return Price(_number(environment, "EGRESS_PRICE_PER_GIB", 0, (0, 1_000)), currency)


def _without_secrets(text: str) -> str:
    return text_without_secrets(SECRET.sub(r"\1\2...", text))


def _read_only(environment: Mapping[str, str]) -> bool:
    text = environment.get("READ_ONLY", "false")
    if text not in {"true", "false"}:
        raise InvalidSetting("READ_ONLY", text, "neither true nor false", "Set it to `true`, or omit it.")
    return text == "true"


def _number(environment: Mapping[str, str], variable: str, default: float, limits: tuple[float, float]) -> float:
    text = environment.get(variable)
    if text is None:
        return default
    fix = f"Set it to a number from {limits[0]:g} to {limits[1]:.7g}, or omit it for the default of {default:.7g}."
    try:
        number = float(text)
    except ValueError:
        raise InvalidSetting(variable, text, "not a number", fix) from None
    if not limits[0] <= number <= limits[1]:
        raise InvalidSetting(variable, text, "out of range", fix)
    return number


def _telemetry(environment: Mapping[str, str]) -> Telemetry:
    variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
    endpoint = environment.get(variable) or None
    headers = _headers(environment.get("OTEL_EXPORTER_OTLP_HEADERS", ""))
    if endpoint is not None:
        parts = _split(endpoint)
        plain = parts.scheme == "http" and (not headers or is_loopback(parts.hostname or ""))
        if not (parts.scheme == "https" or plain) or not parts.hostname or parts.query or parts.username:
            problem = "not the https endpoint of a collector; http shows the headers to everybody on the way"
            raise InvalidSetting(variable, endpoint, problem, "Set it to a URL such as https://collector.example:4318.")
    return Telemetry(
        endpoint and f"{endpoint.rstrip('/')}/v1/metrics",
        headers,
        environment.get("OTEL_SERVICE_NAME") or Telemetry().service,
        _trace_url(environment.get("TRACE_URL") or None),
    )


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    if text.startswith("@Microsoft.KeyVault("):
        fix = "Give the app's identity the role Key Vault Secrets User on the secret, and restart the app."
        raise InvalidSetting("OTEL_EXPORTER_OTLP_HEADERS", text, "a Key Vault reference that Azure cannot resolve", fix)
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    found = tuple((name.strip(), unquote(value.strip())) for name, _, value in pairs)
    if not all(HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value) for name, value in found):
        fix = "Set it to pairs such as api-key=value, with commas between them, the values URL-encoded."
        raise InvalidSetting("OTEL_EXPORTER_OTLP_HEADERS", "(hidden)", "not a list of headers", fix)
    return found


def _trace_url(url: str | None) -> str | None:
    if url is None:
        return None
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or url.count("{trace_id}") != 1:
        fix = "Set it to a URL such as https://jaeger.example/trace/{trace_id}."
        raise InvalidSetting("TRACE_URL", url, "not a URL with `{trace_id}` once", fix)
    return url


def _account(environment: Mapping[str, str], connection: str) -> Account:
    """Read one of the app's own accounts in the same way as the host reads its connection."""
    if text := environment.get(connection):
        return _emulator_account(connection, text)
    if name := environment.get(f"{connection}__accountName"):
        if not ACCOUNT.fullmatch(name):
            raise InvalidSetting(
                f"{connection}__accountName", name, "not a storage account name", _fix_account_name(connection)
            )
        return Account(f"https://{name}.blob.core.windows.net", f"https://{name}.queue.core.windows.net")
    return Account(_endpoint(environment, connection, "blob"), _endpoint(environment, connection, "queue"))


def _endpoint(environment: Mapping[str, str], connection: str, service: str) -> str:
    variable = f"{connection}__{service}ServiceUri"
    url = environment.get(variable)
    if url is None:
        raise InvalidSetting(
            variable, None, f"the app needs its {OWN_ACCOUNTS[connection]}", _fix_account_name(connection)
        )
    parts = _split(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.username or parts.path.strip("/"):
        fix = f"Set it to https://<account>.{service}.core.windows.net, or set {connection}__accountName instead."
        raise InvalidSetting(variable, url, "not an https endpoint", fix)
    return url.rstrip("/").lower()


def _fix_account_name(connection: str) -> str:
    return f"Set {connection}__accountName to the {OWN_ACCOUNTS[connection]}'s name."


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # unbalanced brackets
        return urlsplit("")


def _emulator_account(connection: str, text: str) -> Account:
    """Read a connection string, which is accepted only for the emulator. It holds a key, so no error shows it."""
    fields = dict(part.partition("=")[::2] for part in text.split(";") if part)
    blobs, queues, key = fields.get("BlobEndpoint", ""), fields.get("QueueEndpoint", ""), fields.get("AccountKey", "")
    local = all(is_loopback(_split(url).hostname or "") for url in (blobs, queues))
    if not (local and key):
        problem = (
            "connection strings are accepted only for a local emulator, with BlobEndpoint, QueueEndpoint and AccountKey"
        )
        fix = f"Remove it: on Azure, set {connection}__accountName to the {OWN_ACCOUNTS[connection]}'s name."
        raise InvalidSetting(connection, "(hidden)", problem, fix)
    return Account(blobs.rstrip("/"), queues.rstrip("/"), key)


def _check_own_accounts(environment: Mapping[str, str], state: Account, events: Account) -> None:
    """Check that both are on Azure or on the emulator, and differ: Event Grid must not write to the task hub."""
    shown = "(hidden)" if environment.get(EVENTS) else events.queues
    if events.key != state.key:
        problem = "the events account and the state account must have the same AccountKey, or none"
        raise InvalidSetting(EVENTS, shown, problem, "Put both on Azure, or both on one emulator.")
    if events.blobs == state.blobs or events.queues == state.queues:
        problem = f"this is the state account ({STATE}), and Event Grid must not be able to write to it"
        raise InvalidSetting(EVENTS, shown, problem, "Use a separate account for events.")


def _client_id(environment: Mapping[str, str], events: Account) -> str | None:
    """Return the client id of the app's identity. The host must use the same identity for both connections."""
    variable = f"{EVENTS}__clientId"
    client_id, given = environment.get(f"{STATE}__clientId") or None, environment.get(variable) or None
    if events.key is None and given != client_id:
        fix = f"Set it to the value of {STATE}__clientId." if client_id else f"Remove it, or set {STATE}__clientId too."
        raise InvalidSetting(
            variable, given, "the app has one identity, but the state account uses a different one", fix
        )
    return client_id


def _sharing_client_id(environment: Mapping[str, str], routes: tuple[Route, ...], client_id: str | None) -> str | None:
    """Return the client id of the app registration for other tenants; None if no route needs it."""
    variable = "SHARING_CLIENT_ID"
    given = environment.get(variable) or None
    if given is not None and not GUID.fullmatch(given.lower()):
        fix = "Set it to the `appId` of the app registration, or remove it."
        raise InvalidSetting(variable, given, "not a GUID", fix)
    partner = next((route for route in routes if route.foreign_endpoints()), None)
    if partner is None:
        return None
    abroad = f"the {'target' if partner.tenant else 'recipient'} of the route {partner.name!r}"
    if given is None:
        problem = f"{abroad} is in another tenant"
        fix = "Set it to the `appId` of a multi-tenant app registration that trusts the app's identity (docs/partners.md)."
        raise InvalidSetting(variable, None, problem, fix)
    if client_id is None:
        problem = f"{abroad} is in another tenant, and a system-assigned identity cannot prove the app there"
        fix = "Give the app a user-assigned identity, and set this to its client ID."
        raise InvalidSetting(f"{STATE}__clientId", None, problem, fix)
    return given.lower()


def _check_all_on_azure_or_emulator(routes: tuple[Route, ...], key: str | None) -> None:
    """Check that the accounts of all routes are where the app's own are: on Azure, or on the emulator.

    The emulator accepts only its published key, and Azure only the app's identity.
    """
    expected, other = ("on Azure", "on the emulator") if key is None else ("on the emulator", "on Azure")
    for route in routes:
        for place in (route.source, route.target):
            if is_loopback(urlsplit(place.endpoint).hostname or "") is (key is None):
                problem = f"the route {route.name!r} uses {place.url} ({other}), but the state account is {expected}"
                raise InvalidSetting("ROUTES", place.url, problem, f"Put every account {expected}.")
        if route.notify and is_loopback(urlsplit(route.notify.endpoint).hostname or "") is (key is None):
            problem = f"the route {route.name!r} notifies {route.notify.endpoint} ({other}), but the state account is {expected}"
            raise InvalidSetting("ROUTES", route.notify.endpoint, problem, f"Use a queue or topic {expected}.")


def _check_not_own_account(routes: tuple[Route, ...], own: tuple[Account, ...]) -> None:
    """Check that no route reads or writes the app's own accounts."""
    names = {Place(account.blobs, "").account: name for account, name in zip(own, OWN_ACCOUNTS.values(), strict=True)}
    for route in routes:
        for place in (route.source, route.target):
            if account := names.get(place.account):
                problem = f"the route {route.name!r} uses {place.url}, which is in the app's own {account}"
                raise InvalidSetting("ROUTES", place.url, problem, "Use other accounts as source and target.")

"""Parse ROUTES, and reject routes that loop or whose targets overlap (rule 15)."""

import ipaddress
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from rules.redaction import text_without_secrets
from rules.routes import names
from rules.routes.model import MAX_SIZE, SAME_TIER, TIERS, EnginePreference, Objective, Place, Recipient, Route

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")
CONTAINER = re.compile(r"\$web|(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])*")
HOST = re.compile(
    r"[a-z0-9]{3,24}(\.z\d{2})?\.blob\.(core\.windows\.net|core\.usgovcloudapi\.net|core\.chinacloudapi\.cn|storage\.azure\.net)"
)
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
QUEUE_URL = re.compile(
    r"(?P<endpoint>https://[a-z0-9]{3,24}(\.z\d{2})?\.queue\.(core\.windows\.net|core\.usgovcloudapi\.net|core\.chinacloudapi\.cn|"
    r"storage\.azure\.net)|http://[^/@?#\s]+/[a-z0-9]{3,24})/(?P<queue>(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])*)"
)
TOPIC_URL = re.compile(
    r"https://[a-z0-9]([a-z0-9-]{1,80})?(\.[a-z0-9-]{2,40}){1,2}\.eventgrid\.azure\.(net|us|cn)/api/events|http://[^/@?#\s]+/api/events"
)
# A URL's user, query and fragment.
USER_OR_QUERY = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DURATION = re.compile(r"P(?=.)(?:(\d{1,4})D)?(?:T(?=.)(?:(\d{1,4})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?")
FIELDS: dict[str, str] = {
    "name": "1 to 40 letters, digits and dashes. Part of every id: a renamed route is another route. Required.",
    "source": "`https://<account>.blob.core.windows.net/<container>/<prefix>`, without SAS, user, port or fragment. Names begin "
    "with the prefix, so end a folder with `/`. A `dfs` host is replaced by its `blob` host. Required.",
    "target": "As `source`; its prefix replaces that of the source. The prefix belongs to the route: a blob without a receipt is "
    "overwritten. Required. For an account in another Entra tenant it is an object: "
    '`{"url": "https://…", "tenant": "<the tenant\'s GUID>"}`; see [partners.md](partners.md).',
    "suffix": "Only names with this ending. Default: all names.",
    "engine": "`auto`, `sync`, `async` or `blocks`. Default: `auto`.",
    "deadline": "The longest duration of a transfer: an ISO 8601 duration of days, hours, minutes and seconds, `PT1M` to `P6D`. "
    "Default: 1 hour; 24 hours for `async`; for `blocks` 24 hours and one for each TiB.",
    "tier": "The access tier of the target blob: `Hot`, `Cool` or `Cold`; or `same`, for the tier that was set on the source blob. "
    "Default, also with `same` if the source blob has only its account's tier: that of the target account.",
    "reconcile": "The interval of scheduled reconciles: an ISO 8601 duration, `PT15M` to `P30D`, counted in UTC from 1970, so `P1D` "
    "starts at midnight. A timer checks every five minutes, so a reconcile also starts soon after you set or change the field. "
    "Default: never.",
    "exclude": "A list of 1 to 50 globs of at most 256 UTF-16 units. A blob is not shared if a glob matches the whole rest of its "
    "name after the source prefix, or all that follows any `/` in the rest: `_tmp/*` also excludes `a/_tmp/b`. `*` stands for any "
    "number of characters, `/` included; `?` for one character. All others are literal, and case counts. Default: no globs.",
    "empty": "`skip`: blobs of 0 bytes are not shared. Default: `share`.",
    "min_size": f"A number of bytes, 0 to {MAX_SIZE} (190.7 TiB). Smaller blobs are not shared. Default: 0.",
    "max_size": "As `min_size`, and not less. Larger blobs are not shared. Default: no limit.",
    "paused": "`true`: events for the route are ignored, and its scheduled reconciles do not start. Requests (share, replay, "
    "reconcile) still work, and what runs goes on. Once the field is removed or `false`, a reconcile of the route starts within "
    "ten minutes. Default: `false`.",
    "notify": "Whom the app notifies of each verified version: a storage queue, `https://<account>.queue.core.windows.net/<queue>`, or "
    "an Event Grid topic for CloudEvents, `https://<topic>.<region>-1.eventgrid.azure.net/api/events`. In another Entra tenant an "
    'object: `{"url": "https://…", "tenant": "<GUID>"}`. See [consumers.md](consumers.md). Default: nobody.',
    "objective": 'How fast transfers should be: `{"percentile": 99, "within": "PT15M"}`. `percentile` is a number from 50 to '
    "99.99, `within` an ISO 8601 duration, `PT1S` to `P6D`. [GET /api/routes](figures.md) shows how much of it is met. "
    "Default: none.",
    "daily_bytes": "A number of bytes, 1 or more. Once the route has verified so many in a UTC day, its events are ignored as "
    "with `paused`, until midnight; then a reconcile of the route starts within ten minutes. See "
    "[figures.md](figures.md#daily-budget). Default: no limit.",
}
# The fields whose values are not strings.
NOT_TEXT = frozenset({"exclude", "min_size", "max_size", "paused", "objective", "daily_bytes", "notify"})
EMPTY = ("skip", "share")
MAX_GLOBS, MAX_GLOB = 50, 256
# An orchestration's input holds both prefixes and the name, and stays under 16 KB.
MAX_PREFIX = 256
# An async copy reads the source with a user-delegation SAS, which is valid for at most 7 days (rule 14).
MAX_DEADLINE = timedelta(days=6)
DEADLINE_RANGE = (timedelta(minutes=1), MAX_DEADLINE)
PERCENTILES = (50, 99.99)
WITHIN = (timedelta(seconds=1), MAX_DEADLINE)
MOST_DAILY_BYTES = 10**18
# Each reconcile lists both sides. The timer that starts it runs every five minutes.
INTERVALS = (timedelta(minutes=15), timedelta(days=30))


class InvalidRoute(ValueError):
    """An invalid route. The message names the route and the fix."""


def read(text: str) -> tuple[Route, ...]:
    """Parse the JSON list of routes.

    Raises:
        InvalidRoute: the text is not a valid list of routes.
    """
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRoute(f"not JSON ({error})") from None
    if not isinstance(items, list) or not items:
        raise InvalidRoute("must be a JSON list with at least one route")
    routes = tuple(_parse_route(item, number) for number, item in enumerate(items, 1))
    _check_combination(routes)
    return routes


def _parse_route(item: Any, number: int) -> Route:
    if not isinstance(item, dict):
        raise InvalidRoute(f'route {number} must be a JSON object: {{"name": ..., "source": ..., "target": ...}}')
    if unknown := sorted(set(item) - FIELDS.keys()):
        raise InvalidRoute(
            f"route {number} has the unknown field {_redact(unknown[0])}; use only {', '.join(sorted(FIELDS))}"
        )
    item, tenant = _split_target(item, number)
    texts = {key: _check_text(item[key], key, number) for key in item if key not in NOT_TEXT}
    name = texts.get("name", "")
    if not NAME.fullmatch(name):
        raise InvalidRoute(
            f"route {number} needs a `name` of 1 to 40 letters, digits and dashes; found {_redact(name)}"
        )
    try:
        smallest, largest = _parse_sizes(item)
        return Route(
            name=name,
            source=parse_place(texts.get("source", "")),
            target=parse_place(texts.get("target", "")),
            suffix=texts.get("suffix", ""),
            engine=_parse_engine(texts.get("engine", "auto")),
            deadline=parse_duration(texts, "deadline", *DEADLINE_RANGE),
            tier=_check_tier(texts["tier"]) if "tier" in texts else None,
            reconcile=parse_duration(texts, "reconcile", *INTERVALS),
            tenant=None if tenant is None else _parse_tenant(tenant, texts["target"]),
            exclude=_parse_globs(item["exclude"]) if "exclude" in item else (),
            min_size=smallest,
            max_size=largest,
            paused=_check_paused(item.get("paused", False)),
            notify=_parse_recipient(item["notify"]) if "notify" in item else None,
            objective=_parse_objective(item["objective"]) if "objective" in item else None,
            daily_bytes=_check_daily_bytes(item["daily_bytes"]) if "daily_bytes" in item else None,
        )
    except InvalidRoute as error:
        raise InvalidRoute(f"route {name!r}: {error}") from None


def _split_target(item: dict[str, Any], number: int) -> tuple[dict[str, Any], str | None]:
    """Return a route with the target's URL as its target, and the target's tenant."""
    target = item.get("target")
    if not isinstance(target, dict):
        return item, None
    if set(target) != {"url", "tenant"} or not all(isinstance(value, str) for value in target.values()):
        raise InvalidRoute(f'route {number}: `target` must be a URL, or {{"url": "https://...", "tenant": "<GUID>"}}')
    return {**item, "target": target["url"]}, target["tenant"]


def _parse_tenant(text: str, url: str, end: str = "target", field: str = "target") -> str:
    if not GUID.fullmatch(text.lower()):
        raise InvalidRoute(
            f"the tenant {_redact(text)} is not a GUID. The owner of the {end} finds it with "
            "`az account show --query tenantId`; a domain name is not accepted"
        )
    if is_loopback(urlsplit(url).hostname or ""):
        raise InvalidRoute(f"{_redact(url)} is an emulator, which has no tenant; use the URL alone as `{field}`")
    return text.lower()


def _parse_recipient(value: Any) -> Recipient:
    """Parse `notify`: the URL of a queue or a topic, or an object of the URL and its tenant."""
    url, tenant = (value.get("url"), value.get("tenant")) if isinstance(value, dict) else (value, None)
    if not isinstance(url, str) or (
        isinstance(value, dict) and (set(value) != {"url", "tenant"} or not isinstance(tenant, str))
    ):
        raise InvalidRoute('`notify` must be a URL, or {"url": "https://...", "tenant": "<GUID>"}')
    queue, topic = QUEUE_URL.fullmatch(url), TOPIC_URL.fullmatch(url)
    is_local = url.startswith("http://")
    if not (queue or topic) or (is_local and not is_loopback(_host_of(url))):
        raise InvalidRoute(
            f"`notify` {_redact(url)} must be https://<account>.queue.core.windows.net/<queue>, or "
            "https://<topic>.<region>-1.eventgrid.azure.net/api/events, without a SAS or a key: the app signs in with its identity"
        )
    tenant = None if tenant is None else _parse_tenant(tenant, url, "recipient", "notify")
    if topic or queue is None:  # on loopback, the path of a topic also looks like an account and a queue
        return Recipient(url, tenant=tenant)
    return Recipient(queue["endpoint"], queue["queue"], tenant)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _check_text(value: Any, key: str, number: int) -> str:
    if key == "source" and isinstance(value, dict):
        raise InvalidRoute(
            f"route {number}: `source` must be a URL without a tenant. A source must be in the app's own tenant: Event Grid "
            "delivers no events to another one, and a reconcile does not read there either. Deploy the app in that tenant"
        )
    if not isinstance(value, str):
        raise InvalidRoute(f"route {number}: `{key}` must be a string")
    return value


def _parse_engine(text: str) -> EnginePreference:
    if text not in list(EnginePreference):
        raise InvalidRoute(f"unknown engine {_redact(text)}; use one of {', '.join(EnginePreference)}")
    return EnginePreference(text)


def _check_tier(text: str) -> str:
    if text not in {*TIERS, SAME_TIER}:
        raise InvalidRoute(f"unknown tier {_redact(text)}; use one of {', '.join(TIERS)} or {SAME_TIER}")
    return text


def _parse_globs(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_GLOBS:
        raise InvalidRoute(f"`exclude` must be a list of 1 to {MAX_GLOBS} globs")
    for number, glob in enumerate(value, 1):
        if not isinstance(glob, str) or not 1 <= names.utf16_length(glob) <= MAX_GLOB:
            raise InvalidRoute(
                f"glob {number} of `exclude`, {_redact(str(glob))}, must be a string of 1 to {MAX_GLOB} UTF-16 units"
            )
    return tuple(value)


def _parse_sizes(item: dict[str, Any]) -> tuple[int, int | None]:
    """The smallest and the largest size that the route shares."""
    if (empty := item.get("empty", "share")) not in EMPTY:
        raise InvalidRoute(f"unknown value {_redact(empty)} of `empty`; use one of {', '.join(EMPTY)}")
    smallest = max(_check_size(item, "min_size") or 0, 1 if empty == "skip" else 0)
    largest = _check_size(item, "max_size")
    if largest is not None and smallest > largest:
        raise InvalidRoute(
            f"no blob has {smallest} bytes or more and {largest} bytes or less; lower `min_size` or raise `max_size`"
        )
    return smallest, largest


def _check_size(item: dict[str, Any], field: str) -> int | None:
    if field not in item:
        return None
    value = item[field]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SIZE:
        raise InvalidRoute(f"the {field} {_redact(str(value))} must be a whole number from 0 to {MAX_SIZE}")
    return value


def _check_paused(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRoute(f"`paused` {_redact(str(value))} must be true or false, without quotes")
    return value


def _parse_objective(value: Any) -> Objective:
    if not isinstance(value, dict) or set(value) != {"percentile", "within"} or not isinstance(value["within"], str):
        raise InvalidRoute('`objective` must be such as {"percentile": 99, "within": "PT15M"}')
    percentile, (least, most) = value["percentile"], PERCENTILES
    if isinstance(percentile, bool) or not isinstance(percentile, int | float) or not least <= percentile <= most:
        raise InvalidRoute(f"the percentile {_redact(str(percentile))} must be a number from {least} to {most}")
    return Objective(percentile, _parse_length(value["within"], "within", *WITHIN))


def _check_daily_bytes(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_DAILY_BYTES:
        raise InvalidRoute(f"the daily_bytes {_redact(str(value))} must be a whole number from 1 to {MOST_DAILY_BYTES}")
    return value


def parse_duration(texts: dict[str, str], field: str, least: timedelta, most: timedelta) -> timedelta | None:
    """Parse a field's ISO 8601 duration of days, hours, minutes and seconds, such as `PT6H`; None without the field."""
    text = texts.get(field)
    return None if text is None else _parse_length(text, field, least, most)


def _parse_length(text: str, field: str, least: timedelta, most: timedelta) -> timedelta:
    match = DURATION.fullmatch(text)
    if match is None:
        raise InvalidRoute(f"the {field} {_redact(text)} is not an ISO 8601 duration such as PT6H or P2D")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not least <= length <= most:
        raise InvalidRoute(
            f"the {field} {_redact(text)} must be between {_format_duration(least)} and {_format_duration(most)}"
        )
    return length


def _format_duration(length: timedelta) -> str:
    """Format a duration: `1 second`, `15 minutes`, `6 days`."""
    number, unit = (length.days, "day") if length.days else (length.seconds // 60, "minute")
    number, unit = (number, unit) if number else (length.seconds, "second")
    return f"{number} {unit}{'s' if number > 1 else ''}"


def parse_place(url: str) -> Place:
    """Parse `https://<account>.blob.core.windows.net/<container>/<prefix>`, or the emulator's form on loopback."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidRoute(
            f"{_redact(url)} is not a URL such as https://<account>.blob.core.windows.net/<container>/"
        ) from None
    if not url.isprintable():  # urlsplit drops line breaks
        raise InvalidRoute(f"{_redact(url)} contains a character that is not allowed in a URL")
    if parts.username is not None or "?" in url or "#" in url:
        raise InvalidRoute(f"{_redact(url)} must not have a user, query or fragment (no SAS: the app creates its own)")
    path = parts.path.removeprefix("/")
    if parts.scheme in {"http", "https"} and is_loopback(host):
        account, _, path = path.partition("/")
        if not ACCOUNT.fullmatch(account):
            raise InvalidRoute(
                f"{_redact(url)} does not name an account; use http://127.0.0.1:10000/<account>/<container>/"
            )
        return _place_at(url, f"{parts.scheme}://{parts.netloc.lower()}/{account}", path)
    host = host.replace(".dfs.", ".blob.", 1)
    if parts.scheme != "https" or port is not None or not HOST.fullmatch(host):
        raise InvalidRoute(
            f"{_redact(url)} must be https://<account>.blob.core.windows.net/<container>/ (or the same in a sovereign cloud)"
        )
    return _place_at(url, f"https://{host}", path)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, the only one where the emulator is accepted."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _place_at(url: str, endpoint: str, path: str) -> Place:
    container, _, prefix = path.partition("/")
    try:
        prefix = unquote(prefix, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRoute(f"{_redact(url)}: the decoded prefix is not UTF-8") from None
    if not CONTAINER.fullmatch(container):
        raise InvalidRoute(
            f"{_redact(url)} does not name a valid container (3 to 63 lowercase letters, digits and single dashes)"
        )
    if prefix and (why := names.refusal(prefix)):
        raise InvalidRoute(f"{_redact(url)}: the prefix has {why}")
    if names.utf16_length(prefix) > MAX_PREFIX:
        raise InvalidRoute(f"{_redact(url)}: the prefix has more than {MAX_PREFIX} UTF-16 units")
    return Place(endpoint, container, prefix)


def _redact(text: str) -> str:
    # Any field may hold a pasted SAS.
    return repr(text_without_secrets(USER_OR_QUERY.sub("", text))[:100])


def _check_tenants(routes: tuple[Route, ...]) -> None:
    """Check that each account is in one tenant: the credential is chosen by account. Sources are in the app's own."""
    tenants: dict[str, tuple[str | None, str]] = {}
    for route in routes:
        tenant, name = tenants.setdefault(route.target.account, (route.tenant, route.name))
        if tenant != route.tenant:
            raise InvalidRoute(
                f"the targets of {name!r} and {route.name!r} are in one account; give both the same tenant"
            )
    recipients: dict[str, tuple[str | None, str]] = {}
    for route in routes:
        if route.notify:
            tenant, name = recipients.setdefault(route.notify.endpoint, (route.notify.tenant, route.name))
            if tenant != route.notify.tenant:
                raise InvalidRoute(
                    f"{name!r} and {route.name!r} notify one account or topic; give both the same tenant"
                )
    for route in routes:
        tenant, name = tenants.get(route.source.account, (None, ""))
        if tenant is not None:
            raise InvalidRoute(
                f"the source of {route.name!r} is in the account to which {name!r} gives another tenant. A source must be in "
                "the app's own tenant: Event Grid delivers no events to another one, and a reconcile does not read there either"
            )


def _check_combination(routes: tuple[Route, ...]) -> None:
    _check_tenants(routes)
    for number, route in enumerate(routes):
        for other in routes[:number]:
            if route.name == other.name:
                raise InvalidRoute(f"two routes have the name {route.name!r}; names must be unique")
            if can_overlap(route, other):
                raise InvalidRoute(
                    f"the targets of {other.name!r} and {route.name!r} can overlap; give them different prefixes"
                )
    for route in routes:
        if path := find_loop(route, routes):
            raise InvalidRoute(
                f"{' -> '.join(map(repr, path))} is a loop: every blob would be copied again without end. Make two routes mirror each other exactly, or use other target prefixes"
            )


def _overlap(one: Place, other: Place) -> bool:
    # `a//` and `a/` are one folder in a hierarchical namespace, and the kind of the account is not known here.
    prefix, other_prefix = names.collapse_slashes(one.prefix), names.collapse_slashes(other.prefix)
    same = (one.endpoint, one.container) == (other.endpoint, other.container)
    return same and (prefix.startswith(other_prefix) or other_prefix.startswith(prefix))


def can_overlap(one: Route, other: Route) -> bool:
    """Whether two routes can write the same target name. A target keeps the suffix, so disjoint suffixes prevent it."""
    suffixes = one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix)
    return suffixes and _overlap(one.target, other.target)


def mirrors(one: Route, other: Route) -> bool:
    """Whether `other` would copy every blob that `one` wrote back to the blob that it was copied from.

    That copy is an echo, which a transfer detects by its receipt (rule 19).
    """
    target_prefix, source_prefix = one.target.prefix, other.source.prefix
    if target_prefix.startswith(source_prefix):
        returned, original = other.target.prefix + target_prefix.removeprefix(source_prefix), one.source.prefix
    else:
        returned, original = other.target.prefix, one.source.prefix + source_prefix.removeprefix(target_prefix)
    places = ((one.target, other.source), (other.target, one.source))
    return returned == original and all((a.endpoint, a.container) == (b.endpoint, b.container) for a, b in places)


def find_loop(start: Route, routes: tuple[Route, ...]) -> list[str]:
    """Return the names of the routes by which a blob of `start` would return to its source; empty without a loop.

    A route that mirrors the one before it ends the path, because it does not copy the echo.
    """
    trail, seen = [[start]], {start.name}
    while trail:
        path = trail.pop()
        for following in routes:
            if not _overlap(path[-1].target, following.source):
                continue
            if following.name != path[-1].name and mirrors(path[-1], following):
                continue
            if following.name == start.name:
                return [route.name for route in path] + [start.name]
            if following.name not in seen:
                seen.add(following.name)
                trail.append([*path, following])
    return []

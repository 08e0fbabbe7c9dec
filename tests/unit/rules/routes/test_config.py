"""Parsing ROUTES: valid routes, and rejections that name the route and the fix (rule 15)."""

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.codec import decode, encode
from rules.routes import config
from rules.routes.config import InvalidRoute, can_overlap, find_loop, parse_place, read
from rules.routes.model import MAX_SIZE, EnginePreference, Objective, Place, Route
from rules.transfers import identity
from tests.unit.samples import SOURCE_HOST, TARGET_HOST, quick

SECRET = "dG9wc2VjcmV0"


def url(account: str, path: str = "ccc/") -> str:
    return f"https://{account}.blob.core.windows.net/{path}"


def route(name: str = "default", source: str = "source", target: str = "target", **more: Any) -> dict[str, Any]:
    """A route as an operator writes it. `source` and `target` are accounts, with an optional path."""
    ends = {"source": source, "target": target}
    return {"name": name, **{key: url(*value.split("/", 1)) for key, value in ends.items()}, **more}


def text(*items: Any) -> str:
    return json.dumps(items)


def refusal(given: str) -> str:
    """The message of the rejection."""
    with pytest.raises(InvalidRoute) as caught:
        read(given)
    return str(caught.value)


def test_every_field_of_a_route_is_parsed() -> None:
    given = route("all-1", "one/in1/x/", "two/out/", suffix=".csv", engine="async", deadline="P1DT2H3M4S", tier="Cool")
    assert read(text(given)) == (
        Route(
            "all-1",
            Place("https://one.blob.core.windows.net", "in1", "x/"),
            Place("https://two.blob.core.windows.net", "out"),
            ".csv",
            EnginePreference.ASYNC,
            timedelta(days=1, hours=2, minutes=3, seconds=4),
            "Cool",
        ),
    )


def test_name_source_and_target_are_enough() -> None:
    (read_route,) = read(text(route()))
    assert read_route == Route(
        "default",
        Place("https://source.blob.core.windows.net", "ccc"),
        Place("https://target.blob.core.windows.net", "ccc"),
    )


PLACES = {
    url("account", "container"): Place("https://account.blob.core.windows.net", "container"),
    url("account", "container/"): Place("https://account.blob.core.windows.net", "container"),
    url("account", "container/a%20b/c"): Place("https://account.blob.core.windows.net", "container", "a b/c"),
    url("account", "container//a"): Place("https://account.blob.core.windows.net", "container", "/a"),
    url("account", "a-b"): Place("https://account.blob.core.windows.net", "a-b"),
    url("account", "a" * 63): Place("https://account.blob.core.windows.net", "a" * 63),
    url("account", "$web/x"): Place("https://account.blob.core.windows.net", "$web", "x"),
    "HTTPS://ACCOUNT.BLOB.CORE.WINDOWS.NET/container": Place("https://account.blob.core.windows.net", "container"),
    "https://account.dfs.core.windows.net/container/": Place("https://account.blob.core.windows.net", "container"),
    "https://account.z12.blob.storage.azure.net/c12/": Place("https://account.z12.blob.storage.azure.net", "c12"),
    "https://account.blob.core.chinacloudapi.cn/c12/": Place("https://account.blob.core.chinacloudapi.cn", "c12"),
    "https://account.blob.core.usgovcloudapi.net/c12": Place("https://account.blob.core.usgovcloudapi.net", "c12"),
    "http://127.0.0.1:10000/account/container/x": Place("http://127.0.0.1:10000/account", "container", "x"),
    "http://LocalHost:10000/account/container": Place("http://localhost:10000/account", "container"),
    "https://[::1]:10000/account/container": Place("https://[::1]:10000/account", "container"),
}


@pytest.mark.parametrize("given", PLACES)
def test_a_place_is_an_account_a_container_and_a_prefix(given: str) -> None:
    """The prefix is decoded once, and a `dfs` host becomes its `blob` host."""
    found = parse_place(given)
    assert found == PLACES[given]
    assert found.account == "account"


NO_ACCOUNT_HOST = "must be https://<account>.blob.core.windows.net/<container>/"
NO_CONTAINER = "does not name a valid container (3 to 63 lowercase letters, digits and single dashes)"
NO_QUERY = "must not have a user, query or fragment (no SAS: the app creates its own)"
BAD_PLACES = {
    "": NO_ACCOUNT_HOST,
    "container": NO_ACCOUNT_HOST,
    "https://": NO_ACCOUNT_HOST,
    "http://account.blob.core.windows.net/container": NO_ACCOUNT_HOST,
    "https://account.blob.core.windows.net:443/container": NO_ACCOUNT_HOST,
    "https://account.blob.core.windows.net.evil.example/container": NO_ACCOUNT_HOST,
    "https://evil.example/account.blob.core.windows.net/container": NO_ACCOUNT_HOST,
    "https://a.b.blob.core.windows.net/container": NO_ACCOUNT_HOST,
    "https://ab.blob.core.windows.net/container": NO_ACCOUNT_HOST,
    "https://account-secondary.blob.core.windows.net/container": NO_ACCOUNT_HOST,
    "https://account.queue.core.windows.net/container": NO_ACCOUNT_HOST,
    "http://169.254.169.254/metadata/container": NO_ACCOUNT_HOST,
    "http://10.0.0.1:10000/account/container": NO_ACCOUNT_HOST,
    "ftp://127.0.0.1/account/container": NO_ACCOUNT_HOST,
    "http://127.0.0.1.evil.example/account/container": NO_ACCOUNT_HOST,
    "https://account.blob.core.windows.net:x/container": "is not a URL such as",
    "https://[::1/container": "is not a URL such as",
    "http://127.0.0.1:10000/": "does not name an account; use http://127.0.0.1:10000/<account>/<container>/",
    "http://127.0.0.1:10000/Account/container": "does not name an account",
    "http://127.0.0.1:10000/account": NO_CONTAINER,
    url("account", ""): NO_CONTAINER,
    url("account", "ab"): NO_CONTAINER,
    url("account", "a" * 64): NO_CONTAINER,
    url("account", "a-" * 32 + "b"): NO_CONTAINER,
    url("account", "a--b"): NO_CONTAINER,
    url("account", "-ab"): NO_CONTAINER,
    url("account", "Container"): NO_CONTAINER,
    url("account", "$root"): NO_CONTAINER,
    url("account", "$root/x"): NO_CONTAINER,
    url("account", "../other"): NO_CONTAINER,
    url("account", "%2e%2e/other"): NO_CONTAINER,
    url("account", "container/../other"): "the prefix has a segment that is . or ..",
    url("account", "container/%2e%2e/x"): "the prefix has a segment that is . or ..",
    url("account", "container/out./"): "the prefix has a segment that ends with a dot: the service drops the dot",
    url("account", "container/a%2E/b/"): "the prefix has a segment that ends with a dot: the service drops the dot",
    url("account", "container/a%5Cb"): "the prefix has a backslash",
    url("account", "container/a%00"): "the prefix has a control character",
    url("account", "container/a%FF"): "the decoded prefix is not UTF-8",
    url("account", "container/a\n"): "contains a character that is not allowed in a URL",
    url("account", "container/" + "a" * 257): "the prefix has more than 256 UTF-16 units",
    url("account", "container/" + "\U0001f600" * 129): "the prefix has more than 256 UTF-16 units",
    url("account", "container/?"): NO_QUERY,
    url("account", f"container/?sv=2024-11-04&sig={SECRET}"): NO_QUERY,
    url("account", f"container/#sig={SECRET}"): NO_QUERY,
    url("account", f"container/#{SECRET}"): NO_QUERY,
    f"https://user:{SECRET}@account.blob.core.windows.net/container": NO_QUERY,
    f"https://:{SECRET}@account.blob.core.windows.net/container": NO_QUERY,
    f"https://evil.example/container/%3Fsv=1%26sig%3D{SECRET}": NO_ACCOUNT_HOST,
}


@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize("given", BAD_PLACES)
def test_an_invalid_place_is_rejected_with_the_route_and_the_fix(given: str, end: str) -> None:
    """Only hosts of Azure Storage or the local emulator, and no secret in the message."""
    message = refusal(text({**route("mine"), "source": url("one", "ccc"), "target": url("two", "ccc"), end: given}))
    assert message.startswith("route 'mine': ")
    assert BAD_PLACES[given] in message
    assert SECRET not in message


BAD_FIELDS: dict[str, tuple[Any, str]] = {
    "no object": ("x", "route 1 must be a JSON object"),
    "an unknown field": (
        route(prefix="x"),
        "route 1 has the unknown field 'prefix'; use only daily_bytes, deadline, empty, engine, exclude, max_size",
    ),
    "no name": ({}, "route 1 needs a `name` of 1 to 40 letters, digits and dashes; found ''"),
    "a name with a space": (route("a b"), "route 1 needs a `name` of 1 to 40 letters, digits and dashes; found 'a b'"),
    "a name of 41": (route("a" * 41), "route 1 needs a `name` of 1 to 40"),
    "a name that is a number": ({**route(), "name": 7}, "route 1: `name` must be a string"),
    "a suffix that is null": (route(suffix=None), "route 1: `suffix` must be a string"),
    "an unknown engine": (
        route(engine="fast"),
        "route 'default': unknown engine 'fast'; use one of auto, sync, async, blocks",
    ),
    "an unknown tier": (
        route(tier="Archive"),
        "route 'default': unknown tier 'Archive'; use one of Hot, Cool, Cold or same",
    ),
    "a tier that is almost one": (
        route(tier="Same"),
        "route 'default': unknown tier 'Same'; use one of Hot, Cool, Cold or same",
    ),
    "a deadline in words": (
        route(deadline="a day"),
        "route 'default': the deadline 'a day' is not an ISO 8601 duration",
    ),
    "no source": ({"name": "x"}, "route 'x': '' must be https://<account>.blob.core.windows.net/<container>/"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_an_invalid_field_is_rejected_with_the_route_and_the_fix(case: str) -> None:
    given, message = BAD_FIELDS[case]
    assert message in refusal(text(given))


@pytest.mark.parametrize("given", ["", "x", "{}", "[]", "null", '"x"', "[" * 100_000])
def test_a_text_that_is_not_a_list_of_routes_is_rejected(given: str) -> None:
    assert "JSON" in refusal(given)


@pytest.mark.parametrize(
    "field",
    ["name", "engine", "tier", "deadline", "source", "target", "exclude", "empty", "min_size", "max_size", "unknown"],
)
@pytest.mark.parametrize(
    "spelling", [url("a", f"c/b?sv=1&sig={SECRET}%3D"), f"sv=1&sig={SECRET}%3D", f"sv%3D1%26sig%3D{SECRET}"]
)
def test_a_sas_in_any_field_is_not_in_the_message(field: str, spelling: str) -> None:
    pasted = {spelling: "x"} if field == "unknown" else {field: spelling}
    assert SECRET not in refusal(text({**route(), **pasted}))


@pytest.mark.parametrize(
    ("given", "length"),
    [
        ("PT1M", timedelta(minutes=1)),
        ("PT60S", timedelta(minutes=1)),
        ("PT6H", timedelta(hours=6)),
        ("P2D", timedelta(days=2)),
        ("P1DT1H1M1S", timedelta(days=1, hours=1, minutes=1, seconds=1)),
        ("P6D", timedelta(days=6)),
    ],
)
def test_a_deadline_is_an_iso_8601_duration(given: str, length: timedelta) -> None:
    assert deadline(given) == length


def deadline(given: str) -> timedelta | None:
    return config.parse_duration({"deadline": given}, "deadline", *config.DEADLINE_RANGE)


@pytest.mark.parametrize("given", ["", "P", "PT", "P1", "1D", "P1DT", "P1W", "P1M", "PT1.5H", "-P1D", "p1d", "P1D "])
def test_an_invalid_duration_is_rejected(given: str) -> None:
    with pytest.raises(InvalidRoute, match=r"is not an ISO 8601 duration such as PT6H or P2D"):
        deadline(given)


@pytest.mark.parametrize("given", ["PT59S", "PT0S", "P6DT1S", "P9999D", "PT99999999S"])
def test_a_deadline_out_of_range_is_rejected(given: str) -> None:
    """A user-delegation SAS is valid for at most seven days (rule 14)."""
    with pytest.raises(InvalidRoute, match="must be between 1 minute and 6 days"):
        deadline(given)


@pytest.mark.parametrize(("given", "length"), [("PT15M", timedelta(minutes=15)), ("P30D", timedelta(days=30))])
def test_a_route_may_have_a_reconcile_interval(given: str, length: timedelta) -> None:
    assert config.read(text(route(reconcile=given)))[0].reconcile == length
    assert config.read(text(route()))[0].reconcile is None


@pytest.mark.parametrize("given", ["PT14M59S", "P30DT1S", "PT0S"])
def test_a_reconcile_interval_out_of_range_is_rejected(given: str) -> None:
    with pytest.raises(InvalidRoute, match="must be between 15 minutes and 30 days"):
        config.read(text(route(reconcile=given)))


TENANT = "11111111-2222-3333-4444-55555555aaaa"


def abroad(target: str, tenant: Any = TENANT) -> dict[str, Any]:
    """A target in another tenant."""
    return {"url": url(*target.split("/", 1)), "tenant": tenant}


def test_a_target_may_be_in_another_tenant() -> None:
    (found,) = read(text({**route(), "target": abroad("ttt/ccc/x/", TENANT.upper())}))
    assert found.tenant == TENANT
    assert found.target == parse_place(url("ttt", "ccc/x/"))
    assert read(text(route()))[0].tenant is None


def test_a_tenant_changes_no_transfer() -> None:
    """So a route that gets a tenant still finds its running transfers."""
    (home,), (other,) = read(text(route())), read(text({**route(), "target": abroad("target/ccc/")}))
    one, two = (identity.transfer(each, "name", "0x1") for each in (home, other))
    assert encode(one) == encode(two)
    assert decode(type(one), encode(two)) == one


A_SHAPE = 'route 1: `target` must be a URL, or {"url": "https://...", "tenant": "<GUID>"}'
BAD_TARGETS: dict[str, tuple[Any, str]] = {
    "without a tenant": ({"url": url("ttt")}, A_SHAPE),
    "without a URL": ({"tenant": TENANT}, A_SHAPE),
    "with another field": ({**abroad("ttt/ccc"), SECRET: "x"}, A_SHAPE),
    "with a tenant that is a number": (abroad("ttt/ccc", 7), A_SHAPE),
    "with a domain": (abroad("ttt/ccc", "contoso.onmicrosoft.com"), "a domain name is not accepted"),
    "with an empty tenant": (
        abroad("ttt/ccc", ""),
        "route 'default': the tenant '' is not a GUID. The owner of the target",
    ),
    "with a long tenant": (abroad("ttt/ccc", f"{TENANT}a"), "is not a GUID"),
    "with a line break": (abroad("ttt/ccc", f"{TENANT}\n"), "is not a GUID"),
    "with a SAS": (abroad("ttt/ccc", f"?sv=1&sig={SECRET}"), "is not a GUID"),
    "with a SAS in the URL": ({"url": f"{url('ttt')}?sig={SECRET}", "tenant": TENANT}, NO_QUERY),
    "on the emulator": (
        {"url": "http://127.0.0.1:10000/ttt/ccc/", "tenant": TENANT},
        "is an emulator, which has no tenant; use the URL alone as `target`",
    ),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_an_invalid_target_in_another_tenant_is_rejected_with_the_fix(case: str) -> None:
    given, message = BAD_TARGETS[case]
    found = refusal(text({**route(), "target": given}))
    assert message in found
    assert SECRET not in found


def test_a_source_is_in_the_apps_own_tenant() -> None:
    assert "Event Grid delivers no events to another one" in refusal(text({**route(), "source": abroad("aaa/ccc")}))
    back = route("back", "ttt/ddd", "uuu/ccc")
    message = refusal(text({**route("out"), "target": abroad("ttt/ccc")}, back))
    assert message.startswith("the source of 'back' is in the account to which 'out' gives another tenant")


@pytest.mark.parametrize("second", [url("ttt", "ddd/"), abroad("ttt/ddd/", TENANT.replace("1", "9"))])
def test_two_targets_in_one_account_have_one_tenant(second: Any) -> None:
    """The credential is chosen by account, whose name is unique among all endpoints."""
    first = {**route("one"), "target": abroad("ttt/ccc/")}
    other = {**route("two"), "target": second}
    for items in ((first, other), (other, first)):
        assert "are in one account; give both the same tenant" in refusal(text(*items))
    zone = {**abroad("ttt/ddd/"), "url": "https://ttt.z01.blob.storage.azure.net/ddd/"}
    assert len(read(text(first, {**other, "target": abroad("ttt/ddd/")}))) == 2
    assert len(read(text(first, {**other, "target": zone}))) == 2


def test_a_route_may_have_filters() -> None:
    given = route(exclude=["_temporary/*", "*.tmp"], min_size=1, max_size=2**40)
    (read_route,) = read(text(given))
    assert (read_route.exclude, read_route.min_size, read_route.max_size) == (("_temporary/*", "*.tmp"), 1, 2**40)


@pytest.mark.parametrize(
    ("fields", "admitted", "refused"),
    [
        ({}, [0, 1, 10 * MAX_SIZE], []),
        ({"empty": "share"}, [0, 1], []),
        ({"empty": "skip"}, [1, MAX_SIZE], [0]),
        ({"empty": "skip", "min_size": 5}, [5], [0, 4]),
        ({"min_size": 5, "max_size": 5}, [5], [0, 4, 6]),
        ({"max_size": 0}, [0], [1]),
    ],
)
def test_sizes_are_limits_that_include_their_values(
    fields: dict[str, Any], admitted: list[int], refused: list[int]
) -> None:
    (read_route,) = read(text(route(**fields)))
    assert [size for size in (*admitted, *refused) if read_route.admits(size)] == admitted


LIST = "route 'default': `exclude` must be a list of 1 to 50 globs"
GLOB = "must be a string of 1 to 256 UTF-16 units"
SIZE = f"must be a whole number from 0 to {MAX_SIZE}"
NO_SIZE = "lower `min_size` or raise `max_size`"
BAD_FILTERS: list[tuple[dict[str, Any], str]] = [
    ({"exclude": "*.tmp"}, LIST),
    ({"exclude": None}, LIST),
    ({"exclude": []}, LIST),
    ({"exclude": ["a"] * 51}, LIST),
    ({"exclude": ["a", ""]}, f"route 'default': glob 2 of `exclude`, '', {GLOB}"),
    ({"exclude": [7]}, f"glob 1 of `exclude`, '7', {GLOB}"),
    ({"exclude": ["a" * 257]}, GLOB),
    ({"exclude": ["\U0001f600" * 129]}, GLOB),
    ({"exclude": [f"?sig={SECRET}" + "a" * 257]}, GLOB),
    ({"empty": "no"}, "route 'default': unknown value 'no' of `empty`; use one of skip, share"),
    ({"empty": True}, "route 1: `empty` must be a string"),
    ({"min_size": "1"}, f"route 'default': the min_size '1' {SIZE}"),
    ({"min_size": -1}, f"the min_size '-1' {SIZE}"),
    ({"max_size": MAX_SIZE + 1}, SIZE),
    ({"max_size": True}, SIZE),
    ({"max_size": 1.0}, SIZE),
    ({"max_size": None}, SIZE),
    ({"min_size": 2, "max_size": 1}, f"route 'default': no blob has 2 bytes or more and 1 bytes or less; {NO_SIZE}"),
    ({"empty": "skip", "max_size": 0}, NO_SIZE),
]


@pytest.mark.parametrize(("fields", "message"), BAD_FILTERS)
def test_an_invalid_filter_is_rejected_with_the_route_and_the_fix(fields: dict[str, Any], message: str) -> None:
    found = refusal(text(route(**fields)))
    assert message in found
    assert SECRET not in found


def test_filters_have_generous_limits() -> None:
    (read_route,) = read(text(route(exclude=["a" * 256, "\U0001f600" * 128] * 25, max_size=MAX_SIZE)))
    assert len(read_route.exclude) == 50


def made(name: str, source: str, target: str, suffix: str = "") -> Route:
    """A route between two places, each as `account/container/prefix`."""
    given = route(name, source, target, suffix=suffix)
    return Route(name, parse_place(given["source"]), parse_place(given["target"]), suffix)


COINCIDING = [
    ("aaa/ccc", "ttt/ccc", "", "bbb/ccc", "ttt/ccc", "", True),
    ("aaa/ccc/x/", "ttt/ccc", "", "aaa/ccc/y/", "ttt/ccc", "", True),
    ("aaa/ccc", "ttt/ccc/x/", "", "bbb/ccc", "ttt/ccc/x/y/", "", True),
    ("aaa/ccc", "ttt/ccc", "", "bbb/ccc", "ttt/ccc/x", "", True),
    ("aaa/ccc", "ttt/ccc/x", "", "bbb/ccc", "ttt/ccc/xy", "", True),
    ("aaa/ccc", "ttt/ccc/x/", "", "bbb/ccc", "ttt/ccc/y/", "", False),
    ("aaa/ccc", "ttt/ccc", "", "bbb/ccc", "ttt/ddd", "", False),
    ("aaa/ccc", "ttt/ccc", "", "bbb/ccc", "uuu/ccc", "", False),
    ("aaa/ccc", "ttt/ccc", ".csv", "bbb/ccc", "ttt/ccc", ".json", False),
    ("aaa/ccc", "ttt/ccc", ".csv", "bbb/ccc", "ttt/ccc", "x.csv", True),
    ("aaa/ccc", "ttt/ccc", ".csv", "bbb/ccc", "ttt/ccc", "", True),
    # The same folder in a hierarchical namespace.
    ("aaa/ccc", "ttt/ccc/x//y/", "", "bbb/ccc", "ttt/ccc/x/y/", "", True),
    ("aaa/ccc", "ttt/ccc//x/", "", "bbb/ccc", "ttt/ccc/x/", "", True),
    ("aaa/ccc", "ttt/ccc/x//y/", "", "bbb/ccc", "ttt/ccc/x/z/", "", False),
]


@pytest.mark.parametrize(("source", "target", "suffix", "source2", "target2", "suffix2", "apart"), COINCIDING)
def test_routes_with_overlapping_targets_are_rejected(  # noqa: PLR0917  # a row of the table
    source: str, target: str, suffix: str, source2: str, target2: str, suffix2: str, *, apart: bool
) -> None:
    """Rule 15. The message names both."""
    one, other = made("one", source, target, suffix), made("two", source2, target2, suffix2)
    assert can_overlap(one, other) is can_overlap(other, one) is apart
    both = text(route("one", source, target, suffix=suffix), route("two", source2, target2, suffix=suffix2))
    if apart:
        assert refusal(both) == "the targets of 'one' and 'two' can overlap; give them different prefixes"
    else:
        assert len(read(both)) == 2


def test_a_dfs_host_and_its_blob_host_are_the_same_target() -> None:
    dfs = route("two", "bbb/ccc", "ttt/ccc")
    dfs["target"] = dfs["target"].replace(".blob.", ".dfs.")
    assert "can overlap" in refusal(text(route("one", "aaa/ccc", "ttt/ccc"), dfs))


def test_several_routes_may_have_one_source() -> None:
    assert len(read(text(route("one", "aaa/ccc", "ttt/ccc"), route("two", "aaa/ccc", "uuu/ccc")))) == 2


def test_a_route_name_must_be_unique() -> None:
    both = text(route("one", "aaa/ccc", "ttt/ccc"), route("one", "bbb/ccc", "uuu/ccc"))
    assert refusal(both) == "two routes have the name 'one'; names must be unique"


LOOPS = {
    "onto itself": ([("a", "aaa/ccc", "aaa/ccc")], "'a' -> 'a'"),
    "into its own prefix": ([("a", "aaa/ccc", "aaa/ccc/copies/")], "'a' -> 'a'"),
    "there and back to another folder": (
        [("a", "aaa/ccc/x/", "bbb/ccc"), ("b", "bbb/ccc", "aaa/ccc/x/y/")],
        "'a' -> 'b' -> 'a'",
    ),
    "there and back by a folder that is written in two ways": (
        [("a", "aaa/ccc", "bbb/ccc/x/"), ("b", "bbb/ccc//x/", "aaa/ccc")],
        "'a' -> 'b' -> 'a'",
    ),
    "around three, each way": (
        [
            ("a", "aaa/ccc", "bbb/ccc"),
            ("b", "bbb/ccc", "ddd/ccc/in/"),
            ("c", "ddd/ccc/in/", "aaa/ccc"),
        ],
        "'a' -> 'b' -> 'c' -> 'a'",
    ),
    "through a folder that is written in two ways": ([("a", "aaa/ccc/x/", "aaa/ccc//x/copies/")], "'a' -> 'a'"),
    "over three": (
        [("a", "aaa/ccc", "bbb/ccc"), ("b", "bbb/ccc", "ddd/ccc"), ("c", "ddd/ccc", "aaa/ccc/x/")],
        "'a' -> 'b' -> 'c' -> 'a'",
    ),
    "beside a way out": (
        [("out", "bbb/ccc", "zzz/ccc"), ("a", "aaa/ccc", "bbb/ccc/y/"), ("b", "bbb/ccc", "aaa/ccc")],
        "'a' -> 'b' -> 'a'",
    ),
    "behind a way in": (
        [("in", "zzz/ccc", "aaa/ccc/in/"), ("a", "aaa/ccc", "bbb/ccc"), ("b", "bbb/ccc", "aaa/ccc/out/")],
        "'a' -> 'b' -> 'a'",
    ),
}


@pytest.mark.parametrize("case", LOOPS)
def test_a_loop_is_rejected_with_its_path(case: str) -> None:
    given, path = LOOPS[case]
    message = refusal(text(*(route(*item) for item in given)))
    assert message.startswith(f"{path} is a loop")
    assert message.endswith("or use other target prefixes")


CHAINS = {
    "a chain": [("a", "aaa/ccc", "bbb/ccc"), ("b", "bbb/ccc", "ddd/ccc")],
    "two ways to one place": [
        ("a", "aaa/ccc", "bbb/ccc"),
        ("b", "bbb/ccc", "ddd/ccc/x/"),
        ("c", "bbb/ccc", "eee/ccc"),
        ("d", "eee/ccc", "ddd/ccc/y/"),
        ("e", "ddd/ccc", "fff/ccc"),
    ],
    "there and back": [("a", "aaa/ccc", "bbb/ccc"), ("b", "bbb/ccc", "aaa/ccc")],
    "there and back of a part": [("a", "aaa/ccc/x/", "bbb/ccc/"), ("b", "bbb/ccc/y/", "aaa/ccc/x/y/")],
    "there and back of what is more": [("a", "aaa/ccc/x/y/", "bbb/ccc/y/"), ("b", "bbb/ccc/", "aaa/ccc/x/")],
    "there and back, and on": [
        ("a", "aaa/ccc", "bbb/ccc"),
        ("b", "bbb/ccc", "aaa/ccc"),
        ("c", "bbb/ccc", "ddd/ccc"),
    ],
    "one container, two prefixes": [("a", "aaa/ccc/in/", "aaa/ccc/out/")],
    "back to another prefix": [("a", "aaa/ccc/x/", "bbb/ccc"), ("b", "bbb/ccc", "aaa/ccc/y/")],
}


@pytest.mark.parametrize("case", CHAINS)
def test_a_chain_with_an_end_is_not_a_loop(case: str) -> None:
    assert len(read(text(*(route(*item) for item in CHAINS[case])))) == len(CHAINS[case])


ENDS = st.sampled_from(["aaa/ccc", "aaa/ccc/x/", "bbb/ccc", "bbb/ccc/y/", "ddd/ccc"])


@quick
@given(st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=6))
def test_a_loop_is_found_from_every_route(ends: list[tuple[str, str]]) -> None:
    all_routes = tuple(made(f"r{number}", *pair) for number, pair in enumerate(ends))
    named = {each.name: each for each in all_routes}
    for each in all_routes:
        path = find_loop(each, all_routes)
        assert path == [] or path[0] == path[-1] == each.name
        for one, following in itertools.pairwise(path):
            here, there = named[one].target, named[following].source
            assert (here.endpoint, here.container) == (there.endpoint, there.container)


@quick
@given(st.text(st.characters(), max_size=60) | st.text(max_size=40).map(lambda tail: url("account", tail)))
def test_parsing_a_place_returns_a_valid_place_or_raises_invalid_route(given: str) -> None:
    try:
        found = parse_place(given)
    except InvalidRoute:
        return
    assert found.endpoint.startswith(("https://", "http://"))
    assert config.CONTAINER.fullmatch(found.container)


@quick
@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_target_keeps_the_suffix_of_its_source(prefix: str, rest: str, suffix: str) -> None:
    """So routes with disjoint suffixes cannot overlap."""
    source = Place(SOURCE_HOST, "source", prefix)
    carrying = Route("any", source, Place(TARGET_HOST, "target"), suffix)
    for name in (prefix + rest + suffix, prefix + rest, rest + suffix):
        if carrying.carries("sharingsource", "source", name):
            assert name.removeprefix(prefix).endswith(suffix)
    assert carrying.carries("sharingsource", "source", prefix + rest + suffix)


class TestPaused:
    """The field `paused`."""

    @pytest.mark.parametrize(("given", "paused"), [({}, False), ({"paused": False}, False), ({"paused": True}, True)])
    def test_is_read(self, given: dict[str, Any], paused: bool) -> None:  # noqa: FBT001  # a parameter of the test
        assert read(text(route(**given)))[0].paused is paused

    @pytest.mark.parametrize("value", ["true", 1, None, []])
    def test_is_a_boolean(self, value: Any) -> None:
        with pytest.raises(InvalidRoute, match=r"route 'default': `paused` .* must be true or false, without quotes"):
            read(text(route(paused=value)))


class TestObjective:
    """The field `objective`."""

    @pytest.mark.parametrize(
        ("given", "percentile", "within"),
        [
            ({"percentile": 99, "within": "PT15M"}, 99, timedelta(minutes=15)),
            ({"percentile": 99.99, "within": "PT1S"}, 99.99, timedelta(seconds=1)),
            ({"percentile": 50, "within": "P6D"}, 50, timedelta(days=6)),
        ],
    )
    def test_is_read(self, given: dict[str, Any], percentile: float, within: timedelta) -> None:
        assert read(text(route(objective=given)))[0].objective == Objective(percentile, within)
        assert read(text(route()))[0].objective is None

    @pytest.mark.parametrize(
        ("given", "fix"),
        [
            ("PT15M", "such as"),
            ({"percentile": 99}, "such as"),
            ({"percentile": 99, "within": 900}, "such as"),
            ({"percentile": 99, "within": "PT15M", "more": 1}, "such as"),
            ({"percentile": 100, "within": "PT15M"}, "from 50 to 99.99"),
            ({"percentile": 49, "within": "PT15M"}, "from 50 to 99.99"),
            ({"percentile": True, "within": "PT15M"}, "from 50 to 99.99"),
            ({"percentile": "99", "within": "PT15M"}, "from 50 to 99.99"),
            ({"percentile": 99, "within": "P7D"}, "between 1 second and 6 days"),
            ({"percentile": 99, "within": "soon"}, "not an ISO 8601 duration"),
        ],
    )
    def test_another_value_is_rejected(self, given: Any, fix: str) -> None:
        with pytest.raises(InvalidRoute, match=f"route 'default': .*{fix}"):
            read(text(route(objective=given)))


class TestDailyBytes:
    """The field `daily_bytes`."""

    def test_is_read(self) -> None:
        assert read(text(route(daily_bytes=1)))[0].daily_bytes == 1
        assert read(text(route()))[0].daily_bytes is None

    @pytest.mark.parametrize("value", [0, -1, 10**18 + 1, "1", True, 1.5, None])
    def test_another_value_is_rejected(self, value: Any) -> None:
        with pytest.raises(InvalidRoute, match=r"route 'default': the daily_bytes .* must be a whole number from 1"):
            read(text(route(daily_bytes=value)))

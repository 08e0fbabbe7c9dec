"""Parsing of messages, and which transfers follow (rules 6, 10 and 13)."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import Reason
from rules.events.decide import CANNOT_CARRY, PAUSED, EventDecision, decide_on, transfer_for
from rules.events.parse import DAMAGED, BlobEvent, Ignored, RejectedEvent, parse, split
from rules.events.parse import ETAG as ETAG_PATTERN
from rules.events.write import created_event
from rules.routes.filters import FILTERED
from rules.routes.model import MAX_SIZE, Place, Route
from rules.transfers import identity
from rules.transfers.model import Transfer
from tests.unit.samples import (
    ETAG,
    NAME,
    NEWER,
    NOW,
    ROUTE,
    SOURCE_HOST,
    TARGET_HOST,
    TRANSFER,
    body,
    carried_names,
    event,
    event_grid,
    quick,
)

ACCOUNT = "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/"
SUBJECT = "/blobServices/default/containers/source/blobs/"
URL = f"{SOURCE_HOST}/source/{NAME}"
DFS = URL.replace(".blob.", ".dfs.")


def verdict(message: bytes) -> str:
    """The decision on a message: `shared`, `ignored`, or the reason of its rejection."""
    found = decide_on(message, (ROUTE,))
    if found.rejection:
        return found.rejection.reason
    return "ignored" if found.ignored else "shared"


def about(name: str) -> dict[str, Any]:
    """The event of a blob of this name."""
    return {**event(url=f"{SOURCE_HOST}/source/{name}"), "subject": SUBJECT + name}


FILTERING = replace(
    ROUTE, name="filtering", target=Place(TARGET_HOST, "filtered"), exclude=("_temporary/*",), min_size=10, max_size=20
)


# The table of `decide_on`.
LEADS_TO = [
    ("no event", b"hello", "malformed"),
    ("a field missing", body({**event(), "data": {}}), "malformed"),
    ("a field of a wrong type", body(event(url=7)), "malformed"),
    ("another type", body({**event(), "type": "Microsoft.Storage.BlobDeleted"}), "ignored"),
    ("another container", body({**event(), "subject": "/blobServices/default/containers/x/blobs/in/a"}), "ignored"),
    ("another account", body({**event(), "source": ACCOUNT + "other"}), "ignored"),
    ("another prefix", body({**event(), "subject": SUBJECT + "out/a"}), "ignored"),
    ("a name that cannot be carried", body(about("in/../a")), "invalid_name"),
    ("a name that is damaged everywhere", body(about("in/a\ufffd\ufffdb")), "invalid_name"),
    ("another url", body(event(url=URL + "x")), "not_allowed"),
    ("a version that a route carries", body(event()), "shared"),
]


@pytest.mark.parametrize(("message", "leads_to"), [row[1:] for row in LEADS_TO], ids=[row[0] for row in LEADS_TO])
def test_what_follows_from_a_message(message: bytes, leads_to: str) -> None:
    """The table of `decide_on`."""
    assert verdict(message) == leads_to


@pytest.mark.parametrize("schema", [event, event_grid])
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value]], ids=["object", "array of one"])
@pytest.mark.parametrize(
    "code",
    [
        bytes,
        base64.b64encode,
        lambda raw: base64.b64encode(raw) + b"\n",
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: b" \r\n" + raw + b"\n",
    ],
    ids=["plain", "base64", "base64 and a newline", "byte order mark", "white space"],
)
def test_every_form_of_an_event_leads_to_the_same_transfer(schema: Any, wrap: Any, code: Any) -> None:
    assert decide_on(code(body(wrap(schema()))), (ROUTE,)) == EventDecision(transfers=(TRANSFER,))


def test_parsing_normalises_account_and_etag() -> None:
    unusual = {**event(eTag=f'"{ETAG}"', more=[1]), "source": ACCOUNT.upper() + "SharingSource", "extra": {}}
    assert parse(body(unusual)) == BlobEvent("sharingsource", "source", NAME, URL, event()["id"], ETAG, at=NOW)


@pytest.mark.parametrize("schema", [event, event_grid])
def test_a_subject_may_lack_its_leading_slash(schema: Any) -> None:
    """As in an example of Microsoft's documentation."""
    bare = schema()
    assert decide_on(body({**bare, "subject": bare["subject"][1:]}), (ROUTE,)) == EventDecision(transfers=(TRANSFER,))


WEB = Route("web", Place(SOURCE_HOST, "$web", "in/"), Place(TARGET_HOST, "target", "out/"))


@pytest.mark.parametrize("container", ["$web", "%24web"])
@pytest.mark.parametrize("written", ["$web", "%24web"])
def test_a_container_is_compared_raw_or_decoded_once(container: str, written: str) -> None:
    """`$web` arrives as `%24web`."""
    found = {
        **event(url=f"{SOURCE_HOST}/{written}/in/a"),
        "subject": f"/blobServices/default/containers/{container}/blobs/in/a",
    }
    assert decide_on(body(found), (WEB,)) == EventDecision(transfers=(identity.transfer(WEB, "in/a", ETAG),))


@pytest.mark.parametrize("written", ["%2524web", "web", "$web%2Fin", ""])
def test_a_container_is_not_decoded_twice(written: str) -> None:
    found = {
        **event(url=f"{SOURCE_HOST}/{written}/in/a"),
        "subject": "/blobServices/default/containers/$web/blobs/in/a",
    }
    assert decide_on(body(found), (WEB,)).rejection is not None


DAMAGE = "\ufffd\ufffd"
FLAT = Route("flat", Place("http://127.0.0.1:10000/sharingsource", "source"), Place(TARGET_HOST, "target"))


def damaged(subject: str, url: str) -> bytes:
    """An event with these spellings of the name in subject and URL."""
    return body({**event(url=url), "subject": SUBJECT + subject})


@pytest.mark.parametrize(
    ("route", "subject", "url", "name"),
    [
        (ROUTE, f"in/{DAMAGE}/a", f"{SOURCE_HOST}/source/in/\U0001f600/a", "in/\U0001f600/a"),
        (ROUTE, f"in/{DAMAGE}/a", f"{SOURCE_HOST}/source/in/%F0%9F%98%80/a", "in/\U0001f600/a"),
        (ROUTE, "in/\ufffd", f"{SOURCE_HOST}/source/in/\U0001f600\U0001f601", "in/\U0001f600\U0001f601"),
        (ROUTE, f"in/%41{DAMAGE}", f"{SOURCE_HOST}/source/in/%41\U0001f600", "in/%41\U0001f600"),
        (ROUTE, f"in/\u00fc{DAMAGE}", DFS.replace(NAME, "in/\u00fc\U0001f600"), "in/\u00fc\U0001f600"),
        (ROUTE, "in/a\ufffdb", f"{SOURCE_HOST}/source/in/a%EF%BF%BDb", "in/a\ufffdb"),
        (
            replace(ROUTE, source=replace(ROUTE.source, prefix="\U0001f600/")),
            f"{DAMAGE}/a",
            f"{SOURCE_HOST}/source/\U0001f600/a",
            "\U0001f600/a",
        ),
        (FLAT, DAMAGE, f"{FLAT.source.endpoint}/source/\U0001f600", "\U0001f600"),
    ],
)
def test_a_damaged_name_is_taken_from_a_matching_url(route: Route, subject: str, url: str, name: str) -> None:
    assert decide_on(damaged(subject, url), (route,)) == EventDecision(
        transfers=(identity.transfer(route, name, ETAG),)
    )


@pytest.mark.parametrize("prefix", ["in/", "\U0001f600/"])
def test_a_name_damaged_in_subject_and_url_is_rejected(prefix: str) -> None:
    """Otherwise a look would find no such blob, and it would count as deleted."""
    route = replace(ROUTE, source=replace(ROUTE.source, prefix=prefix))
    name = f"{prefix}a\U0001f600".replace("\U0001f600", DAMAGE)
    found = decide_on(damaged(name, f"{SOURCE_HOST}/source/{name}"), (route,))
    assert found.transfers == ()
    assert found.rejection is not None
    assert (found.rejection.reason, found.rejection.detail) == (Reason.INVALID_NAME, DAMAGED)


@pytest.mark.parametrize(
    "url",
    [
        f"{SOURCE_HOST}/source/in/b\U0001f600",
        f"{SOURCE_HOST}/secret/in/a\U0001f600",
        f"{SOURCE_HOST}/source/in/a%FF",
        "https://other.blob.core.windows.net/source/in/a\U0001f600",
    ],
)
def test_a_damaged_name_is_not_taken_from_a_different_url(url: str) -> None:
    assert verdict(damaged(f"in/a{DAMAGE}", url)) == "not_allowed"


def test_a_damaged_event_of_another_container_is_ignored() -> None:
    subject = f"/blobServices/default/containers/other/blobs/{DAMAGE}"
    found = {**event(url=f"{SOURCE_HOST}/other/{DAMAGE}"), "subject": subject}
    assert verdict(body(found)) == "ignored"


@quick
@given(carried_names(40))
def test_a_damaged_name_is_either_restored_or_rejected(name: str) -> None:
    name = "in/" + name
    subject = "".join(DAMAGE if ord(c) > 0xFFFF else c for c in name)
    url = f"{SOURCE_HOST}/source/{name}"
    found = decide_on(damaged(subject, url), (ROUTE,))
    assert [transfer.name for transfer in found.transfers] in ([name], [])
    assert found.transfers or "\ufffd" in name or found.rejection is not None


def test_a_resource_group_may_have_any_letters() -> None:
    """This includes a character that is longer in lower case."""
    assert (
        verdict(body({**event(), "source": ACCOUNT.replace("/rg/", "/\u0130stanbul/") + "sharingsource"})) == "shared"
    )


NO_JSON_OBJECT = "the message is neither a JSON object nor an array of one"
NO_TYPE = "the event has neither a CloudEvents 1.0 `type` nor an Event Grid `eventType`"
NO_DATA = "`data` is not an object"
NO_BLOB = "`source` or `topic` does not name a storage account, or `subject` does not name a blob"
NO_ETAG = "`data.eTag` is not an ETag, or `data.url` is not a string"
BARE = '{"specversion":"1.0","type":"Microsoft.Storage.BlobCreated"'

MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", NO_JSON_OBJECT),
    "white space": (b" \n", NO_JSON_OBJECT),
    "text": (b"hello", NO_JSON_OBJECT),
    "null": (b"null", NO_JSON_OBJECT),
    "true": (b"true", NO_JSON_OBJECT),
    "a number that is base64, too": (b"1234", NO_JSON_OBJECT),
    "a string": (b'"event"', NO_JSON_OBJECT),
    "an array of none": (b"[]", NO_JSON_OBJECT),
    "an array of two": (body([event(), event()]), NO_JSON_OBJECT),
    "an array in an array": (body([[event()]]), NO_JSON_OBJECT),
    "an object that is cut off": (body(event())[:-1], NO_JSON_OBJECT),
    "two objects": (body(event()) * 2, NO_JSON_OBJECT),
    "100,000 arrays deep": (b"[" * 100_000, NO_JSON_OBJECT),
    "100,000 objects deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, NO_JSON_OBJECT),
    "64 KiB of zeros": (bytes(65_536), NO_JSON_OBJECT),
    "64 KiB of base64": (b"A" * 65_536, NO_JSON_OBJECT),
    "no UTF-8": (body(event()).replace(b"report", b"\xff\xfe"), NO_JSON_OBJECT),
    "UTF-16": (json.dumps(event()).encode("utf-16"), NO_JSON_OBJECT),
    "base64 twice": (base64.b64encode(base64.b64encode(body(event()))), NO_JSON_OBJECT),
    "base64 without its padding": (base64.b64encode(b"{}").rstrip(b"="), NO_JSON_OBJECT),
    "a number of 5,000 digits": (b'{"a":' + b"9" * 5_000 + b"}", NO_JSON_OBJECT),
    "an empty object": (b"{}", NO_TYPE),
    "a type of neither schema": (body({"type": "Microsoft.Storage.BlobCreated"}), NO_TYPE),
    "a type that is a list": (body({**event(), "type": ["Microsoft.Storage.BlobCreated"]}), NO_TYPE),
    "a key twice, and the last is wrong": (BARE.encode() + b',"type":null}', NO_TYPE),
    "no data": (BARE.encode() + b"}", NO_DATA),
    "data that is null": (body({**event(), "data": None}), NO_DATA),
    "data that is text": (body({**event(), "data": "{}"}), NO_DATA),
    "data that is NaN": (BARE.encode() + b',"data":NaN}', NO_DATA),
    "data that is infinite": (BARE.encode() + b',"data":1e999}', NO_DATA),
    "a source that is null": (body({**event(), "source": None}), NO_BLOB),
    "a source that is not an account": (body({**event(), "source": "/subscriptions/1"}), NO_BLOB),
    "a source that goes on": (body({**event(), "source": ACCOUNT + "sharingsource/x"}), NO_BLOB),
    "an account with a Kelvin sign": (body({**event(), "source": ACCOUNT + "\u212aelvin"}), NO_BLOB),
    "an account of 25 letters": (body({**event(), "source": ACCOUNT + "a" * 25}), NO_BLOB),
    "an Event Grid topic in a CloudEvent": (body({**event(), "source": 1, "topic": ACCOUNT + "a"}), NO_BLOB),
    "a subject that is a number": (body({**event(), "subject": 1}), NO_BLOB),
    "a subject without a name": (body({**event(), "subject": SUBJECT}), NO_BLOB),
    "a subject of a container": (body({**event(), "subject": "/blobServices/default/containers/source"}), NO_BLOB),
    "no ETag": (body(event(eTag=None)), NO_ETAG),
    "an ETag that is a number": (body(event(eTag=8)), NO_ETAG),
    "an empty ETag": (body(event(eTag="")), NO_ETAG),
    "an ETag of quotes alone": (body(event(eTag='""')), NO_ETAG),
    "an ETag that matches all": (body(event(eTag="*")), NO_ETAG),
    "a quoted star": (body(event(eTag='"*"')), NO_ETAG),
    "a list of ETags": (body(event(eTag='"0x1", "0x2"')), NO_ETAG),
    "a weak ETag": (body(event(eTag='W/"0x1"')), NO_ETAG),
    "half a quote": (body(event(eTag='"0x1')), NO_ETAG),
    "an ETag that goes on in another header": (body(event(eTag="0x1\r\nx-ms-lease-id: 1")), NO_ETAG),
    "an ETag with a newline": (body(event(eTag="0x1\n")), NO_ETAG),
    "an ETag of 129": (body(event(eTag="0" * 129)), NO_ETAG),
    "a url that is null": (body(event(url=None)), NO_ETAG),
    "a url that is a list": (body(event(url=[URL])), NO_ETAG),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_message_is_rejected_with_the_reason(case: str) -> None:
    message, detail = MALFORMED[case]
    assert decide_on(message, (ROUTE,)) == EventDecision(rejection=RejectedEvent(Reason.MALFORMED, detail))


URLS = {
    "as it is": (URL, "shared"),
    "encoded once": (f"{SOURCE_HOST}/source/in%2F2026%2Freport.csv", "shared"),
    "its dfs host": (DFS, "shared"),
    "encoded twice": (f"{SOURCE_HOST}/source/in%252F2026%252Freport.csv", "not_allowed"),
    "its container encoded": (f"{SOURCE_HOST}/%73ource/{NAME}", "shared"),
    "its container encoded twice": (f"{SOURCE_HOST}/%2573ource/{NAME}", "not_allowed"),
    "its host encoded": (URL.replace("sharingsource.", "sharingsource%2E"), "not_allowed"),
    "not UTF-8 once it is decoded": (f"{SOURCE_HOST}/source/%FF", "not_allowed"),
    "empty": ("", "not_allowed"),
    "a path": (f"/source/{NAME}", "not_allowed"),
    "another account": (URL.replace("sharingsource", "other"), "not_allowed"),
    "another host": (f"https://evil.example/source/{NAME}", "not_allowed"),
    "a host that begins as ours": (URL.replace(".net/", ".net.evil.example/"), "not_allowed"),
    "a user before another host": (f"{SOURCE_HOST}@evil.example/source/{NAME}", "not_allowed"),
    "a user": (URL.replace("https://", "https://user:word@"), "not_allowed"),
    "the metadata service": (f"http://169.254.169.254/source/{NAME}", "not_allowed"),
    "an IPv6 address": (f"http://[::1]/source/{NAME}", "not_allowed"),
    "a decimal address": (f"http://2130706433/source/{NAME}", "not_allowed"),
    "a port": (URL.replace(".net/", ".net:443/"), "not_allowed"),
    "no TLS": (URL.replace("https:", "http:"), "not_allowed"),
    "a file": (f"file:///source/{NAME}", "not_allowed"),
    "a SAS": (f"{URL}?sv=2024-11-04&sig=abc", "not_allowed"),
    "a snapshot": (f"{URL}?snapshot=2026-11-24T19:02:44.1200000Z", "not_allowed"),
    "an empty query": (f"{URL}?", "not_allowed"),
    "a fragment": (f"{URL}#x", "not_allowed"),
    "another container": (URL.replace("/source/", "/secret/"), "not_allowed"),
    "another name": (URL + ".bak", "not_allowed"),
    "a way up": (f"{SOURCE_HOST}/source/x/../{NAME}", "not_allowed"),
    "two slashes": (URL.replace("/source/", "//source/"), "not_allowed"),
    "another case": (URL.upper(), "not_allowed"),
    "white space": (URL + " ", "not_allowed"),
    "no characters": (URL + "\x00", "not_allowed"),
    "a lone surrogate": (URL + "\ud800", "not_allowed"),
    "dfs in the name alone": (URL.replace("report", ".dfs."), "not_allowed"),
}


@pytest.mark.parametrize("case", URLS)
def test_the_url_must_be_the_one_rebuilt_from_the_route(case: str) -> None:
    """It is compared and never fetched."""
    url, leads_to = URLS[case]
    assert verdict(body(event(url=url))) == leads_to


NAMES = {
    "in/a b.txt": "shared",
    "in/100%.txt": "shared",
    "in/a?b#c.txt": "shared",
    "in/%2e%2e/x": "shared",
    "in//a//": "shared",
    "in/\u00e9\U0001f600": "shared",
    "in/a\u2028b": "shared",
    "in/blobs/in/a": "shared",
    "in/a\\b": "invalid_name",
    "in/./a": "invalid_name",
    "in/..": "invalid_name",
    "in/a\nb": "invalid_name",
    "in/a\x00": "invalid_name",
    "in/a\ud800": "invalid_name",
    "in/a\ufffe": "invalid_name",
    "in/" + "a" * 1_021: "invalid_name",  # rewritten to `out/…` it is one too long
    "in/" + "\u20ac" * 200: "invalid_name",  # its URL and a SAS exceed the limit
    "In/a": "ignored",
    "in": "ignored",
    "other": "ignored",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:30])
def test_the_name_is_taken_from_the_subject_byte_for_byte(name: str) -> None:
    assert verdict(body(about(name))) == NAMES[name]


@pytest.mark.parametrize("api", ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit", "New", None, 7])
def test_every_other_api_is_accepted(api: Any) -> None:
    assert verdict(body(event(api=api))) == "shared"


def test_an_event_of_another_type_is_ignored_before_its_fields_are_checked() -> None:
    assert parse(body({"specversion": "1.0", "type": "x"})) == Ignored("the event is of another type")


@pytest.mark.parametrize(
    ("message", "shared"),
    [
        (about("in/a"), True),
        (event(contentLength=10), True),
        (event(contentLength=20), True),
        (event(contentLength=9), False),
        (event(contentLength=21), False),
        (event(contentLength=0), False),
        (about("in/_temporary/a"), False),
        (about("in/x/_temporary/a"), False),
        (about("in/_temporary/../a"), False),
        *((event(contentLength=size), True) for size in (None, "9", 9.0, -1, True, [9], MAX_SIZE + 1)),
    ],
)
@pytest.mark.parametrize("schema", ["CloudEvents", "Event Grid"])
def test_an_event_that_the_filters_exclude_is_ignored(message: dict[str, Any], schema: str, *, shared: bool) -> None:
    """`start` decides on a size that the event does not tell."""
    if schema == "Event Grid":
        message = {**event_grid(), "subject": message["subject"], "data": message["data"]}
    found = decide_on(body(message), (FILTERING,))
    assert [transfer.route for transfer in found.transfers] == (["filtering"] if shared else [])
    assert found.ignored == ("" if shared else FILTERED)
    assert found.rejection is None


def test_filters_apply_to_their_own_route_only() -> None:
    for message in (event(contentLength=9), about("in/_temporary/a")):
        found = decide_on(body(message), (FILTERING, ROUTE))
        assert [transfer.route for transfer in found.transfers] == ["default"]
    elsewhere = {**event(), "subject": SUBJECT + "out/_temporary/a"}
    assert decide_on(body(elsewhere), (FILTERING,)).ignored == "no route carries this blob"


def test_one_route_may_reject_a_name_that_another_carries() -> None:
    long = replace(ROUTE, name="long", target=Place(TARGET_HOST, "target", "x" * 200 + "/"))
    csv = replace(ROUTE, name="csv", suffix=".csv", target=Place(TARGET_HOST, "csv"))
    name = "in/" + "a" * 900
    found = decide_on(body(about(name)), (ROUTE, long, csv))
    assert found.transfers == (identity.transfer(ROUTE, name, ETAG),)
    assert found.rejection == RejectedEvent(Reason.INVALID_NAME, "more than 1,024 UTF-16 units")
    assert decide_on(body(event()), (ROUTE, csv)).transfers == (TRANSFER, identity.transfer(csv, NAME, ETAG))


def test_a_name_equal_to_the_source_prefix_needs_a_target_prefix() -> None:
    bare = replace(ROUTE, target=Place(TARGET_HOST, "target"))
    assert transfer_for(bare, "in/", ETAG) == RejectedEvent(Reason.INVALID_NAME, "the name is empty")
    assert isinstance(transfer_for(ROUTE, "in/", ETAG), Transfer)


@quick
@given(carried_names(100))
def test_the_event_of_a_successor_leads_to_its_transfer(rest: str) -> None:
    """Rule 6."""
    transfer = identity.transfer(ROUTE, "in/" + rest, ETAG)
    found = decide_on(created_event(transfer, NEWER, NOW), (ROUTE,))
    assert found in (
        EventDecision(transfers=(identity.sibling(transfer, NEWER),)),
        EventDecision(rejection=found.rejection),
    )
    assert isinstance(transfer_for(ROUTE, transfer.name, ETAG), Transfer) == bool(found.transfers)


def test_the_event_of_a_successor_works_with_the_emulator() -> None:
    local = replace(ROUTE, source=Place("http://127.0.0.1:10000/sharingsource", "source", "in/"))
    transfer = identity.transfer(local, NAME, ETAG)
    assert decide_on(created_event(transfer, NEWER, NOW), (local,)).transfers == (identity.sibling(transfer, NEWER),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["specversion", "type", "source", "topic", "subject", "eventType", "data"]
DATA = ["api", "eTag", "url", "contentLength"]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """An event with some fields missing or replaced by any value."""
    value = draw(st.sampled_from([event, event_grid]))(
        **draw(st.dictionaries(st.sampled_from(DATA), JSON | st.just(URL) | st.just(ETAG), max_size=2))
    )
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        value[field] = draw(JSON | st.just(ACCOUNT + "sharingsource") | st.text(max_size=9).map(SUBJECT.__add__))
    return draw(st.sampled_from([value, [value], [value, value]]))


@quick
@given(st.binary(max_size=300) | st.binary(max_size=60).map(base64.b64encode))
def test_deciding_never_raises_for_any_bytes(message: bytes) -> None:
    assert decide_on(message, (ROUTE,)) == decide_on(message, (ROUTE,))


@quick
@given(JSON | mutated())
def test_any_json_leads_only_to_transfers_of_the_route(value: Any) -> None:
    message = body(value)
    found = decide_on(message, (ROUTE,))
    assert decide_on(base64.b64encode(message), (ROUTE,)) == found
    for transfer in found.transfers:
        assert (transfer.route, transfer.source, transfer.target) == ("default", ROUTE.source, ROUTE.target)
        assert transfer.target_blob.url.startswith(f"{TARGET_HOST}/target/out/")
        assert ETAG_PATTERN.fullmatch(transfer.etag)


KEPT = {"deadLetterReason": "MaxDeliveryAttemptsExceeded", "deliveryAttempts": 30, "lastDeliveryOutcome": "NotFound"}


@pytest.mark.parametrize("schema", [event, event_grid])
def test_a_blob_of_undelivered_events_is_split_into_events(schema: Any) -> None:
    transfer = (identity.transfer(ROUTE, NAME, ETAG),)
    given = schema() | KEPT | {key.lower(): value for key, value in KEPT.items()}
    for message in (body([given, given]), base64.b64encode(body([given, given]))):
        assert [decide_on(each, (ROUTE,)).transfers for each in split(message)] == [transfer, transfer]
    [single] = split(body(given))
    assert decide_on(single, (ROUTE,)).transfers == transfer


@pytest.mark.parametrize("message", [b"", b"\xff", b"[1", b"7", b'"text"', b"[" * 100_000])
def test_a_blob_without_events_becomes_one_malformed_message(message: bytes) -> None:
    assert split(message) == [message]
    assert verdict(message) == "malformed"


def test_an_empty_array_has_no_events() -> None:
    assert split(b"[]") == []


@quick
@given(st.lists(JSON, max_size=4))
def test_splitting_keeps_every_item(values: list[Any]) -> None:
    written = [json.loads(each) for each in split(body(values))]
    assert json.dumps(written) == json.dumps(json.loads(body(values)))


def test_any_nesting_that_can_be_parsed_can_be_split() -> None:
    for depth in range(1, 1_200):
        assert len(split(b"[" * depth + b"]" * depth)) <= 1


PAUSED_ROUTE = replace(ROUTE, name="paused", target=Place(TARGET_HOST, "second"), paused=True)
RENAMED = {"type": "Microsoft.Storage.BlobRenamed", "data": {"destinationUrl": URL}}
FOLDER = {
    "type": "Microsoft.Storage.DirectoryRenamed",
    "subject": SUBJECT + "in/2026",
    "data": {"destinationUrl": f"{SOURCE_HOST}/source/in/2026"},
}
DAMAGED_NAME = {
    "subject": f"{SUBJECT}in/a{DAMAGE}",
    "data": {**event()["data"], "url": f"{SOURCE_HOST}/source/in/a{DAMAGE}"},
}
ELSEWHERE = {"data": {**event()["data"], "url": URL + "x"}}


class TestPaused:
    """Events of paused routes."""

    @pytest.mark.parametrize("change", [{}, RENAMED, FOLDER, DAMAGED_NAME, ELSEWHERE])
    def test_are_ignored_if_every_route_is_paused(self, change: dict[str, Any]) -> None:
        """Also those that would be rejected: the reconcile that follows the pause reports them."""
        message = body({**event(), **change})
        assert decide_on(message, (PAUSED_ROUTE,)) == EventDecision(ignored=PAUSED, paused=("paused",))

    @pytest.mark.parametrize("change", [{}, RENAMED, FOLDER, DAMAGED_NAME, ELSEWHERE])
    def test_lead_to_the_same_for_the_other_routes(self, change: dict[str, Any]) -> None:
        message = body({**event(), **change})
        alone = decide_on(message, (ROUTE,))
        assert decide_on(message, (ROUTE, PAUSED_ROUTE)) == replace(alone, paused=("paused",))

    @pytest.mark.parametrize("change", [{"subject": SUBJECT + "out/a"}, {"source": ACCOUNT + "other"}])
    def test_are_only_those_that_the_route_would_carry(self, change: dict[str, Any]) -> None:
        assert decide_on(body({**event(), **change}), (PAUSED_ROUTE,)).paused == ()

    def test_are_not_those_that_its_filters_exclude(self) -> None:
        route = replace(PAUSED_ROUTE, exclude=("*.csv",))
        assert decide_on(body(event()), (route,)) == EventDecision(ignored=FILTERED)

    def test_an_announcement_that_the_other_route_cannot_carry(self) -> None:
        message = body({**event(), "data": {**event(api="CreateFile", url=URL + "x")["data"]}})
        found = decide_on(message, (ROUTE, PAUSED_ROUTE))
        assert (found.paused, found.rejection, found.ignored) == (
            ("paused",),
            None,
            CANNOT_CARRY,
        )

"""The bodies of what is asked for: what is right becomes a job, all else is a 400 that says what is right."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.functions as func
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.problems import Invalid
from rules import codec
from rules.codec import stamp
from rules.errors import Reason
from rules.jobs.model import DEFAULT_RATE, MAX_RATE, Job, JobKind
from tests.unit.samples import NOW, quick
from triggers.http import bodies
from triggers.http.bodies import MAX_BODY

ID = "x"


def request(sent: bytes) -> func.HttpRequest:
    """A call with this body."""
    return func.HttpRequest(method="POST", url="http://localhost:7071/api/x", params={}, route_params={}, body=sent)


def replay(sent: Any) -> Job:
    """The bulk replay that a body asks for; as bytes it is sent as it is."""
    return asked(sent, JobKind.REPLAY)


def asked(sent: Any, work: JobKind) -> Job:
    """The job that a body asks for."""
    return bodies.read_job(request(sent if isinstance(sent, bytes) else json.dumps(sent).encode()), work, ID, NOW)


def reconcile(sent: Any) -> Job:
    """The reconcile that a body asks for."""
    return asked(sent, JobKind.RECONCILE)


def test_an_empty_object_means_every_open_letter() -> None:
    """For real, at the default rate; null is as good as left out."""
    plain = Job(ID, JobKind.REPLAY, NOW)
    assert replay({}) == plain
    assert replay(dict.fromkeys(("reason", "route", "since", "until", "dry_run", "max_per_second"))) == plain
    assert (plain.dry_run, plain.rate) == (False, DEFAULT_RATE)


def test_every_field_of_a_replay_is_read() -> None:
    """Times with any zone; they are kept in UTC."""
    sent = {
        "reason": "throttled",
        "route": "default",
        "since": "2026-11-24T19:02:44.120Z",
        "until": "2026-11-24T21:02:44.121+02:00",
        "dry_run": True,
        "max_per_second": 1,
    }
    until = NOW + timedelta(milliseconds=1)
    job = Job(ID, JobKind.REPLAY, NOW, "default", Reason.THROTTLED, NOW, until, dry_run=True, rate=1)
    assert replay(sent) == job
    assert asked(sent, JobKind.DISCARD) == replace(job, kind=JobKind.DISCARD)
    assert codec.decode(Job, json.dumps(codec.encode(job))) == job


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_body_that_is_not_utf_8_is_told_so(encoding: str) -> None:
    """Windows PowerShell sends Latin-1; an editor may have saved UTF-16."""
    sent = '{"route": "año"}'.encode(encoding)
    for read in (replay, reconcile, lambda sent: bodies.read_strings(request(sent), "route", "name")):
        with pytest.raises(Invalid) as told:
            read(sent)
        assert told.value.status == 400
        assert "UTF-8" in told.value.detail
        assert "UTF-8" in told.value.fix


def test_a_byte_order_mark_of_utf_8_is_no_part_of_the_body() -> None:
    """Editors on Windows write it."""
    assert replay('{"route": "default"}'.encode("utf-8-sig")).route == "default"


def test_a_time_may_be_in_lower_case() -> None:
    """RFC 3339 takes `t` and `z`; so do other writers of it."""
    job = replay({"since": "2026-11-24t19:02:44.120z", "until": "2026-11-24 19:02:44.120z"})
    assert (job.since, job.until) == (NOW, NOW)


def test_every_field_of_a_reconcile_is_read() -> None:
    """The route is needed; whether there is such a route is the operation's to say."""
    sent = {"route": "default", "dry_run": False, "max_per_second": MAX_RATE}
    assert reconcile(sent) == Job(ID, JobKind.RECONCILE, NOW, "default", rate=MAX_RATE)


@pytest.mark.parametrize("fields", [{}, {"route": None}, {"dry_run": True}])
def test_a_reconcile_without_a_route_is_told_how_to_name_one(fields: dict[str, Any]) -> None:
    """With an example that would be taken."""
    with pytest.raises(Invalid) as caught:
        reconcile(fields)
    assert str(caught.value) == "`route` is missing"
    assert reconcile(json.loads(caught.value.fix[5:].rstrip("."))).route == "default"


RATES: list[Any] = [0, -1, MAX_RATE + 1, 10**30, 1.5, 20.0, "20", True, False, [20], {}, ""]
FLAGS: list[Any] = ["true", "", 1, 0, [], {}, 1.5]
TEXTS: list[Any] = [5, True, ["default"], {"a": 1}, 1.5]
TIMES: list[Any] = [
    "2026-11-24T19:02:44",  # no zone
    "2026-11-24",
    "19:02:44Z",
    "yesterday",
    "",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-11-24T25:00:00Z",
    "2026-11-24T19:02:44+25:00",
    "1764010964",
    "\u0662\u0660\u0662\u0666-11-24T19:02:44Z",
    "\ud800",
    "x" * 9_000,
    "0001-01-01T00:00:00+14:00",  # the first and the last day of all may have no UTC
    "9999-12-31T23:59:59-14:00",
]
INVALID: list[tuple[str, Any, str]] = [
    *[("max_per_second", value, f"Send an integer from 1 to {MAX_RATE}.") for value in RATES],
    *[("dry_run", value, "Send true or false.") for value in FLAGS],
    *[("route", value, "Send a string.") for value in TEXTS],
    *[
        ("route", value, "Use the name of a route")
        for value in ("", "a b", "-x", "x" * 41, "../x", "default\n", "\ud800")
    ],
]
OF_REPLAYS: list[tuple[str, Any, str]] = [
    *[("reason", value, "Send a string.") for value in TEXTS],
    *[("reason", value, "Use one of: malformed, ") for value in ("", "Throttled", "other", "throttled,internal")],
    *[(name, value, "Send a string.") for name in ("since", "until") for value in TEXTS],
    *[(name, value, "Send an RFC 3339 time with a time zone") for name in ("since", "until") for value in TIMES],
]


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    """Nothing failed in it: it would find nothing, and say that all is well."""
    first, last = "2026-11-24T19:02:44Z", "2026-11-24T20:02:45+01:00"
    assert replay({"since": first, "until": first}).since == replay({"since": first, "until": last}).since
    with pytest.raises(Invalid, match="`since` is later than `until`"):
        replay({"since": last, "until": first})


@pytest.mark.parametrize(("name", "value", "fix"), [*INVALID, *OF_REPLAYS])
def test_a_value_that_is_not_valid_is_named_with_what_is_right(name: str, value: Any, fix: str) -> None:
    """Of every type that JSON has; nothing of the value comes back."""
    for ask in (replay, reconcile) if (name, value, fix) in INVALID else (replay,):
        with pytest.raises(Invalid) as caught:
            ask({"route": "default", name: value})
        assert str(caught.value) == f"`{name}` is not valid"
        assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize(
    "field", ["Reason", "state", "limit", "max_per_seconds", "", "dry-run", "\ud800", "x" * 5_000, "a\r\nb"]
)
def test_a_field_that_is_unknown_is_named_and_never_ignored(field: str) -> None:
    """A typo of `dry_run` must not become a run for real; what is shown of it is short."""
    for ask in (replay, reconcile):
        with pytest.raises(Invalid) as caught:
            ask({"route": "default", field: 1})
        assert str(caught.value).startswith("unknown field ")
        assert len(str(caught.value)) < 200
        assert caught.value.fix.startswith("Use only: ")
        assert "dry_run, max_per_second" in caught.value.fix


def test_a_field_of_the_other_kind_is_unknown() -> None:
    """A reconcile has neither reason nor time."""
    for field in ("reason", "since", "until"):
        with pytest.raises(Invalid, match="unknown field"):
            reconcile({"route": "default", field: None})


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"[{}]",
        b'"text"',
        b"5",
        b"true",
        b"{",
        b"{}{}",
        b"{'route':'default'}",
        b"[" * MAX_BODY,
        b'{"a":' * (MAX_BODY // 5),
        b'{"max_per_second":' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_told_how_to_send_one(sent: bytes) -> None:
    """A chunked body arrives empty: the fix says so."""
    for ask in (replay, reconcile):
        with pytest.raises(Invalid) as caught:
            ask(sent)
        assert str(caught.value) == "the body is not a JSON object"
        assert "Content-Length" in caught.value.fix


def test_a_body_is_read_up_to_16_kb_and_no_further() -> None:
    """Parsing takes many times its size of memory."""
    most = b'{"route":"default"}'.ljust(MAX_BODY)
    assert reconcile(most).route == replay(most).route == "default"
    for ask in (replay, reconcile):
        with pytest.raises(Invalid, match="the body is too large") as caught:
            ask(most + b" ")
        assert str(MAX_BODY) in caught.value.fix


def test_nested_as_deep_as_the_body_allows_it_is_a_value_like_any_other() -> None:
    """Deep JSON stops no function."""
    for depth in (10, 900, 5_000):
        with pytest.raises(Invalid):
            replay(b'{"route":' + b"[" * depth + b"]" * depth + b"}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["reason", "route", "since", "until", "dry_run", "max_per_second"])


@quick
@given(st.dictionaries(FIELDS | st.text(max_size=5), JSON, max_size=4))
def test_whatever_is_sent_is_a_job_or_a_400_with_a_fix(sent: dict[str, Any]) -> None:
    """Total; and a job that comes of it can be stored."""
    for ask in (replay, reconcile):
        try:
            job: Job | None = ask(sent)
        except Invalid as invalid:
            job, fix = None, invalid.fix
        assert fix if job is None else codec.decode(Job, json.dumps(codec.encode(job))) == job


@quick
@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_any_time_with_a_zone_can_be_stored_or_is_a_400(moment: datetime) -> None:
    """Also at both ends of the calendar."""
    try:
        job = replay({"since": moment.isoformat()})
    except Invalid:
        assert moment.year in {1, 9999}
    else:
        # Two zones are never equal at a moment that a clock skips: compared in one.
        assert job.since == moment.astimezone(UTC)
        assert stamp(moment) == stamp(codec.decode(Job, json.dumps(codec.encode(job))).since or NOW)

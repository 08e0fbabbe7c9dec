"""Request bodies: a valid body becomes a job, any other is answered 400 with a fix."""

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
    return func.HttpRequest(method="POST", url="http://localhost:7071/api/x", params={}, route_params={}, body=sent)


def read_replay(sent: Any) -> Job:
    """Read the body of a bulk replay. Bytes are sent unchanged."""
    return read_job(sent, JobKind.REPLAY)


def read_job(sent: Any, work: JobKind) -> Job:
    return bodies.read_job(request(sent if isinstance(sent, bytes) else json.dumps(sent).encode()), work, ID, NOW)


def read_reconcile(sent: Any) -> Job:
    return read_job(sent, JobKind.RECONCILE)


def test_an_empty_object_selects_every_open_dead_letter() -> None:
    plain = Job(ID, JobKind.REPLAY, NOW)
    assert read_replay({}) == plain
    assert read_replay(dict.fromkeys(("reason", "route", "since", "until", "dry_run", "max_per_second"))) == plain
    assert (plain.dry_run, plain.rate) == (False, DEFAULT_RATE)


def test_reads_every_field_of_a_replay() -> None:
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
    assert read_replay(sent) == job
    assert read_job(sent, JobKind.DISCARD) == replace(job, kind=JobKind.DISCARD)
    assert codec.decode(Job, json.dumps(codec.encode(job))) == job


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_body_that_is_not_utf_8_is_rejected(encoding: str) -> None:
    """Windows PowerShell sends Latin-1; an editor may have saved UTF-16."""
    sent = '{"route": "año"}'.encode(encoding)
    for read in (read_replay, read_reconcile, lambda sent: bodies.read_strings(request(sent), "route", "name")):
        with pytest.raises(Invalid) as error:
            read(sent)
        assert error.value.status == 400
        assert "UTF-8" in error.value.detail
        assert "UTF-8" in error.value.fix


def test_a_utf_8_byte_order_mark_is_ignored() -> None:
    assert read_replay('{"route": "default"}'.encode("utf-8-sig")).route == "default"


def test_a_time_may_use_lower_case_t_and_z() -> None:
    job = read_replay({"since": "2026-11-24t19:02:44.120z", "until": "2026-11-24 19:02:44.120z"})
    assert (job.since, job.until) == (NOW, NOW)


def test_reads_every_field_of_a_reconcile() -> None:
    sent = {"route": "default", "prefix": "in/a/", "dry_run": False, "max_per_second": MAX_RATE}
    assert read_reconcile(sent) == Job(ID, JobKind.RECONCILE, NOW, "default", prefix="in/a/", rate=MAX_RATE)


@pytest.mark.parametrize("prefix", ["a\x00", "x" * 1_025, "a/../b"])
def test_a_prefix_that_no_name_can_begin_with_is_invalid(prefix: str) -> None:
    with pytest.raises(Invalid, match="`prefix` is not valid"):
        read_reconcile({"route": "default", "prefix": prefix})


@pytest.mark.parametrize("fields", [{}, {"route": None}, {"dry_run": True}])
def test_a_reconcile_without_a_route_is_rejected_with_a_valid_example(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        read_reconcile(fields)
    assert str(caught.value) == "`route` is missing"
    assert read_reconcile(json.loads(caught.value.fix[5:].rstrip("."))).route == "default"


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
    "0001-01-01T00:00:00+14:00",  # out of range in UTC
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


def test_since_after_until_is_rejected() -> None:
    first, last = "2026-11-24T19:02:44Z", "2026-11-24T20:02:45+01:00"
    assert read_replay({"since": first, "until": first}).since == read_replay({"since": first, "until": last}).since
    with pytest.raises(Invalid, match="`since` is later than `until`"):
        read_replay({"since": last, "until": first})


@pytest.mark.parametrize(("name", "value", "fix"), [*INVALID, *OF_REPLAYS])
def test_an_invalid_value_is_rejected_by_name_and_not_echoed(name: str, value: Any, fix: str) -> None:
    for ask in (read_replay, read_reconcile) if (name, value, fix) in INVALID else (read_replay,):
        with pytest.raises(Invalid) as caught:
            ask({"route": "default", name: value})
        assert str(caught.value) == f"`{name}` is not valid"
        assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize(
    "field", ["Reason", "state", "limit", "max_per_seconds", "", "dry-run", "\ud800", "x" * 5_000, "a\r\nb"]
)
def test_an_unknown_field_is_rejected_by_name(field: str) -> None:
    """A typo of `dry_run` must not start a job that acts."""
    for ask in (read_replay, read_reconcile):
        with pytest.raises(Invalid) as caught:
            ask({"route": "default", field: 1})
        assert str(caught.value).startswith("unknown field ")
        assert len(str(caught.value)) < 200
        assert caught.value.fix.startswith("Use only: ")
        assert "dry_run, max_per_second" in caught.value.fix


def test_a_field_of_another_kind_of_job_is_rejected() -> None:
    for field in ("reason", "since", "until"):
        with pytest.raises(Invalid, match="unknown field"):
            read_reconcile({"route": "default", field: None})


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
def test_a_body_that_is_not_a_json_object_is_rejected_with_a_fix(sent: bytes) -> None:
    for ask in (read_replay, read_reconcile):
        with pytest.raises(Invalid) as caught:
            ask(sent)
        assert str(caught.value) == "the body is not a JSON object"
        assert "Content-Length" in caught.value.fix


def test_a_body_over_16_kib_is_rejected() -> None:
    most = b'{"route":"default"}'.ljust(MAX_BODY)
    assert read_reconcile(most).route == read_replay(most).route == "default"
    for ask in (read_replay, read_reconcile):
        with pytest.raises(Invalid, match="the body is too large") as caught:
            ask(most + b" ")
        assert str(MAX_BODY) in caught.value.fix


def test_deeply_nested_json_is_rejected_like_any_other_value() -> None:
    for depth in (10, 900, 5_000):
        with pytest.raises(Invalid):
            read_replay(b'{"route":' + b"[" * depth + b"]" * depth + b"}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["reason", "route", "since", "until", "dry_run", "max_per_second"])


@quick
@given(st.dictionaries(FIELDS | st.text(max_size=5), JSON, max_size=4))
def test_any_body_is_a_storable_job_or_a_400_with_a_fix(sent: dict[str, Any]) -> None:
    for ask in (read_replay, read_reconcile):
        try:
            job: Job | None = ask(sent)
        except Invalid as invalid:
            job, fix = None, invalid.fix
        assert fix if job is None else codec.decode(Job, json.dumps(codec.encode(job))) == job


@quick
@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_any_time_with_a_zone_is_storable_or_a_400(moment: datetime) -> None:
    try:
        job = read_replay({"since": moment.isoformat()})
    except Invalid:
        assert moment.year in {1, 9999}
    else:
        # Times of different zones never compare equal while a clock is set forward, so compare both in UTC.
        assert job.since == moment.astimezone(UTC)
        assert stamp(moment) == stamp(codec.decode(Job, json.dumps(codec.encode(job))).since or NOW)

"""Log lines: one JSON object per line, for any name in it."""

import asyncio
import json
import logging
from contextlib import suppress

import pytest

from operations.log import LOGGER, log, traced

NASTY = [
    "in/a\r\n2026-11-24 forged: a second line",
    "in/\x1b[2J\x1b[31mred",
    "in/\u202egnp.exe",
    "in/\u2028\u2029\x85\x0b\x0c",
    "in/\x00\x07\x7f",
    'in/"quoted" %s %d {name}',
    "in/\ud800",
    "in/\U0001f4a5",
]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The app's log lines."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER.name]


@pytest.mark.parametrize("name", NASTY)
def test_any_name_is_logged_on_one_printable_line_and_can_be_read_back(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    log("transfer.accepted", f"about {name}", name=name)
    (line,) = lines(caplog)
    assert line.isascii()
    assert line.isprintable()
    text = f"about {name}".encode("utf-8", "replace").decode()
    assert json.loads(line) == {"action": "transfer.accepted", "text": text, "name": name}


class Unserializable:
    """A value that JSON cannot express, and whose text holds a secret."""

    def __str__(self) -> str:
        return "?sig=c2VjcmV0"


def test_secrets_are_removed_from_every_text_but_the_names_of_blobs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    secret = "first line\nsig=c2VjcmV0&code=c2VjcmV0"
    log("http.failed", secret, detail=secret, error=secret, odd=Unserializable(), name="code=DE/a.csv", count=1)
    (line,) = lines(caplog)
    assert "c2VjcmV0" not in line
    assert line.count("sig=REMOVED") == 4
    assert json.loads(line)["name"] == "code=DE/a.csv"


def test_the_level_is_set_on_the_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    log("http.failed", "bad", level=logging.ERROR)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_values_that_json_cannot_express_are_logged_as_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    log("x", "y", odd={1}, path=object)
    (line,) = lines(caplog)
    assert json.loads(line)["odd"] == "{1}"


TRACE, OTHER, SPAN = "0af7651916cd43dd8448eb211c80319c", "11" * 16, "b7ad6b7169203331"
TRANSFER, TRACE_OF_TRANSFER = "37a8eec1-f414334a7d6862b0d4a54a62", "37a8eec1f414334a7d6862b0d4a54a62"
JOB, TRACE_OF_JOB = "replay-" + "a" * 24, "0" * 8 + "a" * 24


def traces(caplog: pytest.LogCaptureFixture) -> list[tuple[str | None, str | None]]:
    """The trace and span of each line."""
    found = [json.loads(line) for line in lines(caplog)]
    return [(line.get("trace_id"), line.get("span_id")) for line in found]


def test_outside_a_call_the_trace_is_derived_from_the_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    for identity in (TRANSFER, JOB, "message-" + "a" * 24, 5, None):
        log("x", "y", id=identity)
    log("x", "y")
    assert traces(caplog) == [(TRACE_OF_TRANSFER, None), (TRACE_OF_JOB, None), *[(None, None)] * 4]
    assert not any("span_id" in line for line in lines(caplog))


def test_inside_a_call_lines_have_its_trace_and_span(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    with suppress(ZeroDivisionError), traced(f"00-{TRACE}-{SPAN}-01"):
        log("x", "y", id=TRANSFER)
        raise ZeroDivisionError
    log("x", "y", id=TRANSFER)
    assert traces(caplog) == [(TRACE, SPAN), (TRACE_OF_TRANSFER, None)]


async def test_concurrent_calls_keep_their_own_traces(caplog: pytest.LogCaptureFixture) -> None:
    """The worker runs all calls in one event loop."""
    caplog.set_level(logging.INFO, LOGGER.name)
    entered = asyncio.Barrier(2)

    async def say() -> None:
        log("x", "y")

    async def call(trace: str) -> None:
        with traced(f"00-{trace}-{SPAN}-00"):
            await entered.wait()
            await asyncio.gather(say(), say())

    await asyncio.gather(call(TRACE), call(OTHER))
    assert sorted(traces(caplog)) == sorted([(TRACE, SPAN)] * 2 + [(OTHER, SPAN)] * 2)


@pytest.mark.parametrize(
    "trace_parent", [None, "", "00", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-00", f"00-{TRACE.upper()}-{SPAN}-00\n"]
)
def test_an_invalid_trace_parent_is_ignored(caplog: pytest.LogCaptureFixture, trace_parent: str | None) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    with traced(trace_parent):
        log("x", "y", id=TRANSFER)
    assert traces(caplog) == [(TRACE_OF_TRANSFER, None)]

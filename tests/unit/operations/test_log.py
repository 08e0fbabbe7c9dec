"""Log lines: one JSON object a line, whatever the names in it."""

import json
import logging

import pytest

from operations.log import LOGGER, log

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
    """What the app said."""
    return [record.getMessage() for record in caplog.records if record.name == LOGGER.name]


@pytest.mark.parametrize("name", NASTY)
def test_any_name_stays_on_its_line_and_comes_back_as_it_was(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Printable ASCII alone is written: no terminal obeys it, no reader of lines splits it."""
    caplog.set_level(logging.INFO, LOGGER.name)
    log("transfer.accepted", f"about {name}", name=name)
    (line,) = lines(caplog)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"action": "transfer.accepted", "text": f"about {name}", "name": name}


def test_the_level_is_the_records_own(caplog: pytest.LogCaptureFixture) -> None:
    """Alerts look at it."""
    caplog.set_level(logging.INFO, LOGGER.name)
    log("http.failed", "bad", level=logging.ERROR)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_what_json_does_not_know_is_written_as_text(caplog: pytest.LogCaptureFixture) -> None:
    """A log line never raises."""
    caplog.set_level(logging.INFO, LOGGER.name)
    log("x", "y", odd={1}, path=object)
    (line,) = lines(caplog)
    assert json.loads(line)["odd"] == "{1}"

"""Two routes that mirror each other end after at most as many copies as writes, with equal blobs on both sides."""

import os
import sys

import pytest

from rules.transfers import decisions
from tests.protocol.checker import Violation
from tests.protocol.two_way import TwoWay

SCRIPTS = {
    "one upload": (("upload A",), 14),
    "an overwrite": (("upload A", "upload A"), 890),
    "an edit": (("upload A", "edit A"), 890),
    "an edit of the other end": (("upload A", "edit B"), 330),
    "an edit of the same size": (("upload A", "same size B"), 330),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_one_writer(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides have the last write."""
    script, states = SCRIPTS[name]
    result = TwoWay(*script).explore(most=len(script))
    with capsys.disabled():
        sys.stdout.write(f"\n  two ways, {name}: {result.states:,} states, {result.ends} ends\n")
    assert result.states >= states, "the exploration has shrunk"
    assert {here == there for here, there in result.contents} == {True}


def test_two_concurrent_writers(capsys: pytest.CaptureFixture[str]) -> None:
    """The later write wins. If two copies cross, each side has the other's write, and neither is lost."""
    result = TwoWay("upload A", "upload B").explore(most=2)
    with capsys.disabled():
        sys.stdout.write(f"\n  two ways, two uploads: {result.states:,} states, {result.ends} ends\n")
    crossed = {pair for pair in result.contents if pair[0] != pair[1]}
    assert result.states >= 3_300, "the exploration has shrunk"
    assert None not in {content for pair in result.contents for content in pair}
    assert {(here or b"")[1:2] + (there or b"")[1:2] for here, there in crossed} == {b"BA"}


def test_without_the_echo_rule_it_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "is_echo", lambda *_: False)
    with pytest.raises(Violation, match="5 copies of 1 writes"):
        TwoWay("upload A").explore(most=4)


if os.environ.get("EXPLORE") == "long":

    @pytest.mark.timeout(3600)
    def test_successive_edits(capsys: pytest.CaptureFixture[str]) -> None:
        """Both edits keep the receipt of the first copy; both sides have the last edit."""
        result = TwoWay("upload A", "edit B", "edit B").explore(most=3)
        with capsys.disabled():
            sys.stdout.write(f"\n  two ways, two edits: {result.states:,} states, {result.ends} ends\n")
        assert result.states >= 45_000, "the exploration has shrunk"
        assert result.contents == {(b"0B......", b"0B......")}

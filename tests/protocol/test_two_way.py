"""Two routes that mirror each other come to rest: no more copies than writes, and both ends alike."""

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
def test_one_who_writes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The last write is at both ends."""
    script, states = SCRIPTS[name]
    found = TwoWay(*script).explore(most=len(script))
    with capsys.disabled():
        sys.stdout.write(f"\n  two ways, {name}: {found.states:,} states, {found.ends} ends\n")
    assert found.states >= states, "the exploration has shrunk"
    assert {here == there for here, there in found.contents} == {True}


def test_two_who_write_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever comes later wins; two copies that pass each other leave each end with the other's, and nothing is lost."""
    found = TwoWay("upload A", "upload B").explore(most=2)
    with capsys.disabled():
        sys.stdout.write(f"\n  two ways, two uploads: {found.states:,} states, {found.ends} ends\n")
    crossed = {pair for pair in found.contents if pair[0] != pair[1]}
    assert found.states >= 3_300, "the exploration has shrunk"
    assert None not in {content for pair in found.contents for content in pair}
    assert {(here or b"")[1:2] + (there or b"")[1:2] for here, there in crossed} == {b"BA"}


def test_without_the_rule_it_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared is shared again."""
    monkeypatch.setattr(decisions, "is_echo", lambda *_: False)
    with pytest.raises(Violation, match="5 copies of 1 writes"):
        TwoWay("upload A").explore(most=4)


if os.environ.get("EXPLORE") == "long":

    @pytest.mark.timeout(3600)
    def test_edits_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
        """Both keep the receipt of the first copy; the last one is at both ends."""
        found = TwoWay("upload A", "edit B", "edit B").explore(most=3)
        with capsys.disabled():
            sys.stdout.write(f"\n  two ways, two edits: {found.states:,} states, {found.ends} ends\n")
        assert found.states >= 45_000, "the exploration has shrunk"
        assert found.contents == {(b"0B......", b"0B......")}

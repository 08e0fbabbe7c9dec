"""Every interleaving of two transfers of one blob and of other events, with one fault.

`EXPLORE=long` adds cases that take minutes: three versions, two faults, host failures in the larger scenarios (`make explore`).
"""

import os
import sys

import pytest

from tests.protocol.explorer import explore
from tests.protocol.scenarios import CASES, HOST_FAILS, LONG, Case

WITH_LONG = os.environ.get("EXPLORE") == "long"


@pytest.mark.parametrize("case", [*CASES, *HOST_FAILS], ids=lambda case: case.name)
def test_every_interleaving(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """The target ends at the newest version and never goes back, `verified` is true, and every attempt ends once."""
    _explore(case, capsys)


if WITH_LONG:

    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize("case", LONG, ids=lambda case: case.name)
    def test_more_interleavings(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
        _explore(case, capsys)


def _explore(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    result = explore(case.scenario)
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {case.name}: {result.states:,} states, {result.steps:,} steps, {result.ends} ends, {result.deepest} deep\n"
        )
    assert result.states >= case.states, "the exploration has shrunk"
    assert result.ends >= case.ends, "the exploration has shrunk"

"""Every order of the requests of two transfers of one name and of what else may happen, with one thing that goes wrong.

`EXPLORE=long` adds what takes minutes: three versions, two faults, a host that fails in the larger scenarios (`make explore`).
"""

import os
import sys

import pytest

from tests.protocol.explorer import explore
from tests.protocol.scenarios import CASES, HOST_FAILS, LONG, Case

LONG_TOO = os.environ.get("EXPLORE") == "long"


@pytest.mark.parametrize("case", [*CASES, *HOST_FAILS], ids=lambda case: case.name)
def test_every_interleaving(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """The target ends at the newest version and never goes back, nothing is `verified` falsely, everything ends once."""
    _explored(case, capsys)


if LONG_TOO:

    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize("case", LONG, ids=lambda case: case.name)
    def test_more_interleavings(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
        """The same, with more versions and more faults."""
        _explored(case, capsys)


def _explored(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    found = explore(case.scenario)
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {case.name}: {found.states:,} states, {found.steps:,} steps, {found.ends} ends, {found.deepest} deep\n"
        )
    assert found.states >= case.states, "the exploration has shrunk"
    assert found.ends >= case.ends, "the exploration has shrunk"

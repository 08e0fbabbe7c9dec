"""An orchestrator is replayed for ever: whatever it reads of the world besides its context, a replay would read otherwise."""

import ast
from pathlib import Path

import pytest

from tests.unit.orchestrators.conftest import Staged
from tests.unit.orchestrators.test_transfer import VERIFIED, WAITING
from tests.unit.samples import NOW

ROOT = Path(__file__).parents[3]
MODULES = sorted((ROOT / "orchestrators").glob("*.py"))
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter", "localtime", "gmtime"}
WORLD = {"time", "random", "secrets", "uuid", "os", "asyncio", "logging", "socket", "threading"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.name))
def test_no_orchestrator_reads_the_clock_or_the_world(path: Path) -> None:
    """The rules that it runs on are held to the same by a test of their own."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    called = {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    imported = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not called & CLOCKS
    assert not imported & WORLD


def test_every_time_that_it_says_is_the_contexts(staged: Staged) -> None:
    """All lie between the start and the end of the play, whose clock is not the machine's."""
    stage = staged(start=[WAITING, VERIFIED], check=[WAITING, WAITING, VERIFIED]).play()
    said = [shown[key] for shown in stage.shown for key in ("updated_at", "next_check_at") if shown[key]]
    assert {text[:16] for text in said} <= {f"{NOW:%Y-%m-%dT%H:%M}", f"{stage.now:%Y-%m-%dT%H:%M}"}

"""An orchestrator may take the time only from its context, because a replay must read the same time again."""

from tests.unit.orchestrators.conftest import MakeHarness
from tests.unit.orchestrators.harness import VERIFIED, WAITING
from tests.unit.samples import NOW


def test_every_reported_time_is_the_contexts(make_harness: MakeHarness) -> None:
    """The harness's clock is far from the machine's."""
    harness = make_harness(start=[WAITING, VERIFIED], check=[WAITING, WAITING, VERIFIED]).run()
    times = [status[key] for status in harness.statuses for key in ("updated_at", "next_check_at") if status[key]]
    assert {text[:16] for text in times} <= {f"{NOW:%Y-%m-%dT%H:%M}", f"{harness.now:%Y-%m-%dT%H:%M}"}

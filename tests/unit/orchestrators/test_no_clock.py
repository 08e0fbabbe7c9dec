"""An orchestrator is replayed for ever: whatever it reads of the world besides its context, a replay would read otherwise."""

from tests.unit.orchestrators.conftest import Staged
from tests.unit.orchestrators.stage import VERIFIED, WAITING
from tests.unit.samples import NOW


def test_every_time_that_it_says_is_the_contexts(staged: Staged) -> None:
    """All lie between the start and the end of the play, whose clock is not the machine's."""
    stage = staged(start=[WAITING, VERIFIED], check=[WAITING, WAITING, VERIFIED]).play()
    said = [shown[key] for shown in stage.shown for key in ("updated_at", "next_check_at") if shown[key]]
    assert {text[:16] for text in said} <= {f"{NOW:%Y-%m-%dT%H:%M}", f"{stage.now:%Y-%m-%dT%H:%M}"}

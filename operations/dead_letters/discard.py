"""Discarding a dead letter: a person puts it away, and its transfer stays as it ended (rule 9)."""

from operations.dead_letters.replay import Resolved, open_letter
from operations.log import log
from operations.problems import Conflict
from operations.transfers.restart import StillRunning
from ports.orchestrations import Instances
from ports.services import Ports
from rules.codec import stamp
from rules.dead_letters.letters import DISCARDED, DeadLetter


async def discard(ports: Ports, instances: Instances, letter_id: str, failed_at: str | None = None) -> DeadLetter:
    """Resolve an open dead letter as `discarded`; the letter as it then is. Its transfer stays as it ended.

    `failed_at` is when it had failed last as the caller saw it: a later failure was not meant.

    Raises:
        NotFound: no such letter.
        Resolved: it is already resolved, or was at the same moment in another way.
        StillRunning: it is being replayed.
        Conflict: it failed again in the meantime.
    """
    letter = await open_letter(ports, letter_id)
    if failed_at is not None and stamp(letter.failed_at[1]) != failed_at:
        raise _failed_again(letter_id)
    instance = await instances.find(letter_id)
    if instance is not None and instance.under_way:
        fix = "Wait until the replay ends, or cancel it; then send the request again."
        raise StillRunning(f"dead letter {letter_id} is being replayed", fix, retry_after=30, id=letter_id)
    await ports.dead_letters.resolve(letter_id, letter.last, DISCARDED, ports.now())
    # A replay, another discard or the sweep may have come first: what is answered is what is kept.
    kept = await ports.dead_letters.read(letter_id)
    if kept is None or kept.resolved_at is None:
        raise _failed_again(letter_id)
    if kept.resolved_as != DISCARDED:
        raise Resolved(kept, kept.resolved_at)
    text = "dead letter discarded by request"
    log("letter.discarded", text, id=letter_id, route=kept.route, name=kept.name, reason=kept.reason)
    return kept


def _failed_again(letter_id: str) -> Conflict:
    return Conflict(f"dead letter {letter_id} failed again in the meantime", "Read it again, then decide.")

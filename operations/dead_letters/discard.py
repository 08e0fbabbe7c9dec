"""Discarding a dead letter: it is resolved, and its transfer stays as it ended (rule 9)."""

from operations.dead_letters.replay import Resolved, read_open
from operations.log import log
from operations.problems import Conflict
from operations.transfers.start import StillRunning
from ports.orchestrations import Instances
from ports.services import Ports
from rules.codec import stamp
from rules.dead_letters.letters import DISCARDED, DeadLetter


async def discard(ports: Ports, instances: Instances, letter_id: str, last_failed_at: str | None = None) -> DeadLetter:
    """Resolve an open dead letter as `discarded`, and return it as stored afterwards. Its transfer stays as it ended.

    `last_failed_at` is the time of the last failure that the caller has seen. A later failure is not discarded.

    Raises:
        NotFound: the dead letter does not exist.
        Resolved: it was already resolved, or was resolved in another way at the same moment.
        StillRunning: it is being replayed.
        Conflict: it failed again in the meantime.
    """
    letter = await read_open(ports, letter_id)
    if last_failed_at is not None and stamp(letter.last_failed_at) != last_failed_at:
        raise _failed_again(letter_id)
    instance = await instances.find(letter_id)
    if instance is not None and instance.under_way:
        fix = "Wait until the replay ends, or cancel it; then send the request again."
        raise StillRunning(f"dead letter {letter_id} is being replayed", fix, retry_after=30, id=letter_id)
    await ports.dead_letters.resolve(letter_id, letter.last_attempt, DISCARDED, ports.now())
    # A replay, another discard or the sweep may have acted at the same time. The stored record decides.
    stored = await ports.dead_letters.read(letter_id)
    if stored is None or stored.resolved_at is None:
        raise _failed_again(letter_id)
    if stored.resolved_as != DISCARDED:
        raise Resolved(stored, stored.resolved_at)
    text = "dead letter discarded by request"
    log("letter.discarded", text, id=letter_id, route=stored.route, name=stored.name, reason=stored.reason)
    return stored


def _failed_again(letter_id: str) -> Conflict:
    return Conflict(f"dead letter {letter_id} failed again in the meantime", "Read it again, then decide.")

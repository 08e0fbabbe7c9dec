"""The step that notifies a route's recipient of a verified version. It never changes how the transfer has ended."""

import logging

from activities.transfers.common import current_route
from operations.log import log
from operations.transfers.notify import announce
from ports.services import Ports
from rules.dead_letters import letters
from rules.errors import Failure, Permanent, Reason, StorageError
from rules.events.write import notice_event
from rules.transfers import notices
from rules.transfers.model import Outcome, Run, Verdict

DONE = Outcome(Verdict.DONE)


async def run_notify(ports: Ports, run: Run) -> Outcome:
    """Notify the recipient. After the last try write the dead letter `not_notified`, which a replay sends again."""
    if current_route(ports, run) is None:
        return DONE
    try:
        await announce(ports, run.transfer, notices.of_run(run))
    except StorageError as error:
        return await _after_failure(ports, run, error)
    return DONE


async def _after_failure(ports: Ports, run: Run, error: StorageError) -> Outcome:
    most = notices.MAX_PERMANENT_TRIES if isinstance(error, Permanent) else notices.MAX_TRIES
    failed = Outcome(Verdict.RETRYABLE, reason=Reason.NOT_NOTIFIED, detail=str(error))
    if run.activity_failures + 1 < most:
        return failed
    message = notice_event(run.transfer, notices.of_run(run))
    try:
        await ports.dead_letters.write(letters.of_notice(run, message, str(error), ports.now(), ports.app_version))
    except Failure:
        return failed
    transfer = run.transfer
    text = "the recipient was not notified"
    log("notice.dead_lettered", text, level=logging.WARNING, id=transfer.id, route=transfer.route, name=transfer.name)
    return Outcome(Verdict.DONE, note=f"{text}: {error}")

"""The steps of a transfer, one activity each."""

from collections.abc import Awaitable, Callable

from activities.transfers.check import run_check
from activities.transfers.finish import run_clean, run_close, run_record
from activities.transfers.notify import run_notify
from activities.transfers.stage import run_stage
from activities.transfers.start import run_start
from ports.services import Ports
from rules.transfers.model import Outcome, Run, Step

Activity = Callable[[Ports, Run], Awaitable[Outcome]]
ACTIVITIES: dict[Step, Activity] = {
    Step.START: run_start,
    Step.STAGE: run_stage,
    Step.CHECK: run_check,
    Step.RECORD: run_record,
    Step.CLEAN: run_clean,
    Step.CLOSE: run_close,
    Step.NOTIFY: run_notify,
}

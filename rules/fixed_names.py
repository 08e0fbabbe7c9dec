"""Names that must never change, because they outlive a deployment.

An orchestration that runs during a deployment calls its activities and waits for its event by these names. Messages,
dead letters and reports stay where an earlier release put them. `host.json`, `infra/main.bicep` and the local stack
repeat some of the names.
"""

from rules.jobs.model import Phase
from rules.transfers.model import Step

# The orchestrations, and the event that cancels one.
TRANSFER, JOB = "transfer", "job"
CANCEL = "cancel"

# The activities. Each is a function of this name in the portal.
STEPS: dict[Step, str] = {
    Step.START: "transfer_start",
    Step.STAGE: "transfer_stage",
    Step.CHECK: "transfer_check",
    Step.RECORD: "transfer_record",
    Step.CLEAN: "transfer_clean",
    Step.CLOSE: "transfer_close",
    Step.NOTIFY: "transfer_notify",
}
PHASES: dict[Phase, str] = {
    Phase.SURVEY: "job_survey",
    Phase.EXTRAS: "job_extras",
    Phase.ACT: "job_act",
}

# In the events account: two queues and a container. The host derives the name of the poison queue.
EVENTS_QUEUE = "blob-events"
POISON_QUEUE = "blob-events-poison"
UNDELIVERED_CONTAINER = "event-dead-letters"

# In the state account: four containers and a queue.
DEAD_LETTERS_CONTAINER = "dead-letters"
REPORTS_CONTAINER = "reports"
FIGURES_CONTAINER = "figures"
LEDGER_CONTAINER = "ledger"
FEED_QUEUE = "transfer-ends"

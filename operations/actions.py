"""The `action` of every log line. The names never change once released: alerts and queries use them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """`when` a line with this action is written, and when to `alert` on it ("" for never)."""

    when: str
    alert: str = ""


ALWAYS = "always"
ACTIONS: dict[str, Action] = {
    "message.ignored": Action(
        "No route carries the event's blob, nothing follows from the event, the filters exclude it, the event has another type, or a route is paused or over its daily budget: then one line for each "
        "such route, with `route`."
    ),
    "message.dead_lettered": Action("A message became a dead letter.", ALWAYS),
    "message.replayed": Action("A dead-lettered message was accepted."),
    "transfer.accepted": Action("A new version was accepted; `id`, `route`, `name`."),
    "transfer.duplicate": Action("An event was delivered again; no transfer was started."),
    "transfer.restarted": Action("A request, a job or an event restarted a transfer; `attempt`."),
    "transfer.cancel_noticed": Action("A transfer confirmed its cancel."),
    "transfer.start": Action(
        "One execution of the step `start`; `verdict`, `reason`, `detail`, `ms`.",
        "`verdict` is `permanent`; many `retryable`",
    ),
    "transfer.stage": Action("One execution of the step `stage` for one lane of a large blob.", "many `retryable`"),
    "transfer.check": Action("One check of a pending copy."),
    "transfer.record": Action("The end of a transfer was recorded."),
    "transfer.clean": Action("The target was checked; an incomplete blob there was deleted.", "many `retryable`"),
    "transfer.close": Action(
        "The dead letter was written or resolved; `state` is the final state of the transfer.",
        "`state` is `dead_lettered`; many `retryable`",
    ),
    "transfer.notify": Action("One try to notify the recipient of a verified version.", "many `retryable`"),
    "notice.sent": Action("The recipient of a route was notified; `id`, `route`, `name`."),
    "notice.skipped": Action("The target no longer holds the version, or the route has no recipient any more."),
    "notice.dead_lettered": Action(
        "The recipient was not notified after the last try; the transfer stays verified.", ALWAYS
    ),
    "feed.lost": Action(
        "The message about a transfer could not be put on `transfer-ends`, so the figures and the ledger may lack it; `id`, "
        "`route`, `name`, `kind`.",
        "always: check GET /api/health",
    ),
    "feed.unreadable": Action("A message of `transfer-ends` is not one of this app, and was deleted.", "many"),
    "job.requested": Action("A job was requested; `id`, `route`, `prefix`, `dry_run`."),
    "job.survey": Action(
        "One batch that found dead letters, or compared source and target; its counts, or why it failed.",
        "many failures of one job",
    ),
    "job.extras": Action(
        "One batch that listed blobs that exist only at the target; its counts, or why it failed.",
        "many failures of one job",
    ),
    "job.act": Action(
        "One batch that started transfers or discarded dead letters; its results.",
        "many failures of one job; `failed` is not 0",
    ),
    "job.cancel_noticed": Action("A job confirmed its cancel."),
    "reconcile.skipped": Action(
        "A scheduled reconcile did not start: the reconcile of this interval had already acted before the task hub was lost; "
        "`route`.",
        "always: start a reconcile of the route",
    ),
    "reconcile.still_running": Action(
        "A scheduled reconcile did not start: the previous one is still running; `route`.",
        "many of one route: its interval is too short",
    ),
    "pause.ended": Action("A route is no longer paused, so its reconcile was started; `id`, `route`."),
    "pause.dropped": Action("A route was removed while it was paused; nothing follows; `route`."),
    "figures.updated": Action(
        "Every five minutes, the figures of a route: `running`, `running_bytes`, `oldest_at`; `p50`, `p95`, `p99`, the "
        "latency of the last hour in seconds; `budget_left` of its objective."
    ),
    "metrics.refused": Action(
        "The OpenTelemetry collector did not take the metrics; `text` says why. The next run sends all of them.",
        "many",
    ),
    "objective.missed": Action(
        "Every five minutes, for a route that misses its objective: `route`; `share`, the share of the last day's transfers that were in time.",
        ALWAYS,
    ),
    "queue.depth": Action(
        "Every minute: `depth`, the approximate number of events in `blob-events`; `oldest_seconds`, the age of the oldest "
        "visible one.",
        "`oldest_seconds` is over 900: no instance accepts events. Up to 600 is normal after an instance ended, for at most 8 "
        "events",
    ),
    "poison.drained": Action(
        "A message of the poison queue was accepted, or became a dead letter.", "always: it failed 10 times before"
    ),
    "undelivered.drained": Action(
        "A blob with events that Event Grid could not deliver was accepted; `blob`, `events`, `started`, `letters`.",
        "always: check the queue, and Event Grid's roles on the events account",
    ),
    "undelivered.skipped": Action(
        "A blob in `event-dead-letters` was not accepted: it is over 16 MiB, or an event in it is over 1 MiB. Event Grid does not "
        "write blobs of this size. Put its events on `blob-events` by hand, one per message, and delete it; `blob`, `size`.",
        ALWAYS,
    ),
    "resume.resumed": Action(
        "A failed orchestration was restarted where it had stopped; `id`, `route`, `name`, `resumes`, and the host's `text`.",
        "more than 20 an hour: the worker keeps dying",
    ),
    "resume.ended": Action(
        "A broken orchestration was ended: it was terminated, had been resumed 5 times, or is past its deadline. A dead letter "
        "follows unless it was cancelled; the fields of `resume.resumed`.",
        ALWAYS,
    ),
    "resume.unreadable": Action(
        "The input of a broken orchestration cannot be read; a transfer has a dead letter. The line repeats until you purge the "
        "instance by its id.",
        ALWAYS,
    ),
    "resume.done": Action("A run restarted broken orchestrations; `count`."),
    "letter.discarded": Action("A dead letter was discarded on request; `id`, `route`, `name`, `reason`."),
    "sweep.resolved": Action("An open dead letter was resolved because its transfer is no longer dead-lettered."),
    "sweep.missing_letter": Action("A missing dead letter was written.", ALWAYS),
    "watchdog.silent": Action(
        "Every ten minutes, if any: running orchestrations without progress for over an hour; `count`, `oldest_id`, "
        "`oldest_name`, `oldest_seconds`.",
        "always: the task hub is full or makes no progress",
    ),
    "watchdog.stuck": Action(
        "An orchestration without progress for over 24 hours and past its deadline was ended; `resume.ended` follows; `id`, "
        "`name`, `silent_seconds`.",
        ALWAYS,
    ),
    "watchdog.lost": Action(
        "An orchestration without progress for over 15 minutes was ended so that it is resumed; `resume.resumed` follows; `id`, `name`.",
        "many: the running instances do not have the activity",
    ),
    "watchdog.behind": Action(
        "Messages of the task hub are over 5 minutes old, so no orchestration counts as lost; `oldest_seconds`.",
        "many: the task hub is full or makes no progress",
    ),
    "purge.done": Action("Old histories were deleted; `count`."),
    "timer.failed": Action("A part of a timer's run failed; the rest was done; `timer`, `error`.", "many of one timer"),
    "http.storage_failed": Action("A request was answered 503: storage failed or refused.", "many"),
    "http.failed": Action("A request was answered 500: an unexpected error.", ALWAYS),
}

"""Dead letters and the records of ends (rules 5 and 9): what they hold, and which write wins. Their JSON is in `records`."""

import base64
from dataclasses import dataclass, replace
from datetime import datetime

from rules import events
from rules.errors import Reason
from rules.redaction import without_secrets
from rules.transfers import identity
from rules.transfers.model import Run

SCHEMA = 1
# How a letter is resolved that a person put away.
DISCARDED = "discarded"
# What a record keeps of a transfer's history; the first attempt always stays.
MAX_ATTEMPTS = 50
MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that failed."""

    started_at: datetime
    failed_at: datetime
    reason: Reason
    detail: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: of a transfer (`route`, `source_url` … are set), or of a message (`message` is its body, base64).

    Neither is set for a transfer whose input cannot be read: only its id is known.
    `attempts` is keyed by the attempt's number, so that a step that runs twice counts once; every number above 0 is a replay.
    """

    id: str
    attempts: dict[int, Attempt]
    app_version: str
    route: str | None = None
    source_url: str | None = None
    name: str | None = None
    etag: str | None = None
    size: int | None = None
    target_url: str | None = None
    message: str | None = None
    resolved_at: datetime | None = None
    resolved_as: str | None = None
    schema: int = SCHEMA

    @property
    def last(self) -> int:
        """The number of the newest attempt."""
        return max(self.attempts)

    @property
    def reason(self) -> Reason:
        """Why the newest attempt failed."""
        return self.attempts[self.last].reason

    @property
    def detail(self) -> str:
        """What the newest attempt was told."""
        return self.attempts[self.last].detail

    @property
    def failed_at(self) -> tuple[datetime, datetime]:
        """When the first and the newest attempt failed."""
        return self.attempts[min(self.attempts)].failed_at, self.attempts[self.last].failed_at


def of_run(run: Run, now: datetime, app_version: str) -> DeadLetter:
    """The letter of a run that ends `dead_lettered`, with this attempt alone."""
    ending = run.ending
    reason = (ending and ending.reason) or Reason.INTERNAL
    said = (ending and ending.detail) or reason.hint
    detail = (f"{said}; {run.note}" if run.note else said)[:MAX_DETAIL]
    transfer = run.transfer
    return DeadLetter(
        id=transfer.id,
        attempts={run.attempt: Attempt(run.accepted_at, now, reason, detail, run.copy_attempts)},
        app_version=app_version,
        route=transfer.route,
        source_url=transfer.source_blob.url,
        name=transfer.name,
        etag=transfer.etag,
        size=run.size,
        target_url=transfer.target_blob.url,
    )


def of_message(body: bytes, refused: events.RejectedEvent, now: datetime, app_version: str) -> DeadLetter:
    """The letter of a message that leads to no transfer. What looks like a secret in it is removed."""
    return DeadLetter(
        id=identity.message_id(body),
        attempts={0: Attempt(now, now, refused.reason, refused.detail[:MAX_DETAIL])},
        app_version=app_version,
        message=base64.b64encode(without_secrets(body)).decode(),
    )


def of_unreadable(
    identity: str, detail: str, now: datetime, app_version: str, before: DeadLetter | None = None
) -> DeadLetter:
    """The letter of a transfer that broke and whose input cannot be read: only its id is known, and a letter from `before`."""
    text = f"{detail}; this version of the app cannot read its input"
    number = before.last + 1 if before else 0
    return DeadLetter(identity, {number: Attempt(now, now, Reason.INTERNAL, text[:MAX_DETAIL])}, app_version)


def merge(old: DeadLetter | None, new: DeadLetter) -> DeadLetter | None:
    """What to write over `old` (open or resolved) for `new`; None if the old record already knows as much.

    | old | new | written |
    | --- | --- | --- |
    | none | any | new |
    | has this attempt, or a later one | any | nothing: this write is late, or a second one |
    | the same, but a person discarded it | any | nothing: only a later attempt opens it again |
    | the same, but resolved before the new attempt began | any | both, open; the new attempt takes the next number |
    | has earlier attempts only | any | both, open |
    """
    if old is None:
        return new
    number, attempt = new.last, new.attempts[new.last]
    if old.last >= number:
        # A transfer whose history and record of an end are gone starts at 0 again: that is no late write.
        if old.resolved_at is None or old.resolved_as == DISCARDED or attempt.started_at < old.resolved_at:
            return None
        number = old.last + 1
    attempts = {**old.attempts, number: attempt}
    kept = [min(attempts), *sorted(attempts)[1:][-(MAX_ATTEMPTS - 1) :]]
    return replace(
        new, attempts={number: attempts[number] for number in kept}, size=new.size if new.size is not None else old.size
    )


def resolve(letter: DeadLetter, now: datetime, how: str) -> DeadLetter:
    """The letter, kept for audit: `how` is the state that its transfer reached, `accepted` for a message, or `discarded`."""
    return replace(letter, resolved_at=now, resolved_as=how)

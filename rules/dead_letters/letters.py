"""Dead letters: their content, and which write wins (rule 9). `records` has their JSON."""

import base64
from dataclasses import dataclass, replace
from datetime import datetime

from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.redaction import without_secrets
from rules.transfers import identity
from rules.transfers.model import Run

SCHEMA = 1
# `resolved_as` of a dead letter that a person discarded.
DISCARDED = "discarded"
# The number of attempts that a record keeps: the first one and the newest ones.
MAX_ATTEMPTS = 50
MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed attempt."""

    started_at: datetime
    failed_at: datetime
    reason: Reason
    detail: str
    tries: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The dead letter of a transfer (`route`, `source_url` … are set) or a message (`message`: its body in base64).

    Both are set for a verified transfer whose recipient was not notified. Neither is set for a transfer whose input cannot be read, because only its id is known. `attempts` is keyed by the
    attempt's number, so that a repeated step counts once.
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
    def last_attempt(self) -> int:
        """The number of the newest attempt."""
        return max(self.attempts)

    @property
    def reason(self) -> Reason:
        """Why the newest attempt failed."""
        return self.attempts[self.last_attempt].reason

    @property
    def detail(self) -> str:
        """The detail of the newest attempt."""
        return self.attempts[self.last_attempt].detail

    @property
    def first_failed_at(self) -> datetime:
        """When the first attempt failed."""
        return self.attempts[min(self.attempts)].failed_at

    @property
    def last_failed_at(self) -> datetime:
        """When the newest attempt failed."""
        return self.attempts[self.last_attempt].failed_at


def of_run(run: Run, now: datetime, app_version: str) -> DeadLetter:
    """Return the dead letter of a run that ends `dead_lettered`, with only this attempt."""
    ending = run.ending
    reason = (ending and ending.reason) or Reason.INTERNAL
    detail = (ending and ending.detail) or reason.hint
    detail = (f"{detail}; {run.note}" if run.note else detail)[:MAX_DETAIL]
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


def of_message(body: bytes, rejection: RejectedEvent, now: datetime, app_version: str) -> DeadLetter:
    """Return the dead letter of a rejected message, with secrets removed from its body."""
    return DeadLetter(
        id=identity.message_id(body),
        attempts={0: Attempt(now, now, rejection.reason, rejection.detail[:MAX_DETAIL])},
        app_version=app_version,
        message=base64.b64encode(without_secrets(body)).decode(),
    )


def of_notice(run: Run, body: bytes, detail: str, now: datetime, app_version: str) -> DeadLetter:
    """Return the dead letter of a verified run whose recipient was not notified. A replay accepts its message `body`.

    It is not the dead letter of the transfer, which has ended well, so it has an id of its own. It begins like those of the
    route's transfers, so that a list of the route's dead letters includes it.
    """
    letter = of_message(body, RejectedEvent(Reason.NOT_NOTIFIED, detail), now, app_version)
    attempt = replace(letter.attempts[0], started_at=run.verified_at or now, tries=run.activity_failures + 1)
    transfer = run.transfer
    return replace(
        letter,
        id=identity.notice_id(run.transfer.id),
        attempts={0: attempt},
        route=transfer.route,
        source_url=transfer.source_blob.url,
        name=transfer.name,
        etag=transfer.etag,
        size=run.size,
        target_url=transfer.target_blob.url,
    )


def of_unreadable(
    identity: str, detail: str, now: datetime, app_version: str, before: DeadLetter | None = None
) -> DeadLetter:
    """Return the dead letter of a broken transfer whose input cannot be read: the attempt after those of `before`."""
    text = f"{detail}; this version of the app cannot read its input"
    number = before.last_attempt + 1 if before else 0
    return DeadLetter(identity, {number: Attempt(now, now, Reason.INTERNAL, text[:MAX_DETAIL])}, app_version)


def merge(old: DeadLetter | None, new: DeadLetter) -> DeadLetter | None:
    """Return what to write over `old` (open or resolved) for `new`, which has one attempt; None if nothing.

    | old | result |
    | --- | --- |
    | none | new |
    | has this attempt or a later one | nothing: the write is late or repeated |
    | the same, and a person discarded it | nothing: only a later attempt opens it again |
    | the same, but resolved before the new attempt started | both, open; the new attempt gets the next number |
    | has only earlier attempts | both, open |
    """
    if old is None:
        return new
    number, attempt = new.last_attempt, new.attempts[new.last_attempt]
    if old.last_attempt >= number:
        # Not a late write: once its history and record of the end are purged, a transfer starts at attempt 0 again.
        if old.resolved_at is None or old.resolved_as == DISCARDED or attempt.started_at < old.resolved_at:
            return None
        number = old.last_attempt + 1
    attempts = {**old.attempts, number: attempt}
    kept = [min(attempts), *sorted(attempts)[1:][-(MAX_ATTEMPTS - 1) :]]
    return replace(
        new, attempts={number: attempts[number] for number in kept}, size=new.size if new.size is not None else old.size
    )


def resolve(letter: DeadLetter, now: datetime, how: str) -> DeadLetter:
    """Return it resolved: `how` is the final state of its transfer, `accepted` for a message, or `discarded`."""
    return replace(letter, resolved_at=now, resolved_as=how)

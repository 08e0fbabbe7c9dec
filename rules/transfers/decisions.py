"""Decide the next act of a transfer from its source, its target and the record of its end.

Rules 1, 2, 3, 5, 7, 12, 19 and 22. docs/protocol.md explains why the order of reads and acts is safe.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from rules.errors import Reason
from rules.routes.filters import FILTERED
from rules.routes.model import Route
from rules.transfers import identity
from rules.transfers.model import Ended, Ending, Kind, Outcome, Run, Successor, Transfer, Verdict
from rules.transfers.states import State

ECHO = "the source is a copy of the target's own version, so it is not copied back"
RECEIPT_SOURCE_ETAG = "source_etag"
RECEIPT_TRANSFER_ID = "transfer_id"


class CopyStatus(StrEnum):
    """The copy status of a blob. A blob that was never the target of a copy has none."""

    PENDING = "pending"
    SUCCESS = "success"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SourceBlob:
    """A source as one HEAD shows it: the ETag without quotes, the size in bytes, `md5` from Content-MD5.

    `headers` are its content headers, which a copy by blocks sets at the target. A list does not show them. `tier`: None if
    none was set, so that the account's default applies. `modified_at` is for people; the rules do not read it.
    """

    etag: str
    size: int
    kind: Kind
    metadata: dict[str, str]
    copy_status: CopyStatus | None = None
    archived: bool = False
    tier: str | None = None
    tag_count: int = 0
    md5: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    modified_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TargetBlob:
    """A target as one HEAD shows it. `source_etag` and `transfer_id` are its receipt, if any.

    `headers` are its content headers, which `confirm` sets again; the rules do not read them. `shows_sas`: every
    reader of the blob can see the source's SAS in its copy properties.
    """

    etag: str
    size: int
    kind: Kind | None = None
    source_etag: str | None = None
    transfer_id: str | None = None
    copy_status: CopyStatus | None = None
    copy_id: str | None = None
    copied: int = 0
    total: int | None = None
    copy_detail: str = ""
    shows_sas: bool = False
    md5: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


def holds_version(target: TargetBlob, etag: str, size: int | None) -> bool:
    """Whether the target holds this whole version, whichever transfer it names (rule 1).

    | source_etag | copy status | size | holds it |
    | --- | --- | --- | --- |
    | the version's | success or absent | the version's | yes |
    | the version's | pending, failed, aborted | any | no: metadata is written when a copy starts |
    | the version's | success or absent | another, or unknown | no |
    | another version's | any | any | no |
    """
    whole = target.copy_status in {None, CopyStatus.SUCCESS} and target.size == size
    return target.source_etag == etag and whole


def is_ours(target: TargetBlob, transfer: Transfer) -> bool:
    """Whether this transfer wrote the target or is copying to it."""
    return target.transfer_id == transfer.id


def is_incomplete(target: TargetBlob, transfer: Transfer, size: int | None) -> bool:
    """Whether the target is this transfer's and certainly not whole.

    A missing copy status proves nothing, because `confirm` clears it.

    | ours | copy status | target size, version size | incomplete |
    | --- | --- | --- | --- |
    | no | any | any | no |
    | yes | pending, aborted, failed | any | yes |
    | yes | success or absent | 0, known and not 0 | yes |
    | yes | success or absent | else | no |
    """
    unfinished = target.copy_status in {CopyStatus.PENDING, CopyStatus.ABORTED, CopyStatus.FAILED}
    return is_ours(target, transfer) and (unfinished or (target.size == 0 and bool(size)))


def is_in_progress(target: TargetBlob | None, etag: str) -> bool:
    """Whether a copy of this version is pending, whichever client started it. Waiting for it avoids a second copy."""
    return target is not None and target.copy_status is CopyStatus.PENDING and target.source_etag == etag


def is_given_up(run: Run, target: TargetBlob) -> bool:
    """Whether this is the copy that was too slow, so that blocks replace it. Any other pending copy is newer."""
    return bool(run.slow_copy) and target.copy_id == run.slow_copy


def copied_version(transfer: Transfer, source: SourceBlob) -> str | None:
    """Return the ETag of the target that the source was copied from, by its receipt; None if it was not."""
    receipt = {key.lower(): value for key, value in source.metadata.items()}
    etag = identity.bare_etag(receipt.get(RECEIPT_SOURCE_ETAG, ""))
    copied_from, copied_to = transfer.target_blob.url, transfer.source_blob.url
    return etag if identity.is_copy(receipt.get(RECEIPT_TRANSFER_ID, ""), copied_from, etag, copied_to) else None


def is_echo(transfer: Transfer, source: SourceBlob, target: TargetBlob | None) -> bool:
    """Whether the source was copied from this target (rule 19). To copy it back would start an endless loop.

    | source | target | echo |
    | --- | --- | --- |
    | has no receipt of a version of the target | any | no |
    | has one | this transfer's own | no: an earlier decision found an edit |
    | has one, and is empty or an unfinished copy | any | yes |
    | has one | that version, with another size or Content-MD5 than the source | no: the source was edited |
    | has one, and was written since that copy | an untouched copy of another version of the source | no: the source was edited again |
    | has one | else | yes |

    The receipt alone proves nothing, because an edit that keeps the metadata keeps the receipt.
    """
    etag = copied_version(transfer, source)
    if etag is None:
        return False
    if target is None or source.size == 0 or source.copy_status not in {None, CopyStatus.SUCCESS}:
        return True
    edited = _has_other_content(source, target) if target.etag == etag else _was_edited_again(transfer, source, target)
    return not (edited or is_ours(target, transfer))


def _has_other_content(source: SourceBlob, target: TargetBlob) -> bool:
    return source.size != target.size or (source.md5 is not None and target.md5 not in {None, source.md5})


def _was_edited_again(transfer: Transfer, source: SourceBlob, target: TargetBlob) -> bool:
    """Whether the source was written since the target became an untouched copy of another version of it.

    A write removes the copy status of a blob.
    """
    source_url, target_url = transfer.source_blob.url, transfer.target_blob.url
    is_copy = identity.is_copy(target.transfer_id or "", source_url, target.source_etag or "", target_url)
    return is_copy and target.copy_status is CopyStatus.SUCCESS and source.copy_status is None


class Act(StrEnum):
    """The request that `start` sends next."""

    COPY = "copy"
    REMOVE = "remove"
    ABORT = "abort"
    CONFIRM = "confirm"


def is_in_the_way(target: TargetBlob | None, kind: Kind, refuses_blocks: str | None) -> bool:
    """Whether a copy cannot overwrite the target, so that it must be removed first.

    `kind` is the type of blob that the copy writes; `refuses_blocks` is the ETag of a target onto which the service has
    refused a block because it is a file made by the Data Lake API.

    | target | in the way |
    | --- | --- |
    | absent | no |
    | of another type than the copy writes | yes |
    | with the ETag for which the service refused a block | yes |
    | else | no |
    """
    return target is not None and (target.kind not in {None, kind} or target.etag == refuses_blocks)


def is_filtered(route: Route, name: str, source: SourceBlob) -> bool:
    """Whether the route's filters exclude this source (rule 22). While a copy to it is pending, its size does not count."""
    admitted = source.copy_status is CopyStatus.PENDING or route.admits(source.size)
    return not admitted or route.excludes(name.removeprefix(route.source.prefix))


def decide(  # noqa: PLR0913  # what was read, and what follows from it for this route
    run: Run,
    source: SourceBlob | None,
    target: TargetBlob | None,
    ended: Ended | None,
    *,
    in_the_way: bool = False,
    filtered: bool = False,
) -> Act | Outcome:
    """Decide on the next act, or on the outcome, from a target that was read before its source (rule 2).

    `filtered`: the route's filters exclude the source (`is_filtered`).

    | ended at this attempt or later | source | target | decision |
    | --- | --- | --- | --- |
    | yes | any | any | that end |
    | no | absent, or another version | receipt | verified |
    | no | absent at the first look | else | gone: pause, then look again |
    | no | absent at the second look | else | superseded |
    | no | another version | else | superseded |
    | no | this version | receipt | confirm |
    | no | this version, filtered (rule 22), or an echo (rule 19) | else | superseded |
    | no | this version | a pending copy of another version, or one that is too slow | abort, then look again |
    | no | this version, cannot be copied now (rule 12) | else | retryable or permanent |
    | no | this version | absent, or not read | copy, with If-None-Match: * |
    | no | this version | in the way, before `settle` | occupied: `settle`, then look again |
    | no | this version | in the way, after `settle` | remove (If-Match), then look again |
    | no | this version | else | copy, with If-Match |

    What the service cannot overwrite (`is_in_the_way`), the app removes. `settle` comes first because a late create
    request of an older version would succeed once the name is free.
    """
    transfer = run.transfer
    if ended is not None and ended.attempt >= run.attempt:
        return Outcome(Verdict.ENDED, ending=ended.ending, size=run.size)
    if source is None or source.etag != transfer.etag:
        return _decide_without_version(run, source, target)
    if target is not None and holds_version(target, transfer.etag, source.size):
        return Act.CONFIRM
    if filtered or is_echo(transfer, source, target):
        ending = Ending(State.SUPERSEDED, detail=FILTERED if filtered else ECHO)
        return Outcome(Verdict.SUPERSEDED, ending=ending, size=source.size)
    if target is not None and target.copy_status is CopyStatus.PENDING:
        return Act.ABORT
    return _check_source(source) or _choose_write(run, source, target if in_the_way else None)


def _decide_without_version(run: Run, source: SourceBlob | None, target: TargetBlob | None) -> Outcome:
    if target is not None and holds_version(target, run.transfer.etag, run.size):
        return Outcome(Verdict.VERIFIED, size=run.size, target_etag=target.etag)
    if source is None and not run.gone:
        detail = "the source does not show the blob; the app looks once more"
        return Outcome(Verdict.GONE, detail=detail, size=run.size)
    successor = Successor(source.etag, growing=source.kind is Kind.APPEND) if source else Successor(None)
    return Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=successor), size=run.size)


def _choose_write(run: Run, source: SourceBlob, obstacle: TargetBlob | None) -> Act | Outcome:
    if obstacle is None:
        return Act.COPY
    if run.settled:
        return Act.REMOVE
    detail = f"the target is a {obstacle.kind} that this copy cannot overwrite, so the app is about to remove it"
    return Outcome(Verdict.OCCUPIED, reason=Reason.TARGET_CONFLICT, detail=detail, size=source.size)


def _check_source(source: SourceBlob) -> Outcome | None:
    """Return why this version cannot be copied now (rule 12); None if it can."""
    if source.copy_status is CopyStatus.PENDING:
        return Outcome(
            Verdict.RETRYABLE,
            reason=Reason.SOURCE_UNREADABLE,
            detail="the source is itself the target of a pending copy",
            size=source.size,
        )
    if source.archived:
        return Outcome(
            Verdict.PERMANENT,
            reason=Reason.SOURCE_ARCHIVED,
            detail="the source is in the archive tier",
            size=source.size,
        )
    return None


class Cleaning(StrEnum):
    """What `clean` does about the target."""

    NOTHING = "nothing"
    COMPLETE = "complete"
    ABORT = "abort"
    DELETE = "delete"


def choose_cleaning(run: Run, target: TargetBlob | None, *, aborted: bool) -> Cleaning:
    """Decide what `clean` does after `settle`: remove what is incomplete, and accept what is whole (rule 7).

    `aborted`: this step has already aborted another copy.

    | target | decision |
    | --- | --- |
    | absent, or not ours | nothing |
    | pending, after another copy was aborted | nothing: a newer attempt started it |
    | pending | abort, then look again |
    | incomplete | delete (If-Match) |
    | complete, and the run is cancelled or dead-lettered | complete: the outcome is verified |
    | else | nothing |
    """
    transfer = run.transfer
    if target is None or not is_ours(target, transfer):
        return Cleaning.NOTHING
    if target.copy_status is CopyStatus.PENDING:
        return Cleaning.NOTHING if aborted else Cleaning.ABORT
    if is_incomplete(target, transfer, run.size):
        return Cleaning.DELETE
    gave_up = run.ending is not None and run.ending.state in {State.CANCELLED, State.DEAD_LETTERED}
    return Cleaning.COMPLETE if gave_up and holds_version(target, transfer.etag, run.size) else Cleaning.NOTHING

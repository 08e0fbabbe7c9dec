"""Rules 1, 2, 3, 5 and 7: what two blobs and a record of the end lead to. The heart; see docs/protocol.md."""

from dataclasses import dataclass, field
from enum import StrEnum

from rules.errors import Reason
from rules.transfers import identity
from rules.transfers.model import Ended, Ending, Kind, Outcome, Run, Successor, Transfer, Verdict
from rules.transfers.states import State

ECHO = "the source is a copy of the target's own version, so it is not copied back"
RECEIPT_SOURCE_ETAG = "source_etag"
RECEIPT_TRANSFER_ID = "transfer_id"


class CopyStatus(StrEnum):
    """What a blob's copy properties say; a blob that was never copied to has none."""

    PENDING = "pending"
    SUCCESS = "success"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SourceBlob:
    """A source as one HEAD shows it. ETag bare_etag, sizes in bytes, `md5` as its Content-MD5 header says."""

    etag: str
    size: int
    kind: Kind
    metadata: dict[str, str]
    copy_status: CopyStatus | None = None
    archived: bool = False
    tag_count: int = 0
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class TargetBlob:
    """A target as one HEAD shows it. `source_etag` and `transfer_id` are its receipt, if any.

    `headers` are its content headers, for who sets them again; opaque to the rules. `shows_sas`: everybody who may read it can
    read the signature of its copy's source.
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


def is_receipt(target: TargetBlob, etag: str, size: int | None) -> bool:
    """Rule 1: the target holds this version, whole; whoever's `transfer_id` it names.

    | source_etag | copy status | size | receipt |
    | --- | --- | --- | --- |
    | the version's | success or absent | the version's | yes |
    | the version's | pending, failed, aborted | any | no: metadata is written when a copy starts |
    | the version's | success or absent | another, or not known | no |
    | another's | any | any | no |
    """
    whole = target.copy_status in {None, CopyStatus.SUCCESS} and target.size == size
    return target.source_etag == etag and whole


def is_ours(target: TargetBlob, transfer: Transfer) -> bool:
    """Whether this very transfer wrote, or is writing, the target."""
    return target.transfer_id == transfer.id


def is_incomplete(target: TargetBlob, transfer: Transfer, size: int | None) -> bool:
    """Ours and certainly not whole; "not success" alone is not it (a cleared copy has no status).

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
    """Whether a copy of this version is pending there: wait for it, whoever's it is."""
    return target is not None and target.copy_status is CopyStatus.PENDING and target.source_etag == etag


def copied_version(transfer: Transfer, source: SourceBlob) -> str | None:
    """The version of the target that the source is a copy of, by its receipt; None for what was not copied from there."""
    receipt = {key.lower(): value for key, value in source.metadata.items()}
    etag = identity.bare_etag(receipt.get(RECEIPT_SOURCE_ETAG, ""))
    there, here = transfer.target_blob.url, transfer.source_blob.url
    return etag if identity.is_copy(receipt.get(RECEIPT_TRANSFER_ID, ""), there, etag, here) else None


def is_echo(transfer: Transfer, source: SourceBlob, target: TargetBlob | None) -> bool:
    """Rule 19: the source was copied from this very target. To copy it back would go on for ever.

    | the source | target | echo |
    | --- | --- | --- |
    | shows no receipt of a version of the target | any | no |
    | shows one | this transfer's own | no: it was found to be an edit before |
    | shows one, and is empty or an unfinished copy | any | yes |
    | shows one | shows that version, and another size or Content-MD5 than the source | no: the source was edited since |
    | shows one, and was written since | is an untouched copy of another version of the source | no: the source was edited again |
    | shows one | else | yes |

    Edits that keep a blob's metadata keep its receipt.
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
    """The target holds nothing but an older version of the source. A write takes a blob's copy status away."""
    here, there = transfer.source_blob.url, transfer.target_blob.url
    older = identity.is_copy(target.transfer_id or "", here, target.source_etag or "", there)
    return older and target.copy_status is CopyStatus.SUCCESS and source.copy_status is None


class Act(StrEnum):
    """What `start` does next, once it has looked."""

    CREATE = "create"
    REPLACE = "replace"
    REMOVE = "remove"
    ABORT = "abort"
    CONFIRM = "confirm"


def decide(run: Run, source: SourceBlob | None, target: TargetBlob | None, ended: Ended | None) -> Act | Outcome:
    """Rule 2, the third step: target and source were read, in this order; now act, or end.

    | ended at this attempt or later | source | target | decision |
    | --- | --- | --- | --- |
    | yes | any | any | that end |
    | no | gone, or another version | receipt | verified |
    | no | gone, at the first look | else | gone: looked for once more |
    | no | gone, at the second look | else | superseded |
    | no | another version | else | superseded |
    | no | this version | receipt | confirm |
    | no | this version, an echo (rule 19) | else | superseded |
    | no | this version | pending (of another version) | abort, then look again |
    | no | this version, not to be copied (rule 12) | else | retryable or permanent |
    | no | this version | absent, or not looked at | create (If-None-Match: *) |
    | no | this version | of another blob type, at the first look | occupied: first `settle` |
    | no | this version | of another blob type, after `settle` | remove (If-Match), then look again |
    | no | this version | else | replace (If-Match) |

    The service cannot overwrite a blob of another type, so that one is removed. No request of an older version may be in flight by
    then: it would find the name free.
    """
    transfer = run.transfer
    if ended is not None and ended.attempt >= run.attempt:
        return Outcome(Verdict.ENDED, ending=ended.ending, size=run.size)
    if source is None or source.etag != transfer.etag:
        return _decide_without_version(run, source, target)
    if target is not None and is_receipt(target, transfer.etag, source.size):
        return Act.CONFIRM
    if is_echo(transfer, source, target):
        return Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, detail=ECHO), size=source.size)
    if target is not None and target.copy_status is CopyStatus.PENDING:
        return Act.ABORT
    return _check_source(source) or _choose_write(run, source, target)


def _decide_without_version(run: Run, source: SourceBlob | None, target: TargetBlob | None) -> Outcome:
    """The source does not show the version, or not any more."""
    if target is not None and is_receipt(target, run.transfer.etag, run.size):
        return Outcome(Verdict.VERIFIED, size=run.size)
    if source is None and not run.gone:
        detail = "the source does not show the blob; the app looks once more"
        return Outcome(Verdict.GONE, detail=detail, size=run.size)
    successor = Successor(source.etag, growing=source.kind is Kind.APPEND) if source else Successor(None)
    return Outcome(Verdict.SUPERSEDED, ending=Ending(State.SUPERSEDED, successor=successor), size=run.size)


def _choose_write(run: Run, source: SourceBlob, target: TargetBlob | None) -> Act | Outcome:
    if target is None:
        return Act.CREATE
    if target.kind in {None, source.kind}:
        return Act.REPLACE
    if run.settled:
        return Act.REMOVE
    detail = f"the target is a {target.kind} and the source a {source.kind}: the target is about to be removed"
    return Outcome(Verdict.OCCUPIED, reason=Reason.TARGET_CONFLICT, detail=detail, size=source.size)


def _check_source(source: SourceBlob) -> Outcome | None:
    """Rule 12: a source that shows our version and still cannot be copied now."""
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
    """What `clean` does with what it finds at the target."""

    NOTHING = "nothing"
    COMPLETE = "complete"
    ABORT = "abort"
    DELETE = "delete"


def choose_cleaning(run: Run, target: TargetBlob | None, *, aborted: bool) -> Cleaning:
    """Rule 7, after `settle`: nothing incomplete stays, and nothing whole is called a failure.

    | target | decision |
    | --- | --- |
    | absent, or not ours | nothing |
    | pending, and another was `aborted` already | nothing: it is a newer attempt's |
    | pending | abort, then look again |
    | incomplete | delete (If-Match) |
    | complete, and cancelled or dead-lettered | complete: the outcome is verified |
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
    return Cleaning.COMPLETE if gave_up and is_receipt(target, transfer.etag, run.size) else Cleaning.NOTHING

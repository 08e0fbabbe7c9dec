"""Confirming a complete copy."""

from http import HTTPStatus

from ports.services import Ports
from rules.errors import Failure, LookAgain, Reason, Rejected
from rules.transfers.decisions import CopyStatus, TargetBlob
from rules.transfers.model import Outcome, Run, Verdict

UNCLEARED = "the target still shows the copy's properties"


async def confirm(ports: Ports, run: Run, target: TargetBlob, size: int) -> Outcome:
    """Return `verified` for a target that holds the version; clear its copy properties if they show the source's SAS (rule 14).

    The receipt decides. A target whose properties cannot be cleared (a lease, a policy) is verified, with a note.

    Raises:
        LookAgain: it is unknown whether the properties were cleared.
        Retryable: the service was busy.
    """
    note, etag = "", target.etag
    if target.copy_status is CopyStatus.SUCCESS and target.shows_sas:
        try:
            etag = await ports.target.clear_copy(run.transfer.target_blob, target)
        except (Failure, Rejected) as error:
            if error.reason is Reason.THROTTLED:
                raise
            note = f"{UNCLEARED}: {error}"
        except LookAgain as error:
            if error.status != HTTPStatus.PRECONDITION_FAILED:  # another client's write has cleared them
                raise
            etag = ""  # that of their write is unknown
    return Outcome(Verdict.VERIFIED, size=size, note=note, target_etag=etag)

"""The answers to the writes of one `start`, kept for its next look."""

from dataclasses import dataclass

from rules.errors import ALREADY_EXISTS, LookAgain, Permanent, Reason, Rejected
from rules.transfers.decisions import CopyStatus, TargetBlob

UNFINISHED = (
    "the service reports that the blob exists, but does not show it. Another client has probably started an upload and not committed it: "
    "commit the upload, or write the blob and delete it; then replay"
)

TargetState = tuple[str, CopyStatus | None] | None


@dataclass
class Refusals:
    """Decides when an inconclusive answer becomes a permanent failure."""

    last: LookAgain | None = None
    rejection: tuple[TargetState, Rejected] | None = None
    unseen_in_a_row: int = 0

    def add(self, error: LookAgain, target: TargetBlob | None, *, blind: bool) -> None:
        """Keep the answer to a write. `target` is what the look before it found; a `blind` look did not read the target."""
        self.last = error
        if isinstance(error, Rejected):
            self.rejection = _state(target), error
        unseen = not blind and target is None and error.code == ALREADY_EXISTS
        self.unseen_in_a_row = self.unseen_in_a_row + 1 if unseen else 0

    def unseen_target(self) -> Permanent | None:
        """Return the error if the service reported twice in a row that the target exists, but a look did not find it.

        Once may be a race.
        """
        error = self.last
        if error is None or self.unseen_in_a_row <= 1:
            return None
        detail = f"{error.status} {error.code}: {UNFINISHED}"
        return Permanent(Reason.TARGET_CONFLICT, error.operation, detail, code=error.code, status=error.status)

    def raise_if_final(self, target: TargetBlob | None) -> None:
        """Call this before another write: a rejection is final if the target has not changed since.

        Raises:
            Permanent: with the service's code in its detail.
        """
        if self.rejection is not None and self.rejection[0] == _state(target):
            raise self.rejection[1].final()


def _state(target: TargetBlob | None) -> TargetState:
    # A copy that fails may leave the target's ETag as it is.
    return (target.etag, target.copy_status) if target else None

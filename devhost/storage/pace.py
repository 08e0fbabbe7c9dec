"""How asynchronous copies go, and what they show of themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devhost.storage.ledger import Copy


@dataclass(slots=True)
class Pace:
    """How fast copies go; may be changed while they run. Time counts from a copy's start, restarts included."""

    rate: float
    """Bytes a second."""
    seconds: float
    """What the smallest copy takes."""
    hold: bool = False
    """No copy ends."""
    stall_at: float = 1.0
    """No copy gets further than this share of its bytes; below 1 it does not end either."""
    fail_next: str = ""
    """What the next copy that starts will fail with, at its end."""
    stumble: str = ""
    """What pending copies say that they stumble over."""
    show_signature: bool = False
    """Whether a copy shows its source's SAS with the signature, as the service did until 2019."""

    def share(self, copy: Copy) -> float:
        """Return how much of a copy is done, from 0 to 1."""
        seconds = max(self.seconds, copy.size / self.rate)
        done = (time.time() - copy.started) / seconds if seconds else 1.0
        return max(0.0, min(done, self.stall_at, 1.0))

    def is_due(self, copy: Copy) -> bool:
        """Whether a copy has nothing left to wait for."""
        return not self.hold and self.share(copy) >= 1

    def progress(self, copy: Copy) -> str:
        """Return `bytes/total`; of what failed or was aborted nothing was kept."""
        return f"{int(copy.size * self.share(copy)) if copy.pending else 0}/{copy.size}"

    def take_failure(self) -> str:
        """Return what the copy that starts now shall fail with, if it shall."""
        failure, self.fail_next = self.fail_next, ""
        return failure

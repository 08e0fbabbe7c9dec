"""What a recipient is told of a verified version: one CloudEvent."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rules import codec
from rules.routes.model import Engine
from rules.transfers.decisions import TargetBlob
from rules.transfers.model import Run, Transfer
from rules.transfers.policies import MAX_COPY_ATTEMPTS

SHARED = "BlobDataSharing.Blob.Shared"
# What the doctor sends. A consumer ignores it, as every type that it does not know.
PROBED = "BlobDataSharing.Probe"
# About two hours with the growing pauses; ten minutes if the service says that a retry does not help.
MAX_TRIES, MAX_PERMANENT_TRIES = 20, MAX_COPY_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Notice:
    """What the app remembers of a verified transfer until its recipient is notified. `size` is in bytes."""

    route: str
    accepted_at: datetime
    verified_at: datetime
    size: int | None = None
    engine: Engine | None = None


def of_run(run: Run) -> Notice:
    """Return the notice of a verified run."""
    return Notice(run.transfer.route, run.accepted_at, run.verified_at or run.accepted_at, run.size, run.engine)


def shared_event(transfer: Transfer, notice: Notice, target: TargetBlob) -> dict[str, Any]:
    """Return the CloudEvent for the version that the target holds.

    Its id is that of the transfer, so that a consumer can remove duplicates. Its subject has the form of Event Grid, so that
    filters of consumers work for both.
    """
    blob = transfer.target_blob
    return {
        "specversion": "1.0",
        "id": transfer.id,
        "type": SHARED,
        "time": codec.stamp(notice.verified_at),
        "source": f"/blobDataSharing/routes/{transfer.route}",
        "subject": f"/blobServices/default/containers/{blob.container}/blobs/{blob.name}",
        "datacontenttype": "application/json",
        "data": {
            "route": transfer.route,
            "url": blob.url,
            "eTag": target.etag,
            "sourceUrl": transfer.source_blob.url,
            "sourceETag": transfer.etag,
            "contentLength": target.size,
            "contentType": target.headers.get("content_type"),
            "blobType": target.kind,
            "engine": notice.engine,
            "acceptedAt": codec.stamp(notice.accepted_at),
            "verifiedAt": codec.stamp(notice.verified_at),
        },
    }


def probe_event(route: str, now: datetime) -> dict[str, Any]:
    """Return the CloudEvent by which the doctor finds out whether the recipient of a route can be notified."""
    return {
        "specversion": "1.0",
        "id": f"probe-{codec.stamp(now)}",
        "type": PROBED,
        "time": codec.stamp(now),
        "source": f"/blobDataSharing/routes/{route}",
    }

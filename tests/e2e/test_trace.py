"""One id finds everything that is logged of a transfer."""

from functools import partial
from typing import Any

from tests.e2e.desk import Desk
from tests.e2e.helpers import said


def verified(desk: Desk, transfer_id: str) -> list[dict[str, Any]] | None:
    """Its lines, once the last of them is there."""
    lines = said(desk, transfer_id)
    return lines if any(line.get("verdict") == "verified" for line in lines) else None


def test_every_line_of_a_transfer_carries_its_trace(desk: Desk) -> None:
    """From the event to the last activity; each activity has a span of its own, which the host made."""
    for account in ("sharingsource", "sharingtarget"):
        desk.container(account, "async")
    desk.put("traced.bin", b"traced", container="async")
    transfer_id = desk.until_final("traced.bin", "patient")["id"]
    lines = desk.until(partial(verified, desk, transfer_id), "its last line is written")
    assert {line["trace_id"] for line in lines} == {transfer_id.replace("-", "")}
    accepted = [line for line in lines if line["action"] == "transfer.accepted"]
    activities = [line for line in lines if "verdict" in line]
    assert len(accepted) == 1
    assert "span_id" not in accepted[0]
    assert len({line["span_id"] for line in activities}) == len(activities) >= 2

"""The trace id of a transfer is in all its log lines."""

from functools import partial
from typing import Any

from tests.e2e.client import Client
from tests.e2e.transfers import log_lines


def complete_lines(client: Client, transfer_id: str) -> list[dict[str, Any]] | None:
    """Return the log lines if the last one is written."""
    lines = log_lines(client, transfer_id)
    return lines if any(line.get("verdict") == "verified" for line in lines) else None


def test_every_line_of_a_transfer_carries_its_trace(client: Client) -> None:
    """From the event to the last activity. The host gives each activity its own span."""
    for account in ("sharingsource", "sharingtarget"):
        client.create_container(account, "async")
    client.put("traced.bin", b"traced", container="async")
    transfer_id = client.until_final("traced.bin", "patient")["id"]
    lines = client.until(partial(complete_lines, client, transfer_id), "its last line is written")
    assert {line["trace_id"] for line in lines} == {transfer_id.replace("-", "")}
    accepted = [line for line in lines if line["action"] == "transfer.accepted"]
    activities = [line for line in lines if "verdict" in line]
    assert len(accepted) == 1
    assert "span_id" not in accepted[0]
    assert len({line["span_id"] for line in activities}) == len(activities) >= 2

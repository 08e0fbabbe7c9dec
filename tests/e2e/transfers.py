"""Transfers as the API lists them, the log lines about them, and held storage requests."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.client import FINAL, Client

LOG_LINE = re.compile(r'\{"action": .*\}')


def transfers_named(client: Client, name: str, route: str = "default") -> list[dict[str, str]]:
    """Return the transfers of all versions of a blob."""
    return [item for item in client.list_all(f"/transfers?route={route}") if item["source"]["name"] == name]


def running_transfers(client: Client, route: str) -> list[dict[str, Any]]:
    """Return the transfers of the route that have not ended."""
    items = client.list_all(f"/transfers?route={route}")
    return [item for item in items if item["state"] in {"accepted", "copying"}]


def final_transfers(transfers: list[dict[str, str]], count: int) -> list[dict[str, str]] | None:
    """Return the transfers if there are `count` and all have ended."""
    return transfers if len(transfers) == count and all(item["state"] in FINAL for item in transfers) else None


def copying_transfer(client: Client, name: str) -> dict[str, str] | None:
    """Return the blob's transfer on the route `patient` if its copy is pending."""
    answer = client.transfer_of(name, "patient")
    return answer.body if answer.status == 200 and answer.body["state"] == "copying" else None


def log_lines(client: Client, transfer_id: str) -> list[dict[str, Any]]:
    """Return the app's log lines about a transfer, without duplicates. A real host escapes their quotes."""
    log = (client.stack.state / "stack.log").read_text().replace('\\"', '"')
    found = [json.loads(text) for text in LOG_LINE.findall(log) if f'"id": "{transfer_id}"' in text]
    return [line for number, line in enumerate(found) if line not in found[:number]]


@contextmanager
def held_request(
    client: Client, operation: str, account: str, name: str, when: str = "before"
) -> Iterator[Callable[[], Any]]:
    """Hold the next request of this kind for a blob until the block ends. Yield a function that waits for the request."""
    match = {"operation": operation, "account": account, "blob": f"^{name}$"}
    rule = client.control.add_fault(match, {"hold": True, "when": when})

    def is_held() -> bool:
        return any(fault["id"] == rule and fault["waiting"] for fault in client.control.faults())

    try:
        yield lambda: client.until(is_held, f"{operation} of {name} is held")
    finally:
        client.control.remove_faults(rule)

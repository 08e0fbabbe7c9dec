"""Helpers for tests that kill the host while many copies run."""

import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.e2e.desk import Desk

COPIES = {"CopyBlob", "CopyBlobFromUrl"}
# SOAK=long adds the long form: a new round of 200 versions for each kill (`make soak`).
LONG = os.environ.get("SOAK") == "long"
# The seed of the kill times is printed; SEED=<number> repeats them as far as the machine allows.
SEED = int(os.environ.get("SEED") or secrets.randbelow(2**32))


def settled(desk: Desk, names: list[str]) -> None:
    """Wait until each name has one transfer that was verified at the first attempt; compare the bytes."""
    wanted, ended = set(names), Counter((name, "verified", 0) for name in names)

    def ends() -> Counter[tuple[str, str, int]]:
        listed = [item for route in ("default", "patient") for item in desk.everything(f"/transfers?route={route}")]
        found = [(item["source"]["name"], item["state"], item["attempt"]) for item in listed]
        return Counter(end for end in found if end[0] in wanted)

    desk.until(partial(are_asked_for, desk, names, len(names)), "all copies are asked for")
    desk.until(lambda: ends() == ended, "all are verified")
    with ThreadPoolExecutor(8) as people:
        targets = [desk.target(name, "async" if is_async(name) else "target") for name in names]
        assert list(people.map(desk.read, targets)) == list(map(content, names))


def is_async(name: str) -> bool:
    """Whether a blob is one of the large ones, which are every fifth."""
    return int(name.rpartition("/")[2]) % 5 == 0


def container(name: str) -> str:
    """Return the container of a blob."""
    return "async" if is_async(name) else "source"


def content(name: str) -> bytes:
    """Return the unique content of a blob."""
    return name.encode() * 20


def copies(desk: Desk, names: list[str]) -> list[dict[str, Any]]:
    """Return all copies that the app requested onto targets of these names."""
    wanted = set(names)
    seen = desk.control.requests(account="sharingtarget", method="PUT", internal=False)
    return [request for request in seen if request["operation"] in COPIES and request["blob"] in wanted]


def are_asked_for(desk: Desk, names: list[str], count: int) -> bool:
    """Whether at least `count` of the names have a copy request."""
    return len({request["blob"] for request in copies(desk, names)}) >= count


def accepted(desk: Desk, names: list[str], operation: str = "CopyBlobFromUrl") -> int:
    """Return the number of the app's copies that the service accepted."""
    wanted = set(names)
    seen = desk.control.requests(operation=operation, internal=False)
    return sum(request["blob"] in wanted and request["status"] == 202 for request in seen)

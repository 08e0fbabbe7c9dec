"""Many versions at a time, and the copies that the app requests for them."""

import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.e2e.client import Client

COPIES = {"CopyBlob", "CopyBlobFromUrl"}
LONG = os.environ.get("SOAK") == "long"
# Random moments are derived from the seed, which the tests print. SEED=<number> repeats them, as far as timing allows.
SEED = int(os.environ.get("SEED") or secrets.randbelow(2**32))


def content(name: str) -> bytes:
    """Return content that is unique for the name."""
    return name.encode() * 20


def container(name: str) -> str:
    """Return the source container of a version: every fifth is on the route that copies asynchronously."""
    return "async" if int(name.rpartition("/")[2]) % 5 == 0 else "source"


def target_container(name: str) -> str:
    return "async" if container(name) == "async" else "target"


def requested_copies(client: Client, names: list[str]) -> list[dict[str, Any]]:
    """Return the copies onto these targets that the app requested, including refused ones."""
    wanted = set(names)
    requests = client.control.requests(account="sharingtarget", method="PUT", internal=False)
    return [request for request in requests if request["operation"] in COPIES and request["blob"] in wanted]


def are_requested(client: Client, names: list[str], count: int) -> bool:
    """Return whether copies of at least `count` of these blobs were requested."""
    return len({request["blob"] for request in requested_copies(client, names)}) >= count


def accepted_copies(client: Client, names: list[str], operation: str = "CopyBlobFromUrl") -> int:
    """Return how many copies of these blobs the service accepted."""
    wanted = set(names)
    requests = client.control.requests(operation=operation, internal=False)
    return sum(request["blob"] in wanted and request["status"] == 202 for request in requests)


def check_all_verified(client: Client, names: list[str]) -> None:
    """Wait until each blob has one transfer, verified in its first attempt, and compare the content."""
    wanted, expected = set(names), Counter((name, "verified", 0) for name in names)

    def states() -> Counter[tuple[str, str, int]]:
        items = [item for route in ("default", "patient") for item in client.list_all(f"/transfers?route={route}")]
        found = [(item["source"]["name"], item["state"], item["attempt"]) for item in items]
        return Counter(each for each in found if each[0] in wanted)

    client.until(partial(are_requested, client, names, len(names)), "all copies are requested")
    client.until(lambda: states() == expected, "all are verified")
    with ThreadPoolExecutor(8) as pool:
        targets = [client.target(name, target_container(name)) for name in names]
        assert list(pool.map(client.read, targets)) == list(map(content, names))

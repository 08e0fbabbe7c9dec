"""Thousands of transfers and dead letters: the app makes one of each kind, and copies of it fill both stores."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import quote

from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobServiceClient

from rules.dead_letters import letters, records
from rules.dead_letters.letters import DeadLetter
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.routes import config
from rules.routes.model import Route
from rules.transfers import identity
from tests.e2e.client import Client
from tests.e2e.storm import LONG
from tests.e2e.transfers import copying_transfer

# `make soak` has SOAK=long. Each dead letter is a request to the emulator.
TRANSFERS = 10_000 if LONG else 2_000
DEAD_LETTERS = 10_000 if LONG else 800
WRITERS = 32
# The kinds of transfers, and their number among twenty. The copying ones never continue.
MODELS = {"verified": 9, "large": 4, "superseded": 2, "dead": 2, "cancelled": 1, "copying": 2}
REASONS = (Reason.TARGET_UNWRITABLE, Reason.COPY_FAILED, Reason.DEADLINE_EXCEEDED, Reason.INTERNAL)

Known = dict[str, dict[str, str | None]]
"""The fields of each item that a list can be filtered by, by id."""


@dataclass
class FilledStack:
    """A stack, and the items that its two lists must contain."""

    client: Client
    transfers: Known = field(default_factory=dict)
    dead_letters: Known = field(default_factory=dict)
    dead: str = ""
    """The dead letter of a real transfer."""

    def ids(self, path: str, limit: int) -> Counter[str]:
        """Count the ids of a list."""
        return Counter(item["id"] for page in self.pages(path, limit) for item in page)

    def pages(self, path: str, limit: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list. None is longer than the limit."""
        continuation = ""
        while continuation is not None:
            more = f"&continuation={quote(continuation)}" if continuation else ""
            answer = self.client.api("GET", f"{path}{'&' if '?' in path else '?'}limit={limit}{more}")
            assert answer.status == 200, answer.body
            assert len(answer.body["items"]) <= limit
            self.client.answers.clear()  # they would take 100 MB, and this stack is not searched for secrets
            yield answer.body["items"]
            continuation = answer.body["continuation"]

    def fill(self) -> None:
        """Make one transfer of each kind, and thousands of copies of them; likewise dead letters of several routes and reasons."""
        for account, name in (("sharingsource", "async"), ("sharingtarget", "async"), ("sharingsource", "lost")):
            self.client.create_container(account, name)
        routes = {route.name: route for route in config.read(self.client.stack.environment["ROUTES"])}
        models = _models(self.client)
        self.transfers = _insert_transfers(self.client, models, routes)
        letter = records.read(self.client.api("GET", f"/dead-letters/{models['dead']['id']}").body)
        self.dead = letter.id
        copies = list(_dead_letters_like(letter, list(routes.values())))
        asyncio.run(_write(self.client, copies))
        self.dead_letters = {each.id: {"route": each.route, "reason": each.reason} for each in (letter, *copies)}


def _models(client: Client) -> dict[str, dict[str, Any]]:
    """Make one transfer of each kind. Return them as the API shows them, with the `row` of the host's store."""
    client.control.events(mode="hold")
    client.put("model/superseded", b"model")
    client.source("model/superseded").delete_blob()
    client.control.events(mode="deliver")
    client.put("model/verified", b"model")
    client.put("model/dead", b"model", "lost")
    client.put("model/large", b"model", "async")
    found = {
        "verified": client.until_final("model/verified"),
        "large": client.until_final("model/large", "patient"),
        "superseded": client.until(lambda: client.list_all("/transfers?state=superseded"), "one is superseded")[0],
    }
    client.control.copies(hold=True)
    for name in ("copying", "cancelled"):
        client.put(f"model/{name}", b"model", "async")
        found[name] = client.until(partial(copying_transfer, client, f"model/{name}"), f"{name} is pending")
    found["copying"]["row"] = _row(client, found["copying"]["id"])
    client.api("DELETE", f"/transfers/{found['cancelled']['id']}")
    found["cancelled"] = client.until_ended(found["cancelled"]["id"])
    client.control.copies(hold=False)
    client.until_ended(found["copying"]["id"])
    found["dead"] = client.until_final("model/dead", "missing")
    return {kind: {"row": _row(client, item["id"])} | item for kind, item in found.items()}


def _row(client: Client, transfer_id: str) -> dict[str, Any]:
    with closing(sqlite3.connect(client.stack.state / "host.sqlite")) as store:
        store.row_factory = sqlite3.Row
        return dict(store.execute("SELECT * FROM instances WHERE id = ?", [transfer_id]).fetchone())


def _insert_transfers(client: Client, models: dict[str, dict[str, Any]], routes: dict[str, Route]) -> Known:
    """Insert thousands of transfers into the host's store, in one transaction. Return all transfers in the store."""
    kinds = [kind for kind, share in MODELS.items() for _ in range(share)]
    known: Known = {}
    rows = []
    for number in range(TRANSFERS):
        model = models[kinds[number % len(kinds)]]
        new = identity.transfer(routes[model["route"]], f"bulk/{number}/é 漢字", f"0x{number:016X}")
        replacements = {model["id"]: new.id, model["source"]["name"]: new.name, model["source"]["etag"]: new.etag}
        rows.append([_replace_all(value, replacements) for value in model["row"].values()])
        known[new.id] = {"route": new.route, "state": model["state"]}
    with closing(sqlite3.connect(client.stack.state / "host.sqlite", timeout=60)) as store, store:
        store.executemany(f"INSERT INTO instances VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608  # only placeholders
    real = {model["id"]: {"route": model["route"], "state": model["state"]} for model in models.values()}
    return known | real | {models["copying"]["id"]: {"route": "patient", "state": "verified"}}


def _replace_all(value: Any, replacements: dict[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in replacements.items():
            value = value.replace(old, new)
    return value


def _dead_letters_like(model: DeadLetter, routes: list[Route]) -> Iterator[DeadLetter]:
    """Dead letters like the model, of other versions. Every tenth is of a message."""
    for number in range(DEAD_LETTERS):
        failed = model.attempts[0].failed_at
        if number % 10 == 0:
            refused = RejectedEvent(Reason.MALFORMED, "not an event")
            yield letters.of_message(f"not an event, {number}".encode(), refused, failed, model.app_version)
            continue
        route = routes[number % len(routes)]
        new = identity.transfer(route, f"{route.source.prefix}letter/{number}/é 漢字", f"0x{number:016X}")
        yield replace(
            model,
            id=new.id,
            attempts={0: replace(model.attempts[0], reason=REASONS[number % len(REASONS)])},
            route=route.name,
            source_url=new.source_blob.url,
            name=new.name,
            etag=new.etag,
            target_url=new.target_blob.url,
        )


async def _write(client: Client, dead_letters: Iterable[DeadLetter]) -> None:
    """Write the dead letters as the app does, but concurrently."""
    remaining = iter(dead_letters)
    account = BlobServiceClient.from_connection_string(client.stack.connection_string("sharingstate"))

    async def write_remaining() -> None:
        for letter in remaining:
            await container.upload_blob(
                f"open/{letter.id}.json",
                json.dumps(records.record(letter), indent=1).encode(),
                metadata=records.metadata(letter),
                content_settings=ContentSettings(content_type="application/json"),
            )

    async with account, account.get_container_client("dead-letters") as container:
        await asyncio.gather(*(write_remaining() for _ in range(WRITERS)))

"""Thousands of transfers and dead letters, each like a real one: made once by the app, then multiplied in both stores."""

import asyncio
import json
import os
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

from rules import events
from rules.dead_letters import letters, records
from rules.dead_letters.letters import DeadLetter
from rules.errors import Reason
from rules.routes import config
from rules.routes.model import Route
from rules.transfers import identity
from tests.e2e.desk import Desk
from tests.e2e.helpers import copying

TRANSFERS = 10_000
# Each is a request to the emulator: SOAK=long writes as many as there are transfers (`make soak`).
LETTERS = 10_000 if os.environ.get("SOAK") == "long" else 2_000
AT_ONCE = 32
# What the transfers are like, and of twenty how many; the ones that copy are never told to go on.
MODELS = {"verified": 9, "large": 4, "superseded": 2, "dead": 2, "cancelled": 1, "copying": 2}
REASONS = (Reason.TARGET_UNWRITABLE, Reason.COPY_FAILED, Reason.DEADLINE_EXCEEDED, Reason.INTERNAL)

Known = dict[str, dict[str, str | None]]
"""By id, the fields that a list can be filtered by."""


@dataclass
class Crowd:
    """A stack, and what its two lists have to say."""

    desk: Desk
    transfers: Known = field(default_factory=dict)
    dead_letters: Known = field(default_factory=dict)
    dead: str = ""
    """The letter that is of a real transfer."""

    def ids(self, path: str, limit: int) -> Counter[str]:
        """Every id of a list, and how often it is there."""
        return Counter(item["id"] for page in self.pages(path, limit) for item in page)

    def pages(self, path: str, limit: int) -> Iterator[list[dict[str, Any]]]:
        """A list page by page, none longer than was asked for."""
        continuation = ""
        while continuation is not None:
            more = f"&continuation={quote(continuation)}" if continuation else ""
            answer = self.desk.api("GET", f"{path}{'&' if '?' in path else '?'}limit={limit}{more}")
            assert answer.status == 200, answer.body
            assert len(answer.body["items"]) <= limit
            self.desk.answers.clear()  # a hundred megabytes, and nobody searches them
            yield answer.body["items"]
            continuation = answer.body["continuation"]

    def fill(self) -> None:
        """One transfer of every end, really made; thousands like them; letters of several routes and reasons."""
        for account, name in (("sharingsource", "async"), ("sharingtarget", "async"), ("sharingsource", "lost")):
            self.desk.container(account, name)
        ways = {route.name: route for route in config.read(self.desk.stack.environment["ROUTES"])}
        models = _models(self.desk)
        self.transfers = _multiplied(self.desk, models, ways)
        letter = records.read(self.desk.api("GET", f"/dead-letters/{models['dead']['id']}").body)
        self.dead = letter.id
        written = list(_like(letter, list(ways.values())))
        asyncio.run(_write(self.desk, written))
        self.dead_letters = {each.id: {"route": each.route, "reason": each.reason} for each in (letter, *written)}


def _models(desk: Desk) -> dict[str, dict[str, Any]]:
    """A transfer of each kind, as the API shows it, with its `row` of the host's store."""
    desk.control.events(mode="hold")
    desk.put("model/superseded", b"model")
    desk.source("model/superseded").delete_blob()
    desk.control.events(mode="deliver")
    desk.put("model/verified", b"model")
    desk.put("model/dead", b"model", "lost")
    desk.put("model/large", b"model", "async")
    found = {
        "verified": desk.until_final("model/verified"),
        "large": desk.until_final("model/large", "patient"),
        "superseded": desk.until(lambda: desk.everything("/transfers?state=superseded"), "one is superseded")[0],
    }
    desk.control.copies(hold=True)
    for name in ("copying", "cancelled"):
        desk.put(f"model/{name}", b"model", "async")
        found[name] = desk.until(partial(copying, desk, f"model/{name}"), f"{name} is pending")
    found["copying"]["row"] = _row(desk, found["copying"]["id"])
    desk.api("DELETE", f"/transfers/{found['cancelled']['id']}")
    found["cancelled"] = desk.until_ended(found["cancelled"]["id"])
    desk.control.copies(hold=False)
    desk.until_ended(found["copying"]["id"])
    found["dead"] = desk.until_final("model/dead", "missing")
    return {kind: {"row": _row(desk, item["id"])} | item for kind, item in found.items()}


def _row(desk: Desk, transfer_id: str) -> dict[str, Any]:
    with closing(sqlite3.connect(desk.stack.state / "host.sqlite")) as store:
        store.row_factory = sqlite3.Row
        return dict(store.execute("SELECT * FROM instances WHERE id = ?", [transfer_id]).fetchone())


def _multiplied(desk: Desk, models: dict[str, dict[str, Any]], ways: dict[str, Route]) -> Known:
    """Put thousands of finished and unfinished transfers into the host's store, in one transaction; all that it holds now."""
    kinds = [kind for kind, share in MODELS.items() for _ in range(share)]
    known: Known = {}
    rows = []
    for number in range(TRANSFERS):
        model = models[kinds[number % len(kinds)]]
        new = identity.transfer(ways[model["route"]], f"crowd/{number}/é 漢字", f"0x{number:016X}")
        words = {model["id"]: new.id, model["source"]["name"]: new.name, model["source"]["etag"]: new.etag}
        rows.append([_reworded(value, words) for value in model["row"].values()])
        known[new.id] = {"route": new.route, "state": model["state"]}
    with closing(sqlite3.connect(desk.stack.state / "host.sqlite", timeout=60)) as store, store:
        store.executemany(f"INSERT INTO instances VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608  # marks
    done = {model["id"]: {"route": model["route"], "state": model["state"]} for model in models.values()}
    return known | done | {models["copying"]["id"]: {"route": "patient", "state": "verified"}}


def _reworded(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in words.items():
            value = value.replace(old, new)
    return value


def _like(model: DeadLetter, ways: list[Route]) -> Iterator[DeadLetter]:
    """Letters like a real one, of other versions; every tenth is a message's."""
    for number in range(LETTERS):
        failed = model.attempts[0].failed_at
        if number % 10 == 0:
            refused = events.RejectedEvent(Reason.MALFORMED, "no event")
            yield letters.of_message(f"no event, {number}".encode(), refused, failed, model.app_version)
            continue
        way = ways[number % len(ways)]
        new = identity.transfer(way, f"{way.source.prefix}letter/{number}/é 漢字", f"0x{number:016X}")
        yield replace(
            model,
            id=new.id,
            attempts={0: replace(model.attempts[0], reason=REASONS[number % len(REASONS)])},
            route=way.name,
            source_url=new.source_blob.url,
            name=new.name,
            etag=new.etag,
            target_url=new.target_blob.url,
        )


async def _write(desk: Desk, written: Iterable[DeadLetter]) -> None:
    """Write them as the app does, but many at once."""
    waiting = iter(written)
    account = BlobServiceClient.from_connection_string(desk.stack.connection_string("sharingstate"))

    async def one_after_another() -> None:
        for letter in waiting:
            await container.upload_blob(
                f"open/{letter.id}.json",
                json.dumps(records.record(letter), indent=1).encode(),
                metadata=records.metadata(letter),
                content_settings=ContentSettings(content_type="application/json"),
            )

    async with account, account.get_container_client("dead-letters") as container:
        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

"""The port `DeadLetters` on Azure Storage: the folders `open/`, `resolved/`, `ended/` and `paused/` of `dead-letters`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from adapters.clients import Clients
from adapters.continuation import decode_token, encode_token
from adapters.records import Records, Requests
from adapters.translation import DEAD_LETTERS_LIST, DEAD_LETTERS_READ, DEAD_LETTERS_WRITE
from rules import codec
from rules.dead_letters import letters, records
from rules.dead_letters.letters import DeadLetter
from rules.errors import Reason, Retryable
from rules.fixed_names import DEAD_LETTERS_CONTAINER
from rules.routes.model import Pause
from rules.transfers.model import Ended

T = TypeVar("T")
# Two writers of one record are rare, and at each collision one of them succeeds.
MAX_TRIES = 10

REQUESTS = Requests(DEAD_LETTERS_READ, DEAD_LETTERS_WRITE, DEAD_LETTERS_LIST)


class StoredDeadLetters:
    """Dead letters, and records of ends and pauses. Every write is conditional on the state that it read."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._records = Records(clients, endpoint, DEAD_LETTERS_CONTAINER, REQUESTS)

    async def read_ended(self, identity: str) -> Ended | None:
        """Return the record of a transfer's end, if there is one."""
        return (await self._read_ended(identity))[0]

    async def write_ended(self, ended: Ended) -> None:
        """Record an end, unless there is a record of the same or a higher rank."""

        async def try_once() -> bool:
            old, etag = await self._read_ended(ended.id)
            if old is not None and old.rank >= ended.rank:
                return True
            return await self._put_ended(ended, etag)

        await _retry(try_once)

    async def drop_ended(self, identity: str, attempt: int, resumes: int = 0) -> None:
        """Delete the record of an end, unless its rank is higher."""

        async def try_once() -> bool:
            old, etag = await self._read_ended(identity)
            if old is None or old.rank > (attempt, resumes):
                return True
            return await self._records.delete(_path("ended", identity), etag)

        await _retry(try_once)

    async def write(self, letter: DeadLetter) -> None:
        """Open a dead letter, merged with the stored ones of this id."""

        async def try_once() -> bool:
            opened, etag = await self._read_dead_letter("open", letter.id)
            resolved, _ = await self._read_dead_letter("resolved", letter.id)
            new = letters.merge(_newest(resolved, opened), letter)
            if new is None:
                return True
            return await self._put("open", new, etag) and await self._withdraw_if_resolved(letter.id)

        await _retry(try_once)

    async def resolve(self, identity: str, attempt: int, how: str, now: datetime) -> bool:
        """Move an open dead letter to `resolved/`, unless it is of a later attempt; return whether there was one."""
        found = False

        async def try_once() -> bool:
            nonlocal found
            opened, etag = await self._read_dead_letter("open", identity)
            if opened is None or opened.last_attempt > attempt:
                return True
            found = True
            resolved, resolved_etag = await self._read_dead_letter("resolved", identity)
            if resolved is None or resolved.last_attempt < opened.last_attempt:
                resolved = letters.resolve(opened, now, how)
                if not await self._put("resolved", resolved, resolved_etag):
                    return False
            if resolved.resolved_as == letters.DISCARDED:
                await self._mark_discarded(resolved)
            return await self._records.delete(_path("open", identity), etag)

        await _retry(try_once)
        return found

    async def read(self, identity: str) -> DeadLetter | None:
        """Return a dead letter, open or resolved."""
        opened, _ = await self._read_dead_letter("open", identity)
        return opened or (await self._read_dead_letter("resolved", identity))[0]

    async def page(self, prefix: str, limit: int, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """List open dead letters by id prefix, from their metadata, ordered by id."""
        folder = f"open/{prefix}"  # part of the token, so that a token of another list with this prefix is refused
        items, marker = await self._records.page(folder, limit, decode_token(folder, continuation))
        return [records.list_item(_identity(item.name), item.metadata or {}) for item in items], encode_token(
            folder, marker
        )

    async def list_ended(self) -> AsyncIterator[Ended]:
        """Yield the readable records of ends, ordered by id, from their metadata and so without detail."""
        async for item in self._records.all("ended/"):
            metadata = item.metadata or {}
            if metadata.get("attempt", "").isdecimal():
                ending = {key: metadata[key] for key in ("state", "reason") if key in metadata}
                fields = {"id": _identity(item.name), "attempt": int(metadata["attempt"]), "ending": ending}
                try:
                    ended = _parse(partial(codec.decode, Ended, fields | {"discarded": letters.DISCARDED in metadata}))
                except Retryable:
                    continue  # one unreadable record does not hide the others
                yield ended

    # The lifecycle rule of `infra/` deletes only `resolved/` and `reports`, so a record outlives the longest pause.
    async def note_pause(self, route: str, now: datetime) -> None:
        """Record that a route is paused, unless there is a record that is not ending."""

        async def try_once() -> bool:
            old, etag = await self._read_pause(route)
            if old is not None and not old.ending:
                return True
            return await self._put_pause(Pause(route, now), etag)

        await _retry(try_once)

    async def end_pause(self, route: str) -> Pause | None:
        """Mark the record of a pause as ending, and return it; None if there is none."""
        found: Pause | None = None

        async def try_once() -> bool:
            nonlocal found
            found, etag = await self._read_pause(route)
            if found is None or found.ending:
                return True
            found = replace(found, ending=True)
            return await self._put_pause(found, etag)

        await _retry(try_once)
        return found

    async def drop_pause(self, pause: Pause) -> None:
        """Delete this record of a pause, unless it was replaced."""

        async def try_once() -> bool:
            old, etag = await self._read_pause(pause.route)
            return old != pause or await self._records.delete(_path("paused", pause.route), etag)

        await _retry(try_once)

    async def list_pauses(self) -> AsyncIterator[str]:
        """Yield the names of the routes whose pause is recorded."""
        async for item in self._records.all("paused/"):
            yield _identity(item.name)

    async def _read_pause(self, route: str) -> tuple[Pause | None, str | None]:
        record, etag = await self._records.read(_path("paused", route))
        return (None if record is None else _parse(partial(codec.decode, Pause, record))), etag

    async def _put_pause(self, pause: Pause, etag: str | None) -> bool:
        return await self._write("paused", pause.route, codec.encode(pause), etag)

    async def _read_ended(self, identity: str) -> tuple[Ended | None, str | None]:
        record, etag = await self._records.read(_path("ended", identity))
        return (None if record is None else _parse(partial(codec.decode, Ended, record))), etag

    async def _read_dead_letter(self, folder: str, identity: str) -> tuple[DeadLetter | None, str | None]:
        record, etag = await self._records.read(_path(folder, identity))
        return (None if record is None else _parse(partial(records.read, record))), etag

    async def _mark_discarded(self, discarded: DeadLetter) -> None:
        """Mark the record of the end as discarded, unless it is of a later attempt."""

        async def try_once() -> bool:
            old, etag = await self._read_ended(discarded.id)
            if old is None or old.discarded or old.attempt > discarded.last_attempt:
                return True
            return await self._put_ended(replace(old, discarded=True), etag)

        await _retry(try_once)

    async def _put_ended(self, ended: Ended, etag: str | None) -> bool:
        metadata = {"attempt": str(ended.attempt), "state": ended.ending.state}
        metadata |= {"reason": ended.ending.reason} if ended.ending.reason else {}
        metadata |= {letters.DISCARDED: "true"} if ended.discarded else {}
        return await self._write("ended", ended.id, codec.encode(ended), etag, metadata)

    async def _put(self, folder: str, letter: DeadLetter, etag: str | None) -> bool:
        return await self._write(folder, letter.id, records.record(letter), etag, records.metadata(letter))

    async def _write(
        self, folder: str, name: str, record: dict[str, Any], etag: str | None, metadata: dict[str, str] | None = None
    ) -> bool:
        return await self._records.write(_path(folder, name), record, etag, metadata) is not None

    async def _withdraw_if_resolved(self, identity: str) -> bool:
        """Delete the dead letter just opened if its attempt was resolved between the read and the write."""
        resolved, _ = await self._read_dead_letter("resolved", identity)
        opened, etag = await self._read_dead_letter("open", identity)
        if resolved is None or opened is None or opened.last_attempt > resolved.last_attempt:
            return True
        return await self._records.delete(_path("open", identity), etag)


def _path(folder: str, identity: str) -> str:
    return f"{folder}/{identity}.json"


def _identity(path: str) -> str:
    return path.partition("/")[2].removesuffix(".json")


def _newest(*known: DeadLetter | None) -> DeadLetter | None:
    """Return the dead letter of the latest attempt. On a tie the first wins: an interrupted resolution leaves both."""
    return max((letter for letter in known if letter is not None), key=lambda letter: letter.last_attempt, default=None)


def _parse(read: Callable[[], T]) -> T:
    try:
        return read()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Retryable(
            Reason.INTERNAL, DEAD_LETTERS_READ.name, "a stored record cannot be read by this version of the app"
        ) from None


async def _retry(try_once: Callable[[], Awaitable[bool]]) -> None:
    """Repeat a read and a conditional write until no other writer intervenes."""
    for _ in range(MAX_TRIES):
        if await try_once():
            return
    raise Retryable(Reason.INTERNAL, DEAD_LETTERS_WRITE.name, f"another writer changed the record {MAX_TRIES} times")

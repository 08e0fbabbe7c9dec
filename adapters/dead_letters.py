"""The port `DeadLetters` on Azure Storage: `open/`, `resolved/` and `ended/` in the container dead-letters."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from adapters.clients import Clients
from adapters.continuation import decode_token, encode_token
from adapters.records import Records
from adapters.translation import LETTERS_READ, LETTERS_WRITE
from rules import codec
from rules.dead_letters import letters, records
from rules.dead_letters.letters import DeadLetter
from rules.errors import Reason, Retryable
from rules.fixed_names import LETTERS_CONTAINER
from rules.transfers.model import Ended

T = TypeVar("T")
# Two writers of one id are rare, and each round one of them is done.
MAX_ROUNDS = 10


class StoredDeadLetters:
    """Dead letters and the records of ends."""

    def __init__(self, clients: Clients, endpoint: str) -> None:
        self._records = Records(clients, endpoint, LETTERS_CONTAINER)

    async def read_ended(self, identity: str) -> Ended | None:
        """Read the record of a transfer's end, if there is one."""
        return (await self._ended(identity))[0]

    async def write_ended(self, ended: Ended) -> None:
        """Record an end, unless one of the same rank or a higher one is there."""

        async def attempt() -> bool:
            old, etag = await self._ended(ended.id)
            if old is not None and old.rank >= ended.rank:
                return True
            return await self._put_ended(ended, etag)

        await _until_done(attempt)

    async def drop_ended(self, identity: str, attempt: int, resumes: int = 0) -> None:
        """Forget the record of an end, unless it is of a higher rank."""

        async def round_() -> bool:
            old, etag = await self._ended(identity)
            if old is None or old.rank > (attempt, resumes):
                return True
            return await self._records.delete(_path("ended", identity), etag)

        await _until_done(round_)

    async def write(self, letter: DeadLetter) -> None:
        """Open a letter, merged with what is known of this id."""

        async def attempt() -> bool:
            opened, etag = await self._letter("open", letter.id)
            resolved, _ = await self._letter("resolved", letter.id)
            new = letters.merge(_newest(resolved, opened), letter)
            if new is None:
                return True
            return await self._put("open", new, etag) and await self._unless_late(letter.id)

        await _until_done(attempt)

    async def resolve(self, identity: str, attempt: int, how: str, now: datetime) -> bool:
        """Move an open letter to `resolved/`, unless it is of a later attempt."""
        found = False

        async def round_() -> bool:
            nonlocal found
            opened, etag = await self._letter("open", identity)
            if opened is None or opened.last > attempt:
                return True
            found = True
            closed, resolved_etag = await self._letter("resolved", identity)
            if closed is None or closed.last < opened.last:
                closed = letters.resolve(opened, now, how)
                if not await self._put("resolved", closed, resolved_etag):
                    return False
            if closed.resolved_as == letters.DISCARDED:
                await self._owe_none(closed)
            return await self._records.delete(_path("open", identity), etag)

        await _until_done(round_)
        return found

    async def read(self, identity: str) -> DeadLetter | None:
        """Read a letter, open or resolved."""
        opened, _ = await self._letter("open", identity)
        return opened or (await self._letter("resolved", identity))[0]

    async def page(self, prefix: str, limit: int, continuation: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """List open letters whose id begins so, from their metadata, in order of id."""
        folder = f"open/{prefix}"  # a continuation names it: one of the transfers of the same prefix is none here
        items, marker = await self._records.page(folder, limit, decode_token(folder, continuation))
        return [records.list_item(_identity(item.name), item.metadata or {}) for item in items], encode_token(
            folder, marker
        )

    async def list_ended(self) -> AsyncIterator[Ended]:
        """Every record of an end, in order of id, from their metadata."""
        async for item in self._records.all("ended/"):
            metadata = item.metadata or {}
            if metadata.get("attempt", "").isdecimal():
                ending = {key: metadata[key] for key in ("state", "reason") if key in metadata}
                fields = {"id": _identity(item.name), "attempt": int(metadata["attempt"]), "ending": ending}
                try:
                    ended = _understood(
                        partial(codec.decode, Ended, fields | {"discarded": letters.DISCARDED in metadata})
                    )
                except Retryable:
                    continue  # it does not hide the others
                yield ended

    async def _ended(self, identity: str) -> tuple[Ended | None, str | None]:
        record, etag = await self._records.read(_path("ended", identity))
        return (None if record is None else _understood(partial(codec.decode, Ended, record))), etag

    async def _letter(self, folder: str, identity: str) -> tuple[DeadLetter | None, str | None]:
        record, etag = await self._records.read(_path(folder, identity))
        return (None if record is None else _understood(partial(records.read, record))), etag

    async def _owe_none(self, discarded: DeadLetter) -> None:
        """Say in the record of the end that its letter was discarded; a record of a later attempt stays as it is."""

        async def round_() -> bool:
            old, etag = await self._ended(discarded.id)
            if old is None or old.discarded or old.attempt > discarded.last:
                return True
            return await self._put_ended(replace(old, discarded=True), etag)

        await _until_done(round_)

    async def _put_ended(self, ended: Ended, etag: str | None) -> bool:
        metadata = {"attempt": str(ended.attempt), "state": ended.ending.state}
        metadata |= {"reason": ended.ending.reason} if ended.ending.reason else {}
        metadata |= {letters.DISCARDED: "true"} if ended.discarded else {}
        return await self._records.write(_path("ended", ended.id), codec.encode(ended), metadata, etag)

    async def _put(self, folder: str, letter: DeadLetter, etag: str | None) -> bool:
        return await self._records.write(
            _path(folder, letter.id), records.record(letter), records.metadata(letter), etag
        )

    async def _unless_late(self, identity: str) -> bool:
        """Take back what was just opened if its attempt was resolved between the look and the write."""
        resolved, _ = await self._letter("resolved", identity)
        opened, etag = await self._letter("open", identity)
        if resolved is None or opened is None or opened.last > resolved.last:
            return True
        return await self._records.delete(_path("open", identity), etag)


def _path(folder: str, identity: str) -> str:
    return f"{folder}/{identity}.json"


def _identity(path: str) -> str:
    return path.partition("/")[2].removesuffix(".json")


def _newest(*known: DeadLetter | None) -> DeadLetter | None:
    """The record that knows the latest attempt; the first of equals (an open one may be left over from a resolution)."""
    return max((letter for letter in known if letter is not None), key=lambda letter: letter.last, default=None)


def _understood(read: Callable[[], T]) -> T:
    try:
        return read()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Retryable(
            Reason.INTERNAL, LETTERS_READ.name, "a stored record cannot be read by this version of the app"
        ) from None


async def _until_done(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Read, compare and write again until nobody came in between."""
    for _ in range(MAX_ROUNDS):
        if await attempt():
            return
    raise Retryable(Reason.INTERNAL, LETTERS_WRITE.name, f"another writer changed the record {MAX_ROUNDS} times")

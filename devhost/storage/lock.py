"""One stack to a state directory, and none beside an Azurite that a killed stack left behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from devhost.storage.config import StackError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LEFTOVER_SECONDS = 30


@contextlib.asynccontextmanager
async def exclusive(state: Path) -> AsyncIterator[int]:
    """Hold the directory alone; yield the lock's file descriptor, for Azurite to inherit.

    The system lets go of the lock when both processes are gone, however they ended. Where only the Azurite of a
    killed stack still holds it, that one is closing already (`leash.cjs`) and worth the wait.
    """
    file = _open(state)
    try:
        for _ in range(LEFTOVER_SECONDS * 10):
            if _take(file):
                break
            if _owner_lives(file):
                raise StackError(f"{state} is in use by another stack. Fix: DEVHOST_STATE=<another directory>")
            await asyncio.sleep(0.1)
        else:
            raise StackError(
                f"{state} is still in use by the Azurite process of a killed stack. Fix: stop that process"
            )
        yield file
    finally:
        os.close(file)


def _open(state: Path) -> int:
    state.mkdir(parents=True, exist_ok=True)
    return os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o644)


def _take(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return True


def _owner_lives(file: int) -> bool:
    owner = os.pread(file, 20, 0)
    try:
        os.kill(int(owner), 0)
    except (ValueError, ProcessLookupError):  # nothing written yet, or gone
        return False
    return True

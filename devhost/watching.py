"""`python -m devhost.watching [FILE]`: share many blobs on a separate local stack, and record `sharing watch` as SVG."""

import hashlib
import os
import pty
import shutil
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
from azure.storage.blob import ContainerClient

from devhost.command import command as run_command
from devhost.picture import Screen, animated
from devhost.stack import ROOT, LocalStack
from devhost.storage.config import StackError

FILE = ROOT / "docs" / "watch.svg"
BLOBS, LARGE, SECONDS = 500, 8, 30.0
KIB, MIB = 1 << 10, 1 << 20
# With a small unit, the app copies large blobs by blocks in lanes, as it copies those of 2.5 GiB otherwise.
SIZE_UNIT = 16 * 1024
UPLOADS = 4
COLUMNS, ROWS, FRAMES = 100, 30, 10


def contents() -> dict[str, bytes]:
    """Return names and contents of the blobs; a large one is the first."""
    chunk = hashlib.shake_256(b"blob data sharing").digest(MIB)
    found: dict[str, bytes] = {}
    for number in range(BLOBS):
        if number % (BLOBS // LARGE) == 0 and number < LARGE * (BLOBS // LARGE):
            found[f"masters/2026/interview-{number // (BLOBS // LARGE) + 1}.mov"] = chunk * (80 - number // 10)
        else:
            found[f"2026/11/30/inv-{20_000 + number}.pdf"] = chunk[: 3 * KIB + number * 7_919 % (250 * KIB)]
    return found


def record(file: Path) -> int:
    """Record the picture, and return the exit code: 0 only if all blobs were shared and counted."""
    state = Path(os.environ.get("DEVHOST_STATE", ".local")) / "watching"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    log_path = state.with_suffix(".log")
    env = {name: value for name, value in os.environ.items() if name != "ROUTES"}
    env |= {"DEVHOST_STATE": str(state), "SIZE_UNIT_BYTES": str(SIZE_UNIT)}
    try:
        with log_path.open("w") as log, LocalStack(env, output=log, create_containers=True) as stack:
            return _record(stack, file)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _record(stack: LocalStack, file: Path) -> int:
    blobs = contents()
    names = iter(blobs)
    source, target = (
        ContainerClient.from_connection_string(stack.connection_string(f"sharing{end}"), end)
        for end in ("source", "target")
    )
    with source, target:
        first = next(names)
        source.upload_blob(first, blobs[first])
        _wait_for_first(stack)
        upload = threading.Thread(target=_upload, args=(source, {name: blobs[name] for name in names}), daemon=True)
        frames, code = _watch(stack, upload)
        upload.join()
        arrived = {each.name: each.size for each in target.list_blobs()}
        equal = all(target.download_blob(name).readall() == data for name, data in blobs.items() if name in arrived)
    final = frames[-1][-1]
    file.write_text(animated(frames, "sharing watch", COLUMNS))
    print(f"{final}\nexit code {code}; {len(arrived)} blobs in the target, bytes equal: {equal}; {file}")
    return 0 if (code, len(arrived), equal) == (0, BLOBS, True) and f"{BLOBS} verified" in final else 1


def _upload(source: ContainerClient, blobs: Mapping[str, bytes]) -> None:
    start = time.monotonic()
    with ThreadPoolExecutor(UPLOADS) as pool:
        for number, (name, data) in enumerate(blobs.items()):
            time.sleep(max(0.0, start + number * SECONDS / len(blobs) - time.monotonic()))
            pool.submit(source.upload_blob, name, data)


def _wait_for_first(stack: LocalStack) -> None:
    """Wait until a transfer runs: a watch of an idle route ends at once."""
    for _ in range(600):
        if httpx.get(f"{stack.api}/transfers?state=copying").json()["items"]:
            return
        time.sleep(0.1)
    raise StackError("the first transfer does not start")


def _watch(stack: LocalStack, upload: threading.Thread) -> tuple[list[list[str]], int]:
    """Run `sharing watch` in a terminal from the first running transfer on. Return some of its screens and the exit code."""
    screen, seen, said = Screen(), [], ["$ sharing watch --route default"]
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (ROWS, COLUMNS))
    command = [sys.executable, "-m", "sharing", "watch", "--route", "default"]
    env = {
        **os.environ,
        "TERM": "xterm",
        "PYTHONPATH": str(ROOT / "cli"),
        "SHARING_URL": stack.api.removesuffix("/api"),
    }
    with subprocess.Popen(command, env=env, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        with suppress(OSError):  # the end of a terminal on Linux
            while part := os.read(master, 65_536):
                if not upload.ident:
                    upload.start()
                screen.write(part.decode())
                seen.append([*said, *screen.shown()])
    os.close(master)
    step = max(1, len(seen) // FRAMES)
    return [*seen[step // 2 :: step][:FRAMES], seen[-1]], process.returncode


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    sys.exit(run_command("devhost", lambda: record(path)))

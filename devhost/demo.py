"""The demo: share a few blobs, watch one fail, fix the cause, replay it, compare every byte."""

import hashlib
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from azure.storage.blob import BlobServiceClient, ContentSettings
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from devhost.stack import ROOT, LocalStack

MIB = 1024 * 1024
LARGE = 300 * MIB
FINAL = {"verified", "superseded", "dead_lettered", "cancelled"}
PATIENCE = 180


@dataclass
class Shared:
    """One blob of the demo: what was put where, and what became of it."""

    route: str
    name: str
    source: str
    target: str
    size: int
    transfer: dict[str, Any] = field(default_factory=dict)
    equal: bool = False

    @property
    def seconds(self) -> float:
        """From the acceptance of its event to its end, as the API tells it."""
        accepted, ended = (datetime.fromisoformat(self.transfer[key]) for key in ("accepted_at", "updated_at"))
        return (ended - accepted).total_seconds()


class Demo:
    """The demo on a running stack."""

    def __init__(self, stack: LocalStack, console: Console) -> None:
        self.stack = stack
        self.console = console
        self.accounts = {
            name: BlobServiceClient.from_connection_string(stack.connection_string(name))
            for name in ("sharingsource", "sharingtarget")
        }
        self.blobs: list[Shared] = []

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        self.console.print(text, highlight=False)

    def play(self) -> bool:
        """The whole of it; True only if every byte was compared and equal."""
        self.say("\n[bold]1. Put blobs into the source[/]")
        self._put_small()
        self._put_large()
        self.say("\n[bold]2. Watch them arrive[/]")
        for blob in self.blobs:
            self._watch(blob)
        self.say("\n[bold]3. Look at the dead letter[/]")
        self._look_at_letter()
        self.say("\n[bold]4. Fix the cause and replay[/]")
        self._mend_and_replay()
        self.say("\n[bold]5. Compare every byte[/]")
        return self._compare()

    def _put_small(self) -> None:
        files = [
            path
            for path in sorted(ROOT.glob("*"))
            if path.is_file() and path.suffix in {".md", ".toml", ".json", ".txt"}
        ]
        for path in files[:4]:
            self._put("default", "source", "target", f"project/{path.name}", path.read_bytes())
        self._put("default", "source", "target", "names/año 100% ½ #1.txt", b"every name is carried\n")
        self._put("default", "source", "target", "empty", b"")
        self._put("partner", "inbox", "partner", "report.csv", b"day,blobs\n2026-11-24,7\n")

    def _put_large(self) -> None:
        chunk = hashlib.shake_256(b"blob data sharing").digest(MIB)
        self._put("default", "source", "target", "large/video.bin", chunk * (LARGE // MIB))

    def _put(self, route: str, source: str, target: str, name: str, data: bytes) -> None:
        client = self.accounts["sharingsource"].get_blob_client(source, name)
        settings = ContentSettings(content_type="application/octet-stream")
        client.upload_blob(
            data, overwrite=True, content_settings=settings, metadata={"from": "demo"}, max_concurrency=4
        )
        self.blobs.append(Shared(route, name, source, target, len(data)))
        self.say(f"   put {source}/{name}  ({_size(len(data))})")

    def _watch(self, blob: Shared) -> None:
        if blob.size < LARGE:
            for transfer in self._transfers(blob):
                if transfer["state"] in FINAL:
                    break
        else:
            self._watch_progress(blob)
        colour = "green" if blob.transfer["state"] == "verified" else "red"
        self.say(f"   [{colour}]{blob.transfer['state']:13}[/] {blob.source}/{blob.name}")

    def _watch_progress(self, blob: Shared) -> None:
        columns = (
            TextColumn("   {task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task("copying      ", total=blob.size)
            shown = -1
            for transfer in self._transfers(blob):
                if not self.console.is_terminal and transfer["copied"] != shown:
                    self.say(f"   {transfer['state']:13} {_size(transfer['copied'])} of {_size(blob.size)}")
                shown = transfer["copied"]
                progress.update(task, completed=shown)
                if transfer["state"] in FINAL:
                    return

    def _transfers(self, blob: Shared) -> Iterator[dict[str, Any]]:
        """What the API says of a blob's transfer, again and again."""
        query = urllib.parse.urlencode({"route": blob.route, "name": blob.name})
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            status, answer = self.call("GET", f"/transfers?{query}")
            if status == 200:  # noqa: PLR2004  # OK; until its event is accepted it is a 404
                blob.transfer = answer
                yield answer
            time.sleep(0.3)
        sys.exit(f"demo: {blob.name} did not end within {PATIENCE} s; last answer: {blob.transfer}")

    def call(self, method: str, path: str) -> tuple[int, Any]:
        """Ask the API."""
        request = urllib.request.Request(self.stack.api + path, method=method)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  # loopback
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def _look_at_letter(self) -> None:
        failed = self._failed()
        _, letters = self.call("GET", "/dead-letters")
        letter = next(item for item in letters["items"] if item["id"] == failed.transfer["id"])
        self.say(
            f"   id      {letter['id']}\n   blob    {failed.source}/{letter['name']}\n   reason  [red]{letter['reason']}[/]"
        )
        self.say(f"   hint    {letter['hint']}")

    def _failed(self) -> Shared:
        return next(blob for blob in self.blobs if blob.route == "partner")

    def _mend_and_replay(self) -> None:
        failed = self._failed()
        self.accounts["sharingtarget"].create_container(failed.target)
        self.say(f"   created the container {failed.target}")
        status, _ = self.call("POST", f"/dead-letters/{failed.transfer['id']}/replay")
        self.say(f"   POST /api/dead-letters/{failed.transfer['id']}/replay -> {status}")
        self._watch(failed)

    def _compare(self) -> bool:
        table = Table("blob", "state", "size", "engine", "seconds", "bytes equal")
        for blob in self.blobs:
            source = self._digest("sharingsource", blob.source, blob.name)
            blob.equal = blob.transfer["state"] == "verified" and source == self._digest(
                "sharingtarget", blob.target, blob.name
            )
            seen = blob.transfer
            equal = "[green]yes[/]" if blob.equal else "[red]NO[/]"
            row = (
                f"{blob.source}/{blob.name}",
                seen["state"],
                _size(blob.size),
                seen["engine"] or "-",
                f"{blob.seconds:.1f}",
                equal,
            )
            table.add_row(*row)
        self.console.print(table)
        return all(blob.equal for blob in self.blobs)

    def _digest(self, account: str, container: str, name: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.accounts[account].get_blob_client(container, name).download_blob().chunks():
            digest.update(chunk)
        return digest.hexdigest()


def demo() -> int:
    """Run the demo on a stack of its own, afresh; 0 only if all bytes were compared and equal."""
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    # The demo has routes of its own, but a wrong setting is not kept for later.
    LocalStack().check()
    state = Path(os.environ.get("DEVHOST_STATE", ".local")) / "demo"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    with (state / "stack.log").open("w") as log:
        stack = LocalStack(_environment(state), output=log)
        console.print(f"Starting the local stack (its log: {state / 'stack.log'}) ...", highlight=False)
        try:
            with stack:
                _create_source(stack)
                equal = Demo(stack, console).play()
        except Exception:
            log.flush()
            print("".join((state / "stack.log").read_text().splitlines(keepends=True)[-15:]), file=sys.stderr)
            raise
    console.print("\nAll bytes compared: equal." if equal else "\n[red]Some blobs were not shared.[/]")
    console.print(
        "Next: run `make run`, then put your own blobs into the source (README, Share your own).", highlight=False
    )
    return 0 if equal else 1


def _environment(state: Path) -> dict[str, str]:
    stack = LocalStack()
    source, target = stack.account("sharingsource"), stack.account("sharingtarget")
    routes = [
        {"name": "default", "source": f"{source}/source/", "target": f"{target}/target/"},
        {"name": "partner", "source": f"{source}/inbox/", "target": f"{target}/partner/"},
    ]
    # 50 MiB/s, so that there is some progress to be seen.
    mine = {"ROUTES": json.dumps(routes), "DEVHOST_STATE": str(state), "DEVHOST_COPY_RATE": str(50 * MIB)}
    return {**os.environ, **mine}


def _create_source(stack: LocalStack) -> None:
    with BlobServiceClient.from_connection_string(stack.connection_string("sharingsource")) as client:
        client.create_container("inbox")


def _size(count: int) -> str:
    if count < MIB:
        return f"{count:,} B"
    return f"{count / MIB:,.0f} MiB"

"""`make demo`: the steps of the smoke test on a separate local stack, and a table that shows whether all bytes are equal."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from devhost.picture import svg
from devhost.stack import ROOT, LocalStack
from devhost.storage.config import StackError
from smoke.api import App
from smoke.deployment import Blob, Route, SmokeError, from_local_stack
from smoke.storage import Storage
from smoke.story import MIB, Sample, Story, size

# With a small unit, the app copies a blob of this size by blocks in lanes, as it copies one of 2.5 GiB otherwise.
LARGE, SIZE_UNIT = 40 * MIB, 16 * 1024
SECONDS = 180


def demo(*, keep: bool = False, picture: Path | None = None) -> int:
    """Run the demo and return the exit code: 0 only if all bytes are equal.

    `keep` leaves the stack running until Ctrl-C. `picture` is an SVG file for the output. The stack's data is deleted at the end.
    """
    console = Console(width=None if sys.stdout.isatty() and not picture else 80, record=picture is not None)
    LocalStack().check()  # reports invalid settings of the user, although the demo replaces ROUTES
    state = Path(os.environ.get("DEVHOST_STATE", ".local")) / "demo"
    log_path = state.with_suffix(".log")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    try:
        with log_path.open("w") as log:
            print(f"Starting the local stack (log: {log_path}) ...", flush=True)
            return _run(LocalStack(_environment(state), output=log), console, keep=keep, picture=picture)
    except (StackError, SmokeError) as error:
        print("".join(log_path.read_text().splitlines(keepends=True)[-15:]), file=sys.stderr)
        raise StackError(str(error)) from None
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _environment(state: Path) -> dict[str, str]:
    stack = LocalStack()
    source, target = stack.account("sharingsource"), stack.account("sharingtarget")
    routes = [
        {"name": "default", "source": f"{source}/source/", "target": f"{target}/target/"},
        {"name": "partner", "source": f"{source}/inbox/", "target": f"{target}/partner/"},
    ]
    ours = {"ROUTES": json.dumps(routes), "DEVHOST_STATE": str(state), "SIZE_UNIT_BYTES": str(SIZE_UNIT)}
    return {**os.environ, **ours}


def _run(stack: LocalStack, console: Console, *, keep: bool, picture: Path | None) -> int:
    def say(line: str) -> None:
        text = Text(line, style="bold" if line.startswith("\n") else "")
        text.highlight_words(["verified"], "green")
        text.highlight_words(["dead_lettered"], "red")
        console.print(text, soft_wrap=not picture)

    deployment = from_local_stack(stack.environment)
    with stack, closing(App(deployment.api, None)) as app, closing(Storage(None, stack.key)) as storage:
        story = Story(app, storage, time.monotonic() + SECONDS, say)
        samples = _play(story, *deployment.routes)
        story.step("Compare every byte")
        console.print(_table(samples))
        equal = all(sample.arrived for sample in samples)
        say("\nAll bytes compared: equal." if equal else "\nSome blobs were not shared.")
        if picture:
            picture.write_text(svg(console, "make demo", "demo"))
        if keep:
            _wait(stack)
    print("Next: run `make run`, then put your own blobs into the source.")
    return 0 if equal else 1


def _play(story: Story, default: Route, partner: Route) -> Sequence[Sample]:
    def create(_: Blob) -> str:
        story.storage.create_container(partner.target)
        return f"created the container {partner.target.container}"

    story.storage.create_container(partner.source)
    chunk = hashlib.shake_256(b"blob data sharing").digest(MIB)
    story.step("Put blobs into the source")
    story.put(
        [
            *(Sample.of(default, name, (ROOT / name).read_bytes()) for name in ("README.md", "host.json")),
            Sample.of(default, "año 5% #1.txt", b"every name is copied\n"),
            Sample.of(default, "empty", b""),
            Sample.of(partner, "report.csv", b"day,blobs\n2026-11-24,7\n", fix=create),
            Sample.of(default, "video.bin", chunk * (LARGE // MIB)),
        ]
    )
    story.step("Watch them arrive")
    story.watch()
    story.step("One failed: read its dead letter, fix the cause, replay")
    story.replay()
    return story.samples


def _table(samples: Sequence[Sample]) -> Table:
    table = Table("blob", "state", "size", "engine", "seconds", "bytes equal")
    for sample in samples:
        transfer = sample.transfer
        state, engine = transfer.get("state", "-"), transfer.get("engine") or "-"
        seconds = f"{sample.seconds:.1f}" if sample.verified else "-"
        name = Text(f"{sample.blob.container}/{sample.blob.name}")
        equal = "[green]yes[/]" if sample.arrived else "[red]NO[/]"
        table.add_row(name, state, size(len(sample.data)), engine, seconds, equal)
    return table


def _wait(stack: LocalStack) -> None:
    """Print the URLs of the API and of the containers, and wait until Ctrl-C."""
    ends = "".join(f"\n  {end.side} of {end.route:8} {end.url}" for end in stack.ends())
    print(f"\nThe local stack keeps running:\n  API                {stack.api}/transfers{ends}")
    try:
        print("Press Ctrl-C to stop it and delete its blobs.", flush=True)
        while (ended := stack.ended()) is None:
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    raise StackError(f"{ended} stopped unexpectedly")

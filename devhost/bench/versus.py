"""`make versus`: this app, AzCopy, rclone and the plain pattern of the SDK's samples, side by side on the same emulator."""

import argparse
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from devhost.app import KEYS
from devhost.bench.blobs import Blobs, Source
from devhost.bench.comparison import APP, KILLED, WRITES_BLOBS, Row, copied_bytes, table
from devhost.bench.cost import task_hub
from devhost.bench.load import MIB, check_host, environment
from devhost.bench.metrics import Hub, cpu_seconds
from devhost.bench.peers import Command, Job, Peer, find
from devhost.bench.result import about, where
from devhost.command import command
from devhost.stack import LocalStack
from devhost.storage.client import StorageControl
from devhost.storage.config import StackError

STATE = Path(os.environ.get("DEVHOST_STATE", ".local"))
SMALL_BYTES = 2000
WARM_UP = Blobs("first", 1, SMALL_BYTES)
# The emulator's asynchronous copies take a second or more by default, which would decide the small workload.
COPY_SECONDS = "0.05"
POLL_SECONDS, KILL_POLL_SECONDS = 0.25, 0.05
# A tool is started again until it succeeds: after a kill it may be refused while the service still copies.
STARTS, PAUSE_SECONDS = 60, 1.0
# `azcopy jobs resume` may wait forever, if the kill came before the job's plan was complete.
IDLE_SECONDS, HUNG = 30.0, -1
# Event Grid puts a message on the queue; the host gets and deletes it.
QUEUE_REQUESTS = 3
# A workload that takes longer fails.
LIMIT_SECONDS = 1800
EPILOG = """\
AzCopy: npm install @azure-tools/azcopy-linux (its program is azcopy_linux_amd64), and Debian's libsecret-1-0.
rclone: Debian's rclone. A program that is missing is skipped. The exit code is 1 if a tool fails, unless
after a kill, or copies wrong bytes.
docs/performance.md explains what is counted and how.
"""


def main() -> int:
    """Run all workloads with all tools and return the exit code."""
    arguments = _parser().parse_args()
    return command("versus", lambda: versus(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m devhost.bench.versus",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--small", type=_number, default=1000, metavar="N", help="number of small blobs (1000)")
    parser.add_argument("--large-mib", type=_number, default=2048, metavar="MiB", help="size of the large blob (2048)")
    parser.add_argument("--engine", default="auto", help="the app's engine for the large blob (auto)")
    for name in ("azcopy", "rclone"):
        parser.add_argument(f"--{name}", default=name, metavar="PROGRAM", help=f"the program ({name}, on PATH)")
    output = f"output file for the JSON ({STATE}/versus.json)"
    parser.add_argument("--json", type=Path, default=STATE / "versus.json", metavar="FILE", help=output)
    return parser


def _number(text: str) -> int:
    # The proxy's log has a capacity of a hundred thousand requests.
    if not text.isdecimal() or not 0 < int(text[:6]) <= 15_000:  # noqa: PLR2004  # six requests for each blob
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 15,000")
    return int(text)


def versus(arguments: argparse.Namespace) -> int:
    """Measure, print the table and write the JSON; return 0 if every tool copied everything."""
    check_host()
    peers, missing = find(arguments.azcopy, arguments.rclone)
    document = where(os.getloadavg()[0])
    STATE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="versus-", dir=STATE) as folder:
        rows = _measured(arguments, peers, Path(folder).absolute())
    document["command"] = shlex.join(["python", "-m", "devhost.bench.versus", *sys.argv[1:]])
    document["tools"] = {peer.name: peer.version for peer in peers if peer.version}
    document |= {"missing": missing, "rows": [asdict(row) | {"copied_again": row.copied_again} for row in rows]}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table(rows, missing))
    for row in rows:
        if row.problem:
            console.print(f"{row.workload}, {row.tool}: {row.problem}", highlight=False, markup=False, soft_wrap=True)
    for line in (*about(document), f"JSON: {arguments.json}"):
        console.print(line, highlight=False, soft_wrap=True)
    # After a kill, the problem of another tool is only reported.
    return 1 if any(row.wrong or (row.problem and (row.tool == APP or not row.killed)) for row in rows) else 0


def _measured(arguments: argparse.Namespace, peers: list[Peer], folder: Path) -> list[Row]:
    small = Blobs("small", arguments.small, SMALL_BYTES)
    large = Blobs("large", 1, arguments.large_mib * MIB)
    log = folder / "stack.log"
    with log.open("w") as output:
        settings = {"DEVHOST_COPY_SECONDS": COPY_SECONDS, **environment(folder)}
        stack = LocalStack(settings, output=output, storage_module="devhost.bench.shim")
        try:
            return _Versus(stack, folder, arguments.engine).run(small, large, peers)
        except StackError:
            print(KEYS.sub(r"\1REMOVED", "\n".join(log.read_text().splitlines()[-15:])), file=sys.stderr)
            raise
        finally:
            stack.stop()


class _Versus:
    """Runs one tool at a time on a stack, each time with a target container of its own."""

    def __init__(self, stack: LocalStack, folder: Path, engine: str) -> None:
        self.stack, self.folder, self.engine = stack, folder, engine
        self.control, self.hub = StorageControl(stack.blob_port), Hub(stack.state)
        self.source = Source(stack)
        self.containers = 0
        self.last_request, self.heard = 0, 0.0

    def run(self, small: Blobs, large: Blobs, peers: list[Peer]) -> list[Row]:
        """Start storage and measure."""
        self._set_routes(large, "unused")
        self.stack.check()
        self.stack.start_storage()
        self.control.events(mode="drop", watch=[f"sharingsource/{each.container}" for each in (WARM_UP, small, large)])
        for blobs in (WARM_UP, small, large):
            _say(f"putting {_label(blobs)}")
            self.source.create(blobs)
        self.source.target(WARM_UP.container)
        rows = []
        for blobs, kill in (small, False), (large, False), (large, True):
            measured = [self._app(blobs, kill=kill), *(self._peer(peer, blobs, kill=kill) for peer in peers)]
            # The CPU of a process that was killed is lost.
            rows += [replace(row, workload=row.workload + KILLED, cpu_seconds={}) if kill else row for row in measured]
        return rows

    def _app(self, blobs: Blobs, *, kill: bool) -> Row:
        """Measure from the moment when all events are on the queue until the last transfer has ended."""
        container, _ = self._target(blobs, APP, kill=kill)
        self._set_routes(blobs, container)
        self.stack.start_host()
        try:
            self.control.events(mode="deliver")
            before = self.hub.ended()
            self.source.renew(WARM_UP)
            self._wait(lambda: self.hub.ended() > before)
            with self._stopped_host():
                self.source.renew(blobs)
                self.control.events(mode="drop")
                self.control.forget_requests()
                cpu, scheduled, began = cpu_seconds(self.stack), self.hub.scheduled(), time.time()
            killed = kill and self._wait(self._is_ended(before, blobs), partial(self._is_half, container, blobs))
            if killed:
                self.stack.kill_host()
                self.stack.start_host()
            self._wait(self._is_ended(before, blobs))
            used = _difference(cpu_seconds(self.stack), cpu)
            transfers = sorted(self.hub.transfers(), key=lambda each: each.ended)[-blobs.count :]
            hub = self._hub_requests(blobs, scheduled)
        finally:
            self.stack.stop_host()
        failed = Counter(each.state for each in transfers if each.state != "verified")
        row = self._row(blobs, APP, container, transfers[-1].ended - began)
        return replace(
            row,
            requests=row.requests | {"hub": hub},
            cpu_seconds={"tool" if name == "host" else name: seconds for name, seconds in used.items()},
            starts=1 + killed,
            killed=killed,
            problem=f"not verified: {dict(failed)}" if failed else "",
        )

    def _peer(self, peer: Peer, blobs: Blobs, *, kill: bool) -> Row:
        """Measure from the start of the program until its last request: AzCopy ends seconds later."""
        container, url = self._target(blobs, peer.name, kill=kill)
        job = Job(self.source.url(blobs), url, self.folder / container)
        job.folder.mkdir()
        self.control.forget_requests()
        cpu, began, starts, output = self._cpu(), time.time(), 1, job.folder / "output"
        is_half = partial(self._is_half, container, blobs) if kill else None
        code = self._run(peer.start(job), output, is_half)
        killed = code is None
        while killed and code not in {0, HUNG} and starts < STARTS:
            time.sleep(PAUSE_SECONDS if starts > 1 else 0)
            starts += 1
            code = self._run(peer.resume(job), output)
        used, last = _difference(self._cpu(), cpu), [each["time"] for each in self.control.requests(internal=False)]
        row = self._row(blobs, peer.name, container, max(last, default=time.time()) - began)
        cause = f"ended after {IDLE_SECONDS:g} s without a request" if code == HUNG else f"exit code {code}"
        problem = f"{cause}: {_end(output)}" if code else ""
        return replace(row, cpu_seconds=used, starts=starts, killed=killed, problem=problem)

    def _run(self, command: Command, output: Path, is_due: Callable[[], bool] | None = None) -> int | None:
        """Run a program and return its exit code; None if it was killed because of `is_due`, HUNG because it does nothing.

        Of the user's variables the program has only PATH.
        """
        arguments, variables = command
        env = {"PATH": os.environ.get("PATH", ""), "HOME": str(output.parent), **variables}
        with output.open("w") as stream:
            process = subprocess.Popen(
                arguments, env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
        self.heard = time.monotonic()
        try:
            if self._wait(lambda: process.poll() is not None or self._is_idle(), is_due):
                return None
            return HUNG if process.poll() is None else process.returncode
        finally:
            process.kill()
            process.wait()

    def _row(self, blobs: Blobs, tool: str, container: str, seconds: float) -> Row:
        """Count the requests, and compare the bytes."""
        requests = self.control.requests(internal=False)
        written = [each for each in requests if each["container"] == container]
        _say(f"{tool}: {seconds:.1f} s; comparing the bytes")
        return Row(
            workload=_label(blobs),
            tool=tool,
            blobs=blobs.count,
            bytes_each=blobs.size,
            seconds=seconds,
            requests=dict(Counter(each["account"].removeprefix("sharing") for each in requests)),
            cpu_seconds={},
            copied=copied_bytes(written, blobs.size),
            whole=any(each["operation"] in WRITES_BLOBS for each in written),
            wrong=self.source.wrong(blobs, container),
        )

    def _set_routes(self, blobs: Blobs, container: str) -> None:
        source, target = self.stack.account("sharingsource"), self.stack.account("sharingtarget")
        warm_up, measured = (
            {"name": each.container, "source": f"{source}/{each.container}/", "target": f"{target}/{to}/"}
            for each, to in ((WARM_UP, WARM_UP.container), (blobs, container))
        )
        if blobs.count == 1:
            measured["engine"] = self.engine
        self.stack.environment = {**self.stack.environment, "ROUTES": json.dumps([warm_up, measured])}

    def _target(self, blobs: Blobs, tool: str, *, kill: bool) -> tuple[str, str]:
        """Create the next target container; return its name, and its URL with a SAS."""
        self.containers += 1
        _say(f"{tool}: {_label(blobs)}{KILLED if kill else ''}")
        name = f"target-{self.containers}"
        return name, self.source.target(name)

    def _wait(self, is_ended: Callable[[], bool], is_due: Callable[[], bool] | None = None) -> bool:
        """Wait until one of the two; return whether it was `is_due`. Raises StackError if the stack ends, or after long."""
        end = time.monotonic() + LIMIT_SECONDS
        while not is_ended():
            if is_due and is_due():
                return True
            if gone := self.stack.ended():
                raise StackError(f"{gone} stopped unexpectedly; see its output above")
            if time.monotonic() > end:
                raise StackError(f"a tool did not end within {LIMIT_SECONDS} s")
            time.sleep(KILL_POLL_SECONDS if is_due else POLL_SECONDS)
        return False

    def _is_ended(self, before: int, blobs: Blobs) -> Callable[[], bool]:
        return lambda: self.hub.ended() >= before + WARM_UP.count + blobs.count

    def _is_half(self, container: str, blobs: Blobs) -> bool:
        """Whether half of a blob's bytes are copied: in blocks, or by a copy that is pending."""
        blocks = copied_bytes(self.control.requests(container=container, internal=False), 0)
        copies = self.control.copies()["copies"]
        pending = sum(int(each["progress"].partition("/")[0]) for each in copies if each["container"] == container)
        return blocks + pending >= blobs.size / 2

    def _is_idle(self) -> bool:
        """Whether the emulator had no request for long."""
        if new := self.control.requests(since=self.last_request):
            self.last_request, self.heard = new[-1]["number"], time.monotonic()
        return time.monotonic() - self.heard > IDLE_SECONDS

    def _hub_requests(self, blobs: Blobs, before: Mapping[str, float]) -> float:
        """Calculate the requests to the queue of events and to the task hub, which the stand-in has in a file."""
        now = self.hub.scheduled()
        each = ((now[name] - before[name]) / blobs.count for name in ("activities", "timers"))
        return blobs.count * (QUEUE_REQUESTS + sum(task_hub(*each)))

    def _cpu(self) -> dict[str, float]:
        """Return the CPU seconds of the emulator, and of all tools that have ended."""
        tools = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {**cpu_seconds(self.stack), "tool": tools.ru_utime + tools.ru_stime}

    @contextmanager
    def _stopped_host(self) -> Iterator[None]:
        """Stop the host's process for the block, so that all events are on the queue before it reads the first."""
        if self.stack.host is None:
            raise StackError("the host does not run")
        self.stack.host.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.stack.host.send_signal(signal.SIGCONT)


def _difference(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds - before.get(name, 0.0) for name, seconds in now.items()}


def _end(output: Path) -> str:
    """Return the end of a tool's output on one line, without signatures."""
    return KEYS.sub(r"\1REMOVED", " ".join(output.read_text(errors="replace").split()))[-300:]


def _label(blobs: Blobs) -> str:
    size = f"{blobs.size / 1000:g} kB" if blobs.size < MIB else f"{blobs.size // MIB:,} MiB"
    return f"{blobs.count:,} x {size}"


def _say(text: str) -> None:
    print(f"versus: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

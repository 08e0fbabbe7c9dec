"""Start, stop and `kill -9`: no data is lost, no process remains, each error names its fix."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from devhost.storage.config import Config, StackError
from devhost.storage.ledger import Copy, Ledger, Status
from devhost.storage.testing import Stack
from tests.devhost.storage.cloud import connected, eventually


def test_kill_while_pending(tmp_path: Path) -> None:
    """Azurite saves every acknowledged write; afterwards a pending copy continues, and an aborted one is still aborted."""
    stack = Stack(tmp_path, DEVHOST_COPY_SECONDS="3600")
    with stack, connected(stack) as cloud:
        data = os.urandom(100_000)
        source = cloud.uploaded(data)
        pending, aborted = cloud.target("pending"), cloud.target("aborted")
        copy_id = pending.start_copy_from_url(cloud.readable(source))["copy_id"]
        aborted.abort_copy(str(aborted.start_copy_from_url(cloud.readable(source))["copy_id"]))
        names = {f"{number:03}" for number in range(100)}
        for name in names:
            cloud.target(name).upload_blob(b"x")

        stack.kill()
        eventually(lambda: not _is_taken(stack.queue_port))
        stack.start()
        assert set(cloud.targets.get_container_client("target").list_blob_names()) == names | {"pending", "aborted"}
        assert (pending.get_blob_properties().size, pending.get_blob_properties().copy.status) == (0, "pending")
        assert aborted.get_blob_properties().copy.status == "aborted"

        _end_copies(stack)
        assert pending.get_blob_properties().copy.id == copy_id
        assert pending.download_blob().readall() == data
        assert stack.stop() == (0, "")


def test_kill_at_the_worst_moment(tmp_path: Path) -> None:
    """Copied but not recorded, or recorded but not emptied: the next start completes both."""
    stack = Stack(tmp_path, DEVHOST_COPY_SECONDS="3600")
    with stack, connected(stack) as cloud:
        source, made, full = cloud.uploaded(b"some bytes"), cloud.target("made"), cloud.target("full")
        ids = [made.start_copy_from_url(cloud.readable(source))["copy_id"]]
        with _ledger(tmp_path) as ledger:
            (unrecorded,) = ledger.all()
        _end_copies(stack)
        stack.control.copies(seconds=3600)
        ids.append(full.start_copy_from_url(cloud.readable(source))["copy_id"])

        stack.kill()
        with _ledger(tmp_path) as ledger:
            ledger.put(unrecorded)
            ledger.put(replace(_copy_onto(ledger, "full"), etag=""))
        stack.start()
        assert (full.get_blob_properties().size, full.get_blob_properties().copy.status) == (0, "pending")
        _end_copies(stack)
        assert [blob.get_blob_properties().copy.id for blob in (made, full)] == ids
        assert [blob.download_blob().readall() for blob in (made, full)] == [b"some bytes"] * 2


def test_kill_between_an_abort_and_its_new_etag(tmp_path: Path) -> None:
    """The next start writes the ETag, and the copy is still aborted."""
    stack = Stack(tmp_path, DEVHOST_COPY_SECONDS="3600")
    with stack, connected(stack) as cloud:
        target = cloud.target("aborted")
        started = target.start_copy_from_url(cloud.readable(cloud.uploaded(b"some bytes")))
        stack.kill()
        with _ledger(tmp_path) as ledger:
            ledger.put(replace(_copy_onto(ledger, "aborted"), status=Status.ABORTED, etag=""))
        stack.start()
        properties = target.get_blob_properties()
        assert (properties.copy.status, properties.etag == started["etag"]) == ("aborted", False)


def test_stops_at_ctrl_c(tmp_path: Path) -> None:
    """Exit code 0, no output, no busy port."""
    stack = Stack(tmp_path)
    process = stack.launch()
    assert process.stdout
    assert process.stdout.readline().startswith("ready: blobs http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert not any(map(_is_taken, (stack.blob_port, stack.queue_port, stack.table_port)))


@pytest.mark.parametrize("service", ["blob", "queue", "table"])
def test_a_port_that_is_taken(tmp_path: Path, service: str) -> None:
    """One line names the port and the variable."""
    stack = Stack(tmp_path)
    port = getattr(stack, f"{service}_port")
    with socket.create_server(("127.0.0.1", port)):
        process = stack.launch()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert f"Port {port} is not free" in errors
    assert f"AZURITE_{service.upper()}_PORT=" in errors


def test_a_second_stack_with_the_same_state(stack: Stack) -> None:
    second = Stack(Path(stack.environment["DEVHOST_STATE"]))
    process = second.launch()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "is in use by another stack. Fix: DEVHOST_STATE=" in errors


def test_help() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "devhost.storage", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "DEVHOST_COPY_RATE" in shown
    assert "account/container@events-account" in shown


@pytest.mark.parametrize(
    "environment",
    [
        {"AZURITE_BLOB_PORT": "x"},
        {"AZURITE_QUEUE_PORT": "70000"},
        {"DEVHOST_COPY_RATE": "0"},
        {"DEVHOST_COPY_SECONDS": "soon"},
        {"DEVHOST_WATCH": "sharingsource"},
        {"DEVHOST_WATCH": "sharingsource/source@"},
        {"DEVHOST_WATCH": "deleted:sharingsource/source"},
        {"DEVHOST_WATCH": "sharingsource/source@unknown"},
    ],
)
def test_an_invalid_setting(environment: dict[str, str]) -> None:
    """The message names the value and a fix."""
    with pytest.raises(StackError, match=r"Fix: ") as refused:
        Config.from_env(environment)
    assert next(iter(environment.values())) in str(refused.value)


def _end_copies(stack: Stack) -> None:
    stack.control.copies(seconds=0, rate=1e12)
    eventually(lambda: all(copy["status"] != "pending" for copy in stack.control.copies()["copies"]))


def _ledger(state: Path) -> contextlib.closing[Ledger]:
    return contextlib.closing(Ledger(state / "storage/copies.sqlite"))


def _copy_onto(ledger: Ledger, blob: str) -> Copy:
    (copy,) = (copy for copy in ledger.all() if copy.blob == blob)
    return copy


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

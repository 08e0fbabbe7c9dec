"""`make versus`: its figures, its commands, its blobs, and Put Blob From URL in front of the emulator."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobClient, ContainerClient

from devhost.bench import comparison, peers
from devhost.bench.blobs import PIECE, Blobs, Source
from devhost.bench.comparison import APP, HEAD, KILLED, Row, cells, copied_bytes, ratio, rows_of, table
from devhost.bench.load import MIB, environment
from devhost.bench.peers import AZCOPY, PLAIN, RCLONE, Job
from devhost.bench.versus import _end, _parser
from devhost.stack import LocalStack
from devhost.storage.client import StorageControl

OURS = Row(
    workload="100 x 2 kB",
    tool=APP,
    blobs=100,
    bytes_each=2000,
    seconds=2.0,
    requests={"source": 100, "target": 100, "state": 101, "hub": 2400},
    cpu_seconds={"tool": 1.5, "proxy": 0.4, "azurite": 1.25},
    copied=200_000,
    wrong=0,
)
AZCOPYS = replace(OURS, tool=AZCOPY, seconds=1.0, requests={"source": 2, "target": 204})
LARGE = replace(OURS, workload="1 x 64 MiB", blobs=1, bytes_each=64 * MIB, copied=64 * MIB)
SAS = "?sv=1&sig=secret%2Fsecret%3D"


def request(operation: str, length: int = 0, status: int = 201) -> dict[str, Any]:
    return {"operation": operation, "length": length, "status": status}


def test_the_ratio_is_that_of_the_speeds_in_the_same_workload() -> None:
    rows = [LARGE, OURS, AZCOPYS, replace(AZCOPYS, workload=LARGE.workload, seconds=99.0)]
    assert ratio(OURS, rows) == 0.5
    assert ratio(AZCOPYS, rows) == 1.0
    assert (OURS.speed, LARGE.speed) == (50, 32)


@pytest.mark.parametrize(
    "change", [{"tool": RCLONE}, {"wrong": 1}, {"problem": "exit code 1"}, {"workload": "another"}]
)
def test_without_a_sound_azcopy_there_is_no_ratio(change: dict[str, Any]) -> None:
    rows = [OURS, replace(AZCOPYS, **change)]
    assert ratio(OURS, rows) is None
    assert dict(zip(HEAD, cells(OURS, rows), strict=True))[f"{AZCOPY} = 1"] == "-"


def test_a_speed_that_the_emulator_sets_has_no_ratio() -> None:
    """A large blob that is copied whole. Small blobs are."""
    paced, reference = replace(LARGE, whole=True), replace(LARGE, tool=AZCOPY)
    assert ratio(LARGE, [reference]) == 1
    assert ratio(paced, [reference]) is None
    assert ratio(LARGE, [replace(reference, whole=True)]) is None
    assert cells(paced, [reference])[:2] == ["32 MiB/s, set", "-"]
    assert ratio(replace(OURS, whole=True), [replace(AZCOPYS, whole=True)]) == 0.5


def test_requests_and_cpu_are_shown_for_one_blob() -> None:
    shown = dict(zip(HEAD, cells(OURS, [OURS, AZCOPYS]), strict=True))
    assert shown == {
        "speed": "50 blobs/s",
        "AzCopy = 1": "0.50",
        "s": "2.0",
        "requests: source, target, state, hub": "1, 1, 1.01, 24",
        "CPU, ms: tool, proxy, Azurite": "15, 4, 12.5",
        "copied again, MiB": "0",
        "bytes": "equal",
    }
    shown = dict(zip(HEAD, cells(replace(OURS, wrong=3, cpu_seconds={}), []), strict=True))
    assert (shown["bytes"], shown["CPU, ms: tool, proxy, Azurite"]) == ("3 wrong", "-")


def test_a_workload_that_ended_before_the_kill_says_so() -> None:
    """Then nothing is known about what a kill costs."""
    killed = replace(LARGE, workload=LARGE.workload + KILLED, copied=96 * MIB, killed=True)
    assert "32" in cells(killed, [])
    assert "32 (ended before the kill)" in cells(replace(killed, killed=False), [])


def test_only_accepted_requests_copy_bytes() -> None:
    """Blocks have their range, a body its length, and a whole blob its size."""
    blocks = [request("PutBlockFromUrl", 8), request("PutBlockFromUrl", 8), request("PutBlockFromUrl", 8, 500)]
    rest = [
        request("PutBlockList", 300),
        request("HeadBlob", 0, 200),
        request("PutBlock", 5),
        request("CopyBlob", 0, 0),
    ]
    assert copied_bytes([*blocks, *rest], 1000) == 21
    assert copied_bytes([request("CopyBlob", 0, 202), request("CopyBlob", 0, 409)], 1000) == 1000
    assert copied_bytes([request("PutBlobFromUrl"), request("CopyBlobFromUrl", 0, 202)], 1000) == 2000


def test_the_page_has_the_rows_of_the_file() -> None:
    document = {
        "date": "2026-01-02T03:04:05+00:00",
        "versions": {"app": "1.2.3", "azurite": "4.5.6", "python": "3.11.0"},
        "machine": {"cores": 2, "memory_mib": 4096, "platform": "Linux-6", "busy_before": 0.5},
        "tools": {AZCOPY: "10.0.1"},
        "command": "python -m devhost.bench.versus",
        "rows": [asdict(row) | {"copied_again": 0} for row in (OURS, AZCOPYS)],
    }
    assert rows_of(document) == [OURS, AZCOPYS]
    page = comparison.page(document)
    assert "| 100 x 2 kB | this app | 50 blobs/s | 0.50 | 2.0 | 1, 1, 1.01, 24 | 15, 4, 12.5 | 0 | equal |" in page
    assert "AzCopy 10.0.1; this app 1.2.3, Azurite 4.5.6, Python 3.11.0" in page
    assert len({line.count("|") for line in page.splitlines() if line.startswith("|")}) == 1


def test_a_missing_program_is_skipped_by_name() -> None:
    found, missing = peers.find("no-azcopy", "no-rclone")
    assert [peer.name for peer in found] == [PLAIN]
    assert missing == {AZCOPY: "`no-azcopy` is not on PATH", RCLONE: "`no-rclone` is not on PATH"}
    shown = table([OURS], missing)
    assert list(shown.columns[1].cells) == [APP, AZCOPY, RCLONE]
    assert list(shown.columns[2].cells)[1:] == [f"skipped: {reason}" for reason in missing.values()]


def test_azcopy_resumes_the_job_of_its_plan(tmp_path: Path) -> None:
    program = tmp_path / "azcopy"
    program.write_text("#!/bin/sh\necho azcopy version 10.11.12\n")
    program.chmod(0o755)
    [azcopy, _], _ = peers.find(str(program), "no-rclone")
    assert azcopy.version == "10.11.12"
    job = Job(f"http://h/a/source{SAS}", f"http://h/b/target{SAS}1", tmp_path)
    arguments, variables = azcopy.start(job)
    assert arguments[1:4] == ["copy", job.source, job.target]
    assert variables["AZCOPY_JOB_PLAN_LOCATION"] == str(tmp_path)
    (tmp_path / "1234-56--00000.steV22").touch()
    keys = [f"--source-sas={SAS[1:]}", f"--destination-sas={SAS[1:]}1"]
    assert azcopy.resume(job)[0][1:] == ["jobs", "resume", "1234-56", *keys]
    assert "secret" not in repr(job)


def test_the_end_of_an_output_has_no_signature(tmp_path: Path) -> None:
    (tmp_path / "output").write_text(f"{'x' * 1000}\nfailed: http://h/a/source{SAS}&sr=c\n")
    shown = _end(tmp_path / "output")
    assert shown.endswith("failed: http://h/a/source?sv=1&sig=REMOVED&sr=c")
    assert len(shown) == 300


@pytest.mark.parametrize("option", ["--small", "--large-mib"])
@pytest.mark.parametrize("number", ["0", "ten", "-1", "15001", ""])
def test_an_invalid_number_is_refused(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        _parser().parse_args([f"{option}={number}"])
    assert "is not a number from 1 to 15,000" in capsys.readouterr().err


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("versus")
    stack = LocalStack(environment(folder), storage_module="devhost.bench.shim")
    try:
        stack.start_storage()
        StorageControl(stack.blob_port).events(mode="drop")
        yield stack
    finally:
        stack.stop()


def test_any_other_byte_and_any_missing_blob_is_wrong(stack: LocalStack) -> None:
    """The pieces of a blob differ, so that blocks in another order are found. A renewed blob has the same bytes."""
    source, blobs = Source(stack), Blobs("compared", 2, PIECE + 1000)
    [first, second] = ([blobs.piece(name, number) for number in range(2)] for name in blobs.names)
    assert [*map(len, first)] == [PIECE, 1000]
    assert first[0] != second[0]
    assert first[0][: len(first[1])] != first[1]
    source.create(blobs)
    source.renew(blobs)
    client = ContainerClient.from_container_url(source.target("copies"))
    assert source.wrong(blobs, "copies") == 2
    for name in blobs.names:
        read = ContainerClient.from_container_url(source.url(blobs)).download_blob(name).readall()
        client.upload_blob(name, read)
    assert source.wrong(blobs, "copies") == 0
    client.upload_blob(blobs.names[0], first[0] + first[1][:-1] + b"!", overwrite=True)
    assert source.wrong(blobs, "copies") == 1
    client.upload_blob(blobs.names[0], first[0], overwrite=True)
    client.upload_blob("unexpected", b"")
    assert source.wrong(blobs, "copies") == 2


def test_put_blob_from_url_copies_and_is_logged_as_itself(stack: LocalStack) -> None:
    """A condition on the source still holds. A block has the length of its range in the log."""
    source, blobs, control = Source(stack), Blobs("put", 1, 5000), StorageControl(stack.blob_port)
    source.create(blobs)
    [name] = blobs.names
    url, to = (each.partition("?") for each in (source.url(blobs), source.target("put-copies")))
    from_url = f"{url[0]}/{name}?{url[2]}"
    target = BlobClient.from_blob_url(f"{to[0]}/{name}?{to[2]}")
    control.forget_requests()
    target.upload_blob_from_url(from_url)
    assert source.wrong(blobs, "put-copies") == 0
    target.stage_block_from_url("block", from_url, source_offset=1000, source_length=3000)
    put, block = (control.requests(operation=each) for each in ("PutBlobFromUrl", "PutBlockFromUrl"))
    assert [(each["status"], each["length"]) for each in (*put, *block)] == [(201, 0), (201, 3000)]
    assert control.requests(operation="CopyBlobFromUrl") == []

"""The other programs that `make versus` runs: AzCopy, rclone and the plain pattern."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from devhost.stack import ROOT

AZCOPY, RCLONE, PLAIN = "AzCopy", "rclone", "plain pattern"
# rclone's default is 4. It waits a second for each copy that is pending, so more at once are faster.
TRANSFERS = "64"
Command = tuple[list[str], dict[str, str]]
"""Arguments, and the variables beyond PATH and HOME."""


@dataclass(frozen=True, slots=True)
class Job:
    """Two containers, as URLs with a SAS, and a folder for the program's own files."""

    source: str = field(repr=False)
    target: str = field(repr=False)
    folder: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """A program; `command` returns what starts the job, or with True what starts it again after a crash."""

    name: str
    version: str
    command: Callable[[Job, bool], Command]


def find(azcopy: str, rclone: str) -> tuple[list[Peer], dict[str, str]]:
    """Return the programs, and the reason for each that is missing."""
    found, missing = [], {}
    for name, program, version, command in (
        (AZCOPY, azcopy, "--version", _azcopy),
        (RCLONE, rclone, "version", _rclone),
    ):
        if path := shutil.which(program):
            found.append(Peer(name, _version(path, version), _with(command, path)))
        else:
            missing[name] = f"`{program}` is not on PATH"
    return [*found, Peer(PLAIN, "", _plain)], missing


def _version(path: str, argument: str) -> str:
    done = subprocess.run([path, argument], capture_output=True, text=True, check=False)
    number = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return number[0] if number else "unknown"


def _with(command: Callable[[str, Job, bool], Command], path: str) -> Callable[[Job, bool], Command]:
    return lambda job, again: command(path, job, again)


def _azcopy(path: str, job: Job, again: bool) -> Command:  # noqa: FBT001  # one of three with this signature
    environment = {
        "AZCOPY_LOG_LOCATION": str(job.folder),
        "AZCOPY_JOB_PLAN_LOCATION": str(job.folder),
        "AZCOPY_DISABLE_SYSLOG": "true",
    }
    if plans := list(job.folder.glob("*--*.steV*")) if again else []:
        sas = (url.partition("?")[2] for url in (job.source, job.target))
        options = [f"--{side}-sas={text}" for side, text in zip(("source", "destination"), sas, strict=True)]
        return [path, "jobs", "resume", plans[0].name.partition("--")[0], *options], environment
    options = ["--from-to=BlobBlob", "--recursive", "--as-subdir=false", "--skip-version-check", "--log-level=ERROR"]
    return [path, "copy", job.source, job.target, *options], environment


def _rclone(path: str, job: Job, _again: bool) -> Command:  # noqa: FBT001  # one of three with this signature
    environment = {
        "RCLONE_CONFIG": str(job.folder / "rclone.conf"),
        "RCLONE_CONFIG_SOURCE_TYPE": "azureblob",
        "RCLONE_CONFIG_SOURCE_SAS_URL": job.source,
        "RCLONE_CONFIG_TARGET_TYPE": "azureblob",
        "RCLONE_CONFIG_TARGET_SAS_URL": job.target,
    }
    ends = (f"{side}:{_container(url)}" for side, url in (("source", job.source), ("target", job.target)))
    return [path, "copy", *ends, "--server-side-across-configs", "--transfers", TRANSFERS], environment


def _plain(job: Job, _again: bool) -> Command:  # noqa: FBT001  # one of three with this signature
    environment = {"SOURCE": job.source, "TARGET": job.target, "PYTHONPATH": str(ROOT)}
    return [sys.executable, "-m", "devhost.bench.plain"], environment


def _container(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]

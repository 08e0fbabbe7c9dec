"""The other programs that `make versus` runs: AzCopy, rclone and the plain pattern."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
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
    """A program: the command that starts a job, and the one that starts it again after a crash."""

    name: str
    version: str
    start: Callable[[Job], Command]
    resume: Callable[[Job], Command]


def find(azcopy: str, rclone: str) -> tuple[list[Peer], dict[str, str]]:
    """Return the programs, and the reason for each that is missing."""
    found = []
    if path := shutil.which(azcopy):
        found.append(Peer(AZCOPY, _version(path, "--version"), partial(_azcopy, path), partial(_azcopy_resume, path)))
    if path := shutil.which(rclone):
        found.append(Peer(RCLONE, _version(path, "version"), *[partial(_rclone, path)] * 2))
    names = {peer.name for peer in found}
    asked = {AZCOPY: azcopy, RCLONE: rclone}
    missing = {name: f"`{program}` is not on PATH" for name, program in asked.items() if name not in names}
    return [*found, Peer(PLAIN, "", _plain, _plain)], missing


def _version(path: str, argument: str) -> str:
    done = subprocess.run([path, argument], capture_output=True, text=True, check=False)
    number = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return number[0] if number else "unknown"


def _azcopy(path: str, job: Job) -> Command:
    options = ["--from-to=BlobBlob", "--recursive", "--as-subdir=false", "--skip-version-check", "--log-level=ERROR"]
    return [path, "copy", job.source, job.target, *options], _azcopy_variables(job)


def _azcopy_resume(path: str, job: Job) -> Command:
    plan = next(job.folder.glob("*--*.steV*")).name  # JOB--PART.steVERSION
    keys = [
        f"--{side}-sas={url.partition('?')[2]}" for side, url in (("source", job.source), ("destination", job.target))
    ]
    return [path, "jobs", "resume", plan.partition("--")[0], *keys], _azcopy_variables(job)


def _azcopy_variables(job: Job) -> dict[str, str]:
    folder = str(job.folder)
    return {"AZCOPY_LOG_LOCATION": folder, "AZCOPY_JOB_PLAN_LOCATION": folder, "AZCOPY_DISABLE_SYSLOG": "true"}


def _rclone(path: str, job: Job) -> Command:
    variables = {
        "RCLONE_CONFIG": str(job.folder / "rclone.conf"),
        "RCLONE_CONFIG_SOURCE_TYPE": "azureblob",
        "RCLONE_CONFIG_SOURCE_SAS_URL": job.source,
        "RCLONE_CONFIG_TARGET_TYPE": "azureblob",
        "RCLONE_CONFIG_TARGET_SAS_URL": job.target,
    }
    ends = (f"{side}:{_container(url)}" for side, url in (("source", job.source), ("target", job.target)))
    return [path, "copy", *ends, "--server-side-across-configs", "--transfers", TRANSFERS], variables


def _plain(job: Job) -> Command:
    variables = {"SOURCE": job.source, "TARGET": job.target, "PYTHONPATH": str(ROOT)}
    return [sys.executable, "-m", "devhost.bench.plain"], variables


def _container(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]

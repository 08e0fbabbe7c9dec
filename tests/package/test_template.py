"""What `azd init --template` leaves out of a new project, by .azdignore: nothing that the rest refers to."""

import subprocess

import pytest

from devhost.stack import ROOT


def test_nobody_misses_what_is_left_out() -> None:
    """Each line is a folder of this repository, and no other file that git keeps speaks of it."""
    if not (ROOT / ".azdignore").exists() and not (ROOT / ".ci").exists():
        pytest.skip("azd made this project of the template, and has left both out")
    lines = [line for line in (ROOT / ".azdignore").read_text().splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        assert (ROOT / line).is_dir()
        grep = ["git", "grep", "--files-with-matches", "--fixed-strings", line, "--", ".", f":!{line}"]
        found = subprocess.run(grep, cwd=ROOT, capture_output=True, text=True, check=False)
        assert found.returncode in {0, 1}, found.stderr
        assert set(found.stdout.split()) <= {".azdignore"}

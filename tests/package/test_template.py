""".azdignore excludes files from `azd init --template`. No other file refers to them."""

import subprocess

import pytest

from devhost.stack import ROOT


def test_no_file_refers_to_an_excluded_folder() -> None:
    if not (ROOT / ".azdignore").exists() and not (ROOT / ".ci").exists():
        pytest.skip("azd created this project from the template, without both")
    lines = [line for line in (ROOT / ".azdignore").read_text().splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        assert (ROOT / line).is_dir()
        grep = ["git", "grep", "--files-with-matches", "--fixed-strings", line, "--", ".", f":!{line}"]
        found = subprocess.run(grep, cwd=ROOT, capture_output=True, text=True, check=False)
        assert found.returncode in {0, 1}, found.stderr
        assert set(found.stdout.split()) <= {".azdignore"}

"""`make setup` and `make clean`, with stubs for the tools that download."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devhost.storage.azurite import node
from tests.tooling.files import ROOT

# The programs that the recipes call.
TOOLS = ("make", "touch", "rm", "ln", "mkdir")
FAKE = "Object.defineProperty(process, 'versions', {{value: {{...process.versions, node: '{version}'}}}})"
# Node.js 18 accepts any value as an exit code. Newer versions refuse a boolean.
LENIENT = "; const exit = process.exit; process.exit = code => exit(Number(code))"


class Clone:
    """A clone with its Python packages installed, on a machine with only the programs in `bin`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.log.touch()
        shutil.copy(ROOT / "Makefile", folder)
        for name in ("requirements-dev.txt", "requirements-node.txt", "devhost/storage/package-lock.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        wheel = folder / "wheel"
        self.add_stub(wheel / "bin" / "node")
        self.add_stub(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "mkdir -p node_modules")
        for name in ("pip", "ruff", "mypy", "lint-imports"):
            self.add_stub(folder / ".venv" / "bin" / name)
        self.add_stub(folder / ".venv" / "bin" / "python", f'echo "{wheel}"')
        (folder / ".venv" / ".complete").touch()
        self.bin.mkdir()
        for name in TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))

    def add_stub(self, path: Path, command: str = "") -> None:
        """Add a program that logs its calls."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{path.relative_to(self.folder)} $*" >> "{self.log}"\n{command}\n')
        path.chmod(0o755)

    def add_node(self, version: str | None, *, npm: bool = True) -> None:
        """Put a real Node.js on PATH that reports this version."""
        real = shutil.which(node())
        fake = (
            FAKE.format(version=version) + (LENIENT if version and int(version.partition(".")[0]) < 20 else "")
            if version
            else ""
        )
        (self.folder / "fake.cjs").write_text(fake)
        (self.bin / "node").write_text(f'#!/bin/sh\nexec "{real}" --require "{self.folder}/fake.cjs" "$@"\n')
        (self.bin / "node").chmod(0o755)
        if npm:
            self.add_stub(self.bin / "npm", "mkdir -p node_modules")

    def make(self, *targets: str) -> str:
        """Run make. Returns its output."""
        env = {**os.environ, "PATH": str(self.bin)}
        env = {key: value for key, value in env.items() if not key.startswith("MAKE")}
        done = subprocess.run(
            [str(self.bin / "make"), *targets],
            cwd=self.folder,
            env=env,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def calls_of(self, tool: str) -> int:
        return sum(line.split()[0] == tool for line in self.log.read_text().splitlines())


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.parametrize("version", [None, "20.0.0", "22.11.0", "100.0.0"])
def test_a_node_that_is_new_enough_is_used(clone: Clone, version: str | None) -> None:
    """`None` is the version of this machine."""
    clone.add_node(version)
    output = clone.make("setup")
    # npm is called once for its version, and once to install the emulator.
    assert (clone.calls_of(".venv/bin/pip"), clone.calls_of("bin/npm")) == (0, 2)
    assert "Node.js" not in output
    assert "about 45 MB" in output
    assert clone.make("setup") == "make: Nothing to be done for 'setup'.\n"


@pytest.mark.parametrize(("version", "npm"), [("18.19.1", True), ("8.0.0", True), ("22.11.0", False), ("", False)])
def test_node_is_installed_from_pypi_otherwise(clone: Clone, version: str, *, npm: bool) -> None:
    """If Node.js is too old, has no npm, or is missing. The message states the size of the download."""
    if version:
        clone.add_node(version, npm=npm)
    output = clone.make("setup")
    assert clone.calls_of(".venv/bin/pip") == 1
    assert clone.calls_of("wheel/lib/node_modules/npm/bin/npm-cli.js") == 1
    assert "about 60 MB" in output
    assert (clone.folder / ".venv" / "bin" / "node").is_symlink()


@pytest.mark.parametrize("target", ["lint", "format"])
def test_lint_and_format_need_no_emulator(clone: Clone, target: str) -> None:
    clone.make(target)
    assert clone.calls_of(".venv/bin/ruff") == 2
    assert clone.calls_of("bin/npm") == clone.calls_of(".venv/bin/pip") == 0
    assert not (clone.folder / "devhost" / "storage" / "node_modules").exists()


@pytest.mark.parametrize("stored", [True, False])
def test_clean_keeps_stored_blobs_and_prints_how_to_delete_them(clone: Clone, *, stored: bool) -> None:
    blob = clone.folder / ".local" / "storage" / "blob"
    if stored:
        blob.parent.mkdir(parents=True)
        blob.touch()
    output = clone.make("clean")
    assert not (clone.folder / ".venv").exists()
    assert blob.exists() is stored
    assert ("rm -r .local" in output) is stored

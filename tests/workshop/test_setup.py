"""What make sets up and clears away, run with stubs in place of the tools that download."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from devhost.storage.azurite import node
from tests.workshop.workshop import ROOT

# What the recipes themselves call; /bin/sh runs them.
TOOLS = ("make", "touch", "rm", "ln", "mkdir")
FAKE = "Object.defineProperty(process, 'versions', {{value: {{...process.versions, node: '{version}'}}}})"
# Node 18 takes whatever it is given for an exit code; a real Node 20 or newer refuses a boolean by itself.
LENIENT = "; const exit = process.exit; process.exit = code => exit(Number(code))"


class Workshop:
    """A clone whose Python packages are set up, on a machine that has what `bin` holds."""

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
        self.tool(wheel / "bin" / "node")
        self.tool(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "mkdir -p node_modules")
        for name in ("pip", "ruff", "mypy", "lint-imports"):
            self.tool(folder / ".venv" / "bin" / name)
        self.tool(folder / ".venv" / "bin" / "python", f'echo "{wheel}"')
        (folder / ".venv" / ".complete").touch()
        self.bin.mkdir()
        for name in TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))

    def tool(self, path: Path, then: str = "") -> None:
        """A stub that notes how it was called."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{path.relative_to(self.folder)} $*" >> "{self.log}"\n{then}\n')
        path.chmod(0o755)

    def has_node(self, version: str | None, *, npm: bool = True) -> None:
        """Put a real Node.js on PATH, which says that it is of another version."""
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
            self.tool(self.bin / "npm", "mkdir -p node_modules")

    def make(self, *targets: str) -> str:
        """Run make; what it says."""
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

    def called(self, tool: str) -> int:
        """How often a tool was called."""
        return sum(line.split()[0] == tool for line in self.log.read_text().splitlines())


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A clone of its own."""
    return Workshop(tmp_path)


@pytest.mark.parametrize("version", [None, "20.0.0", "22.11.0", "100.0.0"])
def test_a_node_that_is_new_enough_is_taken(workshop: Workshop, version: str | None) -> None:
    """As it is on this machine, and of other versions: nothing else is downloaded."""
    workshop.has_node(version)
    said = workshop.make("setup")
    assert (workshop.called(".venv/bin/pip"), workshop.called("bin/npm")) == (0, 2)  # its version, the emulator
    assert "Node.js" not in said
    assert "about 45 MB" in said
    assert workshop.make("setup") == "make: Nothing to be done for 'setup'.\n"


@pytest.mark.parametrize(("version", "npm"), [("18.19.1", True), ("8.0.0", True), ("22.11.0", False), ("", False)])
def test_another_node_comes_from_pypi(workshop: Workshop, version: str, *, npm: bool) -> None:
    """Where it is too old, has no npm, or is missing; the size is told."""
    if version:
        workshop.has_node(version, npm=npm)
    said = workshop.make("setup")
    assert workshop.called(".venv/bin/pip") == 1
    assert workshop.called("wheel/lib/node_modules/npm/bin/npm-cli.js") == 1
    assert "about 60 MB" in said
    assert (workshop.folder / ".venv" / "bin" / "node").is_symlink()


@pytest.mark.parametrize("target", ["lint", "format"])
def test_lint_and_format_need_no_emulator(workshop: Workshop, target: str) -> None:
    """They need the Python packages alone."""
    workshop.make(target)
    assert workshop.called(".venv/bin/ruff") == 2
    assert workshop.called("bin/npm") == workshop.called(".venv/bin/pip") == 0
    assert not (workshop.folder / "devhost" / "storage" / "node_modules").exists()


@pytest.mark.parametrize("stored", [True, False])
def test_clean_leaves_what_is_stored_and_says_how_to_delete_it(workshop: Workshop, *, stored: bool) -> None:
    """A person's blobs are no part of the set-up."""
    blob = workshop.folder / ".local" / "storage" / "blob"
    if stored:
        blob.parent.mkdir(parents=True)
        blob.touch()
    said = workshop.make("clean")
    assert not (workshop.folder / ".venv").exists()
    assert blob.exists() is stored
    assert ("rm -r .local" in said) is stored

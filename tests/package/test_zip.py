"""`azd up` deploys exactly the packages of the app and no other files of the folder."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from dashboard import FOLDER, MEDIA_TYPES
from devhost.stack import ROOT
from tests.package.azd import IGNORE, make_zip
from tests.package.conftest import JUNK, SECRET

MODULES = {"function_app.py", "wiring.py", "settings.py"}
PACKAGES = {"activities", "adapters", "dashboard", "operations", "orchestrators", "ports", "rules", "triggers"}
DATA = {"host.json", "requirements.txt"}
SERVED = {f"dashboard/*{suffix}" for suffix in MEDIA_TYPES}
DESCRIPTION = "docs/openapi.json"


def names(package: Path) -> set[str]:
    with ZipFile(package) as file:
        found = file.namelist()
    assert len(found) == len(set(found))
    return set(found)


def test_the_zip_contains_exactly_the_app(package: Path) -> None:
    assert {name.partition("/")[0] for name in names(package)} == MODULES | PACKAGES | DATA | {"docs"}
    modules = {path.relative_to(ROOT).as_posix() for one in PACKAGES for path in (ROOT / one).rglob("*.py")}
    served = {path.relative_to(ROOT).as_posix() for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}
    assert names(package) == modules | MODULES | DATA | served | {DESCRIPTION}


def test_no_package_is_missing() -> None:
    """import-linter lists all packages."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert set(known) - {"devhost", "smoke", "sharing"} == PACKAGES


def test_the_zip_contains_no_secret(package: Path, folder: Path) -> None:
    assert all((folder / name).read_text() == SECRET for name in JUNK)
    with ZipFile(package) as file:
        assert not [name for name in file.namelist() if SECRET.encode() in file.read(name)]


@pytest.mark.parametrize(
    ("ignore", "shipped"),
    [
        (None, {".env", ".git/config", "linked/key.py", "smoke/__main__.py", "tests/rules/models.py"}),
        (
            ".*\ntests\ninfra\n",
            {"main_env/pyvenv.cfg", "prod.env", "try.py", "rules/__pycache__/models.cpython-312.pyc"},
        ),
        ("*\n!/adapters\n!/adapters/**\n", {"adapters/.env", "adapters/scratch/try.py"}),
    ],
)
def test_other_ignore_files_would_ship_too_much(
    folder: Path, tmp_path: Path, ignore: str | None, shipped: set[str]
) -> None:
    """No file, a list of exclusions, and whole included folders."""
    ours = (folder / IGNORE).read_text()
    try:
        (folder / IGNORE).unlink() if ignore is None else (folder / IGNORE).write_text(ignore)
        found = names(make_zip(folder, tmp_path / "app.zip"))
    finally:
        (folder / IGNORE).write_text(ours)
    assert shipped <= found
    assert not {name for name in found if name.startswith(".azure/") or name.endswith("local.settings.json")}


def test_git_interprets_the_file_in_the_same_way(package: Path, folder: Path, tmp_path: Path) -> None:
    git = ["git", f"--git-dir={tmp_path}/git", f"--work-tree={folder}"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    listed = [*git, "-c", "core.quotePath=false", "ls-files", "--others", f"--exclude-from={folder / IGNORE}"]
    found = subprocess.run(listed, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert set(found.splitlines()) == names(package)


def run(folder: Path, hook: str, backend: str | None) -> None:
    """Run a hook as azd does: in its folder, with the azd environment."""
    hooks = folder / "infra" / "hooks"
    environment = {"DURABLE_BACKEND": backend} if backend else {}
    subprocess.run([sys.executable, str(hooks / f"{hook}.py")], cwd=hooks, env=environment, check=True)


@pytest.fixture
def fresh(folder: Path, tmp_path: Path) -> Path:
    """The parts of the folder that the hooks use."""
    place = tmp_path / "main"
    shutil.copytree(folder / "infra" / "hooks", place / "infra" / "hooks")
    for name in ("host.json", IGNORE):
        shutil.copy(folder / name, place)
    return place


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("backend", [None, "storage", "scheduler"])
def test_the_package_names_the_configured_backend(fresh: Path, backend: str | None, newline: str) -> None:
    """Afterwards host.json in the working tree is unchanged, byte for byte."""
    path = fresh / "host.json"
    kept = path.read_bytes().replace(b"\n", newline.encode())
    path.write_bytes(kept)
    run(fresh, "prepackage", backend)
    with ZipFile(make_zip(fresh, fresh.parent / "app.zip")) as file:
        packed = file.read("host.json")
    run(fresh, "postpackage", backend)
    assert path.read_bytes() == kept
    ours = json.loads(kept)
    if backend == "scheduler":
        provider = ours["extensions"]["durableTask"]["storageProvider"]
        provider |= {"type": "azureManaged", "connectionStringName": "DURABLE_TASK_SCHEDULER"}
    assert json.loads(packed) == ours
    assert (packed == kept) == (backend != "scheduler")


def test_an_interrupted_packaging_is_repaired(fresh: Path) -> None:
    """Running the hook twice has no further effect, and a package for storage names no scheduler."""
    kept = (fresh / "host.json").read_bytes()
    run(fresh, "prepackage", "scheduler")
    once = (fresh / "host.json").read_bytes()
    run(fresh, "prepackage", "scheduler")
    assert (fresh / "host.json").read_bytes() == once != kept
    run(fresh, "prepackage", "storage")
    assert (fresh / "host.json").read_bytes() == kept


def test_the_repository_names_no_scheduler() -> None:
    assert "type" not in json.loads((ROOT / "host.json").read_text())["extensions"]["durableTask"]["storageProvider"]


def test_the_file_excludes_everything_and_lists_plain_names() -> None:
    """Implementations differ in wildcards: azd's matches `/*` at any depth."""
    lines = [line for line in (ROOT / IGNORE).read_text().splitlines() if not line.startswith("#")]
    expected = ["*", *(f"!/{name}" for name in MODULES | DATA)]
    folders = {path.parent.relative_to(ROOT).as_posix() for one in PACKAGES for path in (ROOT / one).rglob("*.py")}
    expected += [line for folder in folders for line in (f"!/{folder}", f"!/{folder}/*.py")]
    expected += [f"!/{pattern}" for pattern in (*SERVED, "docs", DESCRIPTION)]
    assert lines[0] == "*"
    assert sorted(lines) == sorted(expected)

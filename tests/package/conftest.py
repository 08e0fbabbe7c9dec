"""A developer's folder, the package that azd makes of it, and the packages that Azure's remote build installs."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from devhost.stack import ROOT
from tests.package.azd import make_zip

SECRET = "AccountKey=planted-secret"
# Files that must not be deployed, in the folder and inside the packages. Each contains the secret.
JUNK = (
    ".azure/prod/.env",
    ".devcontainer/devcontainer.json",
    ".env",
    ".git/config",
    ".github/workflows/ci.yml",
    ".local/host.sqlite",
    ".mypy_cache/3.12/models.data.json",
    ".python_packages/lib/site-packages/six.py",
    ".venv/pyvenv.cfg",
    ".vscode/settings.json",
    "CHANGELOG.md",
    "activities/.DS_Store",
    "activities/local.settings.json",
    "adapters/.env",
    "adapters/scratch/try.py",
    "cli/sharing/try.py",
    "id_rsa",
    # `azd restore` also makes one for the hooks.
    "infra/hooks/hooks_env/pyvenv.cfg",
    "infra/main.parameters.json",
    "local.settings.json",
    # `azd restore` makes its virtual environment here, named after the folder.
    "main_env/pyvenv.cfg",
    "main_env/lib/python3.12/site-packages/rules/models.py",
    "node_modules/x/index.js",
    "notes.txt",
    "orchestrators/NOTES.md",
    "prod.env",
    "rules/__pycache__/models.cpython-312.pyc",
    "smoke/__main__.py",
    "tests/rules/models.py",
    "try.py",
)
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".local", ".*_cache", ".hypothesis", "node_modules", "__pycache__")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project as a developer has it, with files that must not be deployed."""
    place, outside = tmp_path_factory.mktemp("work") / "main", tmp_path_factory.mktemp("outside")
    shutil.copytree(ROOT, place, ignore=NOT_COPIED)
    for name in JUNK:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    (outside / "key.py").write_text(SECRET)
    (place / "linked").symlink_to(outside, target_is_directory=True)
    return place


@pytest.fixture(scope="session")
def package(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zip(folder, tmp_path_factory.mktemp("package") / "app.zip")


@pytest.fixture(scope="session")
def app(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, extracted into an empty folder."""
    place = tmp_path_factory.mktemp("app")
    with ZipFile(package) as file:
        file.extractall(place)
    return place


@pytest.fixture(scope="session")
def site(app: Path) -> Path:
    """The packages of requirements.txt. They are cached in .local until that file or Python changes."""
    kept = ROOT / ".local" / "package"
    kept.mkdir(parents=True, exist_ok=True)
    requirements = app / "requirements.txt"
    place = kept / hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=kept) as fresh:
            install(requirements, Path(fresh) / "site")
            (Path(fresh) / "site").rename(place)
    return place


def install(requirements: Path, target: Path) -> None:
    """Install as Azure's remote build (Oryx) does. pip checks hashes if the file has them."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    command = [*pip, "--requirement", str(requirements), "--target", str(target), "--upgrade"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

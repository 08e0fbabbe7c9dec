"""The package runs with the packages of requirements.txt, and with nothing else of this machine."""

import importlib.util
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devhost.bench.load import environment
from devhost.stack import ROOT, LocalStack
from tests.e2e.client import Client

# -I and -S: only the standard library, without environment variables, site-packages and the current folder.
PYTHON = [sys.executable, "-I", "-S"]
SETTINGS = {
    "AzureWebJobsStorage__accountName": "sharingstate",
    "EVENTS__accountName": "sharingevents",
    "ROUTES": json.dumps(
        [
            {
                "name": "default",
                "source": "https://sharingsource.blob.core.windows.net/source/",
                "target": "https://sharingtarget.blob.core.windows.net/target/",
            }
        ]
    ),
}
# Imports every module of the app, and prints the functions and the files of all loaded modules.
IMPORT_ALL = """
import importlib, json, sys
app, site = sys.argv[1:]
sys.path += [app, site]
from pathlib import Path
for path in sorted(Path(app).rglob("*.py")):
    importlib.import_module(".".join(path.relative_to(app).with_suffix("").parts).removesuffix(".__init__"))
functions = sorted(function.get_function_name() for function in sys.modules["function_app"].app.get_functions())
files = [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]
print(json.dumps({"functions": functions, "files": files, "standard": [str(Path(json.__file__).parents[1])]}))
"""


def import_all(app: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Import every module of an app from another folder."""
    return subprocess.run(
        [*PYTHON, "-c", IMPORT_ALL, str(app), str(site)],
        cwd="/",
        env=SETTINGS,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_imports_and_lists_its_functions(app: Path, site: Path) -> None:
    """Every loaded module is from the package, requirements.txt or the standard library."""
    done = import_all(app, site)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["functions"] == project_functions()
    places = [str(app), str(site), *found["standard"]]
    assert [file for file in found["files"] if not file.startswith(tuple(places))] == []


def project_functions() -> list[str]:
    script = "import json, function_app; print(json.dumps(sorted(f.get_function_name() for f in function_app.app.get_functions())))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=SETTINGS, capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("missing", ["operations/log.py", "rules", "wiring.py"])
def test_a_missing_module_is_found(app: Path, site: Path, tmp_path: Path, missing: str) -> None:
    """No module of this checkout replaces it."""
    incomplete = tmp_path / "app"
    shutil.copytree(
        app,
        incomplete,
        ignore=lambda folder, _: [Path(missing).name] if folder == str(app / Path(missing).parent) else [],
    )
    done = import_all(incomplete, site)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr


def test_it_does_not_import_without_requirements_txt(app: Path, tmp_path: Path) -> None:
    done = import_all(app, tmp_path)
    assert "No module named 'azure'" in done.stderr


def test_pip_checks_the_hashes_of_the_file(tmp_path: Path) -> None:
    """The remote build calls pip without `--require-hashes`."""
    wrong = tmp_path / "requirements.txt"
    wrong.write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--prefer-binary"]
    done = subprocess.run(
        [*pip, "--requirement", str(wrong), "--target", str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


@dataclass
class PackageStack(LocalStack):
    """The local stack, with the package instead of the checkout."""

    command: list[str] = field(default_factory=list)

    def _host_command(self) -> list[str]:
        return self.command


@pytest.fixture(scope="module")
def client(app: Path, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A stack whose host runs in one process with the app, and adds only itself and `croniter` to its packages."""
    host, state = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("stack")
    (host / "devhost").mkdir()
    for name in ("__init__.py", "parent.py"):
        shutil.copy(ROOT / "devhost" / name, host / "devhost")
    shutil.copytree(ROOT / "devhost/host", host / "devhost/host")
    croniter = importlib.util.find_spec("croniter")
    assert croniter is not None
    assert croniter.origin is not None
    shutil.copytree(Path(croniter.origin).parent, host / "croniter")
    launch = f"import runpy, sys; sys.path += {[str(site), str(host)]}; runpy.run_module('devhost.host', run_name='__main__')"
    with (state / "stack.log").open("w") as log:
        running = Client(environment(state), log)
        running.stack = PackageStack(
            environment=running.stack.environment,
            output=log,
            command=[*PYTHON, "-c", launch, "--app", str(app), "--exit-with-parent"],
        )
        running.stack.start()
        try:
            yield running
        finally:
            running.close()


def test_it_shares_a_blob_and_has_all_functions(client: Client) -> None:
    data = (ROOT / "requirements.txt").read_bytes()
    client.put("from/the/package.txt", data)
    assert client.until_final("from/the/package.txt")["state"] == "verified"
    assert client.read(client.target("from/the/package.txt")) == data
    with urllib.request.urlopen(f"http://127.0.0.1:{client.stack.host_port}/admin/functions") as answer:
        functions = json.load(answer)
    assert sorted(function["name"] for function in functions) == project_functions()

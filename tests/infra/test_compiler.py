"""The real compiler has nothing to say: no diagnostic, no formatting left to do, every linter rule an error.

Here they are errors, by the configuration beside this file. Those who deploy have the same rules as warnings: azd brings a
compiler of its own, and a rule that gets stricter must not keep an old release from being deployed.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.snapshots import ENVIRONMENT, INFRA, ROOT, SCENARIOS, SUBSCRIPTION, environment

CONFIG = "bicepconfig.json"
STRICT = Path(__file__).parent / CONFIG


def said(*command: str) -> tuple[int, str]:
    """How the compiler ended, and all that it said."""
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def rules(path: Path) -> dict[str, str]:
    """The level of each rule of a configuration."""
    return {name: rule["level"] for name, rule in json.loads(path.read_text())["analyzers"]["core"]["rules"].items()}


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    """`infra/` with the configuration of this folder."""
    shutil.copytree(INFRA, tmp_path / "infra")
    shutil.copy(STRICT, tmp_path / "infra")
    shutil.copy(ROOT / "host.json", tmp_path)
    return tmp_path / "infra"


@pytest.mark.parametrize("name", ["main.bicep", "main.bicepparam"])
def test_lint_says_nothing(name: str, bicep: str, strict: Path) -> None:
    """Zero diagnostics of any level, in every file: main looks at all of them."""
    assert said(bicep, "lint", str(strict / name)) == (0, "")
    wired = (INFRA / "main.bicep").read_text() + (INFRA / "roles.bicep").read_text()
    assert all(f"'{path.name}'" in wired for path in INFRA.glob("*.bicep") if path.name != "main.bicep")


def test_format_leaves_nothing_to_change(bicep: str, tmp_path: Path) -> None:
    """The formatter leaves each file as it is."""
    files = [*INFRA.glob("*.bicep*"), *SCENARIOS.glob("*.bicepparam")]
    for path in files:
        shutil.copy(path, tmp_path)
    assert said(bicep, "format", "--pattern", str(tmp_path / "*.bicep*")) == (0, "")
    changed = [path.name for path in files if (tmp_path / path.name).read_text() != path.read_text()]
    assert changed == []


def test_a_badly_formatted_file_is_found(bicep: str, tmp_path: Path) -> None:
    """The formatter does look at what the pattern names."""
    (tmp_path / "main.bicepparam").write_text("using   'main.bicep'\n")
    assert said(bicep, "format", "--pattern", str(tmp_path / "*.bicep*")) == (0, "")
    assert (tmp_path / "main.bicepparam").read_text() == "using 'main.bicep'\n"


def test_it_compiles(bicep: str, strict: Path) -> None:
    """`bicep build` makes the template without a word, and no resource of it is of a preview."""
    assert said(bicep, "build", str(strict / "main.bicep"), "--outfile", str(strict / "main.json")) == (0, "")
    assert '"apiVersion": "' in (text := (strict / "main.json").read_text())
    assert "-preview" not in text


def test_every_rule_is_an_error_here_and_a_warning_there() -> None:
    """All but the one that the calendar breaks; both configurations have the same rules."""
    here, there = rules(STRICT), rules(INFRA / CONFIG)
    assert len(here) > 40
    assert here == dict.fromkeys(here, "error") | {"use-recent-api-versions": "warning"}
    assert there == dict.fromkeys(here, "warning")


@pytest.mark.parametrize(("config", "stops"), [(STRICT, True), (INFRA / CONFIG, False)])
def test_a_mistake_stops_the_tests_and_no_deployment(config: Path, stops: bool, bicep: str, tmp_path: Path) -> None:  # noqa: FBT001
    """The configuration is heeded: a parameter that nobody reads is told either way, and an error in one of them."""
    shutil.copy(config, tmp_path)
    (tmp_path / "main.bicep").write_text("param unread string\n")
    code, text = said(bicep, "build", str(tmp_path / "main.bicep"), "--stdout")
    assert (code != 0, "no-unused-params" in text) == (stops, True)


def test_azd_can_look_before_it_sets_anything(bicep: str, tmp_path: Path) -> None:
    """Its preflight takes a snapshot without the azd environment: each variable has a default that compiles."""
    shutil.copytree(INFRA, tmp_path / "infra")
    shutil.copy(ROOT / "host.json", tmp_path)
    where = ["--subscription-id", SUBSCRIPTION, "--location", "westeurope"]
    bare = {name: value for name, value in environment().items() if name not in ENVIRONMENT}
    command = [bicep, "snapshot", str(tmp_path / "infra/main.bicepparam"), "--mode", "overwrite", *where]
    ran = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads((tmp_path / "infra/main.snapshot.json").read_text())["predictedResources"]
    assert "Microsoft.Authorization/roleAssignments" in {each["type"] for each in found}


def test_no_module_comes_from_elsewhere() -> None:
    """Everything that is compiled is in this folder: nothing is fetched."""
    for path in INFRA.glob("*.bicep"):
        assert "'br" not in path.read_text()
        assert "'ts" not in path.read_text()


def test_azd_finds_its_files() -> None:
    """`azure.yaml` names the module that is there; azd takes the parameters file beside it."""
    text = (ROOT / "azure.yaml").read_text()
    assert "\n  path: infra\n  module: main\n" in text
    assert (INFRA / "main.bicepparam").is_file()

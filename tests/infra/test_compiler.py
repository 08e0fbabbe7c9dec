"""The Bicep compiler and its linter report nothing, and the formatter changes nothing.

The configuration beside this file makes every rule an error. For deployments they are warnings: azd uses its own compiler
version, and a stricter rule must not prevent the deployment of an old release.

"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.snapshots import ENVIRONMENT, INFRA, ROOT, SCENARIOS, SUBSCRIPTION, environment

CONFIG = "bicepconfig.json"
STRICT = Path(__file__).parent / CONFIG


def run(*command: str) -> tuple[int, str]:
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def levels(path: Path) -> dict[str, str]:
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
def test_lint_reports_nothing(name: str, bicep: str, strict: Path) -> None:
    """In main.bicep and all other files, which it uses."""
    assert run(bicep, "lint", str(strict / name)) == (0, "")
    text = (INFRA / "main.bicep").read_text() + (INFRA / "roles.bicep").read_text()
    assert all(f"'{path.name}'" in text for path in INFRA.glob("*.bicep") if path.name != "main.bicep")


def test_all_files_are_formatted(bicep: str, tmp_path: Path) -> None:
    files = [*INFRA.glob("*.bicep*"), *SCENARIOS.glob("*.bicepparam")]
    for path in files:
        shutil.copy(path, tmp_path)
    assert run(bicep, "format", "--pattern", str(tmp_path / "*.bicep*")) == (0, "")
    changed = [path.name for path in files if (tmp_path / path.name).read_text() != path.read_text()]
    assert changed == []


def test_a_badly_formatted_file_is_found(bicep: str, tmp_path: Path) -> None:
    (tmp_path / "main.bicepparam").write_text("using   'main.bicep'\n")
    assert run(bicep, "format", "--pattern", str(tmp_path / "*.bicep*")) == (0, "")
    assert (tmp_path / "main.bicepparam").read_text() == "using 'main.bicep'\n"


def test_it_compiles(bicep: str, strict: Path) -> None:
    """Without messages and without preview versions of resources."""
    assert run(bicep, "build", str(strict / "main.bicep"), "--outfile", str(strict / "main.json")) == (0, "")
    assert '"apiVersion": "' in (text := (strict / "main.json").read_text())
    assert "-preview" not in text


def test_every_rule_is_an_error_in_tests_and_a_warning_in_deployments() -> None:
    """Except for the rule that depends on the date."""
    strict, deployed = levels(STRICT), levels(INFRA / CONFIG)
    assert len(strict) > 40
    assert strict == dict.fromkeys(strict, "error") | {"use-recent-api-versions": "warning"}
    assert deployed == dict.fromkeys(strict, "warning")


@pytest.mark.parametrize(("config", "fails"), [(STRICT, True), (INFRA / CONFIG, False)])
def test_a_mistake_fails_the_tests_but_no_deployment(config: Path, fails: bool, bicep: str, tmp_path: Path) -> None:  # noqa: FBT001
    shutil.copy(config, tmp_path)
    (tmp_path / "main.bicep").write_text("param unread string\n")
    code, text = run(bicep, "build", str(tmp_path / "main.bicep"), "--stdout")
    assert (code != 0, "no-unused-params" in text) == (fails, True)


def test_a_snapshot_needs_no_azd_environment(bicep: str, tmp_path: Path) -> None:
    """azd's preflight takes a snapshot before it sets its variables, so each needs a default that compiles."""
    shutil.copytree(INFRA, tmp_path / "infra")
    shutil.copy(ROOT / "host.json", tmp_path)
    where = ["--subscription-id", SUBSCRIPTION, "--location", "westeurope"]
    without_azd = {name: value for name, value in environment().items() if name not in ENVIRONMENT}
    command = [bicep, "snapshot", str(tmp_path / "infra/main.bicepparam"), "--mode", "overwrite", *where]
    ran = subprocess.run(command, env=without_azd, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads((tmp_path / "infra/main.snapshot.json").read_text())["predictedResources"]
    assert "Microsoft.Authorization/roleAssignments" in {each["type"] for each in found}


def test_no_module_is_from_a_registry() -> None:
    for path in INFRA.glob("*.bicep"):
        assert "'br" not in path.read_text()
        assert "'ts" not in path.read_text()


def test_azd_finds_its_files() -> None:
    text = (ROOT / "azure.yaml").read_text()
    assert "\n  path: infra\n  module: main\n" in text
    assert (INFRA / "main.bicepparam").is_file()

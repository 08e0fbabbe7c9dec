"""The Bicep compiler and its linter report nothing, and the formatter changes nothing.

The configuration beside this file makes every rule an error. For deployments they are warnings: azd uses its own compiler
version, and a stricter rule must not prevent the deployment of an old release.

"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra.compiler import Compiler
from tests.infra.snapshots import ENVIRONMENT, INFRA, ROOT, SCENARIOS, SUBSCRIPTION, environment

CONFIG = "bicepconfig.json"
STRICT = Path(__file__).parent / CONFIG


def levels(path: Path) -> dict[str, str]:
    """The level of each rule of a configuration."""
    return {name: rule["level"] for name, rule in json.loads(path.read_text())["analyzers"]["core"]["rules"].items()}


def formatted(compiler: Compiler, path: Path) -> str:
    return str(compiler.ask("format", path=str(path))["contents"])


@pytest.fixture(scope="module")
def compiled(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the compiler, which also lints, makes of the parameters file and all others with the rules of this folder."""
    folder = tmp_path_factory.mktemp("strict")
    shutil.copytree(INFRA, folder / "infra")
    shutil.copy(STRICT, folder / "infra")
    shutil.copy(ROOT / "host.json", folder)
    return compiler.ask("compileParams", path=str(folder / "infra" / "main.bicepparam"), parameterOverrides={})


def test_lint_reports_nothing(compiled: dict[str, Any]) -> None:
    """In main.bicep and all other files, which it uses."""
    assert compiled["diagnostics"] == []
    assert "using 'main.bicep'\n" in (INFRA / "main.bicepparam").read_text()
    text = (INFRA / "main.bicep").read_text() + (INFRA / "roles.bicep").read_text()
    assert all(f"'{path.name}'" in text for path in INFRA.glob("*.bicep") if path.name != "main.bicep")


def test_all_files_are_formatted(compiler: Compiler) -> None:
    files = [*INFRA.glob("*.bicep*"), *SCENARIOS.glob("*.bicepparam")]
    changed = [path.name for path in files if formatted(compiler, path) != path.read_text()]
    assert len(files) > len(changed) == 0


def test_a_badly_formatted_file_is_found(compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "main.bicepparam").write_text("using   'main.bicep'\n")
    assert formatted(compiler, tmp_path / "main.bicepparam") == "using 'main.bicep'\n"


def test_it_compiles(compiled: dict[str, Any]) -> None:
    """Without messages and without preview versions of resources."""
    assert compiled["success"]
    assert '"apiVersion": "' in compiled["template"]
    assert "-preview" not in compiled["template"]


def test_every_rule_is_an_error_in_tests_and_a_warning_in_deployments() -> None:
    """Except for the rule that depends on the date."""
    strict, deployed = levels(STRICT), levels(INFRA / CONFIG)
    assert len(strict) > 40
    assert strict == dict.fromkeys(strict, "error") | {"use-recent-api-versions": "warning"}
    assert deployed == dict.fromkeys(strict, "warning")


@pytest.mark.parametrize(("config", "fails"), [(STRICT, True), (INFRA / CONFIG, False)])
def test_a_mistake_fails_the_tests_but_no_deployment(
    config: Path,
    fails: bool,  # noqa: FBT001
    compiler: Compiler,
    tmp_path: Path,
) -> None:
    shutil.copy(config, tmp_path)
    (tmp_path / "main.bicep").write_text("param unread string\n")
    answer = compiler.ask("compile", path=str(tmp_path / "main.bicep"))
    assert answer["success"] is not fails
    assert [each["code"] for each in answer["diagnostics"]] == ["no-unused-params"]


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

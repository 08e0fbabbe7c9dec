"""The real compiler has nothing to say: no diagnostic, no formatting left to do, every linter rule on."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.snapshots import INFRA, ROOT, SCENARIOS, environment

RULES = json.loads((INFRA / "bicepconfig.json").read_text())["analyzers"]["core"]["rules"]


def said(*command: str) -> tuple[int, str]:
    """How the compiler ended, and all that it said."""
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["main.bicep", "main.bicepparam"])
def test_lint_says_nothing(name: str, bicep: str) -> None:
    """Zero diagnostics of any level, in every file: main looks at all of them."""
    assert said(bicep, "lint", str(INFRA / name)) == (0, "")
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


def test_it_compiles(bicep: str, tmp_path: Path) -> None:
    """`bicep build` makes the template without a word, and no resource of it is of a preview."""
    assert said(bicep, "build", str(INFRA / "main.bicep"), "--outfile", str(tmp_path / "main.json")) == (0, "")
    assert '"apiVersion": "' in (text := (tmp_path / "main.json").read_text())
    assert "-preview" not in text


def test_every_rule_is_an_error() -> None:
    """All but the one that the calendar breaks."""
    assert len(RULES) > 40
    levels = {name: rule["level"] for name, rule in RULES.items()}
    assert levels == dict.fromkeys(RULES, "error") | {"use-recent-api-versions": "warning"}


def test_a_mistake_stops_the_compiler(bicep: str, tmp_path: Path) -> None:
    """The configuration is heeded: a parameter that nobody reads is an error."""
    shutil.copy(INFRA / "bicepconfig.json", tmp_path)
    (tmp_path / "main.bicep").write_text("param unread string\n")
    code, text = said(bicep, "lint", str(tmp_path / "main.bicep"))
    assert code != 0
    assert "Error no-unused-params" in text


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
    assert "hooks" not in text

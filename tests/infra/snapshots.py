"""The resources of a deployment, computed offline by the compiler: `bicep snapshot` of each scenario."""

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
SCENARIOS = Path(__file__).parent / "scenarios"
# `default` is the parameters file of azd without further variables.
NAMES = ("default", *sorted(path.stem for path in SCENARIOS.glob("*.bicepparam")))
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
TESTER = "44444444-4444-4444-4444-444444444444"
ENVIRONMENT = {"AZURE_ENV_NAME": "demo", "AZURE_LOCATION": "westeurope", "AZURE_PRINCIPAL_ID": TESTER}
# The environment variables of the parameters file.
PARAMETER_VARIABLE = re.compile(r"readEnvironmentVariable\(\s*'(\w+)'")


@dataclass(frozen=True)
class Snapshot:
    """The resources and outputs of a scenario. Values that are known only at run time are expressions in brackets."""

    resources: list[dict[str, Any]]
    outputs: dict[str, Any]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.resources if each["type"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        [only] = self.of(kind)
        return only

    def account(self, purpose: str) -> dict[str, Any]:
        """The account that is created for `source`, `target`, `state` or `events`."""
        accounts = self.of("Microsoft.Storage/storageAccounts")
        [only] = [each for each in accounts if each["name"].startswith(f"st{purpose}")]
        return only

    def children(self, kind: str, account: dict[str, Any]) -> set[str]:
        """The names of an account's containers or queues."""
        return {each["name"].rpartition("/")[2] for each in self.of(kind) if each["id"].startswith(f"{account['id']}/")}

    @property
    def settings(self) -> dict[str, str]:
        [only] = [each for each in self.of("Microsoft.Web/sites/config") if each["name"].endswith("/appsettings")]
        return dict(only["properties"])

    def copy(self) -> "Snapshot":
        """A deep copy, to change in a test."""
        return deepcopy(self)


SnapshotOf = Callable[[str], Snapshot]
"""The fixture `snapshot`: returns the snapshot of a scenario."""


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields every string in a value with its path, including keys."""
    match value:
        case dict():
            for key, item in value.items():
                yield f"{path}.{key}", key
                yield from strings(item, f"{path}.{key}")
        case list():
            for number, item in enumerate(value):
                yield from strings(item, f"{path}[{number}]")
        case str():
            yield path, value


def take(bicep: str, name: str, folder: Path) -> Snapshot:
    """Take the snapshot of a scenario in this folder, from copies of the files."""
    shutil.copytree(INFRA, folder / "infra")
    shutil.copytree(SCENARIOS, folder / "tests" / "infra" / "scenarios")
    shutil.copy(ROOT / "host.json", folder)
    # Offline, the suffix of the cloud is unknown, and names that depend on it are not evaluated. Another test lints.
    (folder / "infra" / "bicepconfig.json").write_text('{"analyzers": {"core": {"enabled": false}}}')
    for path in (folder / "infra").glob("*.bicep"):
        path.write_text(path.read_text().replace("environment().suffixes.storage", "'core.windows.net'"))
    parameters = folder / ("infra/main" if name == "default" else f"tests/infra/scenarios/{name}")
    where = ["--subscription-id", SUBSCRIPTION, "--tenant-id", SUBSCRIPTION, "--location", "westeurope"]
    command = [
        bicep,
        "snapshot",
        f"{parameters}.bicepparam",
        "--mode",
        "overwrite",
        "--deployment-name",
        "demo",
        *where,
    ]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(parameters.with_suffix(".snapshot.json").read_text())
    assert result["diagnostics"] == []
    return Snapshot(result["predictedResources"], result["outputs"])


def shared(bicep: str, name: str, folder: Path) -> Snapshot:
    """The snapshot of a scenario. All processes of a test run share it by files in this folder."""
    cached = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cached.exists():
            cached.write_text(json.dumps(asdict(take(bicep, name, folder / name))))
    return Snapshot(**json.loads(cached.read_text()))


def environment() -> dict[str, str]:
    """The environment of this process without parameters, plus the variables that azd always sets."""
    variables = set(PARAMETER_VARIABLE.findall((INFRA / "main.bicepparam").read_text()))
    return {name: value for name, value in os.environ.items() if name not in variables} | ENVIRONMENT

"""The resources of a deployment, computed offline by the compiler: a snapshot of each scenario."""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.infra.compiler import Compiler, Refused

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


def prepare(folder: Path) -> None:
    """Copy the files that snapshots are taken of."""
    shutil.copytree(INFRA, folder / "infra")
    shutil.copytree(SCENARIOS, folder / "tests" / "infra" / "scenarios")
    shutil.copy(ROOT / "host.json", folder)
    # Offline, the suffix of the cloud is unknown, and names that depend on it are not evaluated. Another test lints.
    (folder / "infra" / "bicepconfig.json").write_text('{"analyzers": {"core": {"enabled": false}}}')
    for path in (folder / "infra").glob("*.bicep"):
        path.write_text(path.read_text().replace("environment().suffixes.storage", "'core.windows.net'"))


def take(compiler: Compiler, name: str, folder: Path) -> Snapshot:
    """Take the snapshot of a scenario in a prepared folder."""
    path = folder / ("infra/main" if name == "default" else f"tests/infra/scenarios/{name}")
    where = {"subscriptionId": SUBSCRIPTION, "tenantId": SUBSCRIPTION, "location": "westeurope"}
    metadata = where | {"deploymentName": "demo"}
    answer = compiler.ask("getSnapshot", path=f"{path}.bicepparam", metadata=metadata, externalInputs=[])
    result = json.loads(answer["snapshot"])
    if result["diagnostics"]:
        raise Refused(result["diagnostics"])
    return Snapshot(result["predictedResources"], result["outputs"])


def shared(compiler: Compiler, name: str, folder: Path) -> Snapshot:
    """The snapshot of a scenario. The first process of a test run that needs one takes all, and shares them by files."""
    prepared = folder / "prepared"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not prepared.exists():
            prepare(prepared)
            for each in NAMES:
                with suppress(Refused):
                    (folder / f"{each}.json").write_text(json.dumps(asdict(take(compiler, each, prepared))))
    found = folder / f"{name}.json"
    return Snapshot(**json.loads(found.read_text())) if found.exists() else take(compiler, name, prepared)


def environment() -> dict[str, str]:
    """The environment of this process without parameters, plus the variables that azd always sets."""
    variables = set(PARAMETER_VARIABLE.findall((INFRA / "main.bicepparam").read_text()))
    # The compiler does not run long enough for what .NET learns about it to pay.
    others = {name: value for name, value in os.environ.items() if name not in variables} | {"DOTNET_TieredPGO": "0"}
    return others | ENVIRONMENT

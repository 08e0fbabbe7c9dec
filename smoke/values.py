"""Where everything is: by the azd environment, by a saved output of it, or on the local stack."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smoke import places
from smoke.places import Route
from smoke.trouble import Trouble

COMMAND = ("env", "get-values", "--output", "json", "--no-prompt")
NEEDED = ("AZURE_SUBSCRIPTION_ID", "RESOURCE_GROUP", "FUNCTION_APP", "API_URL", "ROUTES")


@dataclass(frozen=True, slots=True)
class Values:
    """What the smoke test has to know.

    `function` is the ARM id of the function app, empty where no key is asked for; `workspace` that of its log, if it is known.
    """

    api: str
    routes: tuple[Route, ...]
    function: str = ""
    workspace: str = ""
    told: Mapping[str, str] = field(default_factory=dict)


def of_azd() -> Values:
    """The values of the azd environment that is selected, or that AZURE_ENV_NAME names.

    Raises:
        Trouble: there is no azd, no environment, or something is missing.
    """
    azd = shutil.which("azd")
    if azd is None:
        raise Trouble(
            "azd is not on PATH. Fix: install it (https://aka.ms/azd-install), or use --values FILE or --local"
        )
    done = subprocess.run([azd, *COMMAND], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603  # azd
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1][:300]
        raise Trouble(f"azd env get-values failed: {said}. Fix: azd up, or azd env select <name>")
    return of_json(done.stdout, "the azd environment")


def of_file(path: Path) -> Values:
    """The values that `azd env get-values --output json` wrote into a file.

    Raises:
        Trouble: it is not there, or not that.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"{path} cannot be read ({type(error).__name__}). Fix: name an existing file") from None
    return of_json(text, str(path))


def of_json(text: str, origin: str) -> Values:
    """The values in an output of `azd env get-values --output json`.

    Raises:
        Trouble: it is not that, or something is missing.
    """
    try:
        told = {key: str(value) for key, value in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise Trouble(f"{origin} is not a JSON object. Fix: azd env get-values --output json > FILE") from None
    if missing := [name for name in NEEDED if not told.get(name)]:
        raise Trouble(f"{origin} lacks {', '.join(missing)}. Fix: azd provision --no-state, which writes all of them")
    group = f"/subscriptions/{told['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{told['RESOURCE_GROUP']}/providers"
    function = f"{group}/Microsoft.Web/sites/{told['FUNCTION_APP']}"
    name = told.get("WORKSPACE", "")
    workspace = f"{group}/Microsoft.OperationalInsights/workspaces/{name}" if name else ""
    return Values(places.safe(told["API_URL"], "API_URL"), places.read(told["ROUTES"]), function, workspace, told)


def of_local_stack(environment: Mapping[str, str]) -> Values:
    """The local stack that `make run` runs, by the variables that it reads."""
    accounts = f"http://127.0.0.1:{environment.get('AZURITE_BLOB_PORT', '10000')}"
    default = [
        {
            "name": "default",
            "source": f"{accounts}/sharingsource/source/",
            "target": f"{accounts}/sharingtarget/target/",
        }
    ]
    routes = places.read(environment.get("ROUTES") or json.dumps(default))
    return Values(f"http://127.0.0.1:{environment.get('HOST_PORT', '7071')}", routes)

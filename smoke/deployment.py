"""The deployment under test: the app's address and its routes, read from azd, from a file, or for the local stack.

The functions raise SmokeError, with the fix, for input that is missing or invalid.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
COMMAND = ("env", "get-values", "--output", "json", "--no-prompt")
NEEDED = ("AZURE_SUBSCRIPTION_ID", "RESOURCE_GROUP", "FUNCTION_APP", "API_URL", "ROUTES")


class SmokeError(Exception):
    """The run cannot continue; the message names the cause and the fix. `code` is the service's error code, if any."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob, or a prefix of blob names. `endpoint` is the account's URL; `name` is not URL-encoded."""

    endpoint: str
    container: str
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """The fields of a route in ROUTES that the run uses."""

    name: str
    source: Blob
    target: Blob
    suffix: str
    engine: str

    def target_of(self, blob: Blob) -> Blob | None:
        """Return the target of a blob; None if the route does not copy it."""
        if (blob.endpoint, blob.container) != (self.source.endpoint, self.source.container):
            return None
        if not (blob.name.startswith(self.source.name) and blob.name.endswith(self.suffix)):
            return None
        return replace(self.target, name=self.target.name + blob.name.removeprefix(self.source.name))


def all_targets(routes: Iterable[Route], blob: Blob) -> Iterator[tuple[Route, Blob]]:
    """Yield each route that copies a blob, with the target; then the routes that copy this target on, and so forth."""
    routes = tuple(routes)
    for route in routes:
        if (target := route.target_of(blob)) is not None:
            yield route, target
            yield from all_targets(routes, target)


@dataclass(frozen=True, slots=True)
class Deployment:
    """An app and its routes. `function` and `workspace` are ARM ids; both are empty on the local stack."""

    api: str
    routes: tuple[Route, ...]
    function: str = ""
    workspace: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


def from_azd() -> Deployment:
    """Read the current azd environment, or the one that AZURE_ENV_NAME names."""
    if (azd := shutil.which("azd")) is None:
        fix = "install it (https://aka.ms/azd-install), or use --values FILE or --local"
        raise SmokeError(f"azd is not on PATH. Fix: {fix}")
    done = subprocess.run([azd, *COMMAND], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603  # azd
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1][:300]
        raise SmokeError(f"azd env get-values failed: {output}. Fix: azd up, or azd env select <name>")
    return from_json(done.stdout, "the azd environment")


def from_file(path: Path) -> Deployment:
    """Read a file that `azd env get-values --output json` wrote."""
    try:
        return from_json(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SmokeError(f"{path} cannot be read ({type(error).__name__}). Fix: name an existing file") from None


def from_json(text: str, origin: str) -> Deployment:
    """Parse the output of `azd env get-values --output json`; `origin` names it in errors."""
    try:
        env = {key: str(value) for key, value in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise SmokeError(f"{origin} is not a JSON object. Fix: azd env get-values --output json > FILE") from None
    if missing := [name for name in NEEDED if not env.get(name)]:
        raise SmokeError(
            f"{origin} lacks {', '.join(missing)}. Fix: azd provision --no-state, which writes all of them"
        )
    group = f"/subscriptions/{env['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{env['RESOURCE_GROUP']}/providers"
    function = f"{group}/Microsoft.Web/sites/{env['FUNCTION_APP']}"
    name = env.get("WORKSPACE", "")
    workspace = f"{group}/Microsoft.OperationalInsights/workspaces/{name}" if name else ""
    return Deployment(require_tls(env["API_URL"], "API_URL"), read_routes(env["ROUTES"]), function, workspace, env)


def from_local_stack(environment: Mapping[str, str]) -> Deployment:
    """Return the local stack that `make run` starts with these variables."""
    accounts = f"http://127.0.0.1:{environment.get('AZURITE_BLOB_PORT', '10000')}"
    route = {"source": f"{accounts}/sharingsource/source/", "target": f"{accounts}/sharingtarget/target/"}
    routes = environment.get("ROUTES") or json.dumps([{"name": "default", **route}])
    return Deployment(f"http://127.0.0.1:{environment.get('HOST_PORT', '7071')}", read_routes(routes))


def read_routes(text: str) -> tuple[Route, ...]:
    """Parse ROUTES, which the app has already validated.

    A target in another tenant is an object. Its route is left out: the person who tests has no role there.
    """
    try:
        return tuple(
            Route(it["name"], _end(it["source"]), _end(it["target"]), it.get("suffix", ""), it.get("engine", "auto"))
            for it in json.loads(text)
            if not isinstance(it["target"], dict)
        )
    except (ValueError, TypeError, KeyError) as error:
        fix = "azd provision --no-state, which writes it again"
        raise SmokeError(f"ROUTES cannot be read ({type(error).__name__}). Fix: {fix}") from None


def _end(url: str) -> Blob:
    parts = urlsplit(url)
    endpoint, path = f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
    if is_loopback(url):  # the emulator has the account's name in the path
        account, _, path = path.partition("/")
        endpoint = f"{endpoint}/{account}"
    container, _, prefix = path.partition("/")
    return Blob(endpoint, container, unquote(prefix))


def is_loopback(url: str) -> bool:
    """Return whether the URL's host is this machine."""
    return urlsplit(url).hostname in LOOPBACK


def require_tls(url: str, name: str) -> str:
    """Return a URL that keys and tokens may be sent to: https, or this machine."""
    if urlsplit(url).scheme == "https" or is_loopback(url):
        return url.rstrip("/")
    raise SmokeError(f"{name} is {url!r}, and keys are sent only over https. Fix: use https")

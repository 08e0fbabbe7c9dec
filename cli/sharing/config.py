"""Where the app is, and its key: from options, the environment or azd, or else the local stack."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from sharing.failure import UNREACHABLE, USAGE, Failure

LOCAL = "http://127.0.0.1:7071"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ARM = "https://management.azure.com"
ANOTHER_WAY = "or set SHARING_URL and SHARING_KEY"
SECONDS = 60


@dataclass(frozen=True)
class Address:
    """The app's URL without `/api`, and what authenticates a request. Secrets are not part of the representation."""

    url: str
    key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the app runs on this machine."""
        return urlsplit(self.url).hostname in LOOPBACK


def find(given: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> Address:
    """Return the address from `given` (the options `url`, `key` and `token`), else the environment, else azd."""
    named = {name: given.get(name) or environment.get(f"SHARING_{name.upper()}") for name in ("url", "key", "token")}
    if named["url"] or not _has_azd_environment(folder, environment):
        return checked(Address(named["url"] or LOCAL, named["key"], named["token"]))
    values = _azd("the azd environment", "env", "get-values", "--output", "json", "--no-prompt")
    if not values.get("API_URL"):
        fix = f"run azd up, {ANOTHER_WAY}; the local stack is at {LOCAL}"
        raise Failure("the azd environment has no API_URL: the app is not deployed", UNREACHABLE, fix)
    return checked(Address(str(values["API_URL"]), named["key"] or _key(values), named["token"]))


def checked(address: Address) -> Address:
    """Return the address with a normal URL. Raises Failure if the URL is invalid, or would send a secret without TLS."""
    try:
        parts = urlsplit(address.url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.username is not None:
        # The text is not repeated: it may hold a key.
        fix = "use https://<app>.azurewebsites.net; a key goes into SHARING_KEY"
        raise Failure("the URL of the app is not valid, or holds more than an address", USAGE, fix)
    path = parts.path.rstrip("/").removesuffix("/api").rstrip("/")
    found = Address(f"{parts.scheme}://{parts.netloc}{path}", address.key, address.token)
    for name, secret in (("key", found.key), ("token", found.token)):
        if secret and not re.fullmatch(r"[!-~]+", secret):
            raise Failure(f"the {name} holds a character that no {name} has", USAGE, "copy it again")
        if secret and parts.scheme == "http" and not found.is_local:
            raise Failure(f"the {name} would be sent without encryption", USAGE, "use https")
    return found


def _has_azd_environment(folder: Path, environment: Mapping[str, str]) -> bool:
    for place in (folder, *folder.parents):
        if (place / "azure.yaml").is_file() and (place / ".azure").is_dir():
            return bool(environment.get("AZURE_ENV_NAME")) or (place / ".azure" / "config.json").is_file()
    return False


def _azd(what: str, *arguments: str) -> dict[str, Any]:
    """Return the JSON object that azd prints. Its output is not quoted in errors: it may hold secrets."""
    program = shutil.which("azd")
    if program is None:
        raise Failure(f"{what} cannot be read: azd is not on PATH", UNREACHABLE, f"install azd, {ANOTHER_WAY}")
    try:
        done = subprocess.run([program, *arguments], capture_output=True, timeout=SECONDS, check=True)  # noqa: S603  # azd
        values = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        values = None
    if not isinstance(values, dict):
        command = f"azd {' '.join(arguments[:2])}"
        raise Failure(f"{what} cannot be read: {command} failed", UNREACHABLE, f"run it to see why, {ANOTHER_WAY}")
    return values


def _key(values: Mapping[str, Any]) -> str:
    """Return the app's default function key from Azure Resource Manager, called with azd's token. Nothing is stored."""
    scope = ("--scope", f"{ARM}/.default", "--tenant-id", str(values.get("AZURE_TENANT_ID", "")))
    token = _azd("the app's key", "auth", "token", "--output", "json", "--no-prompt", *scope).get("token", "")
    group = f"/subscriptions/{values.get('AZURE_SUBSCRIPTION_ID')}/resourceGroups/{values.get('RESOURCE_GROUP')}"
    site = f"{ARM}{group}/providers/Microsoft.Web/sites/{values.get('FUNCTION_APP')}"
    url, headers = f"{site}/host/default/listkeys?api-version=2024-11-01", {"Authorization": f"Bearer {token}"}
    try:
        answer = httpx.post(url, headers=headers, timeout=SECONDS)
        keys = answer.json().get("functionKeys") if answer.is_success else None
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        raise Failure(f"the app's key cannot be read: {type(error).__name__}", UNREACHABLE, "set SHARING_KEY") from None
    if not keys:
        fix = "set SHARING_KEY, or get a role that may list the keys of the function app, such as Contributor"
        raise Failure(f"Azure Resource Manager returns no key ({answer.status_code})", UNREACHABLE, fix)
    return str(keys.get("default") or next(iter(keys.values())))

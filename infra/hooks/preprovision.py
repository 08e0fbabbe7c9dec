"""Before provisioning: find problems that Azure would report only after minutes, and without the cause.

azd runs this hook, which asks the Azure CLI. A check that the CLI cannot answer is a warning, and the deployment continues.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

CALL_SECONDS = 60
REGISTRATION_SECONDS = 300  # a registration takes a minute or two
ASSIGN_ROLES = "microsoft.authorization/roleassignments/write"


class Refusal(Exception):
    """Azure would refuse the deployment. The message contains the fix."""


class Unknown(Exception):
    """The check failed to run. The message contains the cause."""


def main(environment: Mapping[str, str]) -> int:
    """Run all checks and return the exit code."""
    subscription = environment.get("AZURE_SUBSCRIPTION_ID", "")
    if shutil.which("az") is None:
        print("WARNING: the Azure CLI (az) is not on PATH; providers, region and permissions are not checked.")
        return 0
    if not subscription:
        print("WARNING: azd has not asked for the subscription yet; providers, region and permissions are not checked.")
        return 0
    code = 0
    for check in checks(subscription, environment):
        try:
            check()
        except Refusal as refusal:
            print(f"ERROR: {refusal}")
            code = 1
        except Unknown as unknown:
            print(f"WARNING: {unknown}")
    return code


def checks(subscription: str, environment: Mapping[str, str]) -> list[Callable[[], None]]:
    """Return the checks in the order in which they run."""
    ask = partial(az, subscription)
    group = f"rg-{environment.get('AZURE_ENV_NAME', '')}"
    # The template has no resource of Microsoft.App, but delegates the subnet of the app to it.
    has_network = environment.get("VNET_ENABLED", "true").lower() != "false"
    providers = [*(["Microsoft.App"] if has_network else []), "Microsoft.EventGrid"]
    return [
        *(partial(register_provider, ask, provider) for provider in providers),
        partial(check_region, ask, environment.get("AZURE_LOCATION", "")),
        partial(check_roles, ask, subscription, group),
    ]


def register_provider(ask: Callable[..., Any], provider: str) -> None:
    """Register a provider in the subscription, if it is not registered.

    Raises:
        Unknown: It is not registered, and could not be registered.
    """
    namespace = ("--namespace", provider)
    try:
        if ask("provider", "show", *namespace, "--query", "registrationState") == "Registered":
            return
        print(f"Registering {provider} in the subscription; this takes a minute or two ...", flush=True)
        ask("provider", "register", *namespace, "--wait", seconds=REGISTRATION_SECONDS)
    except Unknown as unknown:
        fix = f"the deployment fails without it. Fix: az provider register --wait --namespace {provider}"
        raise Unknown(f"{provider} could not be registered ({unknown}); {fix}") from None


def check_region(ask: Callable[..., Any], location: str) -> None:
    """Check that the region offers Flex Consumption.

    Raises:
        Refusal: It does not. The message lists the regions that do.
        Unknown: The regions could not be listed.
    """
    if not location:
        raise Unknown("azd has not asked for the region yet; it is not checked")
    try:
        listed = ask("functionapp", "list-flexconsumption-locations", "--query", "[].name")
    except Unknown as unknown:
        raise Unknown(f"the regions with Flex Consumption could not be listed ({unknown})") from None
    names = sorted({normalize(str(name)) for name in listed}) if isinstance(listed, list) else []
    if not names:
        raise Unknown("the regions with Flex Consumption could not be listed (az returned none)")
    if normalize(location) not in names:
        raise Refusal(
            f"{location} does not offer Flex Consumption. Fix: azd env set AZURE_LOCATION <region>, one of: {', '.join(names)}"
        )


def normalize(name: str) -> str:
    """Return `West Europe` as `westeurope`."""
    return name.replace(" ", "").lower()


def check_roles(ask: Callable[..., Any], subscription: str, group: str) -> None:
    """Check that the user may assign roles in the subscription, or in the resource group if it exists.

    Raises:
        Refusal: The user may not.
        Unknown: The permissions could not be read.
    """
    scope = f"/subscriptions/{subscription}"
    try:
        allowed = may_assign_roles(ask, scope)
    except Unknown as unknown:
        raise Unknown(f"your permission to assign roles could not be checked ({unknown})") from None
    try:
        allowed = allowed or may_assign_roles(ask, f"{scope}/resourceGroups/{group}")
    except Unknown:  # the group does not exist yet
        allowed = False
    if not allowed:
        raise Refusal(
            f"the user of `az login` may not assign roles in the subscription {subscription}, but the "
            "deployment assigns roles. Fix: ask an owner for the role Role Based Access Control Administrator; if azd "
            "uses another account, run az login with that account"
        )


def may_assign_roles(ask: Callable[..., Any], scope: str) -> bool:
    """Return whether a role of the user allows role assignments in this scope.

    Raises:
        Unknown: The permissions could not be read.
    """
    url = f"{scope}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
    answer = ask("rest", "--method", "get", "--url", url)
    found = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise Unknown("az returned no permissions")
    return any(contains_write(each, "actions") and not contains_write(each, "notActions") for each in found)


def contains_write(permission: Mapping[str, Any], key: str) -> bool:
    """Return whether a list of actions contains the assignment of roles. `*` matches any text."""
    return any(fnmatchcase(ASSIGN_ROLES, str(pattern).lower()) for pattern in permission.get(key) or ())


def az(subscription: str, *command: str, seconds: int = CALL_SECONDS) -> Any:
    """Run a command of the Azure CLI and return its JSON output. Hide error texts, because they may contain secrets.

    Raises:
        Unknown: The command failed or timed out.
    """
    # Use the full path: on Windows it is `az.cmd`, which subprocess does not find by the name `az`.
    program = shutil.which("az") or "az"
    where = ("--subscription", subscription, "--only-show-errors", "--output", "json")
    try:
        ran = subprocess.run([program, *command, *where], capture_output=True, text=True, timeout=seconds, check=False)
        if ran.returncode != 0:
            raise Unknown(f"az {command[0]} failed; check that az is logged in (az login) and up to date")
        return json.loads(ran.stdout or "null")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Unknown(f"az {command[0]} did not answer: {type(error).__name__}") from None


if __name__ == "__main__":
    sys.exit(main(os.environ))

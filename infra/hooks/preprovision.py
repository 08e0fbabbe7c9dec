"""Before provisioning: find the problems that Azure would report only after minutes, without naming the cause.

azd runs this hook. It calls the Azure CLI. If the CLI cannot answer, the hook prints a warning and the deployment continues.
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

SECONDS = 60
REGISTER_SECONDS = 300  # a registration takes a minute or two
WRITE = "microsoft.authorization/roleassignments/write"


class Refusal(Exception):
    """Azure would refuse the deployment. The message has the fix."""


class Unknown(Exception):
    """A check could not be made. The message has the reason."""


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
    """Return the checks in their order."""
    ask = partial(az, subscription)
    group = f"rg-{environment.get('AZURE_ENV_NAME', '')}"
    # The template has no resource of Microsoft.App, but the subnet of a Flex Consumption app is delegated to it.
    networked = environment.get("VNET_ENABLED", "true").lower() != "false"
    providers = [*(["Microsoft.App"] if networked else []), "Microsoft.EventGrid"]
    return [
        *(partial(register, ask, provider) for provider in providers),
        partial(region, ask, environment.get("AZURE_LOCATION", "")),
        partial(roles, ask, subscription, group),
    ]


def register(ask: Callable[..., Any], provider: str) -> None:
    """Register a provider in the subscription, if it is not registered.

    Raises:
        Unknown: the provider is not registered, and the registration failed.
    """
    named = ("--namespace", provider)
    try:
        if ask("provider", "show", *named, "--query", "registrationState") == "Registered":
            return
        print(f"Registering {provider} in the subscription; this takes a minute or two ...", flush=True)
        ask("provider", "register", *named, "--wait", seconds=REGISTER_SECONDS)
    except Unknown as unknown:
        fix = f"the deployment fails without it. Fix: az provider register --wait --namespace {provider}"
        raise Unknown(f"{provider} could not be registered ({unknown}); {fix}") from None


def region(ask: Callable[..., Any], location: str) -> None:
    """Refuse a region without Flex Consumption.

    Raises:
        Refusal: the region does not offer it; the message lists those that do.
        Unknown: the regions could not be listed.
    """
    if not location:
        raise Unknown("azd has not asked for the region yet; it is not checked")
    try:
        listed = ask("functionapp", "list-flexconsumption-locations", "--query", "[].name")
    except Unknown as unknown:
        raise Unknown(f"the regions with Flex Consumption could not be listed ({unknown})") from None
    names = sorted({plain(str(name)) for name in listed}) if isinstance(listed, list) else []
    if not names:
        raise Unknown("the regions with Flex Consumption could not be listed (az returned none)")
    if plain(location) not in names:
        raise Refusal(
            f"{location} does not offer Flex Consumption. Fix: azd env set AZURE_LOCATION <region>, one of: {', '.join(names)}"
        )


def plain(name: str) -> str:
    """Return `westeurope` for `West Europe`."""
    return name.replace(" ", "").lower()


def roles(ask: Callable[..., Any], subscription: str, group: str) -> None:
    """Refuse a user who may not assign roles in the subscription or in the resource group, if it exists.

    Raises:
        Refusal: the user may not assign roles.
        Unknown: the permissions could not be read.
    """
    whole = f"/subscriptions/{subscription}"
    try:
        allowed = may_write(ask, whole)
    except Unknown as unknown:
        raise Unknown(f"your permission to assign roles could not be checked ({unknown})") from None
    try:
        allowed = allowed or may_write(ask, f"{whole}/resourceGroups/{group}")
    except Unknown:  # the group does not exist yet
        allowed = False
    if not allowed:
        raise Refusal(
            f"the user of `az login` may not assign roles in the subscription {subscription}, but the "
            "deployment assigns roles. Fix: ask an owner for the role Role Based Access Control Administrator; if azd "
            "uses another account, run az login with that account"
        )


def may_write(ask: Callable[..., Any], scope: str) -> bool:
    """Return whether the user may assign roles in a scope: one of the user's roles has the action and does not exclude it.

    Raises:
        Unknown: the permissions could not be read.
    """
    url = f"{scope}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
    answer = ask("rest", "--method", "get", "--url", url)
    found = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise Unknown("az returned no permissions")
    return any(named(each, "actions") and not named(each, "notActions") for each in found)


def named(permission: Mapping[str, Any], key: str) -> bool:
    """Return whether a list of a permission contains the action; `*` matches any text."""
    return any(fnmatchcase(WRITE, str(pattern).lower()) for pattern in permission.get(key) or ())


def az(subscription: str, *command: str, seconds: int = SECONDS) -> Any:
    """Call the Azure CLI and return its JSON. Its error output is not shown, since it may contain anything.

    Raises:
        Unknown: the call failed.
    """
    # The full path: on Windows the program is `az.cmd`, which is not found by the name `az`.
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

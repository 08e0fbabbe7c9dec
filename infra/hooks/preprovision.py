"""Before anything is made: find what Azure would refuse after minutes, with a message that does not name the cause.

azd runs this before it provisions. It asks the Azure CLI. What the CLI cannot answer is a warning, and the deployment goes on.
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
PATIENCE = 300  # a registration takes a minute or two
WRITE = "microsoft.authorization/roleassignments/write"


class Refusal(Exception):
    """Azure would refuse it. The message says what to do."""


class Unknown(Exception):
    """It could not be looked at. The message says why."""


def main(environment: Mapping[str, str]) -> int:
    """Look at everything that can be looked at; the exit code."""
    subscription = environment.get("AZURE_SUBSCRIPTION_ID", "")
    if shutil.which("az") is None:
        print("WARNING: the Azure CLI (az) is not on PATH; providers, region and permissions are not checked.")
        return 0
    if not subscription:
        print("WARNING: azd has not asked for the subscription yet; providers, region and permissions are not checked.")
        return 0
    code = 0
    for look in looks(subscription, environment):
        try:
            look()
        except Refusal as refusal:
            print(f"ERROR: {refusal}")
            code = 1
        except Unknown as unknown:
            print(f"WARNING: {unknown}")
    return code


def looks(subscription: str, environment: Mapping[str, str]) -> list[Callable[[], None]]:
    """What there is to look at, in its order."""
    ask = partial(az, subscription)
    group = f"rg-{environment.get('AZURE_ENV_NAME', '')}"
    # No resource of the template is of Microsoft.App, but a subnet of a Flex Consumption app is delegated to it.
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
        Unknown: it is not registered, and could not be.
    """
    named = ("--namespace", provider)
    try:
        if ask("provider", "show", *named, "--query", "registrationState") == "Registered":
            return
        print(f"Registering {provider} in the subscription; this takes a minute or two ...", flush=True)
        ask("provider", "register", *named, "--wait", seconds=PATIENCE)
    except Unknown as unknown:
        fix = f"the deployment fails without it. Fix: az provider register --wait --namespace {provider}"
        raise Unknown(f"{provider} could not be registered ({unknown}); {fix}") from None


def region(ask: Callable[..., Any], location: str) -> None:
    """Refuse a region without Flex Consumption.

    Raises:
        Refusal: this is one; the message lists the others.
        Unknown: it could not be found out.
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
    """`West Europe` as `westeurope`."""
    return name.replace(" ", "").lower()


def roles(ask: Callable[..., Any], subscription: str, group: str) -> None:
    """Refuse a person who may not assign roles, neither in the subscription nor in the resource group if it is there.

    Raises:
        Refusal: this is one.
        Unknown: it could not be found out.
    """
    whole = f"/subscriptions/{subscription}"
    try:
        allowed = may_write(ask, whole)
    except Unknown as unknown:
        raise Unknown(f"your permission to assign roles could not be checked ({unknown})") from None
    try:
        allowed = allowed or may_write(ask, f"{whole}/resourceGroups/{group}")
    except Unknown:  # there is no such group yet
        allowed = False
    if not allowed:
        raise Refusal(
            f"the user of `az login` may not assign roles in the subscription {subscription}, but the "
            "deployment assigns roles. Fix: ask an owner for the role Role Based Access Control Administrator; if azd "
            "uses another account, run az login with that account"
        )


def may_write(ask: Callable[..., Any], scope: str) -> bool:
    """Whether the person may assign roles there: a role of theirs has the action, and does not take it back.

    Raises:
        Unknown: it could not be found out.
    """
    url = f"{scope}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
    answer = ask("rest", "--method", "get", "--url", url)
    found = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise Unknown("az returned no permissions")
    return any(named(each, "actions") and not named(each, "notActions") for each in found)


def named(permission: Mapping[str, Any], key: str) -> bool:
    """Whether a list of a permission has the action; in it `*` stands for any text."""
    return any(fnmatchcase(WRITE, str(pattern).lower()) for pattern in permission.get(key) or ())


def az(subscription: str, *command: str, seconds: int = SECONDS) -> Any:
    """What the Azure CLI answers. What it says of an error is not shown: it may be anything.

    Raises:
        Unknown: it did not answer.
    """
    # With its whole path: on Windows it is `az.cmd`, which is not found by its name alone.
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

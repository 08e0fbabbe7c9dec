"""The app's settings are those that settings.py and the host read: no more, no less, by the same names."""

import re
from collections.abc import Callable

import settings
from tests.infra.checks import HOST
from tests.infra.snapshots import ENVIRONMENT, INFRA, KNOBS, Snapshot

Taken = Callable[[str], Snapshot]
# What the app can read and a deployment leaves out, and why.
LEFT_OUT = {
    "AzureWebJobsStorage": "the emulator's",
    "AzureWebJobsStorage__blobServiceUri": "the name says it",
    "AzureWebJobsStorage__queueServiceUri": "the name says it",
    "WINDOW_SECONDS": "15 is right on Azure",
}
# What the host alone reads.
OF_THE_HOST = {
    "AzureWebJobsStorage__credential",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
}
PROVIDER = "AzureFunctionsJobHost__extensions__durableTask__storageProvider"
SCHEDULER = {f"{PROVIDER}__type", f"{PROVIDER}__connectionStringName", "DURABLE_TASK_SCHEDULER"}


def test_every_setting_is_read_and_every_one_that_is_read_is_there(snapshot: Taken) -> None:
    """Both ways, apart from what is left out with a reason."""
    assert set(snapshot("default").settings) - OF_THE_HOST == set(settings.VARIABLES) - set(LEFT_OUT)
    assert set(snapshot("default").settings) >= OF_THE_HOST


def test_the_scheduler_is_switched_on_by_settings_alone(snapshot: Taken) -> None:
    """The package is the same: three more settings, and the host finds what they name."""
    storage, scheduler = snapshot("default").settings, snapshot("scheduler").settings
    assert set(scheduler) - set(storage) == SCHEDULER
    assert {name: scheduler[name] for name in storage} == storage
    assert scheduler[f"{PROVIDER}__type"] == "azureManaged"
    assert scheduler[scheduler[f"{PROVIDER}__connectionStringName"]].startswith(
        "[format('Endpoint={0};Authentication=ManagedIdentity;ClientID={1}', reference("
    )


def test_what_the_settings_override_is_in_host_json() -> None:
    """The path that the names spell is one that host.json has."""
    _, *path = PROVIDER.split("__")
    value = HOST
    for step in path:
        value = value[step]
    assert value


def test_the_app_starts_with_them(snapshot: Taken) -> None:
    """Once the identity is known, settings.py takes them: the state account by name, the identity, the routes."""
    taken = snapshot("targets")
    known = taken.settings | {"AzureWebJobsStorage__clientId": "55555555-5555-5555-5555-555555555555"}
    read = settings.from_env(known)
    assert read.state_queues == f"https://{taken.account('state')['name']}.queue.core.windows.net"
    assert (read.client_id, read.key) == ("55555555-5555-5555-5555-555555555555", None)
    assert len(read.routes) == 5


def test_host_and_app_use_the_same_identity(snapshot: Taken) -> None:
    """The one that has the roles, for storage and for telemetry."""
    taken = snapshot("default")
    client = (
        f"reference('{taken.one('Microsoft.ManagedIdentity/userAssignedIdentities')['id']}', '2024-11-30').clientId"
    )
    assert taken.settings["AzureWebJobsStorage__clientId"] == f"[{client}]"
    assert taken.settings["AzureWebJobsStorage__credential"] == "managedidentity"
    telemetry = taken.settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    assert telemetry == f"[format('ClientId={{0}};Authorization=AAD', {client})]"


def test_what_azd_writes_down_changes_no_parameter(snapshot: Taken) -> None:
    """Outputs become variables of the azd environment, which the parameters file reads: no name is both."""
    knobs = set(KNOBS.findall((INFRA / "main.bicepparam").read_text()))
    assert knobs > set(ENVIRONMENT)
    assert set(snapshot("default").outputs) & knobs == set()


def test_every_parameter_can_be_set_from_the_environment() -> None:
    """The parameters file has each parameter of main.bicep, and no other."""
    declared = re.findall(r"^param (\w+)", (INFRA / "main.bicep").read_text(), re.MULTILINE)
    given = re.findall(r"^param (\w+) =", (INFRA / "main.bicepparam").read_text(), re.MULTILINE)
    assert sorted(given) == sorted(declared)

"""The app's settings are those that settings.py and the host read: no more, no less, by the same names."""

import re
from collections.abc import Callable

import settings
from tests.infra.snapshots import ENVIRONMENT, INFRA, KNOBS, SUBSCRIPTION, Snapshot

Taken = Callable[[str], Snapshot]
# What the app can read and a deployment leaves out, and why.
LEFT_OUT = {
    "AzureWebJobsStorage": "the emulator's",
    "AzureWebJobsStorage__blobServiceUri": "the name says it",
    "AzureWebJobsStorage__queueServiceUri": "the name says it",
    "EVENTS": "the emulator's",
    "EVENTS__accountName": "the endpoints say it: a trigger's connection has been seen to work by them",
    "WINDOW_SECONDS": "15 is right on Azure",
}
# What the host alone reads.
OF_THE_HOST = {
    "AzureWebJobsStorage__credential",
    "EVENTS__credential",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
}
SCHEDULER = "DURABLE_TASK_SCHEDULER"


def test_every_setting_is_read_and_every_one_that_is_read_is_there(snapshot: Taken) -> None:
    """Both ways, apart from what is left out with a reason."""
    assert set(snapshot("default").settings) - OF_THE_HOST == set(settings.VARIABLES) - set(LEFT_OUT)
    assert set(snapshot("default").settings) >= OF_THE_HOST


def test_the_scheduler_is_where_the_package_looks_for_it(snapshot: Taken) -> None:
    """One more setting, of the name that the package's host.json has; that it is used is said there alone."""
    storage, scheduler = snapshot("default").settings, snapshot("scheduler").settings
    assert set(scheduler) - set(storage) == {SCHEDULER}
    assert {name: scheduler[name] for name in storage} == storage
    assert scheduler[SCHEDULER].startswith(
        "[format('Endpoint={0};Authentication=ManagedIdentity;ClientID={1}', reference("
    )


def endpoints(snapshot: Snapshot) -> dict[str, str]:
    """The events account's endpoints, as Azure will say them: each setting asks that account for the right one."""
    account = snapshot.account("events")
    found = {}
    for service in ("blob", "queue"):
        setting = f"EVENTS__{service}ServiceUri"
        asked = rf"\[reference\('{re.escape(account['id'])}', '[\d-]+'\)\.primaryEndpoints\.{service}\]"
        assert re.fullmatch(asked, snapshot.settings[setting]), snapshot.settings[setting]
        found[setting] = f"https://{account['name']}.{service}.core.windows.net/"
    return found


def test_the_app_starts_with_them(snapshot: Taken) -> None:
    """Once identity and endpoints are known, settings.py takes them: both accounts, the identity, the routes."""
    taken = snapshot("targets")
    known = taken.settings | endpoints(taken)
    known |= {f"{connection}__clientId": "55555555-5555-5555-5555-555555555555" for connection in settings.OWN}
    read = settings.from_env(known)
    assert read.state.queues == f"https://{taken.account('state')['name']}.queue.core.windows.net"
    assert read.events.queues == f"https://{taken.account('events')['name']}.queue.core.windows.net"
    assert read.events.blobs == f"https://{taken.account('events')['name']}.blob.core.windows.net"
    assert (read.client_id, read.key) == ("55555555-5555-5555-5555-555555555555", None)
    assert len(read.routes) == 5


def test_host_and_app_use_the_same_identity(snapshot: Taken) -> None:
    """The one that has the roles, for storage and for telemetry."""
    taken = snapshot("default")
    client = (
        f"reference('{taken.one('Microsoft.ManagedIdentity/userAssignedIdentities')['id']}', '2024-11-30').clientId"
    )
    for connection in settings.OWN:
        assert taken.settings[f"{connection}__clientId"] == f"[{client}]"
        assert taken.settings[f"{connection}__credential"] == "managedidentity"
    telemetry = taken.settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    assert telemetry == f"[format('ClientId={{0}};Authorization=AAD', {client})]"


def test_what_azd_writes_down_changes_no_parameter(snapshot: Taken) -> None:
    """Outputs become variables of the azd environment, which the parameters file reads: the region alone is both, unchanged."""
    knobs = set(KNOBS.findall((INFRA / "main.bicepparam").read_text()))
    assert knobs > set(ENVIRONMENT)
    outputs = snapshot("default").outputs
    assert set(outputs) & knobs == {"AZURE_LOCATION"}
    assert outputs["AZURE_LOCATION"] == ENVIRONMENT["AZURE_LOCATION"]


def test_the_outputs_that_every_template_has_are_there(snapshot: Taken) -> None:
    """Tenant, region and group, by the names that azd and its extensions know."""
    outputs = snapshot("default").outputs
    assert (outputs["AZURE_TENANT_ID"], outputs["AZURE_RESOURCE_GROUP"]) == (SUBSCRIPTION, outputs["RESOURCE_GROUP"])


def test_every_parameter_can_be_set_from_the_environment() -> None:
    """The parameters file has each parameter of main.bicep, and no other."""
    declared = re.findall(r"^param (\w+)", (INFRA / "main.bicep").read_text(), re.MULTILINE)
    given = re.findall(r"^param (\w+) =", (INFRA / "main.bicepparam").read_text(), re.MULTILINE)
    assert sorted(given) == sorted(declared)

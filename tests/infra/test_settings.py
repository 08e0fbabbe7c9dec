"""The app settings of a deployment are exactly those that settings.py and the host read."""

import re
from urllib.parse import unquote

import pytest

import settings
from tests.infra.snapshots import ENVIRONMENT, INFRA, PARAMETER_VARIABLE, SUBSCRIPTION, Snapshot, SnapshotOf

# Variables that settings.py reads but a deployment does not set, with the reason.
NOT_SET = {
    "AzureWebJobsStorage": "only for the emulator",
    "AzureWebJobsStorage__blobServiceUri": "derived from the account name",
    "AzureWebJobsStorage__queueServiceUri": "derived from the account name",
    "EVENTS": "only for the emulator",
    "EVENTS__accountName": "the endpoints are set, which are known to work for a trigger",
    "SHARING_CLIENT_ID": "only for a target in another tenant",
    "READ_ONLY": "only for an API that only reads",
    "EGRESS_PRICE_PER_GIB": "only to estimate costs",
    "EGRESS_CURRENCY": "only to estimate costs",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "only for a collector",
    "OTEL_EXPORTER_OTLP_HEADERS": "only for a collector",
    "OTEL_SERVICE_NAME": "the default is the name of this app",
    "WINDOW_SECONDS": "the default is right on Azure",
    "SIZE_UNIT_BYTES": "the default is right on Azure",
}
# Variables that only the host reads.
HOST_ONLY = {
    "AzureWebJobsStorage__credential",
    "EVENTS__credential",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
}
SCHEDULER = "DURABLE_TASK_SCHEDULER"


def test_every_setting_is_read_and_every_variable_is_set(snapshot: SnapshotOf) -> None:
    assert set(snapshot("default").settings) - HOST_ONLY == set(settings.VARIABLES) - set(NOT_SET)
    assert set(snapshot("default").settings) >= HOST_ONLY


def test_the_scheduler_adds_one_setting(snapshot: SnapshotOf) -> None:
    """host.json in the package names this setting."""
    storage, scheduler = snapshot("default").settings, snapshot("scheduler").settings
    assert set(scheduler) - set(storage) == {SCHEDULER}
    assert {name: scheduler[name] for name in storage} == storage
    assert scheduler[SCHEDULER].startswith(
        "[format('Endpoint={0};Authentication=ManagedIdentity;ClientID={1}', reference("
    )


def test_a_target_in_another_tenant_adds_one_setting(snapshot: SnapshotOf) -> None:
    home, partners = snapshot("default").settings, snapshot("partners").settings
    assert set(partners) - set(home) == {"SHARING_CLIENT_ID"}
    assert partners["SHARING_CLIENT_ID"] == "77777777-7777-7777-7777-777777777777"


def test_a_price_and_a_collector_add_two_settings_each(snapshot: SnapshotOf) -> None:
    without, more = snapshot("default").settings, snapshot("targets").settings
    assert {name: more[name] for name in set(more) - set(without)} == {
        "EGRESS_PRICE_PER_GIB": "0.02",
        "EGRESS_CURRENCY": "EUR",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/otlp)",
    }


def trace_url(deployment: Snapshot) -> str:
    """The value at run time. Offline, only the address of the portal is unknown."""
    expression = (
        deployment.settings["TRACE_URL"].strip("[]").replace("environment().portal", "'https://portal.azure.com'")
    )
    known = {"__builtins__": {}, "format": lambda text, *values: text.format(*values)}
    return str(eval(expression, known))  # noqa: S307  # of the compiler


def test_the_trace_of_a_transfer_is_a_query_of_the_workspace(snapshot: SnapshotOf) -> None:
    deployment = snapshot("default")
    encoded = trace_url(deployment)
    url = unquote(encoded)
    workspace = deployment.one("Microsoft.OperationalInsights/workspaces")["id"]
    assert url.startswith(f"https://portal.azure.com/#@{SUBSCRIPTION}/blade/")
    assert f"/resourceId/{workspace}/source/" in url
    assert 'let id = "{trace_id}"; union AppTraces, ' in url
    assert "{trace_id}" in encoded
    assert set(encoded.partition("/query/")[2]) & set(' "|=') == set()


def endpoints(snapshot: Snapshot) -> dict[str, str]:
    """The endpoints of the events account at run time. Asserts that each setting refers to the right one."""
    account = snapshot.account("events")
    found = {}
    for service in ("blob", "queue"):
        setting = f"EVENTS__{service}ServiceUri"
        expression = rf"\[reference\('{re.escape(account['id'])}', '[\d-]+'\)\.primaryEndpoints\.{service}\]"
        assert re.fullmatch(expression, snapshot.settings[setting]), snapshot.settings[setting]
        found[setting] = f"https://{account['name']}.{service}.core.windows.net/"
    return found


@pytest.mark.parametrize(("name", "routes"), [("targets", 5), ("partners", 3)])
def test_the_app_can_parse_its_settings(name: str, routes: int, snapshot: SnapshotOf) -> None:
    deployment = snapshot(name)
    values = deployment.settings | endpoints(deployment)
    values["TRACE_URL"] = trace_url(deployment)
    values.pop("OTEL_EXPORTER_OTLP_HEADERS", None)  # Azure replaces the reference by the secret
    values |= {
        f"{connection}__clientId": "55555555-5555-5555-5555-555555555555" for connection in settings.OWN_ACCOUNTS
    }
    read = settings.from_env(values)
    assert read.state.queues == f"https://{deployment.account('state')['name']}.queue.core.windows.net"
    assert read.events.queues == f"https://{deployment.account('events')['name']}.queue.core.windows.net"
    assert read.events.blobs == f"https://{deployment.account('events')['name']}.blob.core.windows.net"
    assert (read.client_id, read.key) == ("55555555-5555-5555-5555-555555555555", None)
    assert len(read.routes) == routes


def test_host_and_app_use_the_same_identity(snapshot: SnapshotOf) -> None:
    """For storage and for telemetry."""
    deployment = snapshot("default")
    client = f"reference('{deployment.one('Microsoft.ManagedIdentity/userAssignedIdentities')['id']}', '2024-11-30').clientId"
    for connection in settings.OWN_ACCOUNTS:
        assert deployment.settings[f"{connection}__clientId"] == f"[{client}]"
        assert deployment.settings[f"{connection}__credential"] == "managedidentity"
    telemetry = deployment.settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    assert telemetry == f"[format('ClientId={{0}};Authorization=AAD', {client})]"


def test_outputs_change_no_parameter(snapshot: SnapshotOf) -> None:
    """azd stores outputs as variables of its environment, which the parameters file reads. Only the region is both."""
    variables = set(PARAMETER_VARIABLE.findall((INFRA / "main.bicepparam").read_text()))
    assert variables > set(ENVIRONMENT)
    outputs = snapshot("default").outputs
    assert set(outputs) & variables == {"AZURE_LOCATION"}
    assert outputs["AZURE_LOCATION"] == ENVIRONMENT["AZURE_LOCATION"]


def test_the_usual_outputs_of_a_template_exist(snapshot: SnapshotOf) -> None:
    """azd and its extensions know these names."""
    outputs = snapshot("default").outputs
    assert (outputs["AZURE_TENANT_ID"], outputs["AZURE_RESOURCE_GROUP"]) == (SUBSCRIPTION, outputs["RESOURCE_GROUP"])


def test_every_parameter_can_be_set_from_the_environment() -> None:
    declared = re.findall(r"^param (\w+)", (INFRA / "main.bicep").read_text(), re.MULTILINE)
    given = re.findall(r"^param (\w+) =", (INFRA / "main.bicepparam").read_text(), re.MULTILINE)
    assert sorted(given) == sorted(declared)

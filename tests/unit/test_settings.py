"""Every invalid or missing setting stops the start with one message: the variable, its value and the fix, without secrets."""

import json
import re
from typing import Any

import pytest

from rules.figures.view import Price
from rules.routes.model import EnginePreference
from settings import Account, InvalidSetting, Telemetry, from_env

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ROUTE = {
    "name": "default",
    "source": "https://sharingsource.blob.core.windows.net/source/",
    "target": "https://sharingtarget.blob.core.windows.net/target/",
}
LOCAL = {
    "name": "default",
    "source": "http://127.0.0.1:10000/sharingsource/source/",
    "target": "http://127.0.0.1:10000/sharingtarget/target/",
}
ON_AZURE = {
    "ROUTES": json.dumps([ROUTE]),
    "AzureWebJobsStorage__accountName": "sharingstate",
    "EVENTS__accountName": "sharingevents",
}
# The app's own accounts. Both are read by the same code.
OWN = pytest.mark.parametrize(
    ("variable", "name"),
    [("AzureWebJobsStorage", "sharingstate"), ("EVENTS", "sharingevents")],
    ids=["state", "events"],
)
SAS = "sv=2026-01-01&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"


def connection_string(host: str = "127.0.0.1", account: str = "sharingstate", **parts: str) -> str:
    """A connection string of the emulator with some parts replaced; an empty value removes the part."""
    fields = {
        "DefaultEndpointsProtocol": "http",
        "AccountName": account,
        "AccountKey": KEY,
        "BlobEndpoint": f"http://{host}:10000/{account}",
        "QueueEndpoint": f"http://{host}:10001/{account}",
    } | parts
    return ";".join(f"{name}={value}" for name, value in fields.items() if value)


def on_azure(**changed: str | None) -> dict[str, str]:
    """The environment on Azure with some variables changed; None removes the variable."""
    return {name: value for name, value in {**ON_AZURE, **changed}.items() if value is not None}


def on_the_emulator(host: str = "127.0.0.1", **changed: str) -> dict[str, str]:
    """The environment of the local stack with some variables changed."""
    accounts = {"AzureWebJobsStorage": connection_string(host), "EVENTS": connection_string(host, "sharingevents")}
    return {"ROUTES": json.dumps([LOCAL]), **accounts, **changed}


def start_error(environment: dict[str, str]) -> str:
    """The message of the error that stops the start."""
    with pytest.raises(InvalidSetting) as caught:
        from_env(environment)
    return str(caught.value)


def test_an_account_name_leads_to_its_endpoints_without_a_key() -> None:
    settings = from_env(ON_AZURE)
    assert (settings.state, settings.events, settings.key) == (
        Account("https://sharingstate.blob.core.windows.net", "https://sharingstate.queue.core.windows.net"),
        Account("https://sharingevents.blob.core.windows.net", "https://sharingevents.queue.core.windows.net"),
        None,
    )
    assert [(route.name, route.engine) for route in settings.routes] == [("default", EnginePreference.AUTO)]


@OWN
def test_an_account_may_be_given_by_its_endpoints(variable: str, name: str) -> None:
    """Sovereign clouds have other domains; a trailing slash and capital letters are accepted."""
    uris = {f"{variable}__{kind}ServiceUri": f"https://S.{kind}.core.usgovcloudapi.net/" for kind in ("blob", "queue")}
    settings = from_env(on_azure(**{f"{variable}__accountName": None}, **uris))
    account = {"sharingstate": settings.state, "sharingevents": settings.events}[name]
    assert account == Account("https://s.blob.core.usgovcloudapi.net", "https://s.queue.core.usgovcloudapi.net")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_connection_string_is_accepted_for_the_emulator_on_loopback(host: str) -> None:
    settings = from_env(on_the_emulator(host))
    assert settings.key == KEY
    assert settings.state.blobs == f"http://{host}:10000/sharingstate"
    assert settings.events.queues == f"http://{host}:10001/sharingevents"


def test_the_repr_of_the_settings_hides_the_key() -> None:
    settings = from_env(on_the_emulator())
    assert KEY not in repr(settings)


@OWN
@pytest.mark.parametrize(
    "text",
    [
        connection_string("10.0.0.4"),
        connection_string("127.0.0.1.example.com"),
        connection_string("[::1"),
        connection_string(QueueEndpoint="https://sharingstate.queue.core.windows.net"),
        connection_string(BlobEndpoint=""),
        connection_string(AccountKey=""),
        f"DefaultEndpointsProtocol=https;AccountName=sharingstate;AccountKey={KEY};EndpointSuffix=core.windows.net",
        f"BlobEndpoint=https://sharingstate.blob.core.windows.net;SharedAccessSignature={SAS}",
        "UseDevelopmentStorage=true",
        KEY,
    ],
)
def test_a_connection_string_outside_loopback_stops_the_start_and_its_key_is_not_shown(
    text: str, variable: str, name: str
) -> None:
    message = start_error(on_azure(**{variable: text.replace("sharingstate", name)}))
    assert f"The setting {variable} is '(hidden)'" in message
    assert f"Fix: Remove it: on Azure, set {variable}__accountName" in message
    assert KEY not in message
    assert "c2VjcmV0" not in message


@pytest.mark.parametrize(
    ("environment", "variable", "value", "fix"),
    [
        (on_azure(ROUTES=None), "ROUTES", "is not set", "Set it to a JSON list"),
        (on_azure(ROUTES=""), "ROUTES", "is ''", "Set it to a JSON list"),
        (on_azure(ROUTES="[{]"), "ROUTES", "is '[{]'", "Set it to a JSON list"),
        (on_azure(ROUTES="[]"), "ROUTES", "is '[]'", "at least one route"),
        (on_azure(AzureWebJobsStorage__accountName=None), "AzureWebJobsStorage__blobServiceUri", "is not set", "Set AzureWebJobsStorage__accountName"),
        (on_azure(AzureWebJobsStorage__accountName="Sharing State"), "AzureWebJobsStorage__accountName", "is 'Sharing State'", "Set AzureWebJobsStorage__accountName"),
        (on_azure(EVENTS__accountName=None), "EVENTS__blobServiceUri", "is not set", "Set EVENTS__accountName to the events account's name"),
        (on_azure(EVENTS__accountName=None, EVENTS__blobServiceUri="https://e.blob.core.windows.net"), "EVENTS__queueServiceUri", "is not set", "Set EVENTS__accountName"),
        (on_azure(EVENTS__accountName="Sharing Events"), "EVENTS__accountName", "is 'Sharing Events'", "Set EVENTS__accountName"),
        (on_azure(EVENTS__accountName="sharingstate"), "EVENTS", "is 'https://sharingstate.queue.core.windows.net'", "Use a separate account for events."),
        (on_the_emulator(EVENTS=connection_string()), "EVENTS", "is '(hidden)'", "Use a separate account for events."),
        (on_the_emulator(EVENTS=connection_string(account="sharingevents", AccountKey="b3RoZXI=")), "EVENTS", "is '(hidden)'", "or both on one emulator"),
        (on_azure(EVENTS=connection_string(account="sharingevents")), "EVENTS", "is '(hidden)'", "Put both on Azure"),
        (on_the_emulator(EVENTS="", EVENTS__accountName="sharingevents"), "EVENTS", "is 'https://sharingevents.queue.core.windows.net'", "or both on one emulator"),
        (on_azure(EVENTS__clientId="an-id"), "EVENTS__clientId", "is 'an-id'", "Remove it, or set AzureWebJobsStorage__clientId too."),
        (on_azure(AzureWebJobsStorage__clientId="an-id"), "EVENTS__clientId", "is not set", "Set it to the value of AzureWebJobsStorage__clientId."),
        (on_azure(AzureWebJobsStorage__clientId="an-id", EVENTS__clientId="another"), "EVENTS__clientId", "is 'another'", "Set it to the value of AzureWebJobsStorage__clientId."),
        (on_azure(SIZE_UNIT_BYTES="many"), "SIZE_UNIT_BYTES", "is 'many'", "from 1 to 1048576"),
        (on_azure(SIZE_UNIT_BYTES="0"), "SIZE_UNIT_BYTES", "is '0'", "from 1 to 1048576"),
        (on_azure(SIZE_UNIT_BYTES="2097152"), "SIZE_UNIT_BYTES", "is '2097152'", "default of 1048576"),
        (on_azure(READ_ONLY="True"), "READ_ONLY", "is 'True'", "`true`"),
        (on_azure(READ_ONLY=""), "READ_ONLY", "is ''", "`true`"),
        (on_azure(EGRESS_PRICE_PER_GIB="cheap"), "EGRESS_PRICE_PER_GIB", "is 'cheap'", "from 0 to 1000"),
        (on_azure(EGRESS_PRICE_PER_GIB="-1"), "EGRESS_PRICE_PER_GIB", "is '-1'", "from 0 to 1000"),
        (on_azure(EGRESS_CURRENCY="euro"), "EGRESS_CURRENCY", "is 'euro'", "such as EUR"),
        (on_azure(WINDOW_SECONDS="soon"), "WINDOW_SECONDS", "is 'soon'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS=""), "WINDOW_SECONDS", "is ''", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="0"), "WINDOW_SECONDS", "is '0'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="61"), "WINDOW_SECONDS", "is '61'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="nan"), "WINDOW_SECONDS", "is 'nan'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="inf"), "WINDOW_SECONDS", "is 'inf'", "from 0.5 to 60"),
    ],
)  # fmt: skip
def test_the_message_names_the_variable_its_value_and_the_fix(
    environment: dict[str, str], variable: str, value: str, fix: str
) -> None:
    message = start_error(environment)
    assert message.startswith(f"The setting {variable} {value}: ")
    assert fix in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "url",
    [
        "http://sharingstate.blob.core.windows.net",
        "sharingstate.blob.core.windows.net",
        "https://sharingstate.blob.core.windows.net/container",
        "https://user@sharingstate.blob.core.windows.net",
        f"https://sharingstate.blob.core.windows.net?{SAS}",
        "https://[::1",
        "",
    ],
)
@OWN
def test_an_invalid_endpoint_stops_the_start_and_its_query_is_not_shown(url: str, variable: str, name: str) -> None:
    changed = {f"{variable}__accountName": None, f"{variable}__blobServiceUri": url.replace("sharingstate", name)}
    message = start_error(on_azure(**changed))
    assert message.startswith(f"The setting {variable}__blobServiceUri is ")
    assert "Fix: " in message
    assert "c2VjcmV0" not in message


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_sas_in_a_route_stops_the_start_and_is_not_shown(end: str) -> None:
    message = start_error(on_azure(ROUTES=json.dumps([{**ROUTE, end: f"{ROUTE[end]}?{SAS}"}])))
    assert "no SAS" in message
    assert "c2VjcmV0" not in message


@pytest.mark.parametrize(
    "place", ["suffix", "unknown", "name", "tier", "engine", "deadline", "exclude", "empty", "min_size"]
)
def test_a_sas_in_any_field_of_a_route_is_not_shown(place: str) -> None:
    message = start_error(on_azure(ROUTES=json.dumps([{**ROUTE, place: f"?{SAS}"}, {}])))
    assert "c2VjcmV0" not in message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROUTES", connection_string("10.0.0.4")),
        ("AzureWebJobsStorage__accountName", connection_string("10.0.0.4")),
        ("EVENTS__accountName", connection_string("10.0.0.4")),
        ("EVENTS__clientId", connection_string("10.0.0.4")),
        ("WINDOW_SECONDS", connection_string("10.0.0.4")),
        ("WINDOW_SECONDS", f"https://sharingstate.blob.core.windows.net/?{SAS}"),
        ("ROUTES", f"SharedAccessSignature={SAS}"),
        ("ROUTES", json.dumps([{**ROUTE, "source": f"https://sharingsource.blob.core.windows.net/source/&{SAS}&?"}])),
        ("ROUTES", json.dumps([{**ROUTE, "source": "https://me:c2VjcmV0@sharingsource.blob.core.windows.net/source/"}])),
    ],
)  # fmt: skip
def test_a_secret_in_the_wrong_variable_is_not_shown(variable: str, value: str) -> None:
    message = start_error(on_azure(**{variable: value}))
    assert message.startswith(f"The setting {variable} is ")
    assert KEY not in message
    assert "c2VjcmV0" not in message


@pytest.mark.parametrize(
    "changed",
    [
        {"engine": "fast"},
        {"deadline": "P7D"},
        {"tier": "Archive"},
        {"name": "two words"},
        {"source": "https://example.com/source/"},
        {"target": ROUTE["source"]},
        {"priority": "high"},
        {"suffix": 5},
        {"exclude": "*.tmp"},
        {"min_size": 2, "max_size": 1},
    ],
)
def test_an_invalid_route_stops_the_start_and_is_named(changed: dict[str, Any]) -> None:
    message = start_error(on_azure(ROUTES=json.dumps([ROUTE | changed])))
    assert message.startswith("The setting ROUTES is ")
    assert "route 1" in message or "'default'" in message


def test_a_route_to_the_emulator_is_rejected_on_azure() -> None:
    message = start_error(on_azure(ROUTES=json.dumps([ROUTE, {**LOCAL, "name": "stray"}])))
    assert "the route 'stray' uses http://127.0.0.1:10000" in message
    assert "the emulator" in message


def test_a_route_to_azure_is_rejected_on_the_emulator() -> None:
    azure = {**LOCAL, "name": "real", "target": ROUTE["target"]}
    message = start_error(on_the_emulator(ROUTES=json.dumps([LOCAL, azure])))
    assert "the route 'real' uses https://" in message
    assert "Put every account on the emulator." in message


@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize(
    ("environment", "url", "account"),
    [
        (ON_AZURE, "https://sharingstate.blob.core.windows.net/dead-letters/", "state account"),
        (ON_AZURE, "https://sharingevents.dfs.core.windows.net/event-dead-letters/", "events account"),
        (on_the_emulator(), "http://localhost:10000/sharingevents/event-dead-letters/", "events account"),
    ],
)
def test_a_route_to_an_account_of_the_app_is_rejected(
    environment: dict[str, str], url: str, account: str, end: str
) -> None:
    [route] = json.loads(environment["ROUTES"])
    message = start_error({**environment, "ROUTES": json.dumps([{**route, end: url}])})
    assert message.startswith("The setting ROUTES is ")
    assert f"which is in the app's own {account}" in message


def test_window_seconds_scales_all_three_times() -> None:
    times = from_env(on_azure(WINDOW_SECONDS="0.5")).times
    assert (times.window, times.timeout, times.settle) == (0.5, 2.0, 3)
    times = from_env(ON_AZURE).times
    assert (times.window, times.timeout, times.settle) == (15.0, 60.0, 90)


@pytest.mark.parametrize(
    "pasted", ["%3Fsv=1%26sig%3DSECRET", r"\u0026sig\u003dSECRET", "%253Fsv%253D1%2526sig%253DSECRET"]
)
def test_a_signature_in_any_encoding_is_not_shown(pasted: str) -> None:
    routes = json.dumps([ROUTE]).replace("/target/", f"/target/{pasted}")
    for text in (f"{routes} and more", routes.replace('"name"', '"nome"'), f"[{pasted}"):
        message = start_error(on_azure(ROUTES=text))
        assert message.startswith("The setting ROUTES is ")
        assert "SECRET" not in message


def test_a_user_assigned_identity_is_selected_by_its_client_id() -> None:
    client_id = "11111111-1111-1111-1111-111111111111"
    named = dict.fromkeys(("AzureWebJobsStorage__clientId", "EVENTS__clientId"), client_id)
    assert from_env(on_azure(**named)).client_id == client_id
    assert from_env(on_azure(**dict.fromkeys(named, ""))).client_id is None
    assert from_env(ON_AZURE).client_id is None


ABROAD = {**ROUTE, "target": {"url": ROUTE["target"], "tenant": "11111111-2222-3333-4444-555555555555"}}
REGISTRATION = "AAAAAAAA-2222-3333-4444-555555555555"


def abroad(**changed: str | None) -> dict[str, str]:
    """The environment on Azure with a target in another tenant."""
    named = dict.fromkeys(("AzureWebJobsStorage__clientId", "EVENTS__clientId"), "an-id")
    return on_azure(**{"ROUTES": json.dumps([ABROAD]), "SHARING_CLIENT_ID": REGISTRATION, **named, **changed})


def test_a_target_in_another_tenant_needs_an_app_registration() -> None:
    settings = from_env(abroad())
    assert (settings.sharing_client_id, settings.client_id) == (REGISTRATION.lower(), "an-id")
    for missing in (None, ""):
        message = start_error(abroad(SHARING_CLIENT_ID=missing))
        assert message.startswith("The setting SHARING_CLIENT_ID is not set: the target of the route 'default' is in")
        assert "Fix: Set it to the `appId` of a multi-tenant app registration" in message


def test_a_target_in_another_tenant_needs_a_user_assigned_identity() -> None:
    message = start_error(abroad(AzureWebJobsStorage__clientId=None, EVENTS__clientId=None))
    assert message.startswith("The setting AzureWebJobsStorage__clientId is not set: ")
    assert "Fix: Give the app a user-assigned identity" in message


QUEUE = "https://partner.queue.core.windows.net/arrivals"


def test_a_recipient_in_another_tenant_needs_an_app_registration() -> None:
    routes = json.dumps([{**ROUTE, "notify": {"url": QUEUE, "tenant": REGISTRATION}}])
    assert from_env(abroad(ROUTES=routes)).sharing_client_id == REGISTRATION.lower()
    message = start_error(abroad(ROUTES=routes, SHARING_CLIENT_ID=None))
    assert message.startswith("The setting SHARING_CLIENT_ID is not set: the recipient of the route 'default' is in")


def test_a_recipient_is_on_azure_or_on_the_emulator_as_the_state_account() -> None:
    local = "http://127.0.0.1:10001/partner/arrivals"
    assert from_env(on_azure(ROUTES=json.dumps([{**ROUTE, "notify": QUEUE}]))).routes[0].notify
    assert from_env(on_the_emulator(ROUTES=json.dumps([{**LOCAL, "notify": local}]))).routes[0].notify
    message = start_error(on_azure(ROUTES=json.dumps([{**ROUTE, "notify": local}])))
    assert "the route 'default' notifies http://127.0.0.1:10001/partner (on the emulator)" in message
    message = start_error(on_the_emulator(ROUTES=json.dumps([{**LOCAL, "notify": QUEUE}])))
    assert "Use a queue or topic on the emulator." in message


def test_the_app_registration_is_a_guid_and_unused_without_another_tenant() -> None:
    for environment in (abroad(SHARING_CLIENT_ID="contoso"), on_azure(SHARING_CLIENT_ID="contoso")):
        message = start_error(environment)
        assert message.startswith("The setting SHARING_CLIENT_ID is 'contoso': not a GUID. Fix: ")
    assert from_env(on_azure(SHARING_CLIENT_ID=REGISTRATION)).sharing_client_id is None


def test_the_api_changes_things_unless_it_is_read_only() -> None:
    for environment, expected in (({}, False), ({"READ_ONLY": "false"}, False), ({"READ_ONLY": "true"}, True)):
        assert from_env(on_azure(**environment)).read_only is expected


def test_the_price_of_egress() -> None:
    assert from_env(on_azure()).price is None
    assert from_env(on_azure(EGRESS_PRICE_PER_GIB="", EGRESS_CURRENCY="")).price is None
    assert from_env(on_azure(EGRESS_PRICE_PER_GIB="0.02")).price == Price(0.02, "USD")
    assert from_env(on_azure(EGRESS_PRICE_PER_GIB="0", EGRESS_CURRENCY="EUR")).price == Price(0, "EUR")


def telemetry(**environment: str) -> Telemetry:
    return from_env(on_azure(**environment)).telemetry


def test_metrics_go_to_the_collector_of_the_standard_variables() -> None:
    assert telemetry() == telemetry(OTEL_EXPORTER_OTLP_ENDPOINT="", TRACE_URL="") == Telemetry()
    found = telemetry(
        OTEL_EXPORTER_OTLP_ENDPOINT="https://otel.example/otlp/",
        OTEL_EXPORTER_OTLP_HEADERS="api-key=a%2Cb=c, Authorization=Bearer%20token,",
        OTEL_SERVICE_NAME="minutes",
    )
    assert (found.metrics_url, found.service) == ("https://otel.example/otlp/v1/metrics", "minutes")
    assert found.headers == (("api-key", "a,b=c"), ("Authorization", "Bearer token"))
    assert "token" not in repr(found)


@pytest.mark.parametrize(
    ("url", "headers", "accepted"),
    [
        ("http://127.0.0.1:4318", "key=secret", True),
        ("http://collector.internal:4318", "", True),
        ("http://collector.internal:4318", "key=secret", False),
        ("collector.internal:4318", "", False),
        ("https://user:password@collector.example", "", False),
        ("https://collector.example?key=secret", "", False),
        ("grpc://collector.example:4317", "", False),
        ("http://[::1", "", False),
    ],
)
def test_headers_are_sent_only_over_https(url: str, headers: str, *, accepted: bool) -> None:
    environment = on_azure(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_HEADERS=headers)
    if accepted:
        assert from_env(environment).telemetry.metrics_url == f"{url}/v1/metrics"
        return
    error = start_error(environment)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in error
    assert not {"secret", "password"} & set(re.findall("[a-z]+", error))


@pytest.mark.parametrize("headers", ["secret", "=secret", "api key=secret", "key=secret%0d%0aother: 1", "key="])
def test_invalid_headers_stop_the_start_and_are_not_shown(headers: str) -> None:
    error = start_error(on_azure(OTEL_EXPORTER_OTLP_HEADERS=headers))
    assert error.startswith("The setting OTEL_EXPORTER_OTLP_HEADERS ")
    assert "secret" not in error


def test_a_key_vault_reference_that_is_not_resolved_stops_the_start() -> None:
    reference = "@Microsoft.KeyVault(SecretUri=https://vault.vault.azure.net/secrets/otlp)"
    assert "Key Vault Secrets User" in start_error(on_azure(OTEL_EXPORTER_OTLP_HEADERS=reference))


def test_the_url_of_a_trace() -> None:
    url = "https://jaeger.example/trace/{trace_id}?from=now"
    assert telemetry(TRACE_URL=url).trace_url == url
    for wrong in ("https://jaeger.example/", "javascript:alert('{trace_id}')", "https://a/{trace_id}/{trace_id}"):
        assert "TRACE_URL" in start_error(on_azure(TRACE_URL=wrong))

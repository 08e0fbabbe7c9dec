"""Every wrong or missing setting stops the start with one message: the variable, its value and the fix, and no secret."""

import json
from typing import Any

import pytest

from rules.routes.model import EnginePreference
from settings import Account, InvalidSetting, from_env

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
# The app's own accounts: one rule reads both.
OWN = pytest.mark.parametrize(
    ("variable", "name"),
    [("AzureWebJobsStorage", "sharingstate"), ("EVENTS", "sharingevents")],
    ids=["state", "events"],
)
SAS = "sv=2026-01-01&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"


def connection(host: str = "127.0.0.1", account: str = "sharingstate", **parts: str) -> str:
    """A connection string of the emulator, with some parts replaced, or left out where they are empty."""
    fields = {
        "DefaultEndpointsProtocol": "http",
        "AccountName": account,
        "AccountKey": KEY,
        "BlobEndpoint": f"http://{host}:10000/{account}",
        "QueueEndpoint": f"http://{host}:10001/{account}",
    } | parts
    return ";".join(f"{name}={value}" for name, value in fields.items() if value)


def on_azure(**changed: str | None) -> dict[str, str]:
    """The environment on Azure, with some variables changed or, by None, taken away."""
    return {name: value for name, value in {**ON_AZURE, **changed}.items() if value is not None}


def on_the_emulator(host: str = "127.0.0.1", **changed: str) -> dict[str, str]:
    """The environment of the local stack, with some variables changed."""
    accounts = {"AzureWebJobsStorage": connection(host), "EVENTS": connection(host, "sharingevents")}
    return {"ROUTES": json.dumps([LOCAL]), **accounts, **changed}


def refusal(environment: dict[str, str]) -> str:
    """What the start says when it stops."""
    with pytest.raises(InvalidSetting) as caught:
        from_env(environment)
    return str(caught.value)


def test_on_azure_an_account_is_reached_by_its_name_and_no_key() -> None:
    """The two endpoints follow from the account's name."""
    settings = from_env(ON_AZURE)
    assert (settings.state, settings.events, settings.key) == (
        Account("https://sharingstate.blob.core.windows.net", "https://sharingstate.queue.core.windows.net"),
        Account("https://sharingevents.blob.core.windows.net", "https://sharingevents.queue.core.windows.net"),
        None,
    )
    assert [(route.name, route.engine) for route in settings.routes] == [("default", EnginePreference.AUTO)]


@OWN
def test_an_account_may_be_named_by_its_endpoints(variable: str, name: str) -> None:
    """A sovereign cloud's endpoints have names of their own; a trailing slash and a capital letter are no mistakes."""
    uris = {f"{variable}__{kind}ServiceUri": f"https://S.{kind}.core.usgovcloudapi.net/" for kind in ("blob", "queue")}
    settings = from_env(on_azure(**{f"{variable}__accountName": None}, **uris))
    account = {"sharingstate": settings.state, "sharingevents": settings.events}[name]
    assert account == Account("https://s.blob.core.usgovcloudapi.net", "https://s.queue.core.usgovcloudapi.net")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_on_loopback_the_emulators_key_is_taken(host: str) -> None:
    """A connection string is for the emulator on this machine."""
    settings = from_env(on_the_emulator(host))
    assert settings.key == KEY
    assert settings.state.blobs == f"http://{host}:10000/sharingstate"
    assert settings.events.queues == f"http://{host}:10001/sharingevents"


def test_the_key_is_in_no_text_of_the_settings() -> None:
    """Somebody will print them one day."""
    settings = from_env(on_the_emulator())
    assert KEY not in repr(settings)


@OWN
@pytest.mark.parametrize(
    "text",
    [
        connection("10.0.0.4"),
        connection("127.0.0.1.example.com"),
        connection("[::1"),
        connection(QueueEndpoint="https://sharingstate.queue.core.windows.net"),
        connection(BlobEndpoint=""),
        connection(AccountKey=""),
        f"DefaultEndpointsProtocol=https;AccountName=sharingstate;AccountKey={KEY};EndpointSuffix=core.windows.net",
        f"BlobEndpoint=https://sharingstate.blob.core.windows.net;SharedAccessSignature={SAS}",
        "UseDevelopmentStorage=true",
        KEY,
    ],
)
def test_a_key_beyond_loopback_stops_the_start_and_is_not_shown(text: str, variable: str, name: str) -> None:
    """The app has an identity on Azure; a key there is a mistake, and a message is no place for it."""
    said = refusal(on_azure(**{variable: text.replace("sharingstate", name)}))
    assert f"The setting {variable} is '(hidden)'" in said
    assert f"Fix: Remove it: on Azure, set {variable}__accountName" in said
    assert KEY not in said
    assert "c2VjcmV0" not in said


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
        (on_the_emulator(EVENTS=connection()), "EVENTS", "is '(hidden)'", "Use a separate account for events."),
        (on_the_emulator(EVENTS=connection(account="sharingevents", AccountKey="b3RoZXI=")), "EVENTS", "is '(hidden)'", "or both on one emulator"),
        (on_azure(EVENTS=connection(account="sharingevents")), "EVENTS", "is '(hidden)'", "Put both on Azure"),
        (on_the_emulator(EVENTS="", EVENTS__accountName="sharingevents"), "EVENTS", "is 'https://sharingevents.queue.core.windows.net'", "or both on one emulator"),
        (on_azure(EVENTS__clientId="an-id"), "EVENTS__clientId", "is 'an-id'", "Remove it, or set AzureWebJobsStorage__clientId too."),
        (on_azure(AzureWebJobsStorage__clientId="an-id"), "EVENTS__clientId", "is not set", "Set it to the value of AzureWebJobsStorage__clientId."),
        (on_azure(AzureWebJobsStorage__clientId="an-id", EVENTS__clientId="another"), "EVENTS__clientId", "is 'another'", "Set it to the value of AzureWebJobsStorage__clientId."),
        (on_azure(WINDOW_SECONDS="soon"), "WINDOW_SECONDS", "is 'soon'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS=""), "WINDOW_SECONDS", "is ''", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="0"), "WINDOW_SECONDS", "is '0'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="61"), "WINDOW_SECONDS", "is '61'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="nan"), "WINDOW_SECONDS", "is 'nan'", "from 0.5 to 60"),
        (on_azure(WINDOW_SECONDS="inf"), "WINDOW_SECONDS", "is 'inf'", "from 0.5 to 60"),
    ],
)  # fmt: skip
def test_one_message_names_the_variable_its_value_and_the_fix(
    environment: dict[str, str], variable: str, value: str, fix: str
) -> None:
    """Who reads it can mend it without looking anything up."""
    said = refusal(environment)
    assert said.startswith(f"The setting {variable} {value}: ")
    assert fix in said
    assert "\n" not in said


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
def test_an_endpoint_that_is_none_stops_the_start_without_its_query(url: str, variable: str, name: str) -> None:
    """Only https, only the service itself."""
    changed = {f"{variable}__accountName": None, f"{variable}__blobServiceUri": url.replace("sharingstate", name)}
    said = refusal(on_azure(**changed))
    assert said.startswith(f"The setting {variable}__blobServiceUri is ")
    assert "Fix: " in said
    assert "c2VjcmV0" not in said


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_sas_in_a_route_stops_the_start_and_is_not_shown(end: str) -> None:
    """The app signs for itself."""
    said = refusal(on_azure(ROUTES=json.dumps([{**ROUTE, end: f"{ROUTE[end]}?{SAS}"}])))
    assert "no SAS" in said
    assert "c2VjcmV0" not in said


@pytest.mark.parametrize("place", ["suffix", "unknown", "name", "tier", "engine", "deadline"])
def test_a_sas_in_a_wrong_place_is_not_shown_either(place: str) -> None:
    """Whatever the mistake was, the message is safe to paste into a ticket."""
    said = refusal(on_azure(ROUTES=json.dumps([{**ROUTE, place: f"?{SAS}"}, {}])))
    assert "c2VjcmV0" not in said


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROUTES", connection("10.0.0.4")),
        ("AzureWebJobsStorage__accountName", connection("10.0.0.4")),
        ("EVENTS__accountName", connection("10.0.0.4")),
        ("EVENTS__clientId", connection("10.0.0.4")),
        ("WINDOW_SECONDS", connection("10.0.0.4")),
        ("WINDOW_SECONDS", f"https://sharingstate.blob.core.windows.net/?{SAS}"),
        ("ROUTES", f"SharedAccessSignature={SAS}"),
        ("ROUTES", json.dumps([{**ROUTE, "source": f"https://sharingsource.blob.core.windows.net/source/&{SAS}&?"}])),
        ("ROUTES", json.dumps([{**ROUTE, "source": "https://me:c2VjcmV0@sharingsource.blob.core.windows.net/source/"}])),
    ],
)  # fmt: skip
def test_a_secret_in_the_wrong_variable_is_not_shown(variable: str, value: str) -> None:
    """The most likely mistake of all: a connection string pasted where only a name belongs."""
    said = refusal(on_azure(**{variable: value}))
    assert said.startswith(f"The setting {variable} is ")
    assert KEY not in said
    assert "c2VjcmV0" not in said


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
    ],
)
def test_a_route_that_cannot_be_is_named_with_what_would_be_right(changed: dict[str, Any]) -> None:
    """One route wrong, no start."""
    said = refusal(on_azure(ROUTES=json.dumps([ROUTE | changed])))
    assert said.startswith("The setting ROUTES is ")
    assert "route 1" in said or "'default'" in said


def test_routes_to_the_emulator_and_a_state_account_on_azure_do_not_go_together() -> None:
    """A stray local route would make a deployed app look for the emulator."""
    said = refusal(on_azure(ROUTES=json.dumps([ROUTE, {**LOCAL, "name": "stray"}])))
    assert "the route 'stray' uses http://127.0.0.1:10000" in said
    assert "the emulator" in said


def test_the_emulators_key_opens_nothing_on_azure() -> None:
    """A local stack does not write to somebody's real account."""
    azure = {**LOCAL, "name": "real", "target": ROUTE["target"]}
    said = refusal(on_the_emulator(ROUTES=json.dumps([LOCAL, azure])))
    assert "the route 'real' uses https://" in said
    assert "Put every account on the emulator." in said


@pytest.mark.parametrize("end", ["source", "target"])
@pytest.mark.parametrize(
    ("environment", "url", "account"),
    [
        (ON_AZURE, "https://sharingstate.blob.core.windows.net/dead-letters/", "state account"),
        (ON_AZURE, "https://sharingevents.dfs.core.windows.net/event-dead-letters/", "events account"),
        (on_the_emulator(), "http://localhost:10000/sharingevents/event-dead-letters/", "events account"),
    ],
)
def test_a_route_does_not_lead_to_an_account_of_the_app_itself(
    environment: dict[str, str], url: str, account: str, end: str
) -> None:
    """What the app keeps is not shared, and is not overwritten by what is."""
    [route] = json.loads(environment["ROUTES"])
    said = refusal({**environment, "ROUTES": json.dumps([{**route, end: url}])})
    assert said.startswith("The setting ROUTES is ")
    assert f"which is in the app's own {account}" in said


def test_one_setting_scales_the_three_times() -> None:
    """Window, timeout and settle keep their proportions."""
    times = from_env(on_azure(WINDOW_SECONDS="0.5")).times
    assert (times.window, times.timeout, times.settle) == (0.5, 2.0, 3)
    times = from_env(ON_AZURE).times
    assert (times.window, times.timeout, times.settle) == (15.0, 60.0, 90)


@pytest.mark.parametrize(
    "pasted", ["%3Fsv=1%26sig%3DSECRET", r"\u0026sig\u003dSECRET", "%253Fsv%253D1%2526sig%253DSECRET"]
)
def test_a_signature_in_any_spelling_is_not_shown(pasted: str) -> None:
    """Percent-encoded, or escaped as JSON may be: the value of the variable is part of the message."""
    routes = json.dumps([ROUTE]).replace("/target/", f"/target/{pasted}")
    for text in (f"{routes} and more", routes.replace('"name"', '"nome"'), f"[{pasted}"):
        said = refusal(on_azure(ROUTES=text))
        assert said.startswith("The setting ROUTES is ")
        assert "SECRET" not in said


def test_a_user_assigned_identity_is_named_by_its_client_id() -> None:
    """As the host itself reads it; without it the system-assigned one is used."""
    client_id = "11111111-1111-1111-1111-111111111111"
    named = dict.fromkeys(("AzureWebJobsStorage__clientId", "EVENTS__clientId"), client_id)
    assert from_env(on_azure(**named)).client_id == client_id
    assert from_env(on_azure(**dict.fromkeys(named, ""))).client_id is None
    assert from_env(ON_AZURE).client_id is None

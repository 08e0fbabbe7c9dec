"""Targets in other tenants: the real credential classes against a token service that checks every part of the exchange."""

import asyncio
import json
import logging
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ClientAssertionCredential, DefaultAzureCredential

from adapters.clients import Clients, Use
from adapters.codes import ENTRA_CODES, Meaning
from adapters.credentials import PUBLIC, Partner, PartnerCredential, PartnerRefused, cloud_of
from adapters.recipients import CloudRecipients
from adapters.source import SourceBlobs
from adapters.target import TargetBlobs
from adapters.translation import TARGET_COPY, TARGET_HEAD, TARGET_STAGE, error_for_answer, translate_error
from ports.blobs import Copy, CopySource
from rules.errors import LookAgain, Reason, Retryable
from rules.routes.model import Blob, Engine, Place, Recipient
from rules.transfers.policies import Times
from settings import OWN_ACCOUNTS, from_env
from wiring import Wiring

HOME, TENANT, CLIENT, IDENTITY, SUBJECT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "12345")
SOURCE = Blob("https://ours.blob.core.windows.net", "source", "a b")
TARGET = Blob("https://partner.blob.core.windows.net", "inbox", "a b")
QUEUE = Recipient("https://partner.queue.core.windows.net", "arrivals", TENANT)
TOPIC = Recipient("https://partner.westeurope-1.eventgrid.azure.net/api/events", tenant=TENANT)
LOGIN, STORAGE = "login.microsoftonline.com", "https://storage.azure.com/.default"
SCOPES = (STORAGE, "https://eventgrid.azure.net/.default")
BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TIME = "Mon, 30 Nov 2026 10:00:00 GMT"
PUT_MESSAGE = (
    "<QueueMessagesList><QueueMessage><MessageId>1</MessageId><PopReceipt>1</PopReceipt>"
    + "".join(f"<{name}>{TIME}</{name}>" for name in ("InsertionTime", "ExpirationTime", "TimeNextVisible"))
    + "</QueueMessage></QueueMessagesList>"
)
LIST = b"<EnumerationResults><Blobs/></EnumerationResults>"
NUMBERS = {
    "AADSTS90002": "Tenant '{tenant}' not found.",
    "AADSTS700016": "Application with identifier '{client}' was not found in the directory 'Partner'.",
    "AADSTS7000229": "The client application {client} is missing service principal in the tenant {tenant}.",
    "AADSTS700211": "No matching federated identity record found for presented assertion issuer '{iss}'.",
    "AADSTS700212": "No matching federated identity record found for presented assertion audience '{aud}'.",
    "AADSTS700213": "No matching federated identity record found for presented assertion subject '{sub}'.",
    "AADSTS900144": "The request body must contain the following parameter.",
}


@dataclass
class Federation:
    """The federated credential of the app registration."""

    issuer: str = f"https://{LOGIN}/{HOME}/v2.0"
    subject: str = SUBJECT
    audience: str = "api://AzureADTokenExchange"


@dataclass
class World:
    """The managed identity, Entra ID and two storage accounts. It counts requests, and checks tokens."""

    federation: Federation = field(default_factory=Federation)
    principals: set[tuple[str, str]] = field(default_factory=lambda: {(TENANT, CLIENT)})
    tenants: set[str] = field(default_factory=lambda: {HOME, TENANT})
    account_tenant: str = TENANT
    lifetime: int = 3600
    assertion_lifetime: int = 86400
    asked: Counter[str] = field(default_factory=Counter)
    secrets: list[str] = field(default_factory=list)
    port: int = 0

    def _token(self, claims: dict[str, Any]) -> str:
        body = urlsafe_b64encode(json.dumps({**claims, "jti": len(self.secrets)}).encode()).decode().rstrip("=")
        self.secrets.append(f"e30.{body}.c2lnbmF0dXJl{len(self.secrets):04}")
        return self.secrets[-1]

    async def identity(self, request: web.Request) -> web.Response:
        """App Service's endpoint of the managed identity."""
        assert request.headers["X-IDENTITY-HEADER"] == "an-identity-header"
        assert request.query["client_id"] == IDENTITY
        audience = request.query["resource"]
        self.asked[audience] += 1
        exchange = audience.startswith("api:")
        claims = {"iss": f"https://{LOGIN}/{HOME}/v2.0", "sub": SUBJECT, "aud": audience, "tid": HOME}
        expires = int(time.time()) + (self.assertion_lifetime if exchange else 86400)
        answer = {"access_token": self._token(claims), "expires_on": str(expires), "token_type": "Bearer"}
        return web.json_response({**answer, "resource": audience})

    async def token(self, request: web.Request) -> web.Response:
        """Entra ID's token endpoint."""
        self.asked["token"] += 1
        await asyncio.sleep(0.01)
        form, tenant = await request.post(), request.match_info["tenant"]
        if number := self._refusal(tenant, {key: str(value) for key, value in form.items()}):
            claims = claims_of(str(form.get("client_assertion", "")))
            words = NUMBERS[number].format(tenant=tenant, client=form.get("client_id"), **claims)
            trace = "Trace ID: 0a1b2c3d-trace Correlation ID: 4e5f-correlation Timestamp: 2026-11-24 19:02:44Z"
            body: dict[str, Any] = {"error": "invalid_client", "error_description": f"{number}: {words} {trace}"}
            body |= {"error_codes": [int(number.removeprefix("AADSTS"))], "trace_id": "0a1b2c3d-trace"}
            return web.json_response(body, status=401 if number == "AADSTS7000229" else 400)
        claims = {"tid": tenant, "appid": form["client_id"], "aud": "https://storage.azure.com"}
        answer = {"token_type": "Bearer", "expires_in": self.lifetime, "access_token": self._token(claims)}
        return web.json_response(answer)

    def _refusal(self, tenant: str, form: dict[str, str]) -> str:
        claims = claims_of(form.get("client_assertion", ""))
        given = (form.get("grant_type"), form.get("client_assertion_type"), form.get("scope"))
        checks = {
            "AADSTS900144": given[:2] == ("client_credentials", BEARER)
            and given[2] in SCOPES
            and "client_secret" not in form,
            "AADSTS90002": tenant in self.tenants,
            "AADSTS700016": form.get("client_id") == CLIENT,
            "AADSTS7000229": (tenant, form.get("client_id")) in self.principals,
            "AADSTS700211": claims["iss"] == self.federation.issuer,
            "AADSTS700212": claims["aud"] == self.federation.audience,
            "AADSTS700213": claims["sub"] == self.federation.subject,
        }
        return next((number for number, is_right in checks.items() if not is_right), "")

    async def blobs(self, request: web.Request) -> web.Response:
        """A storage account, which accepts tokens of its own tenant only."""
        account = request.match_info["host"].partition(".")[0]
        self.asked[account] += 1
        claims = claims_of(request.headers["Authorization"].removeprefix("Bearer "))
        tenant = self.account_tenant if account == "partner" else HOME
        if claims["tid"] != tenant:
            challenge = f"Bearer authorization_uri=https://{LOGIN}/{tenant}/oauth2/authorize resource_id=https://storage.azure.com"
            headers = {"x-ms-error-code": "InvalidAuthenticationInfo", "WWW-Authenticate": challenge}
            return web.Response(status=401, headers=headers)
        if "comp" in request.query:
            return web.Response(body=LIST, content_type="application/xml")
        if request.method == "POST":
            return web.Response(
                status=200 if "/events" in request.path else 201, text=PUT_MESSAGE, content_type="application/xml"
            )
        if request.method == "PUT":
            return web.Response(status=202, headers={"x-ms-copy-status": "success"})
        return web.Response(status=404, headers={"x-ms-error-code": "BlobNotFound"})


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


class Forwarding(AioHttpTransport):  # type: ignore[misc]  # untyped
    """Sends each request for `https://<host>/<path>` to the world's server, as `/<host>/<path>`."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def send(self, request: Any, **options: Any) -> Any:
        url = request.url
        request.url = url.replace("https://", f"http://127.0.0.1:{self._world.port}/", 1)
        try:
            return await super().send(request, **options)
        finally:
            request.url = url


class Forwarded(Clients):
    """Clients whose requests to Azure go to the world's server."""

    def __init__(self, world: World, partner: Partner) -> None:
        partners = dict.fromkeys((TARGET.endpoint, QUEUE.endpoint, TOPIC.endpoint), partner)
        super().__init__(None, Times(1), "test", IDENTITY, partners)
        self.transport = Forwarding(world)

    def _options(self, endpoint: str, use: Use) -> dict[str, Any]:
        return super()._options(endpoint, use) | {"transport": self.transport}

    async def aclose(self) -> None:
        await super().aclose()
        await self.transport.close()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World()
    application = web.Application()
    application.router.add_get("/identity", made.identity)
    application.router.add_post(f"/{LOGIN}/{{tenant}}/oauth2/v2.0/token", made.token)
    application.router.add_route("*", "/{host}/{path:.*}", made.blobs)
    async with TestServer(application) as server:
        made.port = server.port or 0
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{made.port}/identity")
        monkeypatch.setenv("IDENTITY_HEADER", "an-identity-header")
        exchange = partial(ClientAssertionCredential, transport=Forwarding(made))
        monkeypatch.setattr("adapters.credentials.ClientAssertionCredential", exchange)
        yield made


@pytest.fixture
async def clients(world: World) -> AsyncIterator[Clients]:
    made = Forwarded(world, Partner(TENANT, CLIENT))
    yield made
    await made.aclose()


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again after each refusal."""
    monkeypatch.setattr("adapters.credentials.REFUSED_SECONDS", 0.0)


async def refusal(clients: Clients) -> Retryable:
    with pytest.raises(Retryable) as caught:
        await TargetBlobs(clients).head(TARGET)
    return caught.value


async def test_the_target_gets_a_token_of_its_tenant_and_the_source_one_of_the_apps(
    clients: Clients, world: World
) -> None:
    """The SDK's clients and the app's own requests, reads and acts."""
    copy = Copy(TARGET, CopySource(f"{SOURCE.url}?sig=x"), "0x1", Engine.SYNC, {})
    target = TargetBlobs(clients)
    assert await SourceBlobs(clients).head(SOURCE) is None
    assert await target.head(TARGET) is None
    assert await target.page(Place(TARGET.endpoint, TARGET.container), 5, None) == ([], None)
    assert await target.copy(copy) is not None
    assert world.asked == {
        "https://storage.azure.com": 1,
        "api://AzureADTokenExchange": 1,
        "token": 1,
        "ours": 1,
        "partner": 3,
    }


async def test_recipients_get_a_token_of_their_tenant(clients: Clients, world: World) -> None:
    """A queue one for storage, a topic one for Event Grid."""
    for recipient in (QUEUE, TOPIC, QUEUE, TOPIC):
        await CloudRecipients(clients).send(recipient, {"specversion": "1.0", "id": "1", "type": "t", "source": "s"})
    assert world.asked == {"api://AzureADTokenExchange": 1, "token": 2, "partner": 4}


async def test_a_recipient_in_a_tenant_without_the_registration_is_named(clients: Clients, world: World) -> None:
    world.principals = set()
    for recipient in (QUEUE, TOPIC):
        with pytest.raises(Retryable) as caught:
            await CloudRecipients(clients).send(
                recipient, {"specversion": "1.0", "id": "1", "type": "t", "source": "s"}
            )
        assert (caught.value.reason, caught.value.code) == (Reason.NOT_NOTIFIED, "AADSTS7000229")


async def test_the_emulator_and_other_accounts_get_no_partners_token(clients: Clients) -> None:
    assert isinstance(clients._credential(TARGET.endpoint), PartnerCredential)
    assert not isinstance(clients._credential("https://partner2.blob.core.windows.net"), PartnerCredential)
    local = Clients("a2V5", Times(1), "test", IDENTITY, {TARGET.endpoint: Partner(TENANT, CLIENT)})
    assert isinstance(local._credential("http://127.0.0.1:10000/partner"), dict)
    await local.aclose()


async def test_the_credential_follows_from_the_routes_of_the_settings() -> None:
    """Not from a transfer, which may be older than the route's tenant."""
    target = {"url": f"{TARGET.endpoint}/inbox/", "tenant": TENANT.upper()}
    environment = {
        "ROUTES": json.dumps([{"name": "partner", "source": f"{SOURCE.endpoint}/source/", "target": target}]),
        "AzureWebJobsStorage__accountName": "sharingstate",
        "EVENTS__accountName": "sharingevents",
        "SHARING_CLIENT_ID": CLIENT,
        **{f"{connection}__clientId": IDENTITY for connection in OWN_ACCOUNTS},
    }
    clients = Wiring(from_env(environment))._clients
    credential = clients._credential(TARGET.endpoint)
    assert isinstance(credential, PartnerCredential)
    assert clients._partners == {TARGET.endpoint: Partner(TENANT, CLIENT)}
    assert not isinstance(clients._credential(SOURCE.endpoint), PartnerCredential)
    await clients.aclose()


async def test_two_accounts_of_one_tenant_share_a_credential() -> None:
    other = "https://partner2.blob.core.windows.net"
    partner = Partner(TENANT, CLIENT)
    clients = Clients(None, Times(1), "test", IDENTITY, {TARGET.endpoint: partner, other: replace(partner)})
    assert clients._credential(TARGET.endpoint) is clients._credential(other)
    await clients.aclose()


WRONG: dict[str, dict[str, Any]] = {
    "AADSTS90002": {"tenants": {HOME}},
    "AADSTS7000229": {"principals": set()},
    "AADSTS700211": {"federation": Federation(issuer=f"https://{LOGIN}/{TENANT}/v2.0")},
    "AADSTS700212": {"federation": Federation(audience="api://AzureADTokenExchangeUSGov")},
    "AADSTS700213": {"federation": Federation(subject=IDENTITY)},
}


@pytest.mark.parametrize("number", WRONG)
async def test_a_refusal_shows_its_number_and_the_fix_and_nothing_else(
    number: str, clients: Clients, world: World
) -> None:
    vars(world).update(WRONG[number])
    error = await refusal(clients)
    assert (error.reason, error.code) == (Reason.TARGET_UNWRITABLE, number)
    assert error.detail == f"{number}: {ENTRA_CODES[number]}"
    assert world.asked["partner"] == 0


async def test_a_wrong_registration_is_refused(world: World) -> None:
    clients = Forwarded(world, Partner(TENANT, IDENTITY))
    assert (await refusal(clients)).code == "AADSTS700016"
    await clients.aclose()


async def test_an_identity_that_gives_no_token_is_named(
    clients: Clients, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def fail(*_scopes: str) -> None:
        raise PartnerRefused("AADSTS1234567 of the app's own tenant")

    credential = clients._credential(TARGET.endpoint)
    assert isinstance(credential, PartnerCredential)
    monkeypatch.setattr(credential._identity, "get_token", fail)
    error = await refusal(clients)
    assert (error.reason, error.detail) == (Reason.TARGET_UNWRITABLE, f"NoAssertion: {Meaning.NO_ASSERTION}")
    assert world.asked["token"] == 0


async def test_an_account_in_a_third_tenant_is_named(clients: Clients, world: World) -> None:
    """The SDK asks for a token of the tenant that the account names, and gets none of it."""
    world.account_tenant = HOME
    error = await refusal(clients)
    assert (error.status, error.code) == (401, "InvalidAuthenticationInfo")
    with pytest.raises(Retryable) as caught:
        await TargetBlobs(clients).page(Place(TARGET.endpoint, TARGET.container), 5, None)
    assert all(Meaning.WRONG_TENANT in each.detail for each in (error, caught.value))
    world.account_tenant = TENANT
    assert await TargetBlobs(clients).head(TARGET) is None
    assert world.asked["token"] == 1


async def test_fifty_concurrent_requests_ask_for_one_token(clients: Clients, world: World) -> None:
    target = TargetBlobs(clients)
    listing = [target.page(Place(TARGET.endpoint, TARGET.container), 5, None) for _ in range(25)]
    await asyncio.gather(*(target.head(TARGET) for _ in range(25)), *listing)
    assert (world.asked["api://AzureADTokenExchange"], world.asked["token"], world.asked["partner"]) == (1, 1, 50)


async def test_fifty_concurrent_requests_share_one_refusal(clients: Clients, world: World) -> None:
    world.principals = set()
    target = TargetBlobs(clients)
    answers = await asyncio.gather(*(target.head(TARGET) for _ in range(50)), return_exceptions=True)
    assert {getattr(answer, "code", "") for answer in answers} == {"AADSTS7000229"}
    assert (world.asked["token"], world.asked["partner"]) == (1, 0)


async def test_an_expired_token_is_renewed_with_the_same_assertion(clients: Clients, world: World) -> None:
    world.lifetime = 0
    for _ in range(3):
        assert await TargetBlobs(clients).head(TARGET) is None
    assert (world.asked["api://AzureADTokenExchange"], world.asked["token"]) == (1, 3)


async def test_an_expired_assertion_is_renewed(clients: Clients, world: World) -> None:
    world.lifetime = world.assertion_lifetime = 0
    for _ in range(3):
        assert await TargetBlobs(clients).head(TARGET) is None
    assert (world.asked["api://AzureADTokenExchange"], world.asked["token"]) == (3, 3)


@pytest.mark.usefixtures("forgetful")
async def test_a_removed_service_principal_stops_the_next_request_and_a_new_one_is_found(
    clients: Clients, world: World
) -> None:
    world.lifetime = 0
    assert await TargetBlobs(clients).head(TARGET) is None
    world.principals = set()
    error = await refusal(clients)
    assert (error.reason, error.code) == (Reason.TARGET_UNWRITABLE, "AADSTS7000229")
    assert "az ad sp create" in error.detail
    world.principals = {(TENANT, CLIENT)}
    assert await TargetBlobs(clients).head(TARGET) is None


async def test_an_act_without_a_token_has_no_effect(clients: Clients, world: World) -> None:
    """So it is not an act with an unknown effect, and is not throttled."""
    world.principals = set()
    copy = Copy(TARGET, CopySource(f"{SOURCE.url}?sig=x"), "0x1", Engine.SYNC, {})
    with pytest.raises(Retryable) as caught:
        await TargetBlobs(clients).copy(copy)
    assert not isinstance(caught.value, LookAgain)
    assert caught.value.reason is Reason.TARGET_UNWRITABLE


@pytest.mark.usefixtures("forgetful")
async def test_no_token_and_no_assertion_is_shown(
    clients: Clients, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does an error show an id of Entra ID's answer."""
    caplog.set_level(logging.DEBUG)
    world.lifetime = 0
    await TargetBlobs(clients).head(TARGET)
    world.principals = set()
    error = await refusal(clients)
    credential = clients._credential(TARGET.endpoint)
    shown = [caplog.text, repr(error), str(error), repr(credential), str(error.__context__), repr(clients)]
    assert len(world.secrets) == 2
    assert [secret for secret in world.secrets for text in shown if secret in text] == []
    assert not any(word in f"{error!r} {error.__context__!r}" for word in ("0a1b2c3d", "4e5f", TENANT, CLIENT))


@pytest.mark.parametrize(
    ("endpoint", "host", "audience"),
    [
        (TARGET.endpoint, LOGIN, "api://AzureADTokenExchange"),
        ("https://a.z1.blob.storage.azure.net", LOGIN, "api://AzureADTokenExchange"),
        ("https://a.blob.core.usgovcloudapi.net", "login.microsoftonline.us", "api://AzureADTokenExchangeUSGov"),
        ("https://a.blob.core.chinacloudapi.cn", "login.chinacloudapi.cn", "api://AzureADTokenExchangeChina"),
    ],
)
def test_each_cloud_has_its_token_service_and_its_audience(endpoint: str, host: str, audience: str) -> None:
    cloud = cloud_of(endpoint)
    assert (cloud.authority, cloud.audience) == (host, audience)


async def test_the_context_manager_closes_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    credential = PartnerCredential(Partner(TENANT, CLIENT), PUBLIC, DefaultAzureCredential())
    monkeypatch.setattr(credential, "close", partial(_note, closed))
    async with credential:
        assert closed == []
    assert closed == [None]


async def _note(closed: list[object]) -> None:
    closed.append(None)


def test_refusals_of_the_account_are_told_apart() -> None:
    role = error_for_answer(TARGET_HEAD, 403, "AuthorizationPermissionMismatch")
    firewall = error_for_answer(TARGET_HEAD, 403, "AuthorizationFailure")
    copies = [error_for_answer(each, 403, "AuthorizationFailure") for each in (TARGET_COPY, TARGET_STAGE)]
    principal = translate_error(PartnerRefused("AADSTS7000229"), TARGET_HEAD)
    unknown = translate_error(PartnerRefused(""), TARGET_HEAD)
    texts = {error.detail.partition(": ")[2] or error.detail for error in (role, firewall, *copies, principal, unknown)}
    assert len(texts) == 5
    assert all(isinstance(error, Retryable) for error in (role, firewall, *copies, principal, unknown))
    assert all("allowedCopyScope" in error.detail for error in copies)

"""The credential for accounts in other Entra tenants. No secret exists: the app's managed identity proves the app.

Entra ID exchanges a token of the identity, the assertion, for a token of the app registration in the partner's tenant. The
registration must have a federated credential for the identity, and a service principal in that tenant (docs/partners.md).
"""

import asyncio
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import AzureAuthorityHosts
from azure.identity.aio import ClientAssertionCredential

# The number at the start of Entra ID's message. The rest of the message holds ids, which belong in no dead letter.
NUMBER = re.compile(r"AADSTS\d{4,8}(?!\d)", re.ASCII)
NO_ASSERTION = "NoAssertion"
# For how long a refusal counts. Without it, each of many concurrent requests would wait for a refusal of its own.
REFUSED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud's token service, and the audience of an assertion there. The app and its targets are in one cloud."""

    authority: str
    audience: str


PUBLIC = Cloud(AzureAuthorityHosts.AZURE_PUBLIC_CLOUD, "api://AzureADTokenExchange")
CLOUDS = {
    (".usgovcloudapi.net", ".azure.us"): Cloud(AzureAuthorityHosts.AZURE_GOVERNMENT, "api://AzureADTokenExchangeUSGov"),
    (".chinacloudapi.cn", ".azure.cn"): Cloud(AzureAuthorityHosts.AZURE_CHINA, "api://AzureADTokenExchangeChina"),
}


@dataclass(frozen=True, slots=True)
class Partner:
    """A tenant other than the app's own, and the client id of the app registration that is known there."""

    tenant: str
    client_id: str


class PartnerRefused(ClientAuthenticationError):
    """There is no token for the partner's tenant. `code` is Entra ID's number, such as `AADSTS7000229`, or one of this module."""

    def __init__(self, code: str) -> None:
        super().__init__(code or "no token for the partner's tenant")
        self.code = code


class PartnerCredential(AsyncTokenCredential):
    """Tokens of the app registration in a partner's tenant. Concurrent callers share one request."""

    def __init__(self, partner: Partner, cloud: Cloud, identity: AsyncTokenCredential) -> None:
        """`identity` gives the assertion and caches it; this does not close it."""
        self._scope = f"{cloud.audience}/.default"
        self._identity = identity
        self._assertion = ""
        # azure-identity calls the function in the event loop, so it must not wait. `get_token` has set the assertion before.
        self._exchange = ClientAssertionCredential(
            partner.tenant, partner.client_id, lambda: self._assertion, authority=cloud.authority
        )
        self._lock = asyncio.Lock()
        self._refusal = ""
        self._refused_until = float("-inf")

    async def get_token(self, *scopes: str, tenant_id: str | None = None, **options: Any) -> AccessToken:  # noqa: ARG002
        """Return a token, a cached one if it is still valid. `tenant_id`, an account's wish for another tenant, is ignored.

        Raises:
            PartnerRefused: Entra ID refused, now or a few seconds ago.
        """
        async with self._lock:
            if time.monotonic() < self._refused_until:
                raise PartnerRefused(self._refusal)
            try:
                self._assertion = await self._fetch_assertion()
                return await self._exchange.get_token(*scopes, **options)
            except ClientAuthenticationError as error:
                self._refusal, self._refused_until = _code_of(error), time.monotonic() + REFUSED_SECONDS
                raise PartnerRefused(self._refusal) from None

    async def _fetch_assertion(self) -> str:
        try:
            return (await self._identity.get_token(self._scope)).token
        except ClientAuthenticationError:  # a number in this message would not be about the partner's tenant
            raise PartnerRefused(NO_ASSERTION) from None

    async def close(self) -> None:
        """Close the connections to Entra ID."""
        await self._exchange.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


def _code_of(error: ClientAuthenticationError) -> str:
    if isinstance(error, PartnerRefused):
        return error.code
    number = NUMBER.search(str(error.message))
    return number[0] if number else ""


def cloud_of(endpoint: str) -> Cloud:
    """Return the cloud of an account or a topic."""
    host = urlsplit(endpoint).hostname or ""
    return next((cloud for suffixes, cloud in CLOUDS.items() if host.endswith(suffixes)), PUBLIC)

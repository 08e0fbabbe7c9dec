"""What keeps the smoke test from going on, in one line that names the fix."""

from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

LOGIN = "neither azd nor az gave a token. Fix: azd auth login"
# https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes. The service tells its firewall from its
# roles by the code alone: both are a 403.
CODES = {
    "AuthorizationFailure": "the account's firewall does not let this machine in. Fix: azd env set CLIENT_IP <your public "
    "IPv4 address>; azd provision --no-state. An account that azd did not make: az storage account network-rule add",
    "AuthorizationPermissionMismatch": "you have no role for it. Fix: azd env set TESTER_ACCESS true; azd provision --no-state; then "
    "wait, roles take minutes to spread. An account that azd did not make needs Storage Blob Data Contributor for you, too",
    "ContainerNotFound": "the container is not there. Fix: azd provision --no-state",
    "InvalidAuthenticationInfo": "the token is of another tenant, or too old. Fix: azd auth login --tenant-id <the "
    "subscription's tenant>, and azd env set AZURE_TENANT_ID <the same>",
    "MetadataTooLarge": "the service takes less metadata than the app thinks",
}


# What a role or a firewall rule that was just made answers until it has spread.
SPREADING = frozenset({"AuthorizationFailure", "AuthorizationPermissionMismatch"})


class Trouble(Exception):
    """It cannot go on; the message says why, and what to do. `code` is what a service refused it with, if one did."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def asking(what: str, where: str) -> Iterator[None]:
    """Turn what the SDK raises into trouble: by the service's error code, never by a message, which may show a URL.

    Raises:
        Trouble: the request failed.
    """
    try:
        yield
    except AzureError as error:
        if not isinstance(error, HttpResponseError) or error.response is None:
            raise Trouble(f"{where} could not be asked to {what}: {unanswered(error)}") from None
        code = code_of(error)
        why = CODES.get(code, "Fix: look the code up in the documentation of Azure Storage")
        raise Trouble(f"{where} refused to {what} ({error.status_code} {code}): {why}", code) from None


def code_of(error: HttpResponseError) -> str:
    """The service's error code; the class of the error where it carries none."""
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code)) or type(error).__name__


def unanswered(error: AzureError) -> str:
    """Why there is no answer at all."""
    if isinstance(error, ClientAuthenticationError):
        return LOGIN
    return f"there was no answer ({type(error).__name__}). Fix: look at the name, and at the way there: DNS, proxy, VPN"

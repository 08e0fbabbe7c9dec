"""What keeps the smoke test from going on, in one line that names the fix."""

from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

LOGIN = "neither azd nor az returned a token. Fix: azd auth login"
# https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes. The service tells its firewall from its
# roles by the code alone: both are a 403.
CODES = {
    "AuthorizationFailure": "the account's firewall blocks this machine. Fix: azd env set CLIENT_IP <your public "
    "IPv4 address>; azd provision --no-state. For an account that azd did not create: az storage account network-rule add",
    "AuthorizationPermissionMismatch": "your account lacks the role. Fix: azd env set TESTER_ACCESS true; azd provision --no-state; then "
    "wait some minutes for the role to take effect. For an account that azd did not create, assign yourself Storage Blob Data Contributor",
    "ContainerNotFound": "the container does not exist. Fix: azd provision --no-state",
    "InvalidAuthenticationInfo": "the token has expired or belongs to another tenant. Fix: azd auth login --tenant-id <the "
    "subscription's tenant>, and azd env set AZURE_TENANT_ID <the same>",
    "MetadataTooLarge": "the service accepts less metadata than the app expects",
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
            raise Trouble(f"{where} could not be reached to {what}: {unanswered(error)}") from None
        code = code_of(error)
        why = CODES.get(code, "Fix: look up the code in the Azure Storage documentation")
        raise Trouble(f"{where} refused to {what} ({error.status_code} {code}): {why}", code) from None


def code_of(error: HttpResponseError) -> str:
    """The service's error code; the class of the error where it carries none."""
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code)) or type(error).__name__


def unanswered(error: AzureError) -> str:
    """Why there is no answer at all."""
    if isinstance(error, ClientAuthenticationError):
        return LOGIN
    return f"no answer ({type(error).__name__}). Fix: check the name and the network path (DNS, proxy, VPN)"

"""What to do about an error of one of the doctor's trials, with the command to type."""

from http import HTTPStatus

from rules.errors import CANNOT_VERIFY_SOURCE, NO_ANSWER, Failure, StorageError
from rules.routes.model import Blob, Place, Recipient, Route

READER, CONTRIBUTOR = "Storage Blob Data Reader", "Storage Blob Data Contributor"
DELEGATOR = "Storage Blob Delegator"
IDENTITY = '"$(azd env get-value APP_IDENTITY)"'
APP = '--name "$(azd env get-value FUNCTION_APP)" --resource-group "$(azd env get-value RESOURCE_GROUP)"'
HUB_FIX = (
    "Give the app its roles on the state account: `azd provision`. Then restart it, which loses nothing: "
    f"`az functionapp restart {APP}`."
)
EVENT_FIX = (
    "See whether an Event Grid subscription for this container and prefix exists and delivers: `az eventgrid system-topic "
    'event-subscription list --resource-group "$(az storage account show --name {account} --query resourceGroup --output tsv)" '
    "--system-topic-name evgt-{account} --output table`. `azd provision` creates what is missing. Then share what was missed: "
    "`sharing reconcile {route}`."
)
BACKLOG_FIX = (
    "Wait, or see docs/operating.md, `queue.depth`: no instance accepts events, or more arrive than the app can start."
)
CLOCK_FIX = (
    "Correct the clock of the machine that runs the app: `sudo timedatectl set-ntp true`. On Azure, restart the app: "
    f"`az functionapp restart {APP}`."
)
BUSY_FIX = "Wait a minute, then try again. If it lasts, see https://status.azure.com and the metrics of the account."
TOKEN_FIX = (
    f"The app's identity got no token. See whether the app has it: `az functionapp identity show {APP}`. "
    "`azd provision` restores identity and settings."
)
KEY_FIX = (
    "The account has another key than the app. Correct AccountKey in AzureWebJobsStorage and EVENTS, on the local stack "
    "DEVHOST_KEY, and restart the app."
)


def container_fix(error: StorageError, place: Place, role: str, *, tenant: str | None = None) -> str:
    """Return what to do about an error of a source or target. `role` is what the app needs on its container."""
    account, container = place.account, place.container
    if error.code in {"ContainerNotFound", "ContainerBeingDeleted"}:
        wait = "Wait until it is deleted, then create" if error.code == "ContainerBeingDeleted" else "Create"
        return (
            f"{wait} it: `az storage container create --name {container} --account-name {account} --auth-mode login`."
        )
    if "Tier" in error.code or error.code == "BlobTypeNotSupported":
        use = (
            "Use an account for block blobs"
            if error.code == "BlobTypeNotSupported"
            else "Remove `tier` from the route, or use an account that offers it"
        )
        return f'{use}. The kind of this one: `az storage account show --name {account} --query "[kind, sku.name]" --output tsv`.'
    if "Immutable" in error.code or "Lease" in error.code:
        return (
            f"A policy or a lease protects the blobs of the container {container} in {account}: `az storage container "
            f"immutability-policy show --container-name {container} --account-name {account}`. Share into another container."
        )
    scope = f"{_account_id(account)}/blobServices/default/containers/{container}"
    return _account_fix(error, account, place.endpoint, tenant) or role_fix(role, scope)


def signing_fix(error: StorageError, route: Route) -> str:
    """Return what to do if the app cannot sign the URLs of a source."""
    account = route.source.account
    return _account_fix(error, account, route.source.endpoint, None) or role_fix(DELEGATOR, _account_id(account))


def recipient_fix(error: StorageError, recipient: Recipient) -> str:
    """Return what to do about a recipient that cannot be notified."""
    account = Place(recipient.endpoint, "").account
    if error.code == "QueueNotFound":
        return (
            f"Create it: `az storage queue create --name {recipient.queue} --account-name {account} --auth-mode login`."
        )
    if not recipient.queue and (error.status == HTTPStatus.NOT_FOUND or error.detail.startswith(NO_ANSWER)):
        return (
            f"See whether the topic {recipient.endpoint} exists: `az eventgrid topic list --query [].endpoint --output tsv`. Create it, or "
            "correct the route's `notify`."
        )
    if recipient.queue:
        role, scope = "Storage Queue Data Message Sender", f"{_account_id(account)}/queueServices/default/queues/"
        fix = _account_fix(error, account, recipient.endpoint, recipient.tenant)
        return fix or role_fix(role, f"{scope}{recipient.queue}")
    topic = f"$(az eventgrid topic list --query \"[?endpoint=='{recipient.endpoint}'].id\" --output tsv)"
    return (BUSY_FIX if _is_busy(error) else _partner_fix(recipient.tenant)) or role_fix("EventGrid Data Sender", topic)


def copy_fix(error: StorageError, route: Route) -> str:
    """Return what to do if the target's service does not copy a blob that the app can read."""
    source, target = route.source.account, route.target.account
    if error.code == CANNOT_VERIFY_SOURCE:
        if "AuthorizationPermissionMismatch" in error.detail:
            return container_fix(
                StorageError(
                    error.operation, error.detail, code="AuthorizationPermissionMismatch", status=error.status
                ),
                route.source,
                READER,
            )
        return (
            f"The service of {target} cannot read {source}. Let the app's subnet through the firewall of {source}: "
            f"{_subnet_command(source)}. If it is in already, see docs/network.md."
        )
    if error.code == "AuthorizationFailure":
        return (
            f"The account {target} refuses copies. See its permitted copy scope: `az storage account show --name {target} --query "
            "allowedCopyScope`. If that is empty, see its firewall (docs/partners.md)."
        )
    return container_fix(error, route.target, CONTRIBUTOR, tenant=route.tenant)


def delete_fix(blob: Blob) -> str:
    """Return how to delete a probe that the app has left."""
    account = Place(blob.endpoint, "").account
    return (
        f"Delete the probe that is left: `az storage blob delete --account-name {account} --container-name {blob.container} "
        f"--name '{blob.name}' --auth-mode login`."
    )


def role_fix(role: str, scope: str) -> str:
    """Return how to give the app a role."""
    return (
        f"Give the app the role, and wait ten minutes: `az role assignment create --assignee {IDENTITY} --role "
        f'"{role}" --scope "{scope}"`.'
    )


def _account_fix(error: StorageError, account: str, endpoint: str, tenant: str | None) -> str:  # noqa: PLR0911  # a table
    """Return what to do about an error that concerns the whole account; "" if a role is missing on a part of it."""
    show = f"az storage account show --name {account}"
    if error.detail.startswith(NO_ANSWER):
        return (
            f"There is no answer from {endpoint}. See whether the account exists and what its network lets in: `{show} --query "
            '"[primaryEndpoints.blob, publicNetworkAccess, networkRuleSet.defaultAction]" --output tsv`. With a private endpoint, its name must '
            "be resolved in the app's network (docs/network.md)."
        )
    if error.code == "AuthorizationFailure":
        return f"Let the app through the firewall of {account}, and wait a minute: {_subnet_command(account)}."
    if error.code == "AccountIsDisabled":
        return f"The account is disabled, such as by its owner's subscription: `{show} --query statusOfPrimary --output tsv`."
    if _is_busy(error):
        return BUSY_FIX
    if partner := _partner_fix(tenant):
        return partner
    if error.code == "InvalidAuthenticationInfo":
        return (
            "The account is probably not in the app's tenant, which is the output of: `azd env get-value AZURE_TENANT_ID`. Name the "
            "account's tenant in the route (docs/partners.md)."
        )
    if error.code == "AuthenticationFailed":
        return KEY_FIX
    if not error.code and not error.status:
        return TOKEN_FIX
    refused = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    return error.reason.hint if isinstance(error, Failure) and error.status not in refused else ""


def _is_busy(error: StorageError) -> bool:
    return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status == HTTPStatus.TOO_MANY_REQUESTS


def _partner_fix(tenant: str | None) -> str:
    return "" if tenant is None else "See the table in docs/partners.md; its owner runs the commands there."


def _subnet_command(account: str) -> str:
    return f'`az storage account network-rule add --account-name {account} --subnet "$(azd env get-value APP_SUBNET)"`'


def _account_id(account: str) -> str:
    return f"$(az storage account show --name {account} --query id --output tsv)"

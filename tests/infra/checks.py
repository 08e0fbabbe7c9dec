"""Rules for every deployment: each check returns what is wrong, or an empty list.

`test_mistakes.py` breaks each rule on purpose.

"""

import json
import re
from typing import Any

from rules import fixed_names
from tests.infra.snapshots import ROOT, Snapshot, strings

HOST = json.loads((ROOT / "host.json").read_text())
HUB = HOST["extensions"]["durableTask"]["hubName"]
PACKAGE = "app-package"
# The containers and the queues of the app's own accounts.
CONTENTS: dict[str, tuple[set[str], set[str]]] = {
    "state": (
        {
            fixed_names.DEAD_LETTERS_CONTAINER,
            fixed_names.REPORTS_CONTAINER,
            fixed_names.FIGURES_CONTAINER,
            fixed_names.LEDGER_CONTAINER,
            PACKAGE,
        },
        {fixed_names.FEED_QUEUE},
    ),
    "events": ({fixed_names.UNDELIVERED_CONTAINER}, {fixed_names.EVENTS_QUEUE, fixed_names.POISON_QUEUE}),
}
QUEUE_SENDER, BLOB_CONTRIBUTOR = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
SECRET = re.compile(
    r"(?i)listkeys|listaccountsas|listservicesas|listcredentials|accountkey|accesskey|sharedaccess|[?&]sig=|password"
    r"|instrumentationkey|defaultendpointsprotocol|connectionstring|azurewebjobsstorage$|secret"
)
# Matches the pattern, but forbids keys.
HARMLESS = {"allowSharedKeyAccess"}
# It names a secret; only the app can read its value.
KEY_VAULT_REFERENCE = re.compile(r"@Microsoft\.KeyVault\(SecretUri=https://[\w.-]+/secrets/[\w-]+\)")
ACCOUNT = {
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "allowSharedKeyAccess": False,
    "defaultToOAuthAuthentication": True,
    "isLocalUserEnabled": False,
    "minimumTlsVersion": "TLS1_2",
    "supportsHttpsTrafficOnly": True,
}
# Site properties (a deployment fails with 51021) and app settings that Flex Consumption does not support, from
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations.
NOT_ON_FLEX = {
    "alwaysOn",
    "containerSize",
    "ftpsState",
    "functionAppScaleLimit",
    "isReserved",
    "isXenon",
    "javaVersion",
    "linuxFxVersion",
    "netFrameworkVersion",
    "powerShellVersion",
    "preWarmedInstanceCount",
    "use32BitWorkerProcess",
    "vnetBackupRestoreEnabled",
    "vnetContentShareEnabled",
    "vnetImagePullEnabled",
    "vnetRouteAllEnabled",
    "windowsFxVersion",
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_DNS_SERVER",
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
    "WEBSITE_NODE_DEFAULT_VERSION",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_SKIP_CONTENTSHARE_VALIDATION",
    "WEBSITE_VNET_ROUTE_ALL",
}
# The only site properties that are known to work. Others may be refused although they are not on the list.
KNOWN_SITE_CONFIG = {"minTlsVersion"}
CREATED = ["Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobTierChanged"]
RENAMED = ["Microsoft.Storage.BlobRenamed", "Microsoft.Storage.DirectoryRenamed"]
FILTER = re.compile(r"/blobServices/default/containers/[a-z0-9-]{3,63}/(blobs/.+)?")


def no_secrets(snapshot: Snapshot) -> list[str]:
    """No key, SAS, password or connection string in resources and outputs."""
    found = [*strings(snapshot.resources, "resources"), *strings(snapshot.outputs, "outputs")]
    return [
        path
        for path, text in found
        if SECRET.search(text)
        and text not in HARMLESS
        and not KEY_VAULT_REFERENCE.fullmatch(text)
        and not _is_insights_connection(path, text)
    ]


def _is_insights_connection(path: str, text: str) -> bool:
    """This connection string gives no access, because local authentication is off (`no_local_authentication`)."""
    name = "APPLICATIONINSIGHTS_CONNECTION_STRING"
    return path.endswith(f".properties.{name}") and (
        text == name or bool(re.fullmatch(r"\[reference\('/\S+/components/\S+', '[\d-]+'\)\.ConnectionString\]", text))
    )


def no_local_authentication(snapshot: Snapshot) -> list[str]:
    """Telemetry requires an identity, and publishing accepts no user name and password."""
    insights = snapshot.one("Microsoft.Insights/components")["properties"]
    workspace = snapshot.one("Microsoft.OperationalInsights/workspaces")["properties"]
    policies = snapshot.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    wrong = [] if insights["DisableLocalAuth"] is True else ["Application Insights accepts keys"]
    wrong += [] if workspace["features"]["disableLocalAuth"] is True else ["the workspace accepts keys"]
    disabled = {each["name"].rpartition("/")[2] for each in policies if each["properties"]["allow"] is False}
    return wrong + [f"{name} accepts passwords" for name in {"scm"} - disabled]


def supported_by_flex(snapshot: Snapshot) -> list[str]:
    """Flex Consumption supports all site properties and settings. It has no FTP."""
    site = snapshot.one("Microsoft.Web/sites")["properties"]
    unsupported = {name.lower() for name in NOT_ON_FLEX}
    found = [*site, *site["siteConfig"], *snapshot.settings]
    wrong = [f"{name} is not supported by Flex Consumption" for name in found if name.lower() in unsupported]
    wrong += [f"siteConfig.{name} is not known to be accepted" for name in set(site["siteConfig"]) - KNOWN_SITE_CONFIG]
    policies = snapshot.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    return wrong + [each["name"] for each in policies if each["name"].endswith("/ftp")]


def alerts_start_quiet(snapshot: Snapshot) -> list[str]:
    """No alert fires on an empty log: each counts lines that a query finds."""
    rules = snapshot.of("Microsoft.Insights/scheduledQueryRules")
    criteria = {each["name"]: each["properties"]["criteria"]["allOf"] for each in rules}
    return [
        name for name, [one] in criteria.items() if (one["operator"], one["threshold"] >= 0) != ("GreaterThan", True)
    ]


def log_capped(snapshot: Snapshot) -> list[str]:
    cap = snapshot.one("Microsoft.OperationalInsights/workspaces")["properties"].get("workspaceCapping", {})
    return [] if cap.get("dailyQuotaGb", -1) > 0 else [f"the log's cap is {cap}"]


def accounts_closed(snapshot: Snapshot) -> list[str]:
    """No account accepts keys or has public blobs. With a virtual network, no account is open to other networks."""
    wrong = []
    for account in snapshot.of("Microsoft.Storage/storageAccounts"):
        properties = account["properties"]
        wrong += [
            f"{account['name']}: {key} is {properties.get(key)}"
            for key, value in ACCOUNT.items()
            if properties.get(key) != value
        ]
        network = properties["networkAcls"]
        if snapshot.of("Microsoft.Network/virtualNetworks") and network["defaultAction"] != "Deny":
            wrong.append(f"{account['name']} is open to every network")
        if (network["bypass"] == "AzureServices") != (account["id"] == snapshot.account("events")["id"]):
            wrong.append(f"{account['name']}: trusted services reach the events account, and no other")
    containers = snapshot.of("Microsoft.Storage/storageAccounts/blobServices/containers")
    return wrong + [each["name"] for each in containers if each["properties"]["publicAccess"] != "None"]


def one_network_path(snapshot: Snapshot) -> list[str]:
    """With a network: either service endpoints of the app's subnet, or private endpoints; never both."""
    networks = snapshot.of("Microsoft.Network/virtualNetworks")
    app = snapshot.one("Microsoft.Web/sites")["properties"].get("virtualNetworkSubnetId")
    if not networks:
        return ["the app is in a network that the template does not create"] if app else []
    [network] = networks
    subnets = {each["name"]: each["properties"] for each in network["properties"]["subnets"]}
    if set(subnets) != {"app", "endpoints"}:  # a subnet that is in use cannot be removed
        return [f"the subnets are {set(subnets)}"]
    wrong = [] if app == f"{network['id']}/subnets/app" else ["the app is not in its subnet"]
    if [each["properties"]["serviceName"] for each in subnets["app"]["delegations"]] != ["Microsoft.App/environments"]:
        wrong.append("the subnet is not delegated to Flex Consumption")
    private = bool(snapshot.of("Microsoft.Network/privateEndpoints"))
    service = [each["service"] for each in subnets["app"]["serviceEndpoints"]]
    if service != ([] if private else ["Microsoft.Storage"]):
        wrong.append(f"the subnet has the service endpoints {service}")
    for account in snapshot.of("Microsoft.Storage/storageAccounts"):
        rules = [each["id"] for each in account["properties"]["networkAcls"]["virtualNetworkRules"]]
        if rules != ([] if private else [app]):
            wrong.append(f"{account['name']} allows {rules}")
    return wrong


def topics_have_roles(snapshot: Snapshot) -> list[str]:
    """Event Grid has both roles on the account of each destination. It checks this scope, not queue or container."""
    assignments = [
        (each["id"], each["properties"]["roleDefinitionId"].rpartition("/")[2], each["properties"]["principalId"])
        for each in snapshot.of("Microsoft.Authorization/roleAssignments")
    ]
    wrong = []
    for each in snapshot.of("Microsoft.EventGrid/systemTopics/eventSubscriptions"):
        topic, properties = each["id"].partition("/eventSubscriptions/")[0], each["properties"]
        destinations = {
            QUEUE_SENDER: properties["deliveryWithResourceIdentity"]["destination"],
            BLOB_CONTRIBUTOR: properties["deadLetterWithResourceIdentity"]["deadLetterDestination"],
        }
        for role, destination in destinations.items():
            account = destination["properties"]["resourceId"]
            held = [
                who
                for id_, what, who in assignments
                if what == role and _is_account_scope(id_, account) and f"'{topic}'" in who
            ]
            wrong += [] if len(held) == 1 else [f"{each['name']}: its topic has no role {role} on {account}"]
    return wrong


def _is_account_scope(assignment: str, account: str) -> bool:
    return bool(
        re.match(rf"(\[extensionResourceId\(')?{re.escape(account)}('|/providers/Microsoft.Authorization/)", assignment)
    )


def events_delivered(snapshot: Snapshot) -> list[str]:
    """Every subscription sends events of one container to the queue, without expiry, with the topic's identity.

    A subscription of renames has no prefix: the subject of a renamed directory may be shorter.

    """
    topics = snapshot.of("Microsoft.EventGrid/systemTopics")
    wrong = [
        f"{each['name']} has a wrong identity" for each in topics if each["identity"] != {"type": "SystemAssigned"}
    ]
    subscriptions = snapshot.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    subscribed = {each["name"].partition("/")[0] for each in subscriptions}
    wrong += [f"{each['name']} has no subscription" for each in topics if each["name"] not in subscribed]
    for each in subscriptions:
        subject, types = (each["properties"]["filter"][key] for key in ("subjectBeginsWith", "includedEventTypes"))
        if not FILTER.fullmatch(subject):
            wrong.append(f"{each['name']}: {subject} has no slash after the container")
        if types == RENAMED and "/blobs/" in subject:
            wrong.append(f"{each['name']}: {subject} has a prefix")
        expected = RENAMED if types == RENAMED else CREATED
        if each["properties"] != _subscription(subject, expected, snapshot.account("events")["id"]):
            wrong.append(f"{each['name']} is wrong: {each['properties']}")
    return wrong


def _subscription(subject: str, types: list[str], account: str) -> dict[str, Any]:
    identity = {"type": "SystemAssigned"}
    delivery = {"resourceId": account, "queueName": fixed_names.EVENTS_QUEUE, "queueMessageTimeToLiveInSeconds": -1}
    undelivered = {"resourceId": account, "blobContainerName": fixed_names.UNDELIVERED_CONTAINER}
    return {
        "eventDeliverySchema": "CloudEventSchemaV1_0",
        "filter": {
            "includedEventTypes": types,
            "subjectBeginsWith": subject,
            "isSubjectCaseSensitive": True,
        },
        "deliveryWithResourceIdentity": {
            "identity": identity,
            "destination": {"endpointType": "StorageQueue", "properties": delivery},
        },
        "deadLetterWithResourceIdentity": {
            "identity": identity,
            "deadLetterDestination": {"endpointType": "StorageBlob", "properties": undelivered},
        },
        "retryPolicy": {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440},
    }


def names_match_the_code(snapshot: Snapshot) -> list[str]:
    """Containers and queues have the names in the code, and the scheduler's hub has the name in host.json."""
    wrong = list[str]()
    for purpose, expected in CONTENTS.items():
        account = snapshot.account(purpose)
        containers = snapshot.children("Microsoft.Storage/storageAccounts/blobServices/containers", account)
        queues = snapshot.children("Microsoft.Storage/storageAccounts/queueServices/queues", account)
        wrong += [] if (containers, queues) == expected else [f"{account['name']} has {containers} and {queues}"]
    hubs = {each["name"].rpartition("/")[2] for each in snapshot.of("Microsoft.DurableTask/schedulers/taskHubs")}
    return wrong + [f"hub {hub}" for hub in hubs - {HUB}]


def app_runs(snapshot: Snapshot) -> list[str]:
    """Python 3.12 on Flex Consumption, with only the user-assigned identity, and the package in the state account."""
    app, identity = (
        snapshot.one("Microsoft.Web/sites"),
        snapshot.one("Microsoft.ManagedIdentity/userAssignedIdentities"),
    )
    function_app = app["properties"]["functionAppConfig"]
    package = function_app["deployment"]["storage"]
    expected = {
        "plan": ({"tier": "FlexConsumption", "name": "FC1"}, snapshot.one("Microsoft.Web/serverfarms")["sku"]),
        "runtime": ({"name": "python", "version": "3.12"}, function_app["runtime"]),
        "identity": ({"type": "UserAssigned", "userAssignedIdentities": {identity["id"]: {}}}, app["identity"]),
        "package's identity": (
            {"type": "UserAssignedIdentity", "userAssignedIdentityResourceId": identity["id"]},
            package["authentication"],
        ),
        "https": (True, app["properties"]["httpsOnly"]),
        "/admin": (True, app["properties"]["functionsRuntimeAdminIsolationEnabled"]),
    }
    wrong = [f"{what}: {is_}" for what, (wanted, is_) in expected.items() if wanted != is_]
    in_state_account = snapshot.account("state")["id"] in package["value"] and package["value"].endswith(
        f"'{PACKAGE}')]"
    )
    return wrong if in_state_account else [*wrong, f"package: {package['value']}"]


def retention(snapshot: Snapshot) -> list[str]:
    """Only targets have soft delete and a copy scope. Resolved dead letters and reports are deleted after 90 days,
    the ledger after a year.
    """
    wrong = []
    for account in snapshot.of("Microsoft.Storage/storageAccounts"):
        [blobs] = [
            each
            for each in snapshot.of("Microsoft.Storage/storageAccounts/blobServices")
            if each["id"] == f"{account['id']}/blobServices/default"
        ]
        target = account["name"].startswith("sttarget")
        soft_delete = {each["enabled"] for key, each in blobs["properties"].items() if key.endswith("RetentionPolicy")}
        wrong += [] if soft_delete == {target} else [f"{account['name']}: soft delete is {soft_delete}"]
        scope = account["properties"]["allowedCopyScope"]
        wrong += [] if scope == ("AAD" if target else None) else [f"{account['name']}: copy scope is {scope}"]
    rules = snapshot.one("Microsoft.Storage/storageAccounts/managementPolicies")["properties"]["policy"]["rules"]
    expected = [
        ("blockBlob", [f"{fixed_names.DEAD_LETTERS_CONTAINER}/resolved/", f"{fixed_names.REPORTS_CONTAINER}/"], 90),
        ("appendBlob", [f"{fixed_names.LEDGER_CONTAINER}/"], 365),
    ]
    for rule, (kind, prefixes, days) in zip(rules, expected, strict=True):
        filters, action = rule["definition"]["filters"], {"delete": {"daysAfterModificationGreaterThan": days}}
        as_expected = filters == {"blobTypes": [kind], "prefixMatch": prefixes}
        as_expected &= rule["definition"]["actions"] == {"baseBlob": action}
        wrong += [] if rule["enabled"] and as_expected else [f"lifecycle: {rule}"]
    return wrong


def tags(snapshot: Snapshot) -> list[str]:
    """Every resource has the environment's tag, and the app its service's. azd finds them by these tags."""
    [service] = re.findall(r"^services:\n  ([\w-]+):$", (ROOT / "azure.yaml").read_text(), re.MULTILINE)
    # Child resources and role assignments have no tags.
    top_level = [each for each in snapshot.resources if each["type"].count("/") == 1]
    taggable = [each for each in top_level if each["type"] != "Microsoft.Authorization/roleAssignments"]
    wrong = [each["name"] for each in taggable if each.get("tags", {}).get("azd-env-name") != "demo"]
    named = snapshot.one("Microsoft.Web/sites")["tags"].get("azd-service-name")
    return wrong if named == service else [*wrong, f"the app is the service {named}, and azure.yaml has {service}"]


CHECKS = (
    no_secrets,
    no_local_authentication,
    supported_by_flex,
    alerts_start_quiet,
    log_capped,
    accounts_closed,
    one_network_path,
    topics_have_roles,
    events_delivered,
    names_match_the_code,
    app_runs,
    retention,
    tags,
)

"""What has to be true of every deployment: each check says what is wrong, and nothing if all is well.

`test_mistakes.py` makes a deliberate mistake for each.
"""

import json
import re
from typing import Any

from rules import fixed_names
from tests.infra.snapshots import ROOT, Snapshot, strings

HOST = json.loads((ROOT / "host.json").read_text())
HUB = HOST["extensions"]["durableTask"]["hubName"]
PACKAGE = "app-package"
# What the app keeps, by account: the containers and the queues.
KEPT: dict[str, tuple[set[str], set[str]]] = {
    "state": ({fixed_names.LETTERS_CONTAINER, fixed_names.REPORTS_CONTAINER, PACKAGE}, set()),
    "events": ({fixed_names.UNDELIVERED_CONTAINER}, {fixed_names.EVENTS_QUEUE, fixed_names.POISON_QUEUE}),
}
QUEUE_SENDER, BLOB_CONTRIBUTOR = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
SECRET = re.compile(
    r"(?i)listkeys|listaccountsas|listservicesas|listcredentials|accountkey|accesskey|sharedaccess|[?&]sig=|password"
    r"|instrumentationkey|defaultendpointsprotocol|connectionstring|azurewebjobsstorage$|secret"
)
# It holds the word and no secret: it forbids keys.
HARMLESS = {"allowSharedKeyAccess"}
ACCOUNT = {
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "allowSharedKeyAccess": False,
    "defaultToOAuthAuthentication": True,
    "isLocalUserEnabled": False,
    "minimumTlsVersion": "TLS1_2",
    "supportsHttpsTrafficOnly": True,
}
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations: what a Flex
# Consumption app must not have, of the site's configuration (a deployment fails with 51021) and of its settings.
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
# All that it is known to take; what is not on Microsoft's list may be refused all the same.
SITE = {"minTlsVersion"}
FILTER = re.compile(r"/blobServices/default/containers/[a-z0-9-]{3,63}/(blobs/.+)?")


def no_secrets(snapshot: Snapshot) -> list[str]:
    """No key, SAS, password or connection string anywhere, outputs included."""
    found = [*strings(snapshot.resources, "resources"), *strings(snapshot.outputs, "outputs")]
    return [path for path, text in found if SECRET.search(text) and text not in HARMLESS and not _insights(path, text)]


def _insights(path: str, text: str) -> bool:
    """Where Application Insights is; with its local authentication off (`no_local_authentication`) it opens nothing."""
    name = "APPLICATIONINSIGHTS_CONNECTION_STRING"
    return path.endswith(f".properties.{name}") and (
        text == name or bool(re.fullmatch(r"\[reference\('/\S+/components/\S+', '[\d-]+'\)\.ConnectionString\]", text))
    )


def no_local_authentication(snapshot: Snapshot) -> list[str]:
    """Telemetry is taken from identities alone, and nobody publishes with user and password."""
    insights = snapshot.one("Microsoft.Insights/components")["properties"]
    workspace = snapshot.one("Microsoft.OperationalInsights/workspaces")["properties"]
    doors = snapshot.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    wrong = [] if insights["DisableLocalAuth"] is True else ["Application Insights takes keys"]
    wrong += [] if workspace["features"]["disableLocalAuth"] is True else ["the workspace takes keys"]
    shut = {each["name"].rpartition("/")[2] for each in doors if each["properties"]["allow"] is False}
    return wrong + [f"{door} takes passwords" for door in {"scm"} - shut]


def taken_by_flex(snapshot: Snapshot) -> list[str]:
    """Neither the site nor its settings have what Flex Consumption refuses, and nothing of FTP, which it has not."""
    site = snapshot.one("Microsoft.Web/sites")["properties"]
    refused = {name.lower() for name in NOT_ON_FLEX}
    found = [*site, *site["siteConfig"], *snapshot.settings]
    wrong = [f"{name} is not for Flex Consumption" for name in found if name.lower() in refused]
    wrong += [f"siteConfig.{name} is not known to be taken" for name in set(site["siteConfig"]) - SITE]
    doors = snapshot.of("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    return wrong + [each["name"] for each in doors if each["name"].endswith("/ftp")]


def alerts_start_silent(snapshot: Snapshot) -> list[str]:
    """No alert fires where there is no line yet: each counts what a query finds in the log, and none what it misses."""
    rules = snapshot.of("Microsoft.Insights/scheduledQueryRules")
    asked = {each["name"]: each["properties"]["criteria"]["allOf"] for each in rules}
    return [name for name, [one] in asked.items() if (one["operator"], one["threshold"] >= 0) != ("GreaterThan", True)]


def log_capped(snapshot: Snapshot) -> list[str]:
    """The log has a daily cap."""
    cap = snapshot.one("Microsoft.OperationalInsights/workspaces")["properties"].get("workspaceCapping", {})
    return [] if cap.get("dailyQuotaGb", -1) > 0 else [f"the log's cap is {cap}"]


def accounts_closed(snapshot: Snapshot) -> list[str]:
    """No account takes keys, shows blobs to everybody, or is open to other networks while the app has one of its own."""
    wrong = []
    for account in snapshot.of("Microsoft.Storage/storageAccounts"):
        has = account["properties"]
        wrong += [
            f"{account['name']}: {key} is {has.get(key)}" for key, value in ACCOUNT.items() if has.get(key) != value
        ]
        network = has["networkAcls"]
        if snapshot.of("Microsoft.Network/virtualNetworks") and network["defaultAction"] != "Deny":
            wrong.append(f"{account['name']} is open to every network")
        if (network["bypass"] == "AzureServices") != (account["id"] == snapshot.account("events")["id"]):
            wrong.append(f"{account['name']}: trusted services reach the events account, and no other")
    containers = snapshot.of("Microsoft.Storage/storageAccounts/blobServices/containers")
    return wrong + [each["name"] for each in containers if each["properties"]["publicAccess"] != "None"]


def one_way_in(snapshot: Snapshot) -> list[str]:
    """With a network: service endpoints of the app's subnet, or private endpoints of each service; never both."""
    networks = snapshot.of("Microsoft.Network/virtualNetworks")
    app = snapshot.one("Microsoft.Web/sites")["properties"].get("virtualNetworkSubnetId")
    if not networks:
        return ["the app is in a network that is not made"] if app else []
    [network] = networks
    subnets = {each["name"]: each["properties"] for each in network["properties"]["subnets"]}
    if set(subnets) != {"app", "endpoints"}:  # a subnet that was there once and is in use cannot be taken away
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
            wrong.append(f"{account['name']} lets in {rules}")
    return wrong


def events_may_be_delivered(snapshot: Snapshot) -> list[str]:
    """Event Grid has both its roles on the whole account of each destination: it checks there, not at queue or container."""
    given = [
        (each["id"], each["properties"]["roleDefinitionId"].rpartition("/")[2], each["properties"]["principalId"])
        for each in snapshot.of("Microsoft.Authorization/roleAssignments")
    ]
    wrong = []
    for each in snapshot.of("Microsoft.EventGrid/systemTopics/eventSubscriptions"):
        topic, has = each["id"].partition("/eventSubscriptions/")[0], each["properties"]
        ways = {
            QUEUE_SENDER: has["deliveryWithResourceIdentity"]["destination"],
            BLOB_CONTRIBUTOR: has["deadLetterWithResourceIdentity"]["deadLetterDestination"],
        }
        for role, way in ways.items():
            account = way["properties"]["resourceId"]
            held = [who for id_, what, who in given if what == role and _whole(id_, account) and f"'{topic}'" in who]
            wrong += [] if len(held) == 1 else [f"{each['name']}: its topic has no role {role} on {account}"]
    return wrong


def _whole(assignment: str, account: str) -> bool:
    """Whether a role is on an account itself, and not on a part of it."""
    return bool(
        re.match(rf"(\[extensionResourceId\(')?{re.escape(account)}('|/providers/Microsoft.Authorization/)", assignment)
    )


def events_delivered(snapshot: Snapshot) -> list[str]:
    """Every subscription: BlobCreated of one container alone, straight into the queue, kept for ever, by the topic's identity."""
    topics = snapshot.of("Microsoft.EventGrid/systemTopics")
    wrong = [
        f"{each['name']} has another identity" for each in topics if each["identity"] != {"type": "SystemAssigned"}
    ]
    subscriptions = snapshot.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    heard = {each["name"].partition("/")[0] for each in subscriptions}
    wrong += [f"nobody listens to {each['name']}" for each in topics if each["name"] not in heard]
    for each in subscriptions:
        subject = each["properties"]["filter"]["subjectBeginsWith"]
        if not FILTER.fullmatch(subject):
            wrong.append(f"{each['name']}: {subject} does not end its container's name with a slash")
        if each["properties"] != _subscription(subject, snapshot.account("events")["id"]):
            wrong.append(f"{each['name']} is not as it should be: {each['properties']}")
    return wrong


def _subscription(subject: str, account: str) -> dict[str, Any]:
    identity = {"type": "SystemAssigned"}
    delivery = {"resourceId": account, "queueName": fixed_names.EVENTS_QUEUE, "queueMessageTimeToLiveInSeconds": -1}
    given_up = {"resourceId": account, "blobContainerName": fixed_names.UNDELIVERED_CONTAINER}
    return {
        "eventDeliverySchema": "CloudEventSchemaV1_0",
        "filter": {
            "includedEventTypes": ["Microsoft.Storage.BlobCreated"],
            "subjectBeginsWith": subject,
            "isSubjectCaseSensitive": True,
        },
        "deliveryWithResourceIdentity": {
            "identity": identity,
            "destination": {"endpointType": "StorageQueue", "properties": delivery},
        },
        "deadLetterWithResourceIdentity": {
            "identity": identity,
            "deadLetterDestination": {"endpointType": "StorageBlob", "properties": given_up},
        },
        "retryPolicy": {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440},
    }


def names_of_the_code(snapshot: Snapshot) -> list[str]:
    """Containers and queues of the app's own accounts are those that the code names; and the scheduler's hub is host.json's."""
    wrong = list[str]()
    for purpose, kept in KEPT.items():
        account = snapshot.account(purpose)
        containers = snapshot.children("Microsoft.Storage/storageAccounts/blobServices/containers", account)
        queues = snapshot.children("Microsoft.Storage/storageAccounts/queueServices/queues", account)
        wrong += [] if (containers, queues) == kept else [f"{account['name']} has {containers} and {queues}"]
    hubs = {each["name"].rpartition("/")[2] for each in snapshot.of("Microsoft.DurableTask/schedulers/taskHubs")}
    return wrong + [f"hub {hub}" for hub in hubs - {HUB}]


def app_runs(snapshot: Snapshot) -> list[str]:
    """Python 3.12 on Flex Consumption, under the user-assigned identity alone, its package in the state account."""
    app, identity = (
        snapshot.one("Microsoft.Web/sites"),
        snapshot.one("Microsoft.ManagedIdentity/userAssignedIdentities"),
    )
    has = app["properties"]["functionAppConfig"]
    package = has["deployment"]["storage"]
    expected = {
        "plan": ({"tier": "FlexConsumption", "name": "FC1"}, snapshot.one("Microsoft.Web/serverfarms")["sku"]),
        "runtime": ({"name": "python", "version": "3.12"}, has["runtime"]),
        "identity": ({"type": "UserAssigned", "userAssignedIdentities": {identity["id"]: {}}}, app["identity"]),
        "package's identity": (
            {"type": "UserAssignedIdentity", "userAssignedIdentityResourceId": identity["id"]},
            package["authentication"],
        ),
        "https": (True, app["properties"]["httpsOnly"]),
        "/admin": (True, app["properties"]["functionsRuntimeAdminIsolationEnabled"]),
    }
    wrong = [f"{what}: {is_}" for what, (should, is_) in expected.items() if should != is_]
    held = snapshot.account("state")["id"] in package["value"] and package["value"].endswith(f"'{PACKAGE}')]")
    return wrong if held else [*wrong, f"package: {package['value']}"]


def kept_and_forgotten(snapshot: Snapshot) -> list[str]:
    """What a target loses can be brought back, and is copied within the tenant; resolved letters and reports go after 90 days."""
    wrong = []
    for account in snapshot.of("Microsoft.Storage/storageAccounts"):
        [blobs] = [
            each
            for each in snapshot.of("Microsoft.Storage/storageAccounts/blobServices")
            if each["id"] == f"{account['id']}/blobServices/default"
        ]
        target = account["name"].startswith("sttarget")
        kept = {each["enabled"] for key, each in blobs["properties"].items() if key.endswith("RetentionPolicy")}
        wrong += [] if kept == {target} else [f"{account['name']}: soft delete is {kept}"]
        scope = account["properties"]["allowedCopyScope"]
        wrong += [] if scope == ("AAD" if target else None) else [f"{account['name']}: copy scope is {scope}"]
    [rule] = snapshot.one("Microsoft.Storage/storageAccounts/managementPolicies")["properties"]["policy"]["rules"]
    rests = [f"{fixed_names.LETTERS_CONTAINER}/resolved/", f"{fixed_names.REPORTS_CONTAINER}/"]
    action = {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 90}}}
    as_said = rule["definition"]["filters"]["prefixMatch"] == rests and rule["definition"]["actions"] == action
    return wrong if rule["enabled"] and as_said else [*wrong, f"forgotten: {rule}"]


def tags(snapshot: Snapshot) -> list[str]:
    """Whatever can have it has the environment's tag, and the app its service's, by which azd finds them."""
    [service] = re.findall(r"^services:\n  ([\w-]+):$", (ROOT / "azure.yaml").read_text(), re.MULTILINE)
    # What is part of another resource, and a role, has no tags.
    whole = [each for each in snapshot.resources if each["type"].count("/") == 1]
    taggable = [each for each in whole if each["type"] != "Microsoft.Authorization/roleAssignments"]
    wrong = [each["name"] for each in taggable if each.get("tags", {}).get("azd-env-name") != "demo"]
    named = snapshot.one("Microsoft.Web/sites")["tags"].get("azd-service-name")
    return wrong if named == service else [*wrong, f"the app is the service {named}, and azure.yaml has {service}"]


CHECKS = (
    no_secrets,
    no_local_authentication,
    taken_by_flex,
    alerts_start_silent,
    log_capped,
    accounts_closed,
    one_way_in,
    events_may_be_delivered,
    events_delivered,
    names_of_the_code,
    app_runs,
    kept_and_forgotten,
    tags,
)

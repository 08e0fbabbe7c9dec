"""Each check finds every deliberate mistake of its kind."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.infra import checks
from tests.infra.checks import CHECKS
from tests.infra.snapshots import Snapshot

Mistake = Callable[[Snapshot], object]
STORAGE = "Microsoft.Storage/storageAccounts"
TOPIC = "Microsoft.EventGrid/systemTopics"
KEY = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=Zm9v"


def set_value(resource: Any, path: str, to: Any) -> None:
    """Set the value at a path; numbers are list positions."""
    *parents, last = path.split("/")
    for step in parents:
        resource = resource[int(step) if step.isdecimal() else step]
    resource[last] = to


def in_all(kind: str, path: str, *, to: Any) -> Mistake:

    def mistake(snapshot: Snapshot) -> None:
        for each in snapshot.of(kind):
            set_value(each, path, to)

    return mistake


def account(purpose: str, path: str, *, to: Any) -> Mistake:

    def mistake(snapshot: Snapshot) -> None:
        set_value(snapshot.account(purpose), f"properties/{path}", to)

    return mistake


def setting(name: str, value: str) -> Mistake:
    return in_all("Microsoft.Web/sites/config", f"properties/{name}", to=value)


def site(path: str, *, to: Any) -> Mistake:
    return in_all("Microsoft.Web/sites", path, to=to)


def flex(path: str, *, to: Any) -> Mistake:
    return site(f"properties/functionAppConfig/{path}", to=to)


def subnet(path: str, *, to: Any) -> Mistake:
    return in_all("Microsoft.Network/virtualNetworks", f"properties/subnets/0/properties/{path}", to=to)


def subscription(path: str, *, to: Any) -> Mistake:
    return in_all(f"{TOPIC}/eventSubscriptions", f"properties/{path}", to=to)


def to_state_account(destination: str) -> Mistake:
    """Send events to the state account, where their topic has no role."""
    return lambda snapshot: subscription(f"{destination}/properties/resourceId", to=snapshot.account("state")["id"])(
        snapshot
    )


def topic_roles(snapshot: Snapshot, role: str) -> list[Any]:
    return [
        each
        for each in snapshot.of("Microsoft.Authorization/roleAssignments")
        if each["properties"]["roleDefinitionId"].endswith(role)
        and "/systemTopics/" in each["properties"]["principalId"]
    ]


def without_role(role: str) -> Mistake:
    return lambda snapshot: snapshot.resources.remove(topic_roles(snapshot, role)[0])


def narrow_role(role: str, part: str) -> Mistake:
    """Limit a role of the topic to a part of the account."""

    def mistake(snapshot: Snapshot) -> None:
        account = snapshot.account("events")["id"]
        for each in topic_roles(snapshot, role):
            each["id"] = each["id"].replace(account, f"{account}/{part}")

    return mistake


def without(kind: str, name: str = "") -> Mistake:
    """Remove the last resource of a type whose name ends like this."""
    return lambda snapshot: snapshot.resources.remove(
        [each for each in snapshot.of(kind) if each["name"].endswith(name)][-1]
    )


MISTAKES: dict[Callable[[Snapshot], list[str]], dict[str, Mistake]] = {
    checks.no_secrets: {
        "a connection string": setting("AzureWebJobsStorage", KEY),
        "a key that is looked up": setting("KEY", "[listKeys('/a', '2025-06-01').keys[0].value]"),
        "a SAS": setting("SOURCE", "https://a.blob.core.windows.net/b?sv=1&sig=abc"),
        "a key under a harmless name": setting("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=1"),
        "a key among the outputs": lambda snapshot: snapshot.outputs.update(STATE_KEY="[listKeys('/a', '1')]"),
    },
    checks.no_local_authentication: {
        "telemetry by key": in_all("Microsoft.Insights/components", "properties/DisableLocalAuth", to=False),
        "logs by key": in_all(
            "Microsoft.OperationalInsights/workspaces", "properties/features/disableLocalAuth", to=False
        ),
        "a password for publishing": without("Microsoft.Web/sites/basicPublishingCredentialsPolicies", "scm"),
    },
    checks.supported_by_flex: {
        "an unsupported site setting": site("properties/siteConfig/ftpsState", to="Disabled"),
        "one in another spelling": site("properties/siteConfig/LinuxFxVersion", to="PYTHON|3.12"),
        "an unsupported site property": site("properties/vnetRouteAllEnabled", to=True),
        "an unknown site setting": site("properties/siteConfig/remoteDebuggingEnabled", to=False),
        "an unsupported app setting": setting("FUNCTIONS_WORKER_PROCESS_COUNT", "2"),
        "a policy for FTP": lambda snapshot: snapshot.resources.append(
            {"type": "Microsoft.Web/sites/basicPublishingCredentialsPolicies", "name": "func-a/ftp"}
        ),
    },
    checks.alerts_start_quiet: {
        "an alert on lines that are missing": in_all(
            "Microsoft.Insights/scheduledQueryRules", "properties/criteria/allOf/0/operator", to="LessThan"
        ),
        "an alert without a threshold": in_all(
            "Microsoft.Insights/scheduledQueryRules", "properties/criteria/allOf/0/threshold", to=-1
        ),
    },
    checks.log_capped: {
        "a log without a cap": in_all(
            "Microsoft.OperationalInsights/workspaces", "properties/workspaceCapping/dailyQuotaGb", to=-1
        ),
    },
    checks.accounts_closed: {
        "an account with keys": account("target", "allowSharedKeyAccess", to=True),
        "public blobs": account("source", "allowBlobPublicAccess", to=True),
        "old TLS": account("state", "minimumTlsVersion", to="TLS1_0"),
        "an open account": account("source", "networkAcls/defaultAction", to="Allow"),
        "an events account without Event Grid": account("events", "networkAcls/bypass", to="None"),
        "trusted services in the state account": account("state", "networkAcls/bypass", to="AzureServices"),
        "trusted services elsewhere": account("target", "networkAcls/bypass", to="AzureServices"),
        "a public container": in_all(f"{STORAGE}/blobServices/containers", "properties/publicAccess", to="Blob"),
    },
    checks.one_network_path: {
        "an account that the app cannot reach": account("target", "networkAcls/virtualNetworkRules", to=[]),
        "no service endpoint": subnet("serviceEndpoints", to=[]),
        "a subnet without a delegation": subnet("delegations", to=[]),
        "an app outside its network": site("properties/virtualNetworkSubnetId", to=None),
        "a missing subnet for endpoints": lambda snapshot: snapshot.one("Microsoft.Network/virtualNetworks")[
            "properties"
        ]["subnets"].pop(),
        "a missing network": without("Microsoft.Network/virtualNetworks"),
    },
    checks.topics_have_roles: {
        "no sender": without_role(checks.QUEUE_SENDER),
        "a sender of the queue alone": narrow_role(checks.QUEUE_SENDER, "queueServices/default/queues/blob-events"),
        "undelivered events that cannot be written": without_role(checks.BLOB_CONTRIBUTOR),
        "a writer of the container alone": narrow_role(
            checks.BLOB_CONTRIBUTOR, "blobServices/default/containers/event-dead-letters"
        ),
        "events for another account": to_state_account("deliveryWithResourceIdentity/destination"),
        "undelivered events in another account": to_state_account(
            "deadLetterWithResourceIdentity/deadLetterDestination"
        ),
    },
    checks.events_delivered: {
        "delivered to the state account": to_state_account("deliveryWithResourceIdentity/destination"),
        "kept in the state account": to_state_account("deadLetterWithResourceIdentity/deadLetterDestination"),
        "a user-assigned topic": in_all(TOPIC, "identity", to={"type": "UserAssigned"}),
        "a topic without a subscription": without(f"{TOPIC}/eventSubscriptions"),
        "no slash": subscription("filter/subjectBeginsWith", to="/blobServices/default/containers/source"),
        "every event": subscription("filter/includedEventTypes", to=None),
        "the other schema": subscription("eventDeliverySchema", to="EventGridSchema"),
        "messages that expire": subscription(
            "deliveryWithResourceIdentity/destination/properties/queueMessageTimeToLiveInSeconds", to=604_800
        ),
        "another queue": subscription("deliveryWithResourceIdentity/destination/properties/queueName", to="events"),
        "no container for undelivered events": subscription("deadLetterWithResourceIdentity", to=None),
        "few tries": subscription("retryPolicy/maxDeliveryAttempts", to=3),
    },
    checks.names_match_the_code: {
        "a missing container": without(f"{STORAGE}/blobServices/containers", "/reports"),
        "a missing queue": without(f"{STORAGE}/queueServices/queues"),
        "another container in the events account": lambda snapshot: snapshot.resources.append(
            {
                "type": f"{STORAGE}/blobServices/containers",
                "id": f"{snapshot.account('events')['id']}/blobServices/default/containers/reports",
                "name": "stevents/default/reports",
            }
        ),
    },
    checks.app_runs: {
        "another Python": flex("runtime/version", to="3.10"),
        "another runtime": flex("runtime/name", to="node"),
        "another plan": in_all("Microsoft.Web/serverfarms", "sku", to={"name": "Y1"}),
        "the system's identity": site("identity", to={"type": "SystemAssigned"}),
        "a package by key": flex("deployment/storage/authentication/type", to="StorageAccountConnectionString"),
        "a package elsewhere": flex("deployment/storage/value", to="https://a.blob.core.windows.net/app-package"),
        "plain HTTP": site("properties/httpsOnly", to=False),
        "an open /admin": site("properties/functionsRuntimeAdminIsolationEnabled", to=False),
    },
    checks.retention: {
        "no soft delete": in_all(f"{STORAGE}/blobServices", "properties/deleteRetentionPolicy/enabled", to=False),
        "copies from other tenants": account("target", "allowedCopyScope", to=None),
        "open dead letters deleted": in_all(
            f"{STORAGE}/managementPolicies",
            "properties/policy/rules/0/definition/filters/prefixMatch",
            to=["dead-letters/", "reports/"],
        ),
    },
    checks.tags: {
        "an app without its tag": site("tags/azd-service-name", to="api"),
        "accounts without tags": in_all(STORAGE, "tags", to={}),
    },
}
ALL = [(check, name) for check, mistakes in MISTAKES.items() for name in mistakes]


@pytest.mark.parametrize(("check", "name"), ALL, ids=[name for _, name in ALL])
def test_a_mistake_is_found(
    check: Callable[[Snapshot], list[str]], name: str, snapshot: Callable[[str], Snapshot]
) -> None:
    """The check passes before the mistake."""
    mistaken = snapshot("default").copy()
    assert check(mistaken) == []
    MISTAKES[check][name](mistaken)
    assert check(mistaken) != []


def test_another_hub_is_found(snapshot: Callable[[str], Snapshot]) -> None:
    mistaken = snapshot("scheduler").copy()
    set_value(mistaken.one("Microsoft.DurableTask/schedulers/taskHubs"), "name", "dts-a/other")
    assert checks.names_match_the_code(mistaken) == ["hub other"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("subjectBeginsWith", "/blobServices/default/containers/lake/blobs/raw/2026/"),
        ("includedEventTypes", checks.RENAMED[:1]),
        ("includedEventTypes", [*checks.CREATED, *checks.RENAMED]),
    ],
)
def test_a_wrong_filter_of_renames_is_found(key: str, value: object, snapshot: Callable[[str], Snapshot]) -> None:
    mistaken = snapshot("lake").copy()
    renames = [each for each in mistaken.of(f"{TOPIC}/eventSubscriptions") if "-renames-" in each["name"]]
    set_value(renames[0], f"properties/filter/{key}", to=value)
    [found] = checks.events_delivered(mistaken)
    assert found.startswith(renames[0]["name"])


def test_every_check_has_mistakes() -> None:
    assert set(MISTAKES) == set(CHECKS)

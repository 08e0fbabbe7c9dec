"""A deliberate mistake of each kind is found by the check that is there for it: no check is blind."""

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


def put(resource: Any, path: str, to: Any) -> None:
    """Put a value where a path leads; a number is a place in a list."""
    *way, last = path.split("/")
    for step in way:
        resource = resource[int(step) if step.isdecimal() else step]
    resource[last] = to


def every(kind: str, path: str, *, to: Any) -> Mistake:
    """A mistake in all resources of a type."""

    def mistake(snapshot: Snapshot) -> None:
        for each in snapshot.of(kind):
            put(each, path, to)

    return mistake


def account(purpose: str, path: str, *, to: Any) -> Mistake:
    """A mistake in one of the accounts."""

    def mistake(snapshot: Snapshot) -> None:
        put(snapshot.account(purpose), f"properties/{path}", to)

    return mistake


def setting(name: str, value: str) -> Mistake:
    """A mistake in the app's settings."""
    return every("Microsoft.Web/sites/config", f"properties/{name}", to=value)


def site(path: str, *, to: Any) -> Mistake:
    """A mistake in the app."""
    return every("Microsoft.Web/sites", path, to=to)


def flex(path: str, *, to: Any) -> Mistake:
    """A mistake in what Flex Consumption is told."""
    return site(f"properties/functionAppConfig/{path}", to=to)


def subnet(path: str, *, to: Any) -> Mistake:
    """A mistake in the app's subnet."""
    return every("Microsoft.Network/virtualNetworks", f"properties/subnets/0/properties/{path}", to=to)


def subscription(path: str, *, to: Any) -> Mistake:
    """A mistake in the event subscription."""
    return every(f"{TOPIC}/eventSubscriptions", f"properties/{path}", to=to)


def elsewhere(way: str) -> Mistake:
    """Events go to the state account, where their topic has no role."""
    return lambda snapshot: subscription(f"{way}/properties/resourceId", to=snapshot.account("state")["id"])(snapshot)


def roles_of_topics(snapshot: Snapshot, role: str) -> list[Any]:
    """The assignments of a role to the identities of topics."""
    return [
        each
        for each in snapshot.of("Microsoft.Authorization/roleAssignments")
        if each["properties"]["roleDefinitionId"].endswith(role)
        and "/systemTopics/" in each["properties"]["principalId"]
    ]


def less_role(role: str) -> Mistake:
    """A role of the topic is forgotten."""
    return lambda snapshot: snapshot.resources.remove(roles_of_topics(snapshot, role)[0])


def narrower(role: str, part: str) -> Mistake:
    """A role of the topic holds for a part of the account alone."""

    def mistake(snapshot: Snapshot) -> None:
        account = snapshot.account("events")["id"]
        for each in roles_of_topics(snapshot, role):
            each["id"] = each["id"].replace(account, f"{account}/{part}")

    return mistake


def less(kind: str, name: str = "") -> Mistake:
    """A resource is forgotten: the last of its type whose name ends so."""
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
        "telemetry by key": every("Microsoft.Insights/components", "properties/DisableLocalAuth", to=False),
        "logs by key": every(
            "Microsoft.OperationalInsights/workspaces", "properties/features/disableLocalAuth", to=False
        ),
        "a password for publishing": less("Microsoft.Web/sites/basicPublishingCredentialsPolicies", "scm"),
    },
    checks.taken_by_flex: {
        "a site setting that is refused": site("properties/siteConfig/ftpsState", to="Disabled"),
        "one in another spelling": site("properties/siteConfig/LinuxFxVersion", to="PYTHON|3.12"),
        "one of the site": site("properties/vnetRouteAllEnabled", to=True),
        "one that nobody knows": site("properties/siteConfig/remoteDebuggingEnabled", to=False),
        "an app setting that is refused": setting("FUNCTIONS_WORKER_PROCESS_COUNT", "2"),
        "a policy for FTP": lambda snapshot: snapshot.resources.append(
            {"type": "Microsoft.Web/sites/basicPublishingCredentialsPolicies", "name": "func-a/ftp"}
        ),
    },
    checks.alerts_start_silent: {
        "an alert on lines that are missing": every(
            "Microsoft.Insights/scheduledQueryRules", "properties/criteria/allOf/0/operator", to="LessThan"
        ),
        "an alert on none": every(
            "Microsoft.Insights/scheduledQueryRules", "properties/criteria/allOf/0/threshold", to=-1
        ),
    },
    checks.log_capped: {
        "a log without a cap": every(
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
        "a public container": every(f"{STORAGE}/blobServices/containers", "properties/publicAccess", to="Blob"),
    },
    checks.one_way_in: {
        "an account that the app cannot reach": account("target", "networkAcls/virtualNetworkRules", to=[]),
        "no service endpoint": subnet("serviceEndpoints", to=[]),
        "a subnet of nobody": subnet("delegations", to=[]),
        "an app outside its network": site("properties/virtualNetworkSubnetId", to=None),
        "a subnet that goes with its endpoints": lambda snapshot: snapshot.one("Microsoft.Network/virtualNetworks")[
            "properties"
        ]["subnets"].pop(),
        "a network that is not there": less("Microsoft.Network/virtualNetworks"),
    },
    checks.events_may_be_delivered: {
        "no sender": less_role(checks.QUEUE_SENDER),
        "a sender of the queue alone": narrower(checks.QUEUE_SENDER, "queueServices/default/queues/blob-events"),
        "dead letters that may not be written": less_role(checks.BLOB_CONTRIBUTOR),
        "a writer of the container alone": narrower(
            checks.BLOB_CONTRIBUTOR, "blobServices/default/containers/event-dead-letters"
        ),
        "events for another account": elsewhere("deliveryWithResourceIdentity/destination"),
        "dead letters in another account": elsewhere("deadLetterWithResourceIdentity/deadLetterDestination"),
    },
    checks.events_delivered: {
        "delivered to the state account": elsewhere("deliveryWithResourceIdentity/destination"),
        "kept in the state account": elsewhere("deadLetterWithResourceIdentity/deadLetterDestination"),
        "a user-assigned topic": every(TOPIC, "identity", to={"type": "UserAssigned"}),
        "a topic that nobody listens to": less(f"{TOPIC}/eventSubscriptions"),
        "no slash": subscription("filter/subjectBeginsWith", to="/blobServices/default/containers/source"),
        "every event": subscription("filter/includedEventTypes", to=None),
        "the other schema": subscription("eventDeliverySchema", to="EventGridSchema"),
        "messages that end": subscription(
            "deliveryWithResourceIdentity/destination/properties/queueMessageTimeToLiveInSeconds", to=604_800
        ),
        "another queue": subscription("deliveryWithResourceIdentity/destination/properties/queueName", to="events"),
        "nowhere for the undelivered": subscription("deadLetterWithResourceIdentity", to=None),
        "few tries": subscription("retryPolicy/maxDeliveryAttempts", to=3),
    },
    checks.names_of_the_code: {
        "a container too few": less(f"{STORAGE}/blobServices/containers", "/reports"),
        "a queue too few": less(f"{STORAGE}/queueServices/queues"),
        "more than events in their account": lambda snapshot: snapshot.resources.append(
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
        "another plan": every("Microsoft.Web/serverfarms", "sku", to={"name": "Y1"}),
        "the system's identity": site("identity", to={"type": "SystemAssigned"}),
        "a package by key": flex("deployment/storage/authentication/type", to="StorageAccountConnectionString"),
        "a package elsewhere": flex("deployment/storage/value", to="https://a.blob.core.windows.net/app-package"),
        "plain HTTP": site("properties/httpsOnly", to=False),
        "an open /admin": site("properties/functionsRuntimeAdminIsolationEnabled", to=False),
    },
    checks.kept_and_forgotten: {
        "overwritten for good": every(f"{STORAGE}/blobServices", "properties/deleteRetentionPolicy/enabled", to=False),
        "copies from other tenants": account("target", "allowedCopyScope", to=None),
        "open letters forgotten": every(
            f"{STORAGE}/managementPolicies",
            "properties/policy/rules/0/definition/filters/prefixMatch",
            to=["dead-letters/", "reports/"],
        ),
    },
    checks.tags: {
        "an app that azd does not find": site("tags/azd-service-name", to="api"),
        "something that azd does not find": every(STORAGE, "tags", to={}),
    },
}
ALL = [(check, name) for check, mistakes in MISTAKES.items() for name in mistakes]


@pytest.mark.parametrize(("check", "name"), ALL, ids=[name for _, name in ALL])
def test_a_mistake_is_found(
    check: Callable[[Snapshot], list[str]], name: str, snapshot: Callable[[str], Snapshot]
) -> None:
    """The check finds nothing before the mistake, and something after it."""
    taken = snapshot("default").mistaken()
    assert check(taken) == []
    MISTAKES[check][name](taken)
    assert check(taken) != []


def test_another_hub_is_found(snapshot: Callable[[str], Snapshot]) -> None:
    """The scheduler's task hub is the one of host.json."""
    taken = snapshot("scheduler").mistaken()
    put(taken.one("Microsoft.DurableTask/schedulers/taskHubs"), "name", "dts-a/other")
    assert checks.names_of_the_code(taken) == ["hub other"]


def test_every_check_has_its_mistake() -> None:
    """No check is there that no mistake was made for."""
    assert set(MISTAKES) == set(CHECKS)

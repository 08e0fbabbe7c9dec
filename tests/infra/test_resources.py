"""Every check passes for every scenario, and each parameter has its effect."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rules.routes import config
from rules.routes.model import Objective, Recipient
from tests.infra import snapshots
from tests.infra.checks import CHECKS, CREATED, RENAMED
from tests.infra.compiler import Compiler, Refused
from tests.infra.snapshots import INFRA, NAMES, SUBSCRIPTION, Snapshot, SnapshotOf, strings


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_check_passes(check: Callable[[Snapshot], list[str]], name: str, snapshot: SnapshotOf) -> None:
    assert check(snapshot(name)) == []


def filters(snapshot: Snapshot, types: list[str] = CREATED) -> set[tuple[str, str]]:
    """The topics with a subscription of exactly these types, each with the prefix of its subjects."""
    subscriptions = [
        each
        for each in snapshot.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
        if each["properties"]["filter"]["includedEventTypes"] == types
    ]
    token = snapshot.one("Microsoft.ManagedIdentity/userAssignedIdentities")["name"].removeprefix("id-")
    prefix = "/blobServices/default/containers/"
    return {
        (
            each["name"].partition("/")[0].replace(token, ""),
            each["properties"]["filter"]["subjectBeginsWith"].removeprefix(prefix),
        )
        for each in subscriptions
    }


def test_events_of_one_container_are_subscribed_by_default(snapshot: SnapshotOf) -> None:
    assert filters(snapshot("default")) == {("evgt-stsource", "source/")}


def test_nested_sources_share_a_subscription(snapshot: SnapshotOf) -> None:
    """A prefix is in the filter only if it has a single encoding."""
    assert filters(snapshot("targets")) == {
        ("evgt-stsource", "source/"),
        ("evgt-stsource", "drop/blobs/in/2026/"),
        ("evgt-stsource", "invoices/"),
    }


def test_a_topic_is_in_the_group_and_region_of_its_source(snapshot: SnapshotOf) -> None:
    deployment = snapshot("existing")
    assert filters(deployment) == {("evgt-contosodata", "outbox/"), ("evgt-contosoarchive", "archive/")}
    topics = deployment.of("Microsoft.EventGrid/systemTopics")
    assert {(each["id"].split("/")[4], each["location"]) for each in topics} == {("rg-data", "northeurope")}


def test_an_existing_topic_is_used(snapshot: SnapshotOf) -> None:
    """Its subscription is in its resource group. The other source gets a new topic."""
    deployment = snapshot("elsewhere")
    assert filters(deployment) == {("defender-contosodata", "outbox/"), ("evgt-fabrikamdata", "outbox/")}
    subscriptions = deployment.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    places = {each["id"].split("/")[8]: each["id"].split("/")[2][:4] for each in subscriptions}
    assert places == {"defender-contosodata": "2222", "evgt-fabrikamdata": "3333"}
    topic = deployment.one("Microsoft.EventGrid/systemTopics")
    assert (topic["name"], topic["id"].split("/")[2][:4]) == ("evgt-fabrikamdata", "3333")
    assert "/33333333-" in topic["properties"]["source"]


def test_private_endpoints_connect_to_accounts_of_other_subscriptions(snapshot: SnapshotOf) -> None:
    """The endpoints are in the app's network."""
    endpoints = snapshot("elsewhere").of("Microsoft.Network/privateEndpoints")
    links = [each["properties"]["privateLinkServiceConnections"][0]["properties"] for each in endpoints]
    places = {each["privateLinkServiceId"].split("/")[8]: each["privateLinkServiceId"].split("/")[2] for each in links}
    assert (places["contosodata"][:4], places["fabrikamdata"][:4]) == ("2222", "3333")
    assert {each["id"].split("/")[2] for each in endpoints} == {SUBSCRIPTION}


def test_renames_are_delivered_from_hierarchical_sources(snapshot: SnapshotOf) -> None:
    """Once for each container. The subject of a renamed directory may be shorter than the prefix of a route."""
    deployment = snapshot("lake")
    assert filters(deployment) == {
        ("evgt-stsource", "lake/blobs/raw/2026/"),
        ("evgt-stsource", "lake/blobs/curated/"),
        ("evgt-contosolake", "outbox/"),
        ("evgt-contosodata", "outbox/"),
    }
    assert filters(deployment, RENAMED) == {("evgt-stsource", "lake/"), ("evgt-contosolake", "outbox/")}
    subscriptions = deployment.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    assert len({each["id"] for each in subscriptions}) == len(subscriptions) == 4 + 2


def test_accounts_are_created_with_a_hierarchical_namespace(snapshot: SnapshotOf) -> None:
    """Only those of hierarchical ends. For all others the property is absent, because storage refuses `false` later."""
    deployment = snapshot("lake")
    accounts = {each["name"]: each["properties"] for each in deployment.of("Microsoft.Storage/storageAccounts")}
    hierarchical = {name for name, properties in accounts.items() if "isHnsEnabled" in properties}
    assert hierarchical == {deployment.account(purpose)["name"] for purpose in ("source", "target")}
    assert all(accounts[name]["isHnsEnabled"] is True for name in hierarchical)
    assert len(accounts) == len(hierarchical) + 2


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lake"])
def test_without_a_hierarchical_namespace_there_is_no_trace_of_the_feature(name: str, snapshot: SnapshotOf) -> None:
    found = [text for _, text in strings(snapshot(name).resources)]
    assert [text for text in found if text == "isHnsEnabled" or text in RENAMED or "-renames-" in text] == []


def test_the_routes_of_the_app_name_no_namespace(snapshot: SnapshotOf) -> None:
    """The app finds it out itself."""
    routes = json.loads(snapshot("lake").settings["ROUTES"])
    assert [set(route) for route in routes] == [{"name", "source", "target"}] * 4
    assert all(isinstance(route[end], str) for route in routes for end in ("source", "target"))


def test_subscriptions_depend_on_roles_and_app(compiler: Compiler) -> None:
    """Event Grid checks its roles when a subscription is created. The app takes minutes, in which the roles take effect."""
    template = compiler.ask("compile", path=str(INFRA / "main.bicep"))["contents"]
    resources = json.loads(template)["resources"]
    assert set(resources["subscriptions"]["dependsOn"]) >= {"topics", "roles", "app"}


def test_existing_accounts_are_not_changed(snapshot: SnapshotOf) -> None:
    """If all accounts exist, only the app's own accounts and containers are created."""
    deployment = snapshot("existing")
    own = [deployment.account("state"), deployment.account("events")]
    assert len(deployment.of("Microsoft.Storage/storageAccounts")) == len(own)
    containers = deployment.of("Microsoft.Storage/storageAccounts/blobServices/containers")
    assert {each["name"].partition("/")[0] for each in containers} == {each["name"] for each in own}


def test_the_containers_of_the_routes_are_created(snapshot: SnapshotOf) -> None:
    deployment = snapshot("targets")
    kind = "Microsoft.Storage/storageAccounts/blobServices/containers"
    assert deployment.children(kind, deployment.account("source")) == {"source", "drop", "invoices"}
    assert deployment.children(kind, deployment.account("target")) == {"target", "archive", "inbox", "drop", "invoices"}
    assert len(deployment.of(kind)) == 3 + 5 + 6


@pytest.mark.parametrize("name", NAMES)
def test_the_app_can_parse_the_routes(name: str, snapshot: SnapshotOf) -> None:
    """The output has the same routes."""
    deployment = snapshot(name)
    assert config.read(deployment.settings["ROUTES"])
    assert deployment.outputs["ROUTES"] == deployment.settings["ROUTES"]


def test_a_route_keeps_its_fields_and_its_prefix(snapshot: SnapshotOf) -> None:
    deployment = snapshot("targets")
    read = {route.name: route for route in config.read(deployment.settings["ROUTES"])}
    assert [*read] == ["all", "again", "reports", "folder", "invoices"]
    assert read["invoices"].source.prefix == "für uns/2026 #1/"
    assert (read["again"].target.prefix, read["again"].tier) == ("copies/", "Cool")
    reports = read["reports"]
    assert (reports.source.prefix, reports.suffix, reports.engine) == ("reports/", ".csv", "sync")
    assert (str(reports.deadline), str(reports.reconcile)) == ("6:00:00", "1 day, 0:00:00")
    assert (reports.exclude, reports.min_size, reports.max_size) == (("_temporary/*", "*.tmp"), 2, 209_715_200_000_000)
    assert (reports.objective, reports.daily_bytes) == (Objective(95, timedelta(minutes=15)), 1_099_511_627_776)
    fields = json.loads(deployment.settings["ROUTES"])
    assert [route.get("empty") for route in fields] == [None, None, "skip", None, None]
    assert "exclude" not in fields[0]


PARTNER = ("66666666-6666-6666-6666-666666666666", "77777777-7777-7777-7777-777777777777", "fabrikamdata")


def test_nothing_but_two_settings_and_an_output_names_another_tenant(snapshot: SnapshotOf) -> None:
    """No role, no account and no private endpoint: the template cannot write there."""
    deployment = snapshot("partners")
    named = {
        (resource["type"], path)
        for resource in deployment.resources
        for path, text in strings(resource)
        if any(word in text for word in PARTNER)
    }
    settings = ("SHARING_CLIENT_ID", "ROUTES")
    assert named == {("Microsoft.Web/sites/config", f".properties.{name}") for name in settings}
    assert [name for name, value in deployment.outputs.items() if PARTNER[0] in str(value)] == ["ROUTES"]
    read = {route.name: route for route in config.read(deployment.settings["ROUTES"])}
    assert [read[name].tenant for name in ("default", "partner", "second")] == [None, PARTNER[0], PARTNER[0]]
    assert (read["partner"].target.prefix, read["partner"].tier) == ("from us/", "Cool")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"partners", "notify"}])
def test_without_another_tenant_there_is_no_trace_of_the_feature(name: str, snapshot: SnapshotOf) -> None:
    deployment = snapshot(name)
    assert "SHARING_CLIENT_ID" not in deployment.settings
    assert "tenant" not in deployment.settings["ROUTES"]


def test_recipients_are_settings_of_their_routes(snapshot: SnapshotOf) -> None:
    deployment = snapshot("notify")
    read = {route.name: route.notify for route in config.read(deployment.settings["ROUTES"])}
    queue = Recipient("https://contosodata.queue.core.windows.net", "arrivals")
    assert read == {
        "default": queue,
        "again": queue,
        "topic": Recipient("https://arrivals.westeurope-1.eventgrid.azure.net/api/events"),
        "partner": Recipient("https://fabrikamdata.queue.core.windows.net", "arrivals", PARTNER[0]),
        "quiet": None,
    }
    assert deployment.settings["SHARING_CLIENT_ID"] == PARTNER[1]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "notify"])
def test_without_a_recipient_there_is_no_trace_of_the_feature(name: str, snapshot: SnapshotOf) -> None:
    deployment = snapshot(name)
    assert "notify" not in deployment.settings["ROUTES"]
    roles = [
        each["properties"]["roleDefinitionId"] for each in deployment.of("Microsoft.Authorization/roleAssignments")
    ]
    assert not [role for role in roles if role.endswith("d5a91429-5739-47e2-a06b-3470a27159e7")]


@pytest.mark.parametrize(
    ("scenario", "changes", "messages"),
    [
        (
            "notify",
            {
                "param sharingClientId": "// ",
                "topic: 'arrivals'": "account: 'arrivals'",
                "notify: { account: 'fabrikamdata', queue": "notify: { queue",
            },
            {
                ("topic", "a recipient needs either account and queue, or topic and endpoint."),
                ("partner", "a recipient needs either account and queue, or topic and endpoint."),
                ("partner", "a recipient in another tenant needs the parameter sharingClientId."),
            },
        ),
        (
            "partners",
            {"param sharingClientId": "// "},
            {
                ("partner", "needs its account, and the parameter sharingClientId."),
                ("second", "needs its account, and the parameter sharingClientId."),
            },
        ),
        (
            "partners",
            {
                "{ name: 'default', source: { container: 'source' }": "{ name: 'default', source: { container: 'source', tenant: 'x' }",
                "target: { account: 'fabrikamdata', container: 'second'": "target: { container: 'second'",
            },
            {("default", "Remove its tenant."), ("second", "needs its account, and the parameter sharingClientId.")},
        ),
        (
            "lake",
            {
                "prefix: 'raw/2026/', hierarchical: true": "prefix: 'raw/2026/'",
                "container: 'curated', hierarchical: true": "container: 'curated'",
                "container: 'inbox' }": "container: 'inbox', hierarchical: true }",
            },
            {
                ("raw", "Set hierarchical on all its sources or on none."),
                ("curated", "Set hierarchical on all its targets or on none."),
                ("partner", "Remove hierarchical from the target."),
            },
        ),
        (
            "lake",
            {"param environmentName": "param carryTags = true\nparam environmentName"},
            {
                (name, "Set carryTags to false, or deploy this route on its own.")
                for name in ("raw", "curated", "partner")
            },
        ),
    ],
)
def test_a_deployment_that_cannot_work_fails(
    scenario: str, changes: dict[str, str], messages: set[tuple[str, str]], compiler: Compiler, tmp_path: Path
) -> None:
    """It names every route that is wrong, with the fix."""
    prepared = tmp_path / "prepared"
    snapshots.prepare(prepared)
    path = prepared / "tests" / "infra" / "scenarios" / f"{scenario}.bicepparam"
    text = path.read_text()
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    with pytest.raises(Refused) as failed:
        snapshots.take(compiler, scenario, prepared)
    lines = re.findall(r"Route (\w+): ([^\n]*)", str(failed.value))
    assert len(lines) == len(messages)
    assert all(any(route == name and fix in line for route, line in lines) for name, fix in messages), lines


def test_no_network_is_created_if_disabled(snapshot: SnapshotOf) -> None:
    deployment = snapshot("open")
    assert [each for each in deployment.resources if each["type"].startswith("Microsoft.Network/")] == []
    rules = [each["properties"]["networkAcls"] for each in deployment.of("Microsoft.Storage/storageAccounts")]
    assert {each["defaultAction"] for each in rules} == {"Allow"}


def test_every_used_service_has_a_private_endpoint(snapshot: SnapshotOf) -> None:
    deployment = snapshot("private")
    endpoints = deployment.of("Microsoft.Network/privateEndpoints")
    links = [each["properties"]["privateLinkServiceConnections"][0]["properties"] for each in endpoints]
    reached = [(each["privateLinkServiceId"], service) for each in links for service in each["groupIds"]]
    services_of = {
        "source": ["blob"],
        "target": ["blob"],
        "state": ["blob", "queue", "table"],
        "events": ["blob", "queue"],
    }
    assert sorted(reached) == sorted(
        (deployment.account(purpose)["id"], service)
        for purpose, services in services_of.items()
        for service in services
    )
    assert {each["properties"]["subnet"]["id"].rpartition("/")[2] for each in endpoints} == {"endpoints"}
    zones = {each["name"] for each in deployment.of("Microsoft.Network/privateDnsZones")}
    assert zones == {f"privatelink.{service}.core.windows.net" for service in ("blob", "queue", "table")}
    assert len(deployment.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")) == 3
    assert len(deployment.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")) == 7


def test_with_private_endpoints_only_the_events_account_is_public(snapshot: SnapshotOf) -> None:
    accounts = snapshot("elsewhere").of("Microsoft.Storage/storageAccounts")
    public = {each["id"] for each in accounts if each["properties"]["publicNetworkAccess"] != "Disabled"}
    assert public == {snapshot("elsewhere").account("events")["id"]}
    assert len(accounts) == 3


def test_only_the_client_address_is_allowed(snapshot: SnapshotOf) -> None:
    for account in snapshot("private").of("Microsoft.Storage/storageAccounts"):
        assert account["properties"]["networkAcls"]["ipRules"] == [{"value": "203.0.113.7", "action": "Allow"}]
        assert account["properties"]["publicNetworkAccess"] == "Enabled"


def test_alerts_are_mailed_only_to_the_given_address(snapshot: SnapshotOf) -> None:
    receivers = {
        name: [each["emailAddress"] for each in group["properties"]["emailReceivers"]]
        for name in ("default", "targets")
        for group in [snapshot(name).one("Microsoft.Insights/actionGroups")]
    }
    assert receivers == {"default": [], "targets": ["operator@example.com"]}
    deployment = snapshot("targets")
    group = deployment.one("Microsoft.Insights/actionGroups")["id"]
    alerts = deployment.of("Microsoft.Insights/scheduledQueryRules")
    assert alerts
    assert all(each["properties"]["actions"] == {"actionGroups": [group]} for each in alerts)


def test_always_ready_instances_are_configurable(snapshot: SnapshotOf) -> None:
    scale = {
        name: snapshot(name).one("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
        for name in ("default", "targets")
    }
    assert scale["default"]["alwaysReady"] == [{"name": "durable", "instanceCount": 1}]
    assert scale["targets"]["alwaysReady"] == []


def test_the_scheduler_is_created_only_on_request(snapshot: SnapshotOf) -> None:
    assert snapshot("scheduler").one("Microsoft.DurableTask/schedulers")["properties"]["sku"] == {
        "name": "Dedicated",
        "capacity": 1,
    }
    assert len(snapshot("scheduler").of("Microsoft.DurableTask/schedulers/taskHubs")) == 1
    assert snapshot("default").of("Microsoft.DurableTask/schedulers") == []

"""Every check on every scenario, and what a parameter changes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rules.routes import config
from tests.infra.checks import CHECKS
from tests.infra.snapshots import INFRA, NAMES, SUBSCRIPTION, Snapshot

Taken = Callable[[str], Snapshot]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_all_is_well(check: Callable[[Snapshot], list[str]], name: str, snapshot: Taken) -> None:
    """Nothing is wrong with what would be made."""
    assert check(snapshot(name)) == []


def filters(snapshot: Snapshot) -> set[tuple[str, str]]:
    """The topics, each with the beginning of the subjects that are listened to."""
    subscriptions = snapshot.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    token = snapshot.one("Microsoft.ManagedIdentity/userAssignedIdentities")["name"].removeprefix("id-")
    prefix = "/blobServices/default/containers/"
    return {
        (
            each["name"].partition("/")[0].replace(token, ""),
            each["properties"]["filter"]["subjectBeginsWith"].removeprefix(prefix),
        )
        for each in subscriptions
    }


def test_one_container_is_watched_by_default(snapshot: Taken) -> None:
    """The default shares one container, whole."""
    assert filters(snapshot("default")) == {("evgt-stsource", "source/")}


def test_sources_inside_one_another_are_watched_once(snapshot: Taken) -> None:
    """Three routes from one container are one subscription; a prefix is in the filter where it is written in one way only."""
    assert filters(snapshot("targets")) == {
        ("evgt-stsource", "source/"),
        ("evgt-stsource", "drop/blobs/in/2026/"),
        ("evgt-stsource", "invoices/"),
    }


def test_existing_sources_get_topics_where_they_are(snapshot: Taken) -> None:
    """A system topic is in the group and region of its source."""
    taken = snapshot("existing")
    assert filters(taken) == {("evgt-contosodata", "outbox/"), ("evgt-contosoarchive", "archive/")}
    topics = taken.of("Microsoft.EventGrid/systemTopics")
    assert {(each["id"].split("/")[4], each["location"]) for each in topics} == {("rg-data", "northeurope")}


def test_a_topic_that_is_there_is_used_as_it_is(snapshot: Taken) -> None:
    """Its subscription is made in its place, and it is not made again; the other source gets one of its own, where it is."""
    taken = snapshot("elsewhere")
    assert filters(taken) == {("defender-contosodata", "outbox/"), ("evgt-fabrikamdata", "outbox/")}
    subscriptions = taken.of("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    places = {each["id"].split("/")[8]: each["id"].split("/")[2][:4] for each in subscriptions}
    assert places == {"defender-contosodata": "2222", "evgt-fabrikamdata": "3333"}
    topic = taken.one("Microsoft.EventGrid/systemTopics")
    assert (topic["name"], topic["id"].split("/")[2][:4]) == ("evgt-fabrikamdata", "3333")
    assert "/33333333-" in topic["properties"]["source"]


def test_private_endpoints_lead_to_accounts_of_other_subscriptions(snapshot: Taken) -> None:
    """They are in the app's network, and name the account where it is."""
    endpoints = snapshot("elsewhere").of("Microsoft.Network/privateEndpoints")
    links = [each["properties"]["privateLinkServiceConnections"][0]["properties"] for each in endpoints]
    places = {each["privateLinkServiceId"].split("/")[8]: each["privateLinkServiceId"].split("/")[2] for each in links}
    assert (places["contosodata"][:4], places["fabrikamdata"][:4]) == ("2222", "3333")
    assert {each["id"].split("/")[2] for each in endpoints} == {SUBSCRIPTION}


def test_roles_have_minutes_to_spread(bicep: str, tmp_path: Path) -> None:
    """Event Grid tries its identity when a subscription is made: that is after the topic's roles, and after the app."""
    template = tmp_path / "main.json"
    subprocess.run([bicep, "build", str(INFRA / "main.bicep"), "--outfile", str(template)], check=True)
    resources = json.loads(template.read_text())["resources"]
    assert set(resources["subscriptions"]["dependsOn"]) >= {"topics", "roles", "app"}


def test_existing_accounts_are_left_as_they_are(snapshot: Taken) -> None:
    """Where every end is in an account that exists, the app's own accounts alone are made, and no container of another one."""
    taken = snapshot("existing")
    made = [taken.account("state"), taken.account("events")]
    assert len(taken.of("Microsoft.Storage/storageAccounts")) == len(made)
    containers = taken.of("Microsoft.Storage/storageAccounts/blobServices/containers")
    assert {each["name"].partition("/")[0] for each in containers} == {each["name"] for each in made}


def test_the_containers_of_the_routes_are_made(snapshot: Taken) -> None:
    """Each container that a route names in an account that is made here is made too, once."""
    taken = snapshot("targets")
    kind = "Microsoft.Storage/storageAccounts/blobServices/containers"
    assert taken.children(kind, taken.account("source")) == {"source", "drop", "invoices"}
    assert taken.children(kind, taken.account("target")) == {"target", "archive", "inbox", "drop", "invoices"}
    assert len(taken.of(kind)) == 3 + 5 + 4


@pytest.mark.parametrize("name", NAMES)
def test_the_app_reads_the_routes_as_they_were_meant(name: str, snapshot: Taken) -> None:
    """ROUTES is JSON that the app takes, the same that is shown to who deploys."""
    taken = snapshot(name)
    assert config.read(taken.settings["ROUTES"])
    assert taken.outputs["ROUTES"] == taken.settings["ROUTES"]


def test_a_route_keeps_its_fields_and_its_prefix(snapshot: Taken) -> None:
    """All fields arrive, a prefix exactly as it was given, whatever is in it."""
    taken = snapshot("targets")
    read = {route.name: route for route in config.read(taken.settings["ROUTES"])}
    assert [*read] == ["all", "again", "reports", "folder", "invoices"]
    assert read["invoices"].source.prefix == "für uns/2026 #1/"
    assert (read["again"].target.prefix, read["again"].tier) == ("copies/", "Cool")
    reports = read["reports"]
    assert (reports.source.prefix, reports.suffix, reports.engine) == ("reports/", ".csv", "sync")
    assert (str(reports.deadline), str(reports.reconcile)) == ("6:00:00", "1 day, 0:00:00")


def test_without_a_network_none_is_made(snapshot: Taken) -> None:
    """`vnetEnabled=false`: no network, and accounts that roles alone shut."""
    taken = snapshot("open")
    assert [each for each in taken.resources if each["type"].startswith("Microsoft.Network/")] == []
    rules = [each["properties"]["networkAcls"] for each in taken.of("Microsoft.Storage/storageAccounts")]
    assert {each["defaultAction"] for each in rules} == {"Allow"}


def test_private_endpoints_lead_to_every_service_that_is_used(snapshot: Taken) -> None:
    """Blobs of source and target, and what is used of the app's own accounts, all in one network, with their names."""
    taken = snapshot("private")
    endpoints = taken.of("Microsoft.Network/privateEndpoints")
    links = [each["properties"]["privateLinkServiceConnections"][0]["properties"] for each in endpoints]
    reached = [(each["privateLinkServiceId"], service) for each in links for service in each["groupIds"]]
    wanted = {"source": ["blob"], "target": ["blob"], "state": ["blob", "queue", "table"], "events": ["blob", "queue"]}
    assert sorted(reached) == sorted(
        (taken.account(purpose)["id"], service) for purpose, services in wanted.items() for service in services
    )
    assert {each["properties"]["subnet"]["id"].rpartition("/")[2] for each in endpoints} == {"endpoints"}
    zones = {each["name"] for each in taken.of("Microsoft.Network/privateDnsZones")}
    assert zones == {f"privatelink.{service}.core.windows.net" for service in ("blob", "queue", "table")}
    assert len(taken.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks")) == 3
    assert len(taken.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups")) == 7


def test_with_private_endpoints_only_event_grid_comes_by_a_public_one(snapshot: Taken) -> None:
    """Of the accounts that are made, the events account alone keeps a public endpoint where no address is let in."""
    accounts = snapshot("elsewhere").of("Microsoft.Storage/storageAccounts")
    public = {each["id"] for each in accounts if each["properties"]["publicNetworkAccess"] != "Disabled"}
    assert public == {snapshot("elsewhere").account("events")["id"]}
    assert len(accounts) == 3


def test_an_address_is_let_in_and_nobody_else(snapshot: Taken) -> None:
    """`clientIp` is the one rule of every account."""
    for account in snapshot("private").of("Microsoft.Storage/storageAccounts"):
        assert account["properties"]["networkAcls"]["ipRules"] == [{"value": "203.0.113.7", "action": "Allow"}]
        assert account["properties"]["publicNetworkAccess"] == "Enabled"


def test_a_mail_is_sent_only_where_it_was_asked_for(snapshot: Taken) -> None:
    """The action group has the address that was given, or none; every alert goes to it."""
    receivers = {
        name: [each["emailAddress"] for each in group["properties"]["emailReceivers"]]
        for name in ("default", "targets")
        for group in [snapshot(name).one("Microsoft.Insights/actionGroups")]
    }
    assert receivers == {"default": [], "targets": ["operator@example.com"]}
    taken = snapshot("targets")
    group = taken.one("Microsoft.Insights/actionGroups")["id"]
    alerts = taken.of("Microsoft.Insights/scheduledQueryRules")
    assert alerts
    assert all(each["properties"]["actions"] == {"actionGroups": [group]} for each in alerts)


def test_instances_that_always_run_are_a_choice(snapshot: Taken) -> None:
    """One of the durable group by default, none where none is wanted."""
    scale = {
        name: snapshot(name).one("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
        for name in ("default", "targets")
    }
    assert scale["default"]["alwaysReady"] == [{"name": "durable", "instanceCount": 1}]
    assert scale["targets"]["alwaysReady"] == []


def test_the_scheduler_is_made_only_where_it_is_wanted(snapshot: Taken) -> None:
    """One scheduler with one hub, and none with the default backend."""
    assert snapshot("scheduler").one("Microsoft.DurableTask/schedulers")["properties"]["sku"] == {
        "name": "Dedicated",
        "capacity": 1,
    }
    assert len(snapshot("scheduler").of("Microsoft.DurableTask/schedulers/taskHubs")) == 1
    assert snapshot("default").of("Microsoft.DurableTask/schedulers") == []

"""The exact role assignments of every principal and scope. An additional role is as wrong as a missing one."""

import re

from tests.infra.snapshots import SUBSCRIPTION, TESTER, Snapshot, SnapshotOf

Roles = set[tuple[str, str, str]]
NAMES = {
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Blob Data Reader",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Blob Data Owner",
    "db58b8e5-c6ad-4a2a-8342-4190687cbf4a": "Blob Delegator",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Queue Data Contributor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Queue Data Message Sender",
    "d5a91429-5739-47e2-a06b-3470a27159e7": "EventGrid Data Sender",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "0ad04412-c4d5-4796-b79c-f76d14c8d402": "Durable Task Data Contributor",
}
# The roles of the app in its own accounts.
OWN_ACCOUNTS: Roles = {
    ("app", "Blob Data Owner", "rg-demo/ststate"),
    ("app", "Queue Data Contributor", "rg-demo/ststate"),
    ("app", "Table Data Contributor", "rg-demo/ststate"),
    ("app", "Queue Data Contributor", "rg-demo/stevents"),
    ("app", "Blob Data Contributor", "rg-demo/stevents"),
    ("app", "Monitoring Metrics Publisher", "rg-demo/appi-"),
}
SOURCE_TO_TARGET: Roles = {
    ("app", "Blob Data Reader", "rg-demo/stsource/source"),
    ("app", "Blob Delegator", "rg-demo/stsource"),
    ("app", "Blob Data Contributor", "rg-demo/sttarget/target"),
}


def roles_of_topic(name: str) -> Roles:
    """The roles of a topic, on the whole events account, because Event Grid checks this scope."""
    return {
        (name, "Queue Data Message Sender", "rg-demo/stevents"),
        (name, "Blob Data Contributor", "rg-demo/stevents"),
    }


def roles_of_tester(*containers: str) -> Roles:
    """The roles of the person who tests."""
    return {("tester", "Blob Data Contributor", container) for container in containers} | {
        ("tester", "Blob Data Reader", "rg-demo/ststate/dead-letters")
    }


def roles(snapshot: Snapshot) -> Roles:
    """Every assignment: principal, role and scope, without the hash in names. Asserts that there are no duplicates."""
    token = snapshot.one("Microsoft.ManagedIdentity/userAssignedIdentities")["name"].removeprefix("id-")
    assigned = [
        (
            principal_name(each["properties"]["principalId"]).replace(token, ""),
            NAMES[each["properties"]["roleDefinitionId"].rpartition("/")[2]],
            scope_path(each["id"]).replace(token, ""),
        )
        for each in snapshot.of("Microsoft.Authorization/roleAssignments")
    ]
    assert len(assigned) == len(set(assigned))
    return set(assigned)


def principal_name(principal: str) -> str:
    """`app`, the topic's name, or `tester`."""
    if principal == TESTER:
        return "tester"
    found = re.fullmatch(
        r"\[reference\('\S+/(userAssignedIdentities|systemTopics)/([\w-]+)', '[\d-]+'(?:, 'full'\)\.identity|\))\.principalId\]",
        principal,
    )
    assert found, principal
    return "app" if found[1] == "userAssignedIdentities" else found[2]


def scope_path(assignment: str) -> str:
    """The resource group and the resource names: `rg-demo/ststate/dead-letters`. Another subscription is put before it."""
    scope = re.match(
        r"(?:\[extensionResourceId\(')?(/subscriptions/[^']+?)(?:'|/providers/Microsoft.Authorization/)", assignment
    )
    assert scope, assignment
    _, _, subscription, _, group, _, _, *names = scope[1].split("/")
    other = [] if subscription == SUBSCRIPTION else [subscription[:4]]
    return "/".join([*other, group, *(name for name in names[1::2] if name != "default")])


def test_the_default_assigns_exactly_these_roles(snapshot: SnapshotOf) -> None:
    containers = ("rg-demo/stsource/source", "rg-demo/sttarget/target")
    assert roles(snapshot("default")) == OWN_ACCOUNTS | SOURCE_TO_TARGET | roles_of_topic(
        "evgt-stsource"
    ) | roles_of_tester(*containers)


def test_network_and_tester_access_change_no_other_role(snapshot: SnapshotOf) -> None:
    """Both scenarios have tester access disabled."""
    for name in ("open", "private"):
        assert roles(snapshot(name)) == OWN_ACCOUNTS | SOURCE_TO_TARGET | roles_of_topic("evgt-stsource")


def test_the_scheduler_adds_a_role_on_the_task_hub(snapshot: SnapshotOf) -> None:
    additional = {("app", "Durable Task Data Contributor", "rg-demo/dts-/BlobDataSharing")}
    assert (
        roles(snapshot("scheduler")) == OWN_ACCOUNTS | SOURCE_TO_TARGET | roles_of_topic("evgt-stsource") | additional
    )


def test_index_tags_require_owner_on_the_shared_containers_only(snapshot: SnapshotOf) -> None:
    sources = {f"rg-demo/stsource/{name}" for name in ("source", "drop", "invoices")}
    targets = {f"rg-demo/sttarget/{name}" for name in ("target", "archive", "inbox", "drop", "invoices")}
    owned = {("app", "Blob Data Owner", container) for container in sources | targets}
    delegator = {("app", "Blob Delegator", "rg-demo/stsource")}
    assert roles(snapshot("targets")) == OWN_ACCOUNTS | owned | delegator | roles_of_topic("evgt-stsource")


def test_roles_on_existing_accounts_are_in_their_groups(snapshot: SnapshotOf) -> None:
    """A container that is source and target gets both roles, and one for the tester."""
    shared = {
        ("app", "Blob Data Reader", "rg-data/contosodata/outbox"),
        ("app", "Blob Data Reader", "rg-data/contosoarchive/archive"),
        ("app", "Blob Delegator", "rg-data/contosodata"),
        ("app", "Blob Delegator", "rg-data/contosoarchive"),
        ("app", "Blob Data Contributor", "rg-partner/fabrikamdata/inbox"),
        ("app", "Blob Data Contributor", "rg-partner/fabrikamdata/onward"),
        ("app", "Blob Data Contributor", "rg-data/contosoarchive/archive"),
    }
    assert roles(snapshot("existing")) == OWN_ACCOUNTS | shared | roles_of_topic("evgt-contosodata") | roles_of_topic(
        "evgt-contosoarchive"
    ) | roles_of_tester(
        "rg-data/contosodata/outbox",
        "rg-data/contosoarchive/archive",
        "rg-partner/fabrikamdata/inbox",
        "rg-partner/fabrikamdata/onward",
    )


def test_roles_on_accounts_of_other_subscriptions_are_there(snapshot: SnapshotOf) -> None:
    shared = {
        ("app", "Blob Data Reader", "2222/rg-data/contosodata/outbox"),
        ("app", "Blob Data Reader", "3333/rg-partner/fabrikamdata/outbox"),
        ("app", "Blob Delegator", "2222/rg-data/contosodata"),
        ("app", "Blob Delegator", "3333/rg-partner/fabrikamdata"),
        ("app", "Blob Data Contributor", "3333/rg-partner/fabrikamdata/inbox"),
        ("app", "Blob Data Contributor", "rg-demo/sttarget/target"),
    }
    topics = roles_of_topic("defender-contosodata") | roles_of_topic("evgt-fabrikamdata")
    assert roles(snapshot("elsewhere")) == OWN_ACCOUNTS | shared | topics


def test_a_target_in_another_tenant_gets_no_role(snapshot: SnapshotOf) -> None:
    containers = ("rg-demo/stsource/source", "rg-demo/sttarget/target")
    owned = {("app", "Blob Data Owner", container) for container in containers}
    delegator = {("app", "Blob Delegator", "rg-demo/stsource")}
    assert roles(snapshot("partners")) == OWN_ACCOUNTS | owned | delegator | roles_of_topic(
        "evgt-stsource"
    ) | roles_of_tester(*containers)


def test_a_recipient_gets_the_role_to_send_once_and_none_in_another_tenant(snapshot: SnapshotOf) -> None:
    containers = ("target", "again", "third", "fourth", "fifth")
    targets = {("app", "Blob Data Contributor", f"rg-demo/sttarget/{name}") for name in containers}
    senders = {
        ("app", "Queue Data Message Sender", "rg-data/contosodata/arrivals"),
        ("app", "EventGrid Data Sender", "3333/rg-events/arrivals"),
    }
    assert roles(snapshot("notify")) == OWN_ACCOUNTS | SOURCE_TO_TARGET | targets | senders | roles_of_topic(
        "evgt-stsource"
    )


def test_a_hierarchical_namespace_changes_no_role(snapshot: SnapshotOf) -> None:
    shared = {
        ("app", "Blob Data Reader", "rg-demo/stsource/lake"),
        ("app", "Blob Data Reader", "rg-data/contosolake/outbox"),
        ("app", "Blob Data Reader", "rg-data/contosodata/outbox"),
        ("app", "Blob Delegator", "rg-demo/stsource"),
        ("app", "Blob Delegator", "rg-data/contosolake"),
        ("app", "Blob Delegator", "rg-data/contosodata"),
        ("app", "Blob Data Contributor", "rg-demo/sttarget/raw"),
        ("app", "Blob Data Contributor", "rg-demo/sttarget/curated"),
        ("app", "Blob Data Contributor", "rg-partner/fabrikamdata/inbox"),
        ("app", "Blob Data Contributor", "rg-partner/fabrikamdata/flat"),
    }
    topics = [roles_of_topic(f"evgt-{name}") for name in ("stsource", "contosolake", "contosodata")]
    assert roles(snapshot("lake")) == OWN_ACCOUNTS.union(shared, *topics)


def test_a_role_in_another_subscription_is_found(snapshot: SnapshotOf) -> None:
    """The same names in the deployment's subscription are another scope."""
    deployment = snapshot("elsewhere").copy()
    for each in deployment.of("Microsoft.Authorization/roleAssignments"):
        each["id"] = each["id"].replace("22222222-2222-2222-2222-222222222222", SUBSCRIPTION)
    assert roles(deployment) != roles(snapshot("elsewhere"))


def test_every_role_has_a_reason_and_a_principal_type(snapshot: SnapshotOf) -> None:
    """With the type, Azure does not look up a new identity, which could fail."""
    for each in snapshot("default").of("Microsoft.Authorization/roleAssignments"):
        assert len(each["properties"]["description"].split()) >= 4
        kind = "User" if each["properties"]["principalId"] == TESTER else "ServicePrincipal"
        assert each["properties"]["principalType"] == kind


def test_an_additional_role_is_found(snapshot: SnapshotOf) -> None:
    deployment = snapshot("default").copy()
    wider = deployment.of("Microsoft.Authorization/roleAssignments")[0]
    wider["id"] = wider["id"].replace("/blobServices/default/containers/source", "")
    assert roles(deployment) != roles(snapshot("default"))

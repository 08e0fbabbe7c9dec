"""Who may do what: the exact roles of everybody, on the exact scopes. One more is as wrong as one less."""

import re
from collections.abc import Callable

from tests.infra.snapshots import SUBSCRIPTION, TESTER, Snapshot

Taken = Callable[[str], Snapshot]
Roles = set[tuple[str, str, str]]
NAMES = {
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Blob Data Reader",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Blob Data Owner",
    "db58b8e5-c6ad-4a2a-8342-4190687cbf4a": "Blob Delegator",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Queue Data Contributor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Queue Data Message Sender",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "0ad04412-c4d5-4796-b79c-f76d14c8d402": "Durable Task Data Contributor",
}
# What the app has in its own accounts, whatever is shared.
STATE: Roles = {
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


def of_topic(name: str) -> Roles:
    """What a topic has: on the account of the events alone, and on all of it, for that is what Event Grid checks."""
    return {
        (name, "Queue Data Message Sender", "rg-demo/stevents"),
        (name, "Blob Data Contributor", "rg-demo/stevents"),
    }


def of_tester(*containers: str) -> Roles:
    """What the person who tests has."""
    return {("tester", "Blob Data Contributor", container) for container in containers} | {
        ("tester", "Blob Data Reader", "rg-demo/ststate/dead-letters")
    }


def roles(snapshot: Snapshot) -> Roles:
    """Every role: who, which, and where, without the hash in the names. None is assigned twice."""
    token = snapshot.one("Microsoft.ManagedIdentity/userAssignedIdentities")["name"].removeprefix("id-")
    assigned = [
        (
            who(each["properties"]["principalId"]).replace(token, ""),
            NAMES[each["properties"]["roleDefinitionId"].rpartition("/")[2]],
            where(each["id"]).replace(token, ""),
        )
        for each in snapshot.of("Microsoft.Authorization/roleAssignments")
    ]
    assert len(assigned) == len(set(assigned))
    return set(assigned)


def who(principal: str) -> str:
    """`app`, the topic's name, or `tester`."""
    if principal == TESTER:
        return "tester"
    found = re.fullmatch(
        r"\[reference\('\S+/(userAssignedIdentities|systemTopics)/([\w-]+)', '[\d-]+'(?:, 'full'\)\.identity|\))\.principalId\]",
        principal,
    )
    assert found, principal
    return "app" if found[1] == "userAssignedIdentities" else found[2]


def where(assignment: str) -> str:
    """The group and the names that lead to the scope: `rg-demo/ststate/dead-letters`; before it a subscription that is another."""
    scope = re.match(
        r"(?:\[extensionResourceId\(')?(/subscriptions/[^']+?)(?:'|/providers/Microsoft.Authorization/)", assignment
    )
    assert scope, assignment
    _, _, subscription, _, group, _, _, *names = scope[1].split("/")
    other = [] if subscription == SUBSCRIPTION else [subscription[:4]]
    return "/".join([*other, group, *(name for name in names[1::2] if name != "default")])


def test_the_default_gives_these_roles_and_no_more(snapshot: Taken) -> None:
    """Reader of the source's container, contributor of the target's, and nothing of an account but Delegator."""
    containers = ("rg-demo/stsource/source", "rg-demo/sttarget/target")
    assert roles(snapshot("default")) == STATE | SOURCE_TO_TARGET | of_topic("evgt-stsource") | of_tester(*containers)


def test_the_network_changes_no_role(snapshot: Taken) -> None:
    """Neither without one nor with private endpoints; and nobody tests where that is switched off."""
    for name in ("open", "private"):
        assert roles(snapshot(name)) == STATE | SOURCE_TO_TARGET | of_topic("evgt-stsource")


def test_the_scheduler_takes_one_more(snapshot: Taken) -> None:
    """On the task hub alone."""
    more = {("app", "Durable Task Data Contributor", "rg-demo/dts-/BlobDataSharing")}
    assert roles(snapshot("scheduler")) == STATE | SOURCE_TO_TARGET | of_topic("evgt-stsource") | more


def test_index_tags_take_owner_of_the_shared_containers_alone(snapshot: Taken) -> None:
    """With `carryTags` the app owns the blobs of every source and target, once each."""
    sources = {f"rg-demo/stsource/{name}" for name in ("source", "drop", "invoices")}
    targets = {f"rg-demo/sttarget/{name}" for name in ("target", "archive", "inbox", "drop", "invoices")}
    owned = {("app", "Blob Data Owner", container) for container in sources | targets}
    delegator = {("app", "Blob Delegator", "rg-demo/stsource")}
    assert roles(snapshot("targets")) == STATE | owned | delegator | of_topic("evgt-stsource")


def test_existing_accounts_are_given_roles_where_they_are(snapshot: Taken) -> None:
    """Containers in other resource groups; one that is target and source gets both roles, and its tester one."""
    shared = {
        ("app", "Blob Data Reader", "rg-data/contosodata/outbox"),
        ("app", "Blob Data Reader", "rg-data/contosoarchive/archive"),
        ("app", "Blob Delegator", "rg-data/contosodata"),
        ("app", "Blob Delegator", "rg-data/contosoarchive"),
        ("app", "Blob Data Contributor", "rg-partner/fabrikamdata/inbox"),
        ("app", "Blob Data Contributor", "rg-partner/fabrikamdata/onward"),
        ("app", "Blob Data Contributor", "rg-data/contosoarchive/archive"),
    }
    assert roles(snapshot("existing")) == STATE | shared | of_topic("evgt-contosodata") | of_topic(
        "evgt-contosoarchive"
    ) | of_tester(
        "rg-data/contosodata/outbox",
        "rg-data/contosoarchive/archive",
        "rg-partner/fabrikamdata/inbox",
        "rg-partner/fabrikamdata/onward",
    )


def test_accounts_of_other_subscriptions_are_given_roles_there(snapshot: Taken) -> None:
    """Each in the subscription of its account; the topic that was there has what a new one has."""
    shared = {
        ("app", "Blob Data Reader", "2222/rg-data/contosodata/outbox"),
        ("app", "Blob Data Reader", "3333/rg-partner/fabrikamdata/outbox"),
        ("app", "Blob Delegator", "2222/rg-data/contosodata"),
        ("app", "Blob Delegator", "3333/rg-partner/fabrikamdata"),
        ("app", "Blob Data Contributor", "3333/rg-partner/fabrikamdata/inbox"),
        ("app", "Blob Data Contributor", "rg-demo/sttarget/target"),
    }
    topics = of_topic("defender-contosodata") | of_topic("evgt-fabrikamdata")
    assert roles(snapshot("elsewhere")) == STATE | shared | topics


def test_a_role_in_another_subscription_is_found(snapshot: Taken) -> None:
    """The same names in the deployment's own subscription are another place."""
    taken = snapshot("elsewhere").mistaken()
    for each in taken.of("Microsoft.Authorization/roleAssignments"):
        each["id"] = each["id"].replace("22222222-2222-2222-2222-222222222222", SUBSCRIPTION)
    assert roles(taken) != roles(snapshot("elsewhere"))


def test_every_role_says_why_and_for_what_kind_of_principal(snapshot: Taken) -> None:
    """Each assignment has its reason in its description, and the kind, so that a new identity need not be looked up."""
    for each in snapshot("default").of("Microsoft.Authorization/roleAssignments"):
        assert len(each["properties"]["description"].split()) >= 4
        kind = "User" if each["properties"]["principalId"] == TESTER else "ServicePrincipal"
        assert each["properties"]["principalType"] == kind


def test_a_role_too_many_is_found(snapshot: Taken) -> None:
    """A role on the whole account is another one than on its container."""
    taken = snapshot("default").mistaken()
    wider = taken.of("Microsoft.Authorization/roleAssignments")[0]
    wider["id"] = wider["id"].replace("/blobServices/default/containers/source", "")
    assert roles(taken) != roles(snapshot("default"))

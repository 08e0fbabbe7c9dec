"""Real answers of the storage service, end to end: listings without metadata, and refusals that end with the right reason.

The module has its own stack, because the target account temporarily has a hierarchical namespace.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from azure.storage.blob import BlobType

from rules.errors import HINTS, Reason
from rules.events.write import created_event
from rules.routes.config import read
from rules.transfers import identity
from tests.e2e.client import AGENT, FINAL, Client
from tests.e2e.jobs import counts, run_job
from tests.e2e.stacks import environment, running_stack
from tests.e2e.storm import LONG

COUNT = 300 if LONG else 60
SOURCE, TARGET, COPY = "sharingsource HeadBlob", "sharingtarget HeadBlob", "sharingtarget CopyBlobFromUrl"
OWN_KEY = "BlobUsesCustomerSpecifiedEncryption"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    state = tmp_path_factory.mktemp("answers")
    settings = environment(state)
    emulator = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    routes = [
        {"name": name, "source": f"{emulator}/sharingsource/{name}/", "target": f"{emulator}/sharingtarget/of-{name}/"}
        for name in ("plain", "inputs")
    ]
    with running_stack(state, {**settings, "ROUTES": json.dumps(routes)}) as running:
        for route in routes:
            running.create_container("sharingsource", route["name"])
            running.create_container("sharingtarget", f"of-{route['name']}")
        yield running


def test_blobs_without_metadata_are_reconciled(client: Client) -> None:
    """The service lists these blobs with an empty `<Metadata />`."""
    names = [f"{number:03}.bin" for number in range(COUNT)]
    client.control.events(mode="drop")
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: client.put(name, name.encode(), "plain"), names))
    finally:
        client.control.events(mode="deliver")
    assert reconcile(client) == {"missing": COUNT, "found": COUNT, "bytes": COUNT * 7, "started": COUNT}
    path = "/transfers?route=plain&state=verified"
    client.until(lambda: len(client.list_all(path)) == COUNT, "all are verified")
    assert reconcile(client) == {"match": COUNT}
    assert client.count_requests(names)["CopyBlobFromUrl"] == COUNT


def reconcile(client: Client) -> dict[str, int]:
    job = run_job(client, "reconciles", route="plain", max_per_second=100)
    assert job["state"] == "done"
    return counts(job)


@dataclass(frozen=True)
class Refusal:
    """The error code of a copy, and the reason of the dead letter.

    `requests` are all requests of the transfer. The last look belongs to the cleanup.
    """

    status: int
    code: str
    reason: Reason
    requests: tuple[str, ...] = (SOURCE, COPY, TARGET)


REFUSALS = {
    "not-allowed": Refusal(409, "OperationNotAllowedInCurrentState", Reason.UNSUPPORTED_BLOB),
    "on-directory": Refusal(400, "OperationNotSupportedOnDirectory", Reason.TARGET_CONFLICT),
    "not-supported": Refusal(409, "BlobOperationNotSupported", Reason.UNSUPPORTED_BLOB),
    "type": Refusal(400, "BlobTypeNotSupported", Reason.UNSUPPORTED_BLOB),
    "tier": Refusal(409, "BlobAccessTierNotSupportedForAccountType", Reason.TARGET_UNWRITABLE),
    "no-tags": Refusal(409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts", Reason.UNSUPPORTED_BLOB),
    # After these codes the app looks at both sides: the source may have changed, or the target may have another type.
    "new": Refusal(409, "SomeUnknownCode", Reason.UNSUPPORTED_BLOB, (SOURCE, COPY, TARGET, SOURCE, TARGET)),
    "other-type": Refusal(409, "InvalidBlobType", Reason.TARGET_CONFLICT, (SOURCE, COPY, TARGET, SOURCE, TARGET)),
}


# How often HEAD returns 404 for the source.
MISSING_LOOKS = {"unseen": 1, "gone": 2}


@pytest.fixture(scope="module")
def transfers(client: Client) -> Iterator[dict[str, dict[str, Any]]]:
    """The transfers of all blobs, by name. They run concurrently."""
    control = client.control
    control.hierarchical("sharingtarget")
    for name, refusal in REFUSALS.items():
        match = {"operation": "CopyBlobFromUrl", "container": "of-inputs", "blob": f"^{name}$"}
        control.add_fault(match, {"status": refusal.status, "code": refusal.code}, 1_000)
    control.refuse("inputs", "own-key", OWN_KEY)
    for name, times in MISSING_LOOKS.items():
        match = {"operation": "HeadBlob", "account": "sharingsource", "blob": f"^{name}$", "user_agent": AGENT}
        control.add_fault(match, {"status": 404, "code": "BlobNotFound"}, times)
    match = {"operation": "CopyBlobFromUrl", "container": "of-inputs", "blob": "^hidden$"}
    control.add_fault(match, {"status": 409, "code": "BlobAlreadyExists"}, 1_000)
    client.target("occupied", "of-inputs").upload_blob(b"an append blob", blob_type=BlobType.APPENDBLOB)
    for name in (*REFUSALS, *MISSING_LOOKS, "own-key", "a//b", "a/b", "occupied", "hidden"):
        client.put(name, name.encode(), "inputs")
    client.put("tagged", b"tagged", "inputs", tags={"a": "1"})
    wanted = {*REFUSALS, *MISSING_LOOKS, "own-key", "a//b", "a/b", "occupied", "hidden", "tagged"}
    yield client.until(lambda: final_transfers(client, wanted), "all have ended")
    control.remove_faults()
    control.hierarchical()


def final_transfers(client: Client, wanted: set[str]) -> dict[str, dict[str, Any]] | None:
    """Return the route's transfers by blob name if all have ended."""
    items = client.list_all("/transfers?route=inputs")
    found = {item["source"]["name"]: item for item in items if item["state"] in FINAL}
    return found if found.keys() == wanted else None


def app_requests(client: Client, name: str) -> list[str]:
    """Return the app's requests about a blob in order, with their accounts."""
    requests = client.control.requests(internal=False, blob=name)
    return [f"{request['account']} {request['operation']}" for request in requests if AGENT in request["user_agent"]]


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_copy_ends_without_retries_and_with_its_reason(
    client: Client, transfers: dict[str, dict[str, Any]], name: str
) -> None:
    refusal, transfer = REFUSALS[name], transfers[name]
    assert (transfer["state"], transfer["reason"]) == ("dead_lettered", refusal.reason)
    assert f"{refusal.status} {refusal.code}" in transfer["detail"]
    dead_letter = client.api("GET", f"/dead-letters/{transfer['id']}").body
    assert (dead_letter["reason"], dead_letter["hint"]) == (refusal.reason, HINTS[refusal.reason])
    assert tuple(app_requests(client, name)) == refusal.requests


def test_blocks_create_a_blob_that_exists_for_a_copy_but_not_for_a_look(
    client: Client, transfers: dict[str, dict[str, Any]]
) -> None:
    """One copy without a look, and two after a look, are refused."""
    assert (transfers["hidden"]["state"], transfers["hidden"]["engine"]) == ("verified", "blocks")
    assert app_requests(client, "hidden").count(COPY) == 3


def test_a_blob_with_a_customer_provided_key_is_refused_by_transfer_look_up_and_share(
    client: Client, transfers: dict[str, dict[str, Any]]
) -> None:
    """The app does not try a copy."""
    transfer = transfers["own-key"]
    assert (transfer["state"], transfer["reason"]) == ("dead_lettered", Reason.UNSUPPORTED_BLOB)
    assert OWN_KEY in transfer["detail"]
    assert not [request for request in app_requests(client, "own-key") if "Copy" in request]
    for answer in (
        client.transfer_of("own-key", "inputs"),
        client.api("POST", "/transfers", {"route": "inputs", "name": "own-key"}),
    ):
        assert (answer.status, answer.body["fix"]) == (400, HINTS[Reason.UNSUPPORTED_BLOB])
        assert OWN_KEY in answer.body["detail"]


def test_tags_that_the_target_does_not_support_are_left_out(
    client: Client, transfers: dict[str, dict[str, Any]]
) -> None:
    transfer = transfers["tagged"]
    assert transfer["state"] == "verified"
    assert "index tags were not copied" in transfer["detail"]
    assert app_requests(client, "tagged").count(COPY) == 2
    assert client.read(client.target("tagged", "of-inputs")) == b"tagged"


def test_a_target_of_another_type_is_removed_before_the_copy(
    client: Client, transfers: dict[str, dict[str, Any]]
) -> None:
    """The first copy, without a look, is refused. The app deletes the target only after a pause and two equal looks."""
    assert (transfers["occupied"]["state"], transfers["occupied"]["tries"]) == ("verified", 0)
    look, removed = [TARGET, SOURCE], "sharingtarget DeleteBlob"
    assert app_requests(client, "occupied") == [SOURCE, COPY, *look, *look, removed, *look, COPY]
    target = client.target("occupied", "of-inputs")
    assert target.get_blob_properties().blob_type is BlobType.BLOCKBLOB
    assert client.read(target) == b"occupied"


def test_a_source_that_is_missing_in_one_look_is_copied(client: Client, transfers: dict[str, dict[str, Any]]) -> None:
    assert (transfers["unseen"]["state"], transfers["unseen"]["tries"]) == ("verified", 0)
    assert app_requests(client, "unseen") == [SOURCE, TARGET, SOURCE, COPY]
    assert client.read(client.target("unseen", "of-inputs")) == b"unseen"


def test_a_source_that_is_missing_in_two_looks_counts_as_deleted(
    client: Client, transfers: dict[str, dict[str, Any]]
) -> None:
    """A later event for the same version restarts the transfer."""
    transfer = transfers["gone"]
    assert (transfer["state"], transfer["successor"], transfer["attempt"]) == (
        "superseded",
        {"id": None, "etag": None},
        0,
    )
    assert COPY not in app_requests(client, "gone")
    etag = client.source("gone", "inputs").get_blob_properties().etag.strip('"')
    again = identity.transfer(read(client.stack.environment["ROUTES"])[1], "gone", etag)
    client.queue().send_message(created_event(again, etag, None).decode())
    done = client.until(lambda: verified_transfer(client, again.id), "it is verified")
    assert done["attempt"] == 1
    assert client.read(client.target("gone", "of-inputs")) == b"gone"


def verified_transfer(client: Client, identity_: str) -> dict[str, Any] | None:
    body: dict[str, Any] = client.api("GET", f"/transfers/{identity_}").body
    return body if body["state"] == "verified" else None


def test_a_name_that_the_target_would_normalize_is_refused(
    client: Client, transfers: dict[str, dict[str, Any]]
) -> None:
    transfer = transfers["a//b"]
    assert (transfer["state"], transfer["reason"]) == ("dead_lettered", Reason.INVALID_NAME)
    assert "accounts with a hierarchical namespace drop it" in transfer["detail"]
    assert transfers["a/b"]["state"] == "verified"
    assert client.read(client.target("a/b", "of-inputs")) == b"a/b"

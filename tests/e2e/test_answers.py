"""What the real service answers to some blobs, end to end: lists without metadata, and refusals, each with its right end at once.

The stack is its own: an account of it has a hierarchical namespace for a while.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from azure.storage.blob import BlobType

from rules.errors import HINTS, Reason
from rules.events import created_event
from rules.routes.config import read
from rules.transfers import identity
from tests.e2e.conftest import environment
from tests.e2e.desk import AGENT, FINAL, Desk
from tests.e2e.jobs import ENDED

COUNT = 300
SOURCE, TARGET, COPY = "sharingsource HeadBlob", "sharingtarget HeadBlob", "sharingtarget CopyBlobFromUrl"
OWN_KEY = "BlobUsesCustomerSpecifiedEncryption"


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A stack with a route to fill and one for what is refused; source and target have containers of other names."""
    state = tmp_path_factory.mktemp("answers")
    settings = environment(state)
    emulator = f"http://127.0.0.1:{settings['AZURITE_BLOB_PORT']}"
    routes = [
        {"name": name, "source": f"{emulator}/sharingsource/{name}/", "target": f"{emulator}/sharingtarget/of-{name}/"}
        for name in ("plain", "inputs")
    ]
    with (state / "stack.log").open("w") as log:
        desk = Desk({**settings, "ROUTES": json.dumps(routes)}, log)
        desk.stack.start()
        try:
            for route in routes:
                desk.container("sharingsource", route["name"])
                desk.container("sharingtarget", f"of-{route['name']}")
            yield desk
        finally:
            desk.close()


def test_three_hundred_blobs_without_metadata_are_reconciled(answering: Desk) -> None:
    """The service lists each with an empty `<Metadata />`; all are shared, and the second run finds matches alone."""
    names = [f"{number:03}.bin" for number in range(COUNT)]
    answering.control.events(mode="drop")
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: answering.put(name, name.encode(), "plain"), names))
    finally:
        answering.control.events(mode="deliver")
    assert counts(answering) == {"missing": COUNT, "found": COUNT, "bytes": COUNT * 7, "started": COUNT}
    path = "/transfers?route=plain&state=verified"
    answering.until(lambda: len(answering.everything(path)) == COUNT, "all are shared")
    assert counts(answering) == {"match": COUNT}
    assert answering.requests(names)["CopyBlobFromUrl"] == COUNT


def counts(desk: Desk) -> dict[str, int]:
    """What a reconcile of the full container comes to."""
    job = desk.api("POST", "/reconciles", {"route": "plain", "max_per_second": 100}).body["id"]

    def look() -> Any:
        body = desk.api("GET", f"/reconciles/{job}").body
        return body if body["state"] in ENDED else None

    body = desk.until(look, f"{job} ends")
    assert body["state"] == "done"
    return {name: count for name, count in body["counts"].items() if count}


@dataclass(frozen=True)
class Input:
    """What a copy to the blob is answered, and what becomes of the transfer.

    `requests` are all of the transfer: looks at the source and at the target, copies. The last look is that of cleaning.
    """

    status: int
    code: str
    reason: Reason
    requests: tuple[str, ...] = (SOURCE, COPY, TARGET)


INPUTS = {
    "not-allowed": Input(409, "OperationNotAllowedInCurrentState", Reason.UNSUPPORTED_BLOB),
    "on-directory": Input(400, "OperationNotSupportedOnDirectory", Reason.TARGET_CONFLICT),
    "not-supported": Input(409, "BlobOperationNotSupported", Reason.UNSUPPORTED_BLOB),
    "type": Input(400, "BlobTypeNotSupported", Reason.UNSUPPORTED_BLOB),
    "tier": Input(409, "BlobAccessTierNotSupportedForAccountType", Reason.TARGET_UNWRITABLE),
    "no-tags": Input(409, "FeatureNotYetSupportedForHierarchicalNamespaceAccounts", Reason.UNSUPPORTED_BLOB),
    # A look at both sides tells whether something changed, or is of another type.
    "new": Input(409, "SomethingNobodyKnows", Reason.UNSUPPORTED_BLOB, (SOURCE, COPY, TARGET, SOURCE, TARGET)),
    "other-type": Input(409, "InvalidBlobType", Reason.TARGET_CONFLICT, (SOURCE, COPY, TARGET, SOURCE, TARGET)),
    # A blind copy, then two that followed a look.
    "unfinished": Input(409, "BlobAlreadyExists", Reason.TARGET_CONFLICT, (SOURCE, COPY, TARGET) * 3),
}


# How often a HEAD of the source answers that there is no such blob.
GONE = {"unseen": 1, "gone": 2}


@pytest.fixture(scope="module")
def ends(answering: Desk) -> Iterator[dict[str, dict[str, Any]]]:
    """The transfers of all inputs, by name: they ran at the same time."""
    control = answering.control
    control.hierarchical("sharingtarget")
    for name, given in INPUTS.items():
        if name != "unfinished":
            match = {"operation": "CopyBlobFromUrl", "container": "of-inputs", "blob": f"^{name}$"}
            control.add_fault(match, {"status": given.status, "code": given.code}, 1_000)
    control.refuse("inputs", "own-key", OWN_KEY)
    for name, times in GONE.items():
        match = {"operation": "HeadBlob", "account": "sharingsource", "blob": f"^{name}$", "user_agent": AGENT}
        control.add_fault(match, {"status": 404, "code": "BlobNotFound"}, times)
    answering.target("unfinished", "of-inputs").stage_block("0001", b"begun, and not ended")
    answering.target("occupied", "of-inputs").upload_blob(b"an append blob", blob_type=BlobType.APPENDBLOB)
    for name in (*INPUTS, *GONE, "own-key", "a//b", "a/b", "occupied"):
        answering.put(name, name.encode(), "inputs")
    answering.put("tagged", b"tagged", "inputs", tags={"a": "1"})
    wanted = {*INPUTS, *GONE, "own-key", "a//b", "a/b", "occupied", "tagged"}
    yield answering.until(lambda: finished(answering, wanted), "all have ended")
    control.remove_faults()
    control.hierarchical()


def finished(desk: Desk, wanted: set[str]) -> dict[str, dict[str, Any]] | None:
    """The route's transfers by name, once all have ended."""
    items = desk.everything("/transfers?route=inputs")
    found = {item["source"]["name"]: item for item in items if item["state"] in FINAL}
    return found if found.keys() == wanted else None


def asked(desk: Desk, name: str) -> list[str]:
    """What the app asked about a blob, in order, with the account."""
    requests = desk.control.requests(internal=False, blob=name)
    return [f"{one['account']} {one['operation']}" for one in requests if AGENT in one["user_agent"]]


@pytest.mark.parametrize("name", INPUTS)
def test_a_refused_copy_ends_at_once_for_its_reason(
    answering: Desk, ends: dict[str, dict[str, Any]], name: str
) -> None:
    """One act, and two looks at the most before the verdict: no tries for ten minutes."""
    given, transfer = INPUTS[name], ends[name]
    assert (transfer["state"], transfer["reason"]) == ("dead_lettered", given.reason)
    assert f"{given.status} {given.code}" in transfer["detail"]
    letter = answering.api("GET", f"/dead-letters/{transfer['id']}").body
    assert (letter["reason"], letter["hint"]) == (given.reason, HINTS[given.reason])
    assert tuple(asked(answering, name)) == given.requests


def test_an_unfinished_upload_is_told_as_such(ends: dict[str, dict[str, Any]]) -> None:
    """With what to do about it."""
    assert "started an upload and not committed it" in ends["unfinished"]["detail"]


def test_a_blob_under_its_owners_key_is_refused_wherever_it_is_met(
    answering: Desk, ends: dict[str, dict[str, Any]]
) -> None:
    """In the transfer, in a look-up and when a person shares it; no copy is tried."""
    transfer = ends["own-key"]
    assert (transfer["state"], transfer["reason"]) == ("dead_lettered", Reason.UNSUPPORTED_BLOB)
    assert OWN_KEY in transfer["detail"]
    assert not [one for one in asked(answering, "own-key") if "Copy" in one]
    for answer in (
        answering.transfer_of("own-key", "inputs"),
        answering.api("POST", "/transfers", {"route": "inputs", "name": "own-key"}),
    ):
        assert (answer.status, answer.body["fix"]) == (400, HINTS[Reason.UNSUPPORTED_BLOB])
        assert OWN_KEY in answer.body["detail"]


def test_tags_that_the_target_does_not_take_are_left_out(answering: Desk, ends: dict[str, dict[str, Any]]) -> None:
    """RejectedEvent with them, copied once more without, and noted."""
    transfer = ends["tagged"]
    assert transfer["state"] == "verified"
    assert "index tags were not copied" in transfer["detail"]
    assert asked(answering, "tagged").count(COPY) == 2
    assert answering.read(answering.target("tagged", "of-inputs")) == b"tagged"


def test_a_target_of_another_type_is_removed_before_the_copy(answering: Desk, ends: dict[str, dict[str, Any]]) -> None:
    """The blind copy was refused; nothing else is asked until after a pause, and then in this order."""
    assert (ends["occupied"]["state"], ends["occupied"]["tries"]) == ("verified", 0)
    look, removed = [TARGET, SOURCE], "sharingtarget DeleteBlob"
    assert asked(answering, "occupied") == [SOURCE, COPY, *look, *look, removed, *look, COPY]
    target = answering.target("occupied", "of-inputs")
    assert target.get_blob_properties().blob_type is BlobType.BLOCKBLOB
    assert answering.read(target) == b"occupied"


def test_a_source_that_is_not_seen_once_is_copied(answering: Desk, ends: dict[str, dict[str, Any]]) -> None:
    """One 404, then 200: a second look, target first, after a pause."""
    assert (ends["unseen"]["state"], ends["unseen"]["tries"]) == ("verified", 0)
    assert asked(answering, "unseen") == [SOURCE, TARGET, SOURCE, COPY]
    assert answering.read(answering.target("unseen", "of-inputs")) == b"unseen"


def test_a_source_that_is_not_seen_twice_was_deleted(answering: Desk, ends: dict[str, dict[str, Any]]) -> None:
    """Nothing is copied; an event of the same version is believed, and starts it again."""
    transfer = ends["gone"]
    assert (transfer["state"], transfer["successor"], transfer["attempt"]) == (
        "superseded",
        {"id": None, "etag": None},
        0,
    )
    assert COPY not in asked(answering, "gone")
    etag = answering.source("gone", "inputs").get_blob_properties().etag.strip('"')
    again = identity.transfer(read(answering.stack.environment["ROUTES"])[1], "gone", etag)
    answering.queue().send_message(created_event(again, etag, None).decode())
    done = answering.until(lambda: verified(answering, again.id), "it is shared after all")
    assert done["attempt"] == 1
    assert answering.read(answering.target("gone", "of-inputs")) == b"gone"


def verified(desk: Desk, identity_: str) -> dict[str, Any] | None:
    """The transfer, once it is verified."""
    body: dict[str, Any] = desk.api("GET", f"/transfers/{identity_}").body
    return body if body["state"] == "verified" else None


def test_a_name_that_the_target_would_fold_is_refused(answering: Desk, ends: dict[str, dict[str, Any]]) -> None:
    """And never written: `a/b` there is the copy of `a/b`, whichever was first."""
    transfer = ends["a//b"]
    assert (transfer["state"], transfer["reason"]) == ("dead_lettered", Reason.INVALID_NAME)
    assert "accounts with a hierarchical namespace drop it" in transfer["detail"]
    assert ends["a/b"]["state"] == "verified"
    assert answering.read(answering.target("a/b", "of-inputs")) == b"a/b"

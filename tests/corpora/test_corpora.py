"""The rules lead every case of the corpora to its verdict."""

import base64
from typing import Any
from urllib.parse import unquote

import pytest

from rules.codec import plain_body
from rules.errors import Reason
from rules.events.decide import EventDecision, Folder, Found, decide_on, transfer_for
from rules.events.lookups import Cause, Lookup
from rules.events.parse import RejectedEvent
from rules.routes import names
from rules.routes.model import Place, Route
from rules.transfers import identity
from tests.corpora.corpora import MESSAGES, NAMES, URLS, message, text
from tests.unit.samples import ETAG, NAME, ROUTE, SOURCE_HOST, TARGET_HOST

NOT_ITS_URL = "data.url does not match the blob that the subject names"
TOO_LONG_A_URL = "a copy source URL of more than 2 KiB, SAS included"
BARE = Route("bare", Place(SOURCE_HOST, "source"), Place(TARGET_HOST, "target"))


def expected(case: dict[str, Any]) -> EventDecision:
    """Returns the decision for a message with this verdict."""
    verdict, why = case["verdict"], case.get("why", NOT_ITS_URL)
    if verdict == "accepted":
        transfer = identity.transfer(ROUTE, text(case.get("blob", NAME)), case.get("etag", ETAG))
        return EventDecision(transfers=(transfer,))
    if verdict in list(Cause):
        return EventDecision(found=Found(Lookup(Cause(verdict)), NAME, (ROUTE,)))
    if verdict == "folder":
        return EventDecision(folders=(Folder(ROUTE, f"{NAME}/", "1"),))
    return (
        EventDecision(ignored=why)
        if verdict == "ignored"
        else EventDecision(rejection=RejectedEvent(Reason(verdict), why))
    )


ACCEPTED = [case for case in MESSAGES + URLS if case["verdict"] == "accepted"]


@pytest.mark.parametrize(
    ("cases", "content", "minimum"),
    [
        (MESSAGES, message, 500),
        (NAMES, lambda case: text(case["blob"]), 300),
        (URLS, message, 200),
    ],
    ids=["messages", "names", "urls"],
)
def test_a_corpus_is_large_and_has_no_duplicates(cases: list[dict[str, Any]], content: Any, minimum: int) -> None:
    assert len(cases) >= minimum
    assert len({case["name"] for case in cases}) == len(cases)
    assert len({content(case) for case in cases}) == len(cases)


def test_the_corpora_contain_every_verdict() -> None:
    assert {case["verdict"] for case in MESSAGES} == {
        "accepted",
        "ignored",
        "malformed",
        "not_allowed",
        "invalid_name",
        "announced",
        "renamed",
        "tier_changed",
        "folder",
    }
    assert {case.get("why") for case in NAMES} == {None, TOO_LONG_A_URL, *(why for _, why in names.REFUSALS)}
    assert {case["verdict"] for case in URLS} == {"accepted", "not_allowed"}


@pytest.mark.parametrize("case", MESSAGES + URLS, ids=lambda case: ascii(case["name"]))
def test_a_message_leads_to_its_verdict(case: dict[str, Any]) -> None:
    assert decide_on(message(case), (ROUTE,)) == expected(case)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: ascii(case["name"]))
def test_plain_and_base64_lead_to_the_same_verdict(case: dict[str, Any]) -> None:
    clear = plain_body(message(case))
    assert decide_on(clear, (ROUTE,)) == decide_on(base64.b64encode(clear), (ROUTE,)) == expected(case)


@pytest.mark.parametrize("case", NAMES, ids=lambda case: ascii(case["name"]))
def test_a_name_is_accepted_unchanged_or_refused_with_its_reason(case: dict[str, Any]) -> None:
    """An accepted name is the target's name, and can be parsed from its URL."""
    name, why = text(case["blob"]), case.get("why")
    found = transfer_for(BARE, name, ETAG)
    assert names.refusal(name) == (None if why == TOO_LONG_A_URL else why)
    if case["verdict"] == "invalid_name":
        assert found == RejectedEvent(Reason.INVALID_NAME, case["why"])
    else:
        assert found == identity.transfer(BARE, name, ETAG)
        assert found.target_blob.name == name
        assert unquote(found.source_blob.url.removeprefix(f"{SOURCE_HOST}/source/"), errors="strict") == name

"""Fuzz of the HTTP API from its own description: whatever is asked, the answer is one that `docs/openapi.json` tells.

Boundary values, wrong ones and the fuzzed are the same in every run. `SOAK=long` asks more often.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance, unsupported_method

from tests.e2e.conftest import environment
from tests.e2e.desk import Desk

DESCRIPTION: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
OPERATIONS: dict[str, set[int]] = {
    operation["operationId"]: set(map(int, operation["responses"]))
    for methods in DESCRIPTION["paths"].values()
    for method, operation in methods.items()
    if method != "head"
}
# What this stack never answers: it asks for no key, nothing fails, and no share comes while its transfer is ending.
NEVER = {(name, code) for name in OPERATIONS for code in (401, 500, 503)} | {("share_now", 409)}
LETTERS = 60
EVERYTHING = "/api/discards"
EXAMPLES = 300 if os.environ.get("SOAK") == "long" else 15
# Ids in place of those that are known once the stack runs.
VERIFIED, RUNNING, DEAD = (f"00000000-{number:024x}" for number in range(3))
MESSAGE, REPLAY, DISCARD, RECONCILE = (f"{kind}-{0:024x}" for kind in ("message", "replay", "discard", "reconcile"))
REPLAYING, DISCARDING, RECONCILING = (f"{kind}-{1:024x}" for kind in ("replay", "discard", "reconcile"))
# What no schema can say of a valid request, and the app refuses with 400.
UNSAID = re.compile(
    r"`name` can be combined only with `route`|`(continuation|since|until)` is not valid|`since` is later than `until`|the name cannot be carried: .+"
)
# The methods of these paths' neighbour, whose parameter takes the segment.
NEIGHBOURS = {(method, f"/api/dead-letters/{what}") for method in ("GET", "DELETE") for what in ("replay", "discard")}
# Answers to what was not described are the host's; keys are the matter of test_security.py.
ELSEWHERE = [unsupported_method, positive_data_acceptance, ignored_auth]


def with_examples() -> dict[str, Any]:
    """The description, with an example of everything that a request can name."""
    told = deepcopy(DESCRIPTION)
    known = {
        "transferId": (VERIFIED, RUNNING, DEAD),
        "letterId": (MESSAGE, DEAD),
        "replayId": (REPLAY, REPLAYING),
        "discardId": (DISCARD, DISCARDING),
        "reconcileId": (RECONCILE, RECONCILING),
    }
    for parameter, ids in known.items():
        examples = {f"known {number}": {"value": identity} for number, identity in enumerate(ids)}
        told["components"]["parameters"][parameter]["examples"] = examples
    told["components"]["schemas"]["ShareRequest"]["examples"] = [{"route": "default", "name": "one.txt"}]
    for parameter, value in (("route", "default"), ("name", "one.txt"), ("letterName", "0")):
        told["components"]["parameters"][parameter]["example"] = value
    for methods in told["paths"].values():
        methods.pop("head", None)  # it is its GET without the body, which test_api.py shows
    # Last, for it may leave no open dead letter to any other call.
    told["paths"][EVERYTHING] = told["paths"].pop(EVERYTHING)
    return told


schema = schemathesis.openapi.from_dict(with_examples())
schema.config.generation.update(with_security_parameters=False)
schema.config.seed = 1


class Fuzzed:
    """A stack of its own that has one of everything, and what it answered so far."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.url = f"http://127.0.0.1:{desk.stack.host_port}"
        self.seen: Counter[tuple[str, int]] = Counter()
        self.known: dict[str, Callable[[], str]] = {}
        self._last = DEAD

    def ask(self, case: schemathesis.Case[Any]) -> schemathesis.Response:
        """Ask, with a real id where a known one is meant."""
        known = self.known.get(case.path_parameters.get("id", ""))
        if known is not None:
            case.path_parameters["id"] = known()
        response = case.call(base_url=self.url)
        self.seen[case.operation.definition.raw["operationId"], response.status_code] += 1
        return response

    def populate(self) -> None:
        """A verified transfer, one that is pending, dead letters, a message's, and a job of each kind."""
        for name in ("strict", "async"):
            self.desk.container("sharingsource", name)
            self.desk.container("sharingtarget", name)
        self.desk.control.copies(hold=True)
        self.desk.put("held.bin", b"held", "async")
        self.desk.put("one.txt", b"one")
        for number in range(LETTERS):
            self.desk.source(str(number), "strict").create_append_blob()  # no `sync` carries it
        self.desk.queue().send_message("no event")
        letters = self.desk.until(lambda: self._letters(LETTERS + 1), "all letters are there")
        self._knows(VERIFIED, self.desk.until_final("one.txt")["id"])
        self._knows(RUNNING, self.desk.transfer_of("held.bin", "patient").body["id"])
        self.known[DEAD] = self._dead
        self._knows(MESSAGE, max(letters))
        self._knows(REPLAY, self._job("/replays", dry_run=True))
        self._knows(DISCARD, self._job("/discards", dry_run=True))
        self._knows(RECONCILE, self._job("/reconciles", route="default"))
        self.known[REPLAYING] = lambda: self._job("/replays", max_per_second=1)
        self.known[DISCARDING] = lambda: self._job("/discards", route="strict", max_per_second=1)
        self.known[RECONCILING] = lambda: self._job("/reconciles", route="strict", max_per_second=1)

    def _knows(self, placeholder: str, identity: str) -> None:
        self.known[placeholder] = lambda: identity

    def _dead(self) -> str:
        """The first open letter, as long as there is one: a fuzz discards them."""
        found = [item["id"] for item in self.desk.everything("/dead-letters?route=strict")]
        self._last = min(found, default=self._last)
        return self._last

    def _letters(self, count: int) -> list[str]:
        found = [item["id"] for item in self.desk.everything("/dead-letters")]
        return found if len(found) == count else []

    def _job(self, path: str, **asked: Any) -> str:
        return str(self.desk.api("POST", path, asked).body["id"])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """It lives as long as this module: a fuzz shares, cancels, replays and discards whatever it likes."""
    state = tmp_path_factory.mktemp("fuzzed")
    setting = environment(state)
    accounts = [
        f"http://127.0.0.1:{setting['AZURITE_BLOB_PORT']}/{name}" for name in ("sharingsource", "sharingtarget")
    ]
    routes = [
        {"name": name, "source": f"{accounts[0]}/{source}/", "target": f"{accounts[1]}/{target}/", "engine": engine}
        for name, source, target, engine in (
            ("default", "source", "target", "auto"),
            ("strict", "strict", "strict", "sync"),
            ("patient", "async", "async", "async"),
        )
    ]
    with (state / "stack.log").open("w") as log:
        desk = Desk({**setting, "ROUTES": json.dumps(routes)}, log)
        desk.stack.start()
        try:
            found = Fuzzed(desk)
            found.populate()
            yield found
        finally:
            desk.close()


def conforms(case: schemathesis.Case[Any], response: schemathesis.Response) -> None:
    """Assert that an answer is one that the description tells, and that it was right to give it."""
    method = str(response.request.method)
    if method != case.operation.method.upper():
        answered = method == "HEAD" or (method, case.operation.path) in NEIGHBOURS
        assert (response.status_code, response.content) == (404, b"") or answered
        return
    case.validate_response(response, excluded_checks=ELSEWHERE)
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    told = response.json()
    assert (told["status"], bool(told["fix"])) == (response.status_code, True)
    valid = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
    assert not valid or response.status_code != HTTPStatus.BAD_REQUEST or unsaid(case, told["detail"])


def unsaid(case: schemathesis.Case[Any], detail: str) -> bool:
    """Whether a valid request is refused for what no schema can say; 20.0 is an integer to all of them."""
    rate = case.body.get("max_per_second") if isinstance(case.body, dict) else None
    return UNSAID.fullmatch(detail) is not None or (
        isinstance(rate, float) and detail == "`max_per_second` is not valid"
    )


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
@pytest.mark.timeout(3600)
def test_every_answer_is_as_described(case: schemathesis.Case[Any], fuzzed: Fuzzed) -> None:
    """Code, type, headers and body; what is not valid is refused, with a fix; nothing is a 5xx."""
    conforms(case, fuzzed.ask(case))


def test_every_call_was_asked_and_answered_in_every_way(fuzzed: Fuzzed) -> None:
    """Each has succeeded, and has failed in each way that it tells (the other tests of this module have asked)."""
    told = {(name, code) for name, codes in OPERATIONS.items() for code in codes}
    assert len(told) > 3 * len(OPERATIONS)
    assert told - set(fuzzed.seen) <= NEVER


DOCTORED: dict[str, dict[str, Any]] = {
    "a body that is none": {"content": b""},
    "a field too few": {"content": b'{"items": []}'},
    "a field too many": {"content": b'{"items": [], "continuation": null, "more": 1}'},
    "a field of another type": {"content": b'{"items": [], "continuation": 1}'},
    "an item that is none": {"content": b'{"items": [{}], "continuation": null}'},
    "a code that is not told": {"status_code": 201},
    "a server that fails": {"status_code": 500},
    "a type that is not told": {"headers": {"Content-Type": ["text/html"]}},
    "a valid request that is refused": {
        "status_code": 400,
        "headers": {"Content-Type": ["application/problem+json"]},
        "content": b'{"type": "about:blank", "title": "Invalid request", "status": 400, "detail": "-", "fix": "-"}',
    },
}


@pytest.mark.parametrize("change", DOCTORED.values(), ids=DOCTORED)
def test_an_answer_that_is_wrong_is_noticed(fuzzed: Fuzzed, change: dict[str, Any]) -> None:
    """A check that lets everything pass would prove nothing: one real answer, with one thing that is not as described."""
    case = schema["/api/transfers"]["GET"].Case(query={"limit": 1, "state": "cancelled"})
    answer = fuzzed.ask(case)
    conforms(case, answer)
    kept = {
        name: getattr(answer, name) for name in ("status_code", "headers", "content", "request", "elapsed", "verify")
    }
    with pytest.raises((FailureGroup, AssertionError)):
        conforms(case, schemathesis.Response(**(kept | change)))

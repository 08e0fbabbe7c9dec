"""Fuzz of the HTTP API from its own description: every answer conforms to `docs/openapi.json`.

Boundary values, invalid values and fuzzed values are the same in every run. `SOAK=long` sends more requests.
"""

import json
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

from tests.e2e.client import Client
from tests.e2e.stacks import environment, running_stack
from tests.e2e.storm import LONG

DESCRIPTION: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
OPERATIONS: dict[str, set[int]] = {
    operation["operationId"]: set(map(int, operation["responses"]))
    for methods in DESCRIPTION["paths"].values()
    for method, operation in methods.items()
    if method != "head"
}
# Answers that this stack never gives: it requires no key, allows changes, nothing fails, no transfer is ending during a share, no
# route has a recipient, and no request names an ETag or ends with a slash. The fuzzer sends no parameters to calls that accept none.
NEVER = {(name, code) for name in OPERATIONS for code in (304, 308, 401, 403, 500, 503)}
NEVER |= {("share_now", 409), ("notify_recipient", 202)}
NEVER |= {(name, 400) for name in ("get_routes", "get_summary", "get_metrics", "diagnose")}
DEAD_LETTERS = 60 if LONG else 12
DISCARDS = "/api/discards"
EXAMPLES = 300 if LONG else 5
# Placeholders of ids that are known only once the stack runs.
VERIFIED, RUNNING, DEAD = (f"00000000-{number:024x}" for number in range(3))
MESSAGE, REPLAY, DISCARD, RECONCILE = (f"{kind}-{0:024x}" for kind in ("message", "replay", "discard", "reconcile"))
REPLAYING, DISCARDING, RECONCILING = (f"{kind}-{1:024x}" for kind in ("replay", "discard", "reconcile"))
# Details of 400 answers to requests that are valid by the schema: no schema can express these rules.
NOT_IN_SCHEMA = re.compile(
    r"`name` can be combined only with `route`|`(continuation|since|until)` is not valid|`since` is later than `until`|the name cannot be carried: .+"
)
# These paths also match `/api/dead-letters/{id}`, which has these methods.
ALSO_MATCHED = {(method, f"/api/dead-letters/{what}") for method in ("GET", "DELETE") for what in ("replay", "discard")}
# The host answers requests that are not described; test_security.py tests keys.
EXCLUDED = [unsupported_method, positive_data_acceptance, ignored_auth]


def with_examples() -> dict[str, Any]:
    """The description, with examples of all ids and names."""
    extended = deepcopy(DESCRIPTION)
    known = {
        "transferId": (VERIFIED, RUNNING, DEAD),
        "letterId": (MESSAGE, DEAD),
        "replayId": (REPLAY, REPLAYING),
        "discardId": (DISCARD, DISCARDING),
        "reconcileId": (RECONCILE, RECONCILING),
    }
    for parameter, ids in known.items():
        examples = {f"known {number}": {"value": identity} for number, identity in enumerate(ids)}
        extended["components"]["parameters"][parameter]["examples"] = examples
    extended["components"]["schemas"]["ShareRequest"]["examples"] = [{"route": "default", "name": "one.txt"}]
    for parameter, value in (("route", "default"), ("name", "one.txt"), ("letterName", "0"), ("file", "app.js")):
        extended["components"]["parameters"][parameter]["example"] = value
    for methods in extended["paths"].values():
        methods.pop("head", None)  # test_api.py tests HEAD
    # Last, because it may discard all open dead letters.
    extended["paths"][DISCARDS] = extended["paths"].pop(DISCARDS)
    return extended


schema = schemathesis.openapi.from_dict(with_examples())
schema.config.generation.update(with_security_parameters=False)
schema.config.seed = 1


class FuzzedStack:
    """A stack with one item of each kind. It counts the statuses of its answers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.url = f"http://127.0.0.1:{client.stack.host_port}"
        self.answers: Counter[tuple[str, int]] = Counter()
        self.known: dict[str, Callable[[], str]] = {}
        self._last = DEAD

    def send(self, case: schemathesis.Case[Any]) -> schemathesis.Response:
        """Send a request, with its placeholder replaced by a real id."""
        known = self.known.get(case.path_parameters.get("id", ""))
        if known is not None:
            case.path_parameters["id"] = known()
        response = case.call(base_url=self.url)
        self.answers[case.operation.definition.raw["operationId"], response.status_code] += 1
        return response

    def populate(self) -> None:
        """Create a verified and a pending transfer, dead letters, and a job of each kind."""
        for name in ("strict", "async"):
            self.client.create_container("sharingsource", name)
            self.client.create_container("sharingtarget", name)
        self.client.control.copies(hold=True)
        self.client.put("held.bin", b"held", "async")
        self.client.put("one.txt", b"one")
        for number in range(DEAD_LETTERS):
            self.client.source(str(number), "strict").create_append_blob()  # `sync` cannot copy it
        self.client.queue().send_message("not an event")
        ids = self.client.until(lambda: self._dead_letters(DEAD_LETTERS + 1), "all dead letters exist")
        self._set(VERIFIED, self.client.until_final("one.txt")["id"])
        self._set(RUNNING, self.client.transfer_of("held.bin", "patient").body["id"])
        self.known[DEAD] = self._open_dead_letter
        self._set(MESSAGE, max(ids))
        self._set(REPLAY, self._job("/replays", dry_run=True))
        self._set(DISCARD, self._job("/discards", dry_run=True))
        self._set(RECONCILE, self._job("/reconciles", route="default"))
        self.known[REPLAYING] = lambda: self._job("/replays", max_per_second=1)
        self.known[DISCARDING] = lambda: self._job("/discards", route="strict", max_per_second=1)
        self.known[RECONCILING] = lambda: self._job("/reconciles", route="strict", max_per_second=1)

    def _set(self, placeholder: str, identity: str) -> None:
        self.known[placeholder] = lambda: identity

    def _open_dead_letter(self) -> str:
        """The first open dead letter, or the last known one: the fuzz discards them."""
        found = [item["id"] for item in self.client.list_all("/dead-letters?route=strict")]
        self._last = min(found, default=self._last)
        return self._last

    def _dead_letters(self, count: int) -> list[str]:
        found = [item["id"] for item in self.client.list_all("/dead-letters")]
        return found if len(found) == count else []

    def _job(self, path: str, **body: Any) -> str:
        return str(self.client.api("POST", path, body).body["id"])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedStack]:
    """The module has its own stack, because the fuzz shares, cancels, replays and discards at random."""
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
    with running_stack(state, {**setting, "ROUTES": json.dumps(routes)}) as running:
        stack = FuzzedStack(running)
        stack.populate()
        yield stack


def check(case: schemathesis.Case[Any], response: schemathesis.Response) -> None:
    """Assert that the answer is described, and that it is right for the request."""
    method = str(response.request.method)
    if method != case.operation.method.upper():
        is_other = method == "HEAD" or (method, case.operation.path) in ALSO_MATCHED
        assert (response.status_code, response.content) == (404, b"") or is_other
        return
    case.validate_response(response, excluded_checks=EXCLUDED)
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    problem = response.json()
    assert (problem["status"], bool(problem["fix"])) == (response.status_code, True)
    valid = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
    assert not valid or response.status_code != HTTPStatus.BAD_REQUEST or is_not_in_schema(case, problem["detail"])


def is_not_in_schema(case: schemathesis.Case[Any], detail: str) -> bool:
    """Return whether the app may refuse a request that is valid by the schema. To a schema, 20.0 is an integer."""
    rate = case.body.get("max_per_second") if isinstance(case.body, dict) else None
    return NOT_IN_SCHEMA.fullmatch(detail) is not None or (
        isinstance(rate, float) and detail == "`max_per_second` is not valid"
    )


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
@pytest.mark.timeout(3600)
def test_every_answer_is_as_described(case: schemathesis.Case[Any], fuzzed: FuzzedStack) -> None:
    check(case, fuzzed.send(case))


def test_every_described_status_was_returned(fuzzed: FuzzedStack) -> None:
    """By the other tests of this module."""
    described = {(name, code) for name, codes in OPERATIONS.items() for code in codes}
    assert len(described) > 3 * len(OPERATIONS)
    assert described - set(fuzzed.answers) <= NEVER


DOCTORED: dict[str, dict[str, Any]] = {
    "an empty body": {"content": b""},
    "a missing field": {"content": b'{"items": []}'},
    "an additional field": {"content": b'{"items": [], "continuation": null, "more": 1}'},
    "a field of another type": {"content": b'{"items": [], "continuation": 1}'},
    "an empty item": {"content": b'{"items": [{}], "continuation": null}'},
    "an undescribed status": {"status_code": 201},
    "a server error": {"status_code": 500},
    "an undescribed media type": {"headers": {"Content-Type": ["text/html"]}},
    "a valid request that is refused": {
        "status_code": 400,
        "headers": {"Content-Type": ["application/problem+json"]},
        "content": b'{"type": "about:blank", "title": "Invalid request", "status": 400, "detail": "-", "fix": "-"}',
    },
}


@pytest.mark.parametrize("change", DOCTORED.values(), ids=DOCTORED)
def test_a_wrong_answer_is_found(fuzzed: FuzzedStack, change: dict[str, Any]) -> None:
    """A real answer with one error."""
    case = schema["/api/transfers"]["GET"].Case(query={"limit": 1, "state": "cancelled"})
    answer = fuzzed.send(case)
    check(case, answer)
    kept = {
        name: getattr(answer, name) for name in ("status_code", "headers", "content", "request", "elapsed", "verify")
    }
    with pytest.raises((FailureGroup, AssertionError)):
        check(case, schemathesis.Response(**(kept | change)))

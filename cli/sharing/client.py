"""Requests to the app's API."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from sharing.config import LOCAL, Address
from sharing.failure import FAILED, NOT_FOUND, UNREACHABLE, USAGE, Failure

# Azure ends a call after 230 seconds. `doctor` may take that long if accounts cannot be reached.
TIMEOUT = httpx.Timeout(240, connect=10)
# How long a request is repeated while the app asks for it, and how often while it does not answer.
PATIENCE, PAUSE = 120.0, 2.0
IDENTITY = re.compile(r"(?:(?P<kind>replay|discard|reconcile|message)-|[0-9a-f]{8}-)[0-9a-f]{24}")
# By the words before the dash of an id.
PLACES = {"message": "dead-letters", "replay": "replays", "discard": "discards", "reconcile": "reconciles"}
# By the status of an answer that describes its problem.
CODES: dict[int, int] = {400: USAGE, 404: NOT_FOUND, 409: FAILED}
JOBS = ("replays", "discards", "reconciles")


def path_of(identity: str) -> str:
    """Return the path of a transfer, job or message. Raises Failure for any other text."""
    found = IDENTITY.fullmatch(identity)
    if found is None:
        fix = "use an id as the lists show it, such as 37a8eec1-45a195a412908b31b025fa37"
        raise Failure(f"{identity!r} is not an id", USAGE, fix)
    return f"/{PLACES.get(found['kind'], 'transfers')}/{identity}"


def is_job(identity: str) -> bool:
    """Whether this is the id of a job."""
    return path_of(identity).split("/")[1] in JOBS


class Client:
    """A client of one app. `say` gets a line whenever a request is repeated. Every request is safe to repeat."""

    def __init__(self, address: Address, say: Callable[[str], None] = lambda _: None) -> None:
        self.url = address.url
        self._say = say
        self._ahead = 0.0
        headers = {"x-functions-key": address.key} if address.key else {}
        headers |= {"Authorization": f"Bearer {address.token}"} if address.token else {}
        # A redirect is not followed, because it would get the key. A proxy for the internet does not reach this machine.
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=not address.is_local)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def now(self) -> float:
        """Return the time of the app, as its last answer gave it; this machine's before the first answer."""
        return time.time() + self._ahead

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: int | None = None,
        patient: bool = False,
        **query: Any,
    ) -> Any:
        """Return the JSON of the answer. Query parameters that are None are left out.

        A request is repeated while the app asks for it with Retry-After, and if `patient` also while the app is down.
        `accept` is a status that counts as success beside 2xx. Raises Failure.
        """
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self._ask(method, path, body, query, accept)
            except Failure as failure:
                pause = failure.retry_after
                if pause is None and patient and failure.code == UNREACHABLE:
                    pause = PAUSE
                if pause is None or time.monotonic() + pause > end:
                    raise
                self._say(f"{failure.message}; trying again in {pause:g} s")
            time.sleep(pause)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages of a list, page by page. The arguments are those of `ask`."""
        continuation: str | None = None
        while True:
            page = self.ask("GET", path, continuation=continuation, **query)
            yield from page["items"]
            last, continuation = continuation, page["continuation"]
            if continuation is None:
                return
            if continuation == last:
                raise Failure(f"GET /api{path} returns the same page again", UNREACHABLE)

    def _ask(self, method: str, path: str, body: Any, query: Mapping[str, Any], accept: int | None) -> Any:
        params = {name: value for name, value in query.items() if value is not None}
        try:
            answer = self._http.request(method, f"{self.url}/api{path}", json=body, params=params)
        except httpx.TimeoutException:
            raise Failure(f"{self.url} does not answer in time", UNREACHABLE, "try again; see sharing health") from None
        except httpx.HTTPError as error:
            fix = f"set SHARING_URL or --url to the address of the app; `make run` starts a local one at {LOCAL}"
            raise Failure(f"{self.url} cannot be reached: {error}", UNREACHABLE, fix) from None
        except UnicodeEncodeError:
            raise Failure("the name is not UTF-8", USAGE, "give the name as the source lists it") from None
        with suppress(KeyError, ValueError):
            self._ahead = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
        value = _json(answer)
        if (answer.is_success or answer.status_code == accept) and value is not None:
            return value
        raise self._failure(method, path, answer, value if isinstance(value, dict) else {})

    def _failure(self, method: str, path: str, answer: httpx.Response, problem: Mapping[str, Any]) -> Failure:
        status, call = answer.status_code, f"{method} /api{path}"
        if answer.is_redirect:
            place = answer.headers.get("Location", "an unknown place")
            return Failure(f"{self.url} redirects to {place}", UNREACHABLE, "use the address of the app itself")
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            fix = "set SHARING_KEY to a function key that may make this call, and SHARING_TOKEN if Entra ID is in front"
            return Failure(f"{self.url} denies access to {call} ({status})", UNREACHABLE, fix)
        if status == httpx.codes.NOT_FOUND and "detail" not in problem:
            fix = "check SHARING_URL; an older release of the app may lack the call"
            return Failure(f"{self.url} has no {call}", NOT_FOUND, fix)
        if answer.is_success or "detail" not in problem:
            message = f"{self.url} answers {call} with {status} and without the JSON of the API"
            return Failure(message, UNREACHABLE, "check SHARING_URL; see sharing health")
        after = answer.headers.get("Retry-After", "")
        # A conflict ends with a running transfer, which may take hours.
        wait = max(1.0, float(after)) if after.isdecimal() and status != httpx.codes.CONFLICT else None
        return Failure(str(problem["detail"]), CODES.get(status, UNREACHABLE), str(problem.get("fix", "")), wait)


def _json(answer: httpx.Response) -> Any:
    """Return the JSON of an answer; None if it is not JSON."""
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None

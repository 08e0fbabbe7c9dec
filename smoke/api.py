"""The app's API, and Azure Resource Manager (ARM), which returns the app's key and the spans in its log."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from azure.core import PipelineClient
from azure.core.credentials import AzureKeyCredential, TokenCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import AzureKeyCredentialPolicy, BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest, HttpResponse

from smoke.deployment import SmokeError, is_loopback, require_tls
from smoke.storage import no_answer

PAUSE, PAGE_SECONDS = 5, 60
SPAN_SECONDS, SPAN_PAUSE = 300, 20
KEYS_VERSION, QUERY_VERSION = "2024-11-01", "2020-08-01"
DENIED = (
    "a wrong key, a network rule, or Entra ID in front of it (docs/entra-id.md; the test sends only the key). Fix: allow this "
    "machine; for a local stack use --local"
)
KEY_FIXES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "azd auth login --tenant-id <the subscription's tenant>",
    HTTPStatus.FORBIDDEN: "get a role with Microsoft.Web/sites/host/listkeys/action on it, such as Contributor",
    HTTPStatus.NOT_FOUND: "run azd up, or azd env select <the environment that has it>",
}
# Before 3.15.0 the extension's telemetry does not support identities, and the workspace accepts nothing else.
NO_SPANS = "none arrived; before 3.15.0 the Durable extension drops all spans where only identities may send"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `status` is 0 if there was none. `retry_after` is in seconds, None if another try would not help."""

    status: int
    body: Mapping[str, Any]
    retry_after: int | None = None

    def __str__(self) -> str:
        words = (str(self.status or ""), self.body.get("detail"), self.body.get("fix"))
        return " ".join(filter(None, words))


def _send(client: PipelineClient[HttpRequest, HttpResponse], request: HttpRequest, **options: Any) -> Answer:
    try:
        response = client.send_request(request, connection_timeout=20, read_timeout=120, **options)
    except AzureError as error:
        return Answer(0, {"detail": no_answer(error)}, PAUSE)
    try:
        body = response.json()
    except ValueError:
        body = None
    after = response.headers.get("Retry-After", "")
    body = body if isinstance(body, dict) else {}
    return Answer(response.status_code, body, int(after) if after.isdecimal() else None)


class App:
    """A client of the API. Every call is safe to repeat. The key is sent in one header and appears nowhere else."""

    def __init__(self, url: str, credential: AzureKeyCredential | None) -> None:
        policies = [AzureKeyCredentialPolicy(credential, "x-functions-key")] if credential else []
        self._api = f"{url}/api"
        self._client = PipelineClient[HttpRequest, HttpResponse](url, policies=policies)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        """Send one request. Raises SmokeError if the app denies access, since another try would not help."""
        params = {name: quote(text, safe="") for name, text in query.items()}  # the SDK does not encode them
        answer = _send(self._client, HttpRequest(method, f"{self._api}{path}", params=params, json=body))
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise SmokeError(f"the app denies access ({answer.status}): {DENIED}")
        return answer

    def insist(self, method: str, path: str, end: float, body: Any = None, **query: str) -> Answer:
        """Repeat a request while the answer asks for a retry, until `time.monotonic()` is `end`."""
        while True:
            answer = self.ask(method, path, body, **query)
            if answer.retry_after is None or time.monotonic() + answer.retry_after > end:
                return answer
            time.sleep(answer.retry_after)

    def pages(self, path: str, **query: str) -> Iterator[Mapping[str, Any]]:
        """Yield every item of a list. Raises SmokeError if a page cannot be read."""
        continuation: str | None = ""
        while continuation is not None:
            more = {"continuation": continuation} if continuation else {}
            answer = self.insist("GET", path, time.monotonic() + PAGE_SECONDS, limit="500", **query, **more)
            if answer.status != HTTPStatus.OK:
                raise SmokeError(f"unexpected answer to GET /api{path}: {answer}")
            yield from answer.body["items"]
            continuation = answer.body["continuation"]


@dataclass(frozen=True, slots=True)
class Arm:
    """ARM at a URL, called with a credential. Each method raises SmokeError, with the fix, if ARM refuses."""

    url: str
    credential: TokenCredential

    def function_key(self, function: str) -> AzureKeyCredential:
        """Return the default key of the function app, in a credential that does not print it. Never return the master key."""
        what, deploy = "no key of the function app", "run azd deploy, then try again in a minute"
        answer = self._post(f"{function}/host/default/listkeys", KEYS_VERSION, what)
        keys = answer.body.get("functionKeys") or {}
        if answer.status != HTTPStatus.OK or not keys:
            raise SmokeError(f"{what}: {_refusal(answer)}. Fix: {KEY_FIXES.get(answer.status, deploy)}")
        return AzureKeyCredential(keys.get("default") or next(iter(keys.values())))

    def wait_for_spans(self, workspace: str, transfers: Sequence[str]) -> int:
        """Wait for the first span of these transfers in the log, which takes minutes; return the number of spans, 0 if none."""
        end = time.monotonic() + SPAN_SECONDS
        while not (found := self._count(workspace, transfers)) and time.monotonic() + SPAN_PAUSE < end:
            time.sleep(SPAN_PAUSE)
        return found

    def _count(self, workspace: str, transfers: Sequence[str]) -> int:
        """Return the number of spans. Some versions of the API capitalize the keys of a table, so both forms are read."""
        what, query = "the spans could not be queried", {"query": span_query(transfers)}
        answer = self._post(f"{workspace}/api/query", QUERY_VERSION, what, query)
        if answer.status != HTTPStatus.OK:
            raise SmokeError(f"{what}: {_refusal(answer)}. Fix: get the role Log Analytics Reader on the workspace")
        try:
            [table] = answer.body.get("tables") or answer.body["Tables"]
            [[cell]] = table.get("rows") or table["Rows"]
            return int(cell)
        except (KeyError, TypeError, ValueError, AttributeError):
            return 0

    def _post(self, path: str, version: str, what: str, body: Any = None) -> Answer:
        url = require_tls(self.url, "--arm")
        request = HttpRequest("POST", f"{url}{path}", params={"api-version": version}, json=body)
        policies = [BearerTokenCredentialPolicy(self.credential, f"{url}/.default")]
        with PipelineClient[HttpRequest, HttpResponse](url, policies=policies) as client:
            answer = _send(client, request, enforce_https=not is_loopback(url))
        if not answer.status:
            raise SmokeError(f"{what} from {url}: {answer}")
        return answer


def span_query(transfers: Sequence[str]) -> str:
    """Return the query for spans by orchestration id, which is the transfer's id."""
    ids = ", ".join(f'"{each}"' for each in transfers if re.fullmatch(r"[\w-]+", each))
    return (
        "union isfuzzy=true AppRequests, AppDependencies | where TimeGenerated > ago(6h) "
        f'| where tostring(Properties["durabletask.task.instance_id"]) in ({ids}) | summarize spans = count()'
    )


def _refusal(answer: Answer) -> str:
    error = answer.body.get("error")
    code = error.get("code", "") if isinstance(error, dict) else ""
    return f"ARM answered {answer.status} {code}"

"""The app: its key through ARM, and its API."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from azure.core import PipelineClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import AzureKeyCredentialPolicy
from azure.core.rest import HttpRequest, HttpResponse

from smoke.arm import SECONDS, Arm, json_of, refusal
from smoke.trouble import Trouble

API_VERSION = "2024-11-01"
PAUSE, PATIENCE = 5, 60
FIXES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "azd auth login --tenant-id <the subscription's tenant>",
    HTTPStatus.FORBIDDEN: "get a role with Microsoft.Web/sites/host/listkeys/action on it, such as Contributor",
    HTTPStatus.NOT_FOUND: "run azd up, or azd env select <the environment that has it>",
}
CLOSED = (
    "a wrong key, a network rule, or Entra ID in front of it (docs/entra-id.md; the test sends only the key). Fix: allow this "
    "machine; for a local stack use --local"
)


def key(function: str, arm: Arm) -> AzureKeyCredential:
    """The function app's default key, by its ARM id. It is kept in the credential, which does not show it.

    Raises:
        Trouble: ARM did not give it.
    """
    response = arm.post(f"{function}/host/default/listkeys", API_VERSION, "no key of the function app")
    keys = json_of(response).get("functionKeys") or {}
    if response.status_code != HTTPStatus.OK or not keys:
        raise Trouble(_no_key(response))
    return AzureKeyCredential(keys.get("default") or next(iter(keys.values())))


def _no_key(response: HttpResponse) -> str:
    fix = FIXES.get(response.status_code, "run azd deploy, then try again in a minute")
    return f"no key of the function app: {refusal(response)}. Fix: {fix}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the app answered; `status` 0 if it did not. `later` is how many seconds to wait before asking again."""

    status: int
    body: Mapping[str, Any]
    later: int | None = None

    def __str__(self) -> str:
        words = (str(self.status or "no answer"), self.body.get("detail"), self.body.get("fix"))
        return " ".join(filter(None, words))


class App:
    """The app's API. Every call is safe to repeat; the key goes into one header, and nowhere else."""

    def __init__(self, url: str, credential: AzureKeyCredential | None) -> None:
        policies = [AzureKeyCredentialPolicy(credential, "x-functions-key")] if credential else []
        self._api = f"{url}/api"
        self._client = PipelineClient[HttpRequest, HttpResponse](url, policies=policies)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Answer:
        """Ask once.

        Raises:
            Trouble: it does not take the key; asking again would not help.
        """
        request = HttpRequest(method, f"{self._api}{path}", params=query, json=body)
        try:
            response = self._client.send_request(request, **SECONDS)
        except AzureError as error:
            return Answer(0, {"detail": type(error).__name__}, PAUSE)
        if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise Trouble(f"the app denies access ({response.status_code}): {CLOSED}")
        later = response.headers.get("Retry-After", "")
        return Answer(response.status_code, json_of(response), int(later) if later.isdecimal() else None)

    def insist(self, method: str, path: str, end: float, body: Any = None, **query: str) -> Answer:
        """Ask until it is taken or refused for good, or until the clock (`time.monotonic`) shows `end`."""
        while True:
            answer = self.ask(method, path, body, **query)
            if answer.later is None or time.monotonic() + answer.later > end:
                return answer
            time.sleep(answer.later)

    def pages(self, path: str, **query: str) -> Iterator[Mapping[str, Any]]:
        """Every item of a list.

        Raises:
            Trouble: a page was not answered.
        """
        following: str | None = ""
        while following is not None:
            more = {"continuation": following} if following else {}
            answer = self.insist("GET", path, time.monotonic() + PATIENCE, limit="500", **query, **more)
            if answer.status != HTTPStatus.OK:
                raise Trouble(f"unexpected answer to GET /api{path}: {answer}")
            yield from answer.body["items"]
            following = answer.body["continuation"]

"""Azure Resource Manager, asked as the person who is logged in."""

from dataclasses import dataclass
from typing import Any

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest, HttpResponse

from smoke.places import is_loopback, safe
from smoke.trouble import LOGIN, Trouble, unanswered

SECONDS: dict[str, Any] = {"connection_timeout": 20, "read_timeout": 120}


@dataclass(frozen=True, slots=True)
class Arm:
    """Where it is, and who asks."""

    url: str
    credential: TokenCredential

    def post(self, path: str, version: str, what: str, body: Any = None) -> HttpResponse:
        """What it answers, whatever that is. `what` says what is missing if it does not answer.

        Raises:
            Trouble: it did not answer, or nobody is logged in.
        """
        url = safe(self.url, "--arm")
        request = HttpRequest("POST", f"{url}{path}", params={"api-version": version}, json=body)
        policies = [BearerTokenCredentialPolicy(self.credential, f"{url}/.default")]
        with PipelineClient[HttpRequest, HttpResponse](url, policies=policies) as client:
            try:
                return client.send_request(request, enforce_https=not is_loopback(url), **SECONDS)
            except ClientAuthenticationError:
                raise Trouble(f"{what}: {LOGIN}") from None
            except AzureError as error:
                raise Trouble(f"{what}, from {url}: {unanswered(error)}") from None


def json_of(response: HttpResponse) -> dict[str, Any]:
    """The object of an answer; empty where it is none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def refusal(response: HttpResponse) -> str:
    """Its status and its code."""
    error = json_of(response).get("error")
    code = error.get("code", "") if isinstance(error, dict) else ""
    return f"ARM answered {response.status_code} {code}"

"""The requests that every transfer sends: a HEAD, the read of a record, a copy.

They use the SDK's credentials and retries, but not its blob client. For each request, that client builds several objects, runs
16 policies and converts 60 headers, which takes more CPU than the request itself.
"""

from base64 import b64decode
from email.utils import formatdate
from typing import Any
from urllib.parse import quote
from uuid import uuid4
from xml.etree import ElementTree as ET

from azure.core import AsyncPipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import AsyncPipeline, PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobServiceClient

from ports.blobs import Copy

METADATA = "x-ms-meta-"
# The properties that the app reads, by the header's name, which is also the name of the argument of `BlobProperties`.
PROPERTIES = (
    "ETag",
    "Content-Type",
    "Content-Encoding",
    "Content-Language",
    "Content-Disposition",
    "Cache-Control",
    "x-ms-access-tier",
    "x-ms-blob-type",
    "x-ms-copy-id",
    "x-ms-copy-progress",
    "x-ms-copy-source",
    "x-ms-copy-status",
    "x-ms-copy-status-description",
)


class _Headers(SansIOHTTPPolicy[Any, Any]):
    """The headers of each try. The signature of a retry is new, because its date is."""

    def __init__(self, version: str, user_agent: str) -> None:
        super().__init__()
        self._fixed = {"x-ms-version": version, "User-Agent": user_agent}

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.http_request.headers.update(
            {
                **self._fixed,
                "x-ms-date": formatdate(usegmt=True),
                "x-ms-client-request-id": str(uuid4()),
            }
        )


class Requests:
    """Sends requests to one blob service, with the version, account key and retries of the SDK's client of that service."""

    def __init__(self, service: BlobServiceClient, options: dict[str, Any], signing: Any) -> None:
        """`options` are those of the service's client; `signing` is the policy that signs a request."""
        policies = [options["retry_policy"], _Headers(service.api_version, options["user_agent"]), signing]
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            service.url, pipeline=AsyncPipeline(options["transport"], policies)
        )

    async def send(self, method: str, url: str, headers: dict[str, str] | None = None) -> AsyncHttpResponse:
        """Send a request without a body, and return the response with its whole body.

        Raises:
            HttpResponseError: the status is 400 or higher. Its `additional_info` has the elements of the error's body.
            AzureError: there is no response.
        """
        response = await self._client.send_request(HttpRequest(method, url, headers=headers))
        if response.status_code >= 400:  # noqa: PLR2004
            error = HttpResponseError(response=response)
            error.additional_info = _elements(response.content)  # type: ignore[attr-defined]  # as the SDK does
            raise error
        return response


def _elements(body: bytes) -> dict[str, str]:
    try:
        return {child.tag.lower(): child.text or "" for child in ET.fromstring(body)}  # noqa: S314  # as the SDK does
    except ET.ParseError:
        return {}


def blob_properties(response: AsyncHttpResponse) -> BlobProperties:
    """Return the properties in the response to a HEAD. Raises one of `UNREADABLE` if one is missing or invalid."""
    headers = response.headers
    digest, tags = headers.get("Content-MD5"), headers.get("x-ms-tag-count")
    return BlobProperties(
        **{name: headers.get(name) for name in PROPERTIES},
        **{
            "Content-Length": int(headers["Content-Length"]),
            "Content-MD5": bytearray(b64decode(digest)) if digest else None,
            "x-ms-tag-count": int(tags) if tags else None,
            "x-ms-access-tier-inferred": headers.get("x-ms-access-tier-inferred") == "true",
            "metadata": {
                name[len(METADATA) :]: value
                for name, value in headers.items()
                if name[: len(METADATA)].lower() == METADATA
            },
        },
    )


def copy_headers(copy: Copy, *, requires_sync: bool) -> dict[str, str]:
    """Return the headers of a copy request."""
    headers = {"x-ms-copy-source": copy.source.url, "x-ms-source-if-match": f'"{copy.etag}"'}
    headers |= {"If-None-Match": "*"} if copy.if_match is None else {"If-Match": f'"{copy.if_match}"'}
    headers |= {"x-ms-requires-sync": "true"} if requires_sync else {}
    headers |= {"x-ms-access-tier": copy.tier} if copy.tier else {}
    headers |= {"x-ms-tags": _tags(copy.tags)} if copy.tags else {}
    return headers | {f"{METADATA}{name}": value for name, value in copy.metadata.items()}


def _tags(tags: dict[str, str]) -> str:
    return "&".join(f"{quote(name, safe='.-')}={quote(value, safe='.-')}" for name, value in tags.items())

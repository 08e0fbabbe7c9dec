"""A client of the control API, for tests."""

import base64
import contextlib
import http.client
import json
import re
from typing import Any
from urllib.parse import urlencode

from devhost.storage.config import HOST
from devhost.storage.control import PREFIX

_REFUSED = ("HeadBlob", "GetBlob", "GetMetadata", "SetMetadata", "SetProperties", "SetTier", "SnapshotBlob")


class StorageControl:
    """Calls the control API behind the blob service at `blob_port`; raises ValueError if the stack refuses a call."""

    def __init__(self, blob_port: int) -> None:
        self._blob_port = blob_port

    def is_up(self) -> bool:
        """Whether the stack answers."""
        try:
            return bool(self._call("GET", "health")["status"] == "up")
        except OSError:
            return False

    def requests(self, **fields: object) -> list[dict[str, Any]]:
        """Return the requests whose fields (`operation="CopyBlob"`, `internal=False`, ...) equal the given ones."""
        return list(self._call("GET", f"requests?{urlencode(fields)}")["requests"])

    def forget_requests(self) -> None:
        """Empty the log of requests."""
        self._call("DELETE", "requests")

    def add_fault(self, match: dict[str, str], action: dict[str, Any], times: int = 1) -> int:
        """Apply `action` to the next `times` requests that match; return the number of the rule."""
        return int(self._call("POST", "faults", {"match": match, "action": action, "times": times})["id"])

    def refuse(self, container: str, blob: str, code: str, times: int = 100_000) -> None:
        """Answer 409 to all requests on a blob except to delete or overwrite it, and to requests to copy it.

        `BlobUsesCustomerSpecifiedEncryption` is the code of a blob under a customer's key for requests without that key.
        """
        key = {"container": container, "blob": f"^{re.escape(blob)}$"}
        for operation in _REFUSED:
            self.add_fault({"operation": operation} | key, {"status": 409, "code": code}, times)
        source = {"source": f"^/[^/]+/{re.escape(f'{container}/{blob}')}$"}
        self.add_fault({"operation": "CopyBlob"} | source, {"status": 409, "code": code}, times)
        source_answer = {"status": 409, "source_status": 409, "source_code": code}
        for operation in ("CopyBlobFromUrl", "PutBlockFromUrl"):
            self.add_fault({"operation": operation} | source, source_answer, times)

    def faults(self) -> list[dict[str, Any]]:
        """Return the rules, with the number of requests that each has matched (`met`) and holds (`waiting`)."""
        return list(self._call("GET", "faults")["faults"])

    def remove_faults(self, number: int | None = None) -> None:
        """Remove one rule, or all; the requests that they hold continue."""
        self._call("DELETE", "faults" if number is None else f"faults/{number}")

    def copies(self, **pace: object) -> dict[str, Any]:
        """Set fields of the pace (`properties.Pace`); return the pace and all copies."""
        return self._call("PUT", "copies", pace) if pace else self._call("GET", "copies")

    def events(self, **settings: object) -> dict[str, Any]:
        """Set how events are sent (`encoding`, `schema`, `mode`, `watch`); return these settings."""
        return self._call("PUT", "events", settings) if settings else self._call("GET", "events")

    def hierarchical(self, *accounts: str) -> None:
        """Give these accounts, and no others, a hierarchical namespace."""
        self._call("PUT", "accounts", {"hierarchical": accounts})

    def made_by_lake(self, path: str) -> None:
        """Let a blob of a hierarchical account, as `account/container/encoded name`, count as made by the Data Lake API."""
        self._call("PUT", "accounts", {"made_by_lake": path})

    def sftp(self, api: str, path: str, data: bytes = b"", to: str = "") -> str:
        """Act as an SFTP client on `account/container/encoded name`; return the blob's ETag.

        `SftpCreate` makes an empty blob, `SftpWrite` and `SftpCommit` append the data, `SftpRename` needs the new
        `container/encoded name`. Each raises its event.
        """
        body = {"api": api, "path": path, "data": base64.b64encode(data).decode(), "to": to}
        return str(self._call("POST", "sftp", body)["etag"])

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        with contextlib.closing(http.client.HTTPConnection(HOST, self._blob_port, timeout=30)) as connection:
            connection.request(method, PREFIX + path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        if "error" in answer:
            raise ValueError(answer["error"])
        return dict(answer)

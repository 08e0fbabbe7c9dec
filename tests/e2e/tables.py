"""The tables of a state account, over HTTP: the project has no SDK for tables."""

import base64
import hashlib
import hmac
import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import format_datetime

from devhost.stack import LocalStack
from devhost.storage.config import STATE_ACCOUNT

CONTINUATION = ("NextTableName", "NextPartitionKey", "NextRowKey")


@dataclass(frozen=True)
class Tables:
    """Requests are signed with the stack's key as Shared Key Lite."""

    stack: LocalStack
    account: str = STATE_ACCOUNT

    def names(self) -> list[str]:
        return [table["TableName"] for page in self.pages("Tables") for table in json.loads(page)["value"]]

    def pages(self, name: str, rows: int = 1000) -> Iterator[bytes]:
        """Yield pages of at most `rows` rows of a table, as JSON."""
        parameters: dict[str, str] = {}
        while True:
            path = name if name == "Tables" else f"{name}()"
            headers, body = self._request("GET", path, {"$top": str(rows), **parameters})
            yield body
            found = {key: headers.get(f"x-ms-continuation-{key}") for key in CONTINUATION}
            parameters = {key: value for key, value in found.items() if value}
            if not parameters:
                return

    def create(self, name: str) -> None:
        self._request("POST", "Tables", body={"TableName": name})

    def insert(self, name: str, row: dict[str, str]) -> None:
        self._request("POST", name, body=row)

    def delete(self, name: str) -> None:
        self._request("DELETE", f"Tables('{name}')")

    def _request(
        self, method: str, path: str, parameters: dict[str, str] | None = None, body: dict[str, str] | None = None
    ) -> tuple[Message, bytes]:
        path = f"/{self.account}/{path}"
        moment = format_datetime(datetime.now(UTC), usegmt=True)
        signed = hmac.digest(
            base64.b64decode(self.stack.key), f"{moment}\n/{self.account}{path}".encode(), hashlib.sha256
        )
        headers = {
            "Accept": "application/json;odata=nometadata",
            "Authorization": f"SharedKeyLite {self.account}:{base64.b64encode(signed).decode()}",
            "Content-Type": "application/json",
            "x-ms-date": moment,
            "x-ms-version": "2019-02-02",
        }
        url = f"http://127.0.0.1:{self.stack.table_port}{path}?{urllib.parse.urlencode(parameters or {})}".rstrip("?")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # loopback
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310  # loopback
            return response.headers, response.read()

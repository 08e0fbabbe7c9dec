"""The Bicep compiler as a server. One process answers all requests, because the start takes most of the time of each."""

import json
import subprocess
from functools import cached_property
from types import TracebackType
from typing import Any, Self


class Refused(Exception):
    """The compiler answered with an error."""


class Compiler:
    """`bicep jsonrpc`. It starts with the first request."""

    def __init__(self, bicep: str, environment: dict[str, str]) -> None:
        self._command, self._environment = [bicep, "jsonrpc", "--stdio"], environment

    @cached_property
    def _process(self) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, env=self._environment)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a request, for example `compile`. Each message has a header, like in HTTP."""
        request = {"jsonrpc": "2.0", "id": 1, "method": f"bicep/{method}", "params": parameters}
        sent, answers = self._process.stdin, self._process.stdout
        assert sent is not None
        assert answers is not None
        body = json.dumps(request).encode()
        sent.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        sent.flush()
        headers = dict(line.split(b": ") for line in iter(lambda: answers.readline().strip(), b""))
        answer = json.loads(answers.read(int(headers[b"Content-Length"])))
        if "error" in answer:
            raise Refused(answer["error"]["message"])
        result: dict[str, Any] = answer["result"]
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close its input, which ends it, if it was started."""
        if "_process" in vars(self):
            self._process.communicate()

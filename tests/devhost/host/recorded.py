"""The recordings of a real Functions host 4.1037 with Durable extension 3.19.0, and their comparison.

`recordings/episodes.jsonl` holds an orchestrator call in each line: the trigger's JSON, and the state that the SDK returned or
its error. `management.jsonl` and `functions.jsonl` hold requests and answers. Two records are equal up to times, generated
ids, ports, keys and the stacks of exceptions.
"""

import http.client
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"
UNSPECIFIC = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+", "TIME"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "SECOND"),
    (r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "GUID"),
    (r"\b[0-9a-f]{32}\b", "HEX"),
    (r"\b(127\.0\.0\.1|localhost):\d+", r"\1:PORT"),
    (r"code=[^&\"]+", "code=KEY"),
    (r"(?s)(\nStack: ).*", r"\1"),
    (r"object at 0x[0-9a-f]+", "object"),
    (r"(?s)(StackTrace:    at System\.Threading\.Tasks\.Task\.ThrowIf).*", r"\1"),
]
HIDDEN = "\n\n$OutOfProcData$:"
"""The SDK puts the state of an orchestrator that raised an exception behind this label."""
KNOWN = "The following are the known orchestrator functions: "
STACKS = ("RemoteStackTrace", "StackTrace")


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def plain(value: Any) -> Any:
    """Remove the parts of a record that differ from run to run."""
    if isinstance(value, dict):
        return {plain(key): "..." if key in STACKS else plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> Any:
    """Compare JSON in a text as text, unless there is an exception in it."""
    if HIDDEN in text:
        return [plain(part) for part in text.split(HIDDEN)]
    if "$type" in text and (found := re.fullmatch(r"(?s)(|.*? \n )([{\"].*)", text)):
        with suppress(ValueError):  # an app has truncated it
            return [found[1], plain(json.loads(found[2]))]
    if KNOWN in text:  # their order is that of a hash table
        return sorted(text.split("'"))
    for pattern, name in UNSPECIFIC:
        text = re.sub(pattern, name, text)
    return text


def differences(got: Any, want: Any, at: str = "") -> list[str]:
    """Return the differences of two plain records, one line for each."""
    if isinstance(got, dict) and isinstance(want, dict):
        odd = [f"{at}.{key} is {'new' if key in got else 'missing'}" for key in sorted(got.keys() ^ want.keys())]
        return odd + [
            line for key in got.keys() & want.keys() for line in differences(got[key], want[key], f"{at}.{key}")
        ]
    if isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        pairs = enumerate(zip(got, want, strict=True))
        return [line for n, (one, other) in pairs for line in differences(one, other, f"{at}[{n}]")]
    return [] if got == want else [f"{at}: {got!r}, recorded {want!r}"]


def ask(  # noqa: PLR0917  # a request is made of these
    port: int, method: str, path: str, headers: dict[str, str], body: str | None, name: str = "localhost"
) -> dict[str, Any]:
    """Send a request to a host called `name`. In the answer, header names are in lower case; the body is JSON or text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        data = None if body is None else body.encode()
        if data is not None and not {"Content-Length", "Transfer-Encoding"} & set(headers):
            headers = headers | {"Content-Length": str(len(data))}
        for header, value in ({"Host": f"{name}:{port}"} | headers).items():
            connection.putheader(header, value.encode("latin-1"))
        connection.endheaders(data)
        answer = connection.getresponse()
        raw = answer.read()
        named = {header.lower(): value for header, value in answer.getheaders()}
        return {"status": answer.status, "length": len(raw), "headers": named, "body": _decoded(raw)}
    finally:
        connection.close()


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")

"""Hostile messages, names and URLs, each with its exact verdict: one case per line.

A long text is a list of pieces, each a text or `[text, times]`. `why` is the detail of the verdict. `blob` and `etag` are the
version of an accepted message, or of the subject beside a URL, if they differ from the samples'.
"""

import base64
import json
from pathlib import Path
from typing import Any

from tests.unit.samples import NAME, body, event

SUBJECT = "/blobServices/default/containers/source/blobs/"


def corpus(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(__file__).parent / f"{name}.jsonl").read_text("ascii").splitlines()]


def text(pieces: Any) -> str:
    """Join the pieces of a text."""
    if isinstance(pieces, str):
        return pieces
    return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in pieces)


def message(case: dict[str, Any]) -> bytes:
    """Returns the message of a case of `MESSAGES` or `URLS`."""
    if "url" in case:
        return body({**event(url=text(case["url"])), "subject": SUBJECT + case.get("blob", NAME)})
    return base64.b64decode(case["base64"]) if "base64" in case else text(case["body"]).encode()


MESSAGES, NAMES, URLS = corpus("messages"), corpus("names"), corpus("urls")

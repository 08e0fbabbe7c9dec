"""The corpora of messages, names and URLs."""

import base64
import json
from pathlib import Path
from typing import Any

from tests.unit.samples import NAME, body, event

SUBJECT = "/blobServices/default/containers/source/blobs/"


def corpus(name: str) -> list[dict[str, Any]]:
    """Return the cases of a corpus."""
    return [json.loads(line) for line in (Path(__file__).parent / f"{name}.jsonl").read_text("ascii").splitlines()]


def text(pieces: Any) -> str:
    """Join a text that is written in pieces."""
    if isinstance(pieces, str):
        return pieces
    return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in pieces)


def message(case: dict[str, Any]) -> bytes:
    """Return the queue message of a case of the messages or URLs."""
    if "url" in case:
        return body({**event(url=text(case["url"])), "subject": SUBJECT + case.get("blob", NAME)})
    return base64.b64decode(case["base64"]) if "base64" in case else text(case["body"]).encode()


MESSAGES, NAMES, URLS = corpus("messages"), corpus("names"), corpus("urls")

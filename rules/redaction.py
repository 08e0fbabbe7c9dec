"""Remove secrets from stored messages and from the texts of errors."""

import re

from rules.codec import plain_body

REMOVED = b"REMOVED"
# Also where the query or its value is percent-encoded (`%26sig%3D`) or escaped as in JSON (`\u0026sig\u003d`, `\nsig=`).
SECRET = re.compile(
    rb"(?i)(?:\b|(?<=%[0-9a-f]{2})|(?<=%25[0-9a-f]{2})|(?<=\\u[0-9a-f]{4})|(?<=\\[bfnrt]))"
    rb"(sig|code|accountkey)(=|%(?:25)*3D|\\+u003d)(?:[^&\"'\\\s<>]|\\+u[0-9a-f]{4}|\\+/)*"
)


def without_secrets(body: bytes) -> bytes:
    """Remove the value of every `sig=`, `code=` and `AccountKey=` from a message, also inside base64."""
    decoded = plain_body(body)
    return SECRET.sub(rb"\1\2" + REMOVED, decoded if SECRET.search(decoded) else body)


def is_redacted(body: bytes) -> bool:
    """Whether `without_secrets` changed this message, so that it cannot be accepted again."""
    return any(match[0].endswith(REMOVED) for match in SECRET.finditer(plain_body(body)))


def text_without_secrets(text: str) -> str:
    """Remove the value of every `sig=`, `code=` and `AccountKey=` from a text, such as an exception's."""
    return SECRET.sub(rb"\1\2" + REMOVED, text.encode("utf-8", "replace")).decode()

"""What looks like a secret is removed from whatever is kept or said (I8): messages, and the texts of errors."""

import re

from rules.codec import plain_body

REMOVED = b"REMOVED"
# Also where the query, or its value, is percent-encoded (`%26sig%3D`) or escaped as in JSON (`\u0026sig\u003d`).
SECRET = re.compile(
    rb"(?i)(?:\b|(?<=%[0-9a-f]{2})|(?<=%25[0-9a-f]{2})|(?<=\\u00[0-9a-f]{2}))"
    rb"(sig|code|accountkey)(=|%(?:25)*3D|\\+u003d)(?:[^&\"'\\\s<>]|\\+u[0-9a-f]{4}|\\+/)*"
)


def without_secrets(body: bytes) -> bytes:
    """A message with the value of every `sig=`, `code=` and `AccountKey=` removed, also inside base64."""
    decoded = plain_body(body)
    return SECRET.sub(rb"\1\2" + REMOVED, decoded if SECRET.search(decoded) else body)


def is_redacted(body: bytes) -> bool:
    """Whether something was removed from a message: it cannot be accepted again as what it was."""
    return any(match[0].endswith(REMOVED) for match in SECRET.finditer(plain_body(body)))


def text_without_secrets(text: str) -> str:
    """A text, such as an exception's, with the value of every `sig=`, `code=` and `AccountKey=` removed."""
    return SECRET.sub(rb"\1\2" + REMOVED, text.encode("utf-8", "replace")).decode()

"""Continuation tokens that callers may hold: the service's own, wrapped, so that garbage is told from a token."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode_token(prefix: str, token: str | None) -> str | None:
    """Wrap a service's token with the prefix whose list it continues; None stays the end."""
    return urlsafe_b64encode(json.dumps([prefix, token]).encode()).decode() if token else None


def decode_token(prefix: str, continuation: str | None) -> str | None:
    """Take the service's token out again.

    Raises:
        ValueError: it is no continuation, or of another list.
    """
    if not continuation:
        return None
    try:
        mine, token = json.loads(urlsafe_b64decode(continuation.encode()))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("not a continuation token of this app") from None
    if mine != prefix or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ValueError("the continuation token was issued for another list")
    return token

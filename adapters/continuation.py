"""Continuation tokens for callers: the service's token with the prefix of its list, so that a wrong one is recognized."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode_token(prefix: str, token: str | None) -> str | None:
    """Encode a service's token with the prefix of its list; None (the end) stays None."""
    return urlsafe_b64encode(json.dumps([prefix, token]).encode()).decode() if token else None


def decode_token(prefix: str, continuation: str | None) -> str | None:
    """Return the service's token.

    Raises:
        ValueError: it is not a continuation token, or was issued for another list.
    """
    if not continuation:
        return None
    try:
        token_prefix, token = json.loads(urlsafe_b64decode(continuation.encode()))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("not a continuation token of this app") from None
    if token_prefix != prefix or not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ValueError("the continuation token was issued for another list")
    return token

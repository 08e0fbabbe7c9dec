"""No secret is stored or logged."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.codec import plain_body
from rules.dead_letters import letters
from rules.errors import Reason
from rules.events.parse import RejectedEvent
from rules.redaction import is_redacted, text_without_secrets, without_secrets
from tests.unit.samples import NOW, quick

REFUSED = RejectedEvent(Reason.MALFORMED, "no event")
SECRET = "dG9wc2VjcmV0Kw"
SAS = f"https://a.blob.core.windows.net/c/b?sv=2024-11-04&sig={SECRET}%3D&se=2026"
ENCODED = SAS.replace("%", "%25").replace("=", "%3D").replace("&", "%26").replace("?", "%3F")
SPELLINGS = {
    "a url": SAS,
    "first in the query": f"https://a/b?sig={SECRET}",
    "in capitals": SAS.replace("sig=", "SIG="),
    "encoded": ENCODED,
    "encoded twice": ENCODED.replace("%", "%25"),
    "encoded twice, first in the query": f"b%253Fsig%253D{SECRET}",
    "encoded in lower case": ENCODED.lower().replace(SECRET.lower(), SECRET),
    "escaped in JSON": json.dumps({"url": SAS}).replace("&", "\\u0026").replace("=", "\\u003d"),
    "escaped twice": json.dumps(json.dumps({"url": SAS}).replace("&", "\\u0026").replace("=", "\\u003D")),
    "after an escaped line break": json.dumps(f"first\nsig={SECRET}"),
    "after an escaped line break, twice": json.dumps(json.dumps(f"first\r\nsig={SECRET}")),
    "after an escaped character": json.dumps(f"\u2028code={SECRET}"),
    "a plus that is escaped": f"sig=abc\\u002B{SECRET}",
    "a slash that is escaped": f"sig=abc\\/{SECRET}",
    "a plus that is escaped twice": f"sig=abc\\\\u002b{SECRET}",
    "a function key": f"https://app.azurewebsites.net/api/transfers?code={SECRET}==",
    "in an exception": f"ResourceNotFound <{SAS}> at line 1",
    "beside an e with an accent": f"\u00e9?sig={SECRET}\u00e9",
    "several": f"{SAS} {SAS}",
    "alone": f"sig={SECRET}",
    "an account key": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET}==;EndpointSuffix=x",
}


@pytest.mark.parametrize("code", [str.encode, lambda text: base64.b64encode(text.encode())], ids=["plain", "base64"])
@pytest.mark.parametrize("case", SPELLINGS)
def test_a_stored_message_has_no_secret(case: str, code: Any) -> None:
    kept = base64.b64decode(letters.of_message(code(SPELLINGS[case]), REFUSED, NOW, "1").message or "")
    assert SECRET.encode() not in kept
    assert SECRET.encode() not in plain_body(kept)
    assert b"REMOVED" in kept


@pytest.mark.parametrize("case", SPELLINGS)
def test_a_redacted_text_has_no_secret(case: str) -> None:
    assert SECRET not in text_without_secrets(SPELLINGS[case])


@pytest.mark.parametrize(
    "harmless",
    [
        "signature=x",
        "design=x",
        "barcode=x",
        "country_code=DE/a.csv",
        "decode=x",
        "ErrorCode=BlobNotFound",
        "sig",
        "the code is 7",
        "caf\u00e9",
    ],
)
def test_other_text_is_unchanged(harmless: str) -> None:
    """A stored message can be replayed."""
    assert text_without_secrets(harmless) == harmless
    assert without_secrets(harmless.encode()) == harmless.encode()
    encoded = base64.b64encode(harmless.encode())
    assert without_secrets(encoded) == encoded


def test_redacted_json_is_still_json() -> None:
    assert without_secrets(json.dumps({"url": SAS, "a": 1}).encode()) == (
        b'{"url": "https://a.blob.core.windows.net/c/b?sv=2024-11-04&sig=REMOVED&se=2026", "a": 1}'
    )


@quick
@given(st.text(st.characters(), max_size=100))
def test_redaction_is_idempotent_and_never_raises(text: str) -> None:
    once = text_without_secrets(text)
    assert text_without_secrets(once) == once
    assert without_secrets(once.encode()) is not None


def test_a_redacted_message_is_recognised() -> None:
    assert is_redacted(without_secrets(b'{"url": "https://a/b?sv=1&sig=abc"}'))
    assert is_redacted(without_secrets(b'{"subject": "/blobs/code=DE/a.csv"}'))
    assert not is_redacted(without_secrets(b'{"subject": "/blobs/zipcode=1/a.csv"}'))

"""Nothing secret is kept or said (I8)."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import events
from rules.codec import plain_body
from rules.dead_letters import letters
from rules.errors import Reason
from rules.redaction import is_redacted, text_without_secrets, without_secrets
from tests.unit.samples import NOW, quick

REFUSED = events.RejectedEvent(Reason.MALFORMED, "no event")
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
def test_no_secret_survives_in_a_message(case: str, code: Any) -> None:
    """I8: in any spelling, and inside base64."""
    kept = base64.b64decode(letters.of_message(code(SPELLINGS[case]), REFUSED, NOW, "1").message or "")
    assert SECRET.encode() not in kept
    assert SECRET.encode() not in plain_body(kept)
    assert b"REMOVED" in kept


@pytest.mark.parametrize("case", SPELLINGS)
def test_no_secret_survives_in_a_text(case: str) -> None:
    """Such as an exception's."""
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
def test_what_is_no_secret_stays(harmless: str) -> None:
    """A message is replayed as it was kept."""
    assert text_without_secrets(harmless) == harmless
    assert without_secrets(harmless.encode()) == harmless.encode()
    encoded = base64.b64encode(harmless.encode())
    assert without_secrets(encoded) == encoded


def test_json_is_still_json_without_its_secrets() -> None:
    """What follows the value stays: the quote, the next parameter."""
    assert without_secrets(json.dumps({"url": SAS, "a": 1}).encode()) == (
        b'{"url": "https://a.blob.core.windows.net/c/b?sv=2024-11-04&sig=REMOVED&se=2026", "a": 1}'
    )


@quick
@given(st.text(st.characters(), max_size=100))
def test_removing_secrets_is_total_and_once_is_enough(text: str) -> None:
    """Also for lone surrogates."""
    once = text_without_secrets(text)
    assert text_without_secrets(once) == once
    assert without_secrets(once.encode()) is not None


def test_a_message_that_lost_something_is_known() -> None:
    """It is not what it was, so it is not accepted again; a name such as `zipcode=1/a` loses nothing."""
    assert is_redacted(without_secrets(b'{"url": "https://a/b?sv=1&sig=abc"}'))
    assert is_redacted(without_secrets(b'{"subject": "/blobs/code=DE/a.csv"}'))
    assert not is_redacted(without_secrets(b'{"subject": "/blobs/zipcode=1/a.csv"}'))

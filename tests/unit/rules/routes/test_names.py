"""Rule 13: which names can be carried, and how a name is encoded in a URL."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.routes import names
from rules.routes.model import Place
from tests.unit.samples import SOURCE_HOST, carried_names, quick

REFUSED = {
    "": "the name is empty",
    "a\\b": "a backslash: the service stores it as /",
    ".": "a segment that is . or ..",
    "..": "a segment that is . or ..",
    "a/./b": "a segment that is . or ..",
    "../other/x": "a segment that is . or ..",
    "a/..": "a segment that is . or ..",
    "a.": "a segment that ends with a dot: the service drops the dot",
    "a./b": "a segment that ends with a dot: the service drops the dot",
    "a/...": "a segment that ends with a dot: the service drops the dot",
    "a/b.../c": "a segment that ends with a dot: the service drops the dot",
    "a\ud800b": "a lone surrogate",
    "a\udfff": "a lone surrogate",
    "a\x00b": "a control character or a non-character",
    "a\nb": "a control character or a non-character",
    "a\x7f": "a control character or a non-character",
    "a\x1f": "a control character or a non-character",
    "a\ufffe": "a control character or a non-character",
    "a\uffff": "a control character or a non-character",
    "a\ufdd0": "a control character or a non-character",
    "a\U0010ffff": "a control character or a non-character",
    "a" * 1_025: "more than 1,024 UTF-16 units",
    "\U0001f600" * 513: "more than 1,024 UTF-16 units",
    "/" * 254: "more than 254 segments",
}
CARRIED = [
    "a",
    "/",
    "//a//b//",
    "a/",
    "a.b/c",
    "...a",
    "..a",
    "a\x80",
    "a\x85b",
    "a\x9f",
    ".hidden",
    "a b",
    "100%",
    "%2e%2e/x",
    "%41",
    "caf\u00e9",
    "cafe\u0301",
    "a?b#c&d=e+f",
    "~a",
    "\u202ertl",
    "\ufeffbom",
    "a" * 1_024,
    "\U0001f600" * 512,
    "/" * 253,
]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_an_unsafe_name_is_refused_with_a_reason(name: str) -> None:
    assert names.refusal(name) == REFUSED[name]


def test_every_refusal_has_an_example() -> None:
    assert {why for _, why in names.REFUSALS} <= set(REFUSED.values())


@pytest.mark.parametrize("name", CARRIED, ids=ascii)
def test_every_other_name_is_carried_byte_for_byte(name: str) -> None:
    """Also empty segments, leading dots, U+0080 to U+009F, `%`, NFC and NFD."""
    assert names.refusal(name) is None
    assert unquote(names.percent_encoded(name)) == name


@quick
@given(st.text(st.characters(), max_size=50))
def test_refusal_never_raises(name: str) -> None:
    assert names.refusal(name) is None or names.refusal(name) in set(REFUSED.values())


@quick
@given(carried_names(), carried_names(50) | st.just(""))
def test_the_url_of_a_carried_name_stays_within_its_prefix(name: str, prefix: str) -> None:
    """No query, no fragment, no `..`."""
    blob = Place(SOURCE_HOST, "source", prefix).blob(name)
    parts = urlsplit(blob.url)
    segments = parts.path.split("/")
    assert (parts.query, parts.fragment) == ("", "")
    assert unquote(parts.path) == f"/source/{prefix}{name}"
    assert names.refusal(blob.name) or not {".", ".."} & set(segments)
    assert blob.url.startswith(Place(SOURCE_HOST, "source", prefix).url)
    assert blob.url.isascii()


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("a b", "a%20b"),
        ("a/b~c", "a/b~c"),
        ("100%", "100%25"),
        ("a+b", "a%2Bb"),
        ("a?b#c", "a%3Fb%23c"),
        ("\u00e9", "%C3%A9"),
        ("-._", "-._"),
    ],
)
def test_a_name_is_encoded_once_as_the_sdk_does(name: str, quoted: str) -> None:
    assert names.percent_encoded(name) == quoted


def test_a_copy_source_url_and_its_sas_must_fit_into_2_kib() -> None:
    assert names.source_url_refusal("x" * 1_536) is None
    assert names.source_url_refusal("x" * 1_537) == "a copy source URL of more than 2 KiB, SAS included"


FOLDED = "an empty segment: accounts with a hierarchical namespace drop it"
DEEP = "more than 61 segments: the limit of accounts with a hierarchical namespace"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a", None),
        ("a/b c/.d", None),
        ("a//b", FOLDED),
        ("/a", FOLDED),
        ("a/", FOLDED),
        ("a/" * 60 + "b", None),
        ("a/" * 61 + "b", DEEP),
    ],
)
def test_which_names_a_hierarchical_namespace_refuses(name: str, why: str | None) -> None:
    assert names.hierarchical_refusal(name) == why
    assert names.refusal(name) is None


@quick
@given(carried_names())
def test_a_hierarchical_namespace_refuses_names_with_empty_segments(name: str) -> None:
    assert (names.hierarchical_refusal(name) == FOLDED) is (names.collapse_slashes(name) != name or name.endswith("/"))

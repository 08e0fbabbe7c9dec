"""Rule 13: which names can be carried, and how a name is written into a URL."""

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
def test_a_name_that_cannot_be_said_safely_is_refused_in_words(name: str) -> None:
    """The whole list, each at its very edge."""
    assert names.refusal(name) == REFUSED[name]


def test_every_refusal_has_an_example_here() -> None:
    """Whoever adds a line to the list adds one to this table."""
    assert {why for _, why in names.REFUSALS} <= set(REFUSED.values())


@pytest.mark.parametrize("name", CARRIED, ids=ascii)
def test_everything_else_is_carried_byte_for_byte(name: str) -> None:
    """Empty segments, leading dots, U+0080 to U+009F, `%`, NFC and NFD are what their owner wrote."""
    assert names.refusal(name) is None
    assert unquote(names.percent_encoded(name)) == name


@quick
@given(st.text(st.characters(), max_size=50))
def test_refusing_is_total(name: str) -> None:
    """Any text has an answer, also lone surrogates."""
    assert names.refusal(name) is None or names.refusal(name) in set(REFUSED.values())


@quick
@given(carried_names(), carried_names(50) | st.just(""))
def test_a_carried_name_is_one_path_of_a_url_and_stays_in_its_prefix(name: str, prefix: str) -> None:
    """The URL says exactly this name: no query, no fragment, no way up (I5)."""
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
    """Slash and tilde stay, all else that is not unreserved is escaped."""
    assert names.percent_encoded(name) == quoted


def test_the_url_of_a_copy_source_leaves_room_for_its_sas() -> None:
    """The service allows 2 KiB for both."""
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
def test_a_name_that_a_hierarchical_namespace_cannot_hold(name: str, why: str | None) -> None:
    """It would be stored under another name, or not at all; a flat account carries it."""
    assert names.hierarchical_refusal(name) == why
    assert names.refusal(name) is None


@quick
@given(carried_names())
def test_only_a_name_that_folds_to_itself_may_go_to_a_hierarchical_namespace(name: str) -> None:
    """The rule and the folding of prefixes say the same of empty segments."""
    assert (names.hierarchical_refusal(name) == FOLDED) is (names.collapse_slashes(name) != name or name.endswith("/"))

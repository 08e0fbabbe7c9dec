"""The globs that exclude names: their language, and that a match takes a bounded number of steps."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rules.routes import filters
from rules.routes.filters import is_excluded
from rules.routes.model import Place
from tests.unit.samples import ROUTE, SOURCE_HOST, quick

LAKE = ("_temporary/*", ".spark-staging-*/*", "_delta_log/.*", "*.filepart", "*.tmp")


@pytest.mark.parametrize(
    ("glob", "excluded", "shared"),
    [
        ("_temporary/*", ["_temporary/a", "_temporary/", "x/y/_temporary/0/a"], ["_temporary", "x_temporary/a", "a"]),
        ("*.tmp", ["a.tmp", ".tmp", "x/a.tmp", "a.tmp/b.tmp"], ["a.tmp2", "a.TMP", "a.tmp/b", "atmp"]),
        ("a", ["a", "x/a", "x/y/a", "/a"], ["a/b", "ab", "ba", "A"]),
        ("a/b", ["a/b", "x/a/b"], ["a", "b", "a/b/c", "xa/b"]),
        ("a?c", ["abc", "a/c", "a\nc", "a\U0001f600c", "x/abc"], ["ac", "abbc"]),
        ("a*c", ["ac", "abc", "a/b/c", "a\nc", "x/a/c"], ["xac", "acx"]),
        ("a**c", ["ac", "abc"], ["a"]),
        ("*", ["", "a", "a/b"], []),
        ("?*", ["a", "a/b"], [""]),
        ("*/*", ["a/b", "/"], ["a"]),
        ("[a].+(b)|$^\\", ["[a].+(b)|$^\\"], ["a", "", "[a]x+(b)|$^\\"]),
        ("aa*aa", ["aaaa", "aabaa"], ["aa", "aaa"]),
        ("ab*ab*ab", ["ababab", "x/abxabyab"], ["abab", "abxab"]),
        ("a*?b", ["axb", "axxb", "abb"], ["ab"]),
    ],
)
def test_what_a_glob_matches(glob: str, excluded: list[str], shared: list[str]) -> None:
    assert [name for name in (*excluded, *shared) if is_excluded((glob,), name)] == excluded


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        ("table/_temporary/0/part-0", True),
        ("table/.spark-staging-17/part-0", True),
        ("table/_delta_log/.00001.json.tmp", True),
        ("table/_delta_log/00001.json", False),
        ("drop/a.csv.filepart", True),
        ("drop/a.csv", False),
        ("table/part-0", False),
    ],
)
def test_one_of_several_globs_is_enough(name: str, *, excluded: bool) -> None:
    assert is_excluded(LAKE, name) is excluded
    assert not is_excluded((), name)


@pytest.mark.parametrize("prefix", ["", "in/", "in", "_temporary/"])
def test_a_route_matches_the_rest_after_its_prefix(prefix: str) -> None:
    route = replace(ROUTE, source=Place(SOURCE_HOST, "source", prefix), exclude=("_temporary/*",))
    names = ["a", "_temporary/a", "x/_temporary/a"]
    assert [name for name in names if route.carries("sharingsource", "source", prefix + name)] == ["a"]
    assert route.covers("sharingsource", "source", prefix + "_temporary/a")


def reference(glob: str, name: str) -> bool:
    """Whether a glob matches a whole name, by the table of which part of it matches which part of the name."""
    matched = [True] + [False] * len(name)
    for symbol in glob:
        row = [symbol == "*" and matched[0]]
        for number, character in enumerate(name, 1):
            if symbol == "*":
                row.append(row[-1] or matched[number])
            else:
                row.append(matched[number - 1] and symbol in {"?", character})
        matched = row
    return matched[-1]


def tails(name: str) -> list[str]:
    return [name, *(name[number + 1 :] for number, character in enumerate(name) if character == "/")]


FEW = st.text("ab/*?", max_size=9)


@quick
@given(st.lists(FEW.filter(bool), min_size=1, max_size=3).map(tuple), st.text("ab/*?\n", max_size=14))
@example(("b*ab",), "b/bab")
@example(("a/*a*b?",), "a/a/aabb")
def test_a_name_is_excluded_if_a_glob_matches_it_or_a_part_after_a_slash(globs: tuple[str, ...], name: str) -> None:
    assert is_excluded(globs, name) == any(reference(glob, tail) for glob in globs for tail in tails(name))


@quick
@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_text_is_a_valid_glob(glob: str, name: str) -> None:
    assert is_excluded((glob,), name) == any(reference(glob, tail) for tail in tails(name))


HOSTILE = ["*a" * 127 + "b", "a*" * 127 + "b", "?*" * 127 + "b", "*/" * 127 + "b", "/*a" * 84 + "b", "*" * 255 + "b"]


@pytest.mark.parametrize("glob", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("character", ["a", "/", "a/"])
def test_a_hostile_glob_ends(glob: str, character: str) -> None:
    """A match that backtracks would not end."""
    name = character * (1_024 // len(character))
    assert not is_excluded((glob,) * 50, name)
    assert is_excluded((glob,), name + "b") == reference(glob, name + "b")


@pytest.mark.parametrize("glob", [*HOSTILE, *LAKE, "a", "a?b"], ids=lambda glob: glob[:9])
def test_only_one_repetition_can_give_back_what_it_has_taken(glob: str) -> None:
    """So the steps are bounded by the product of the lengths of name and glob."""
    expression = filters._expression(glob)
    assert len(re.findall(r"[*+]", re.sub(r"\\.|\(\?>(?:\(\?:[^()]*\)|[^()])*\)", "", expression))) <= 1

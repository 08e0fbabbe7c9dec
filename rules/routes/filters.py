"""Globs that exclude names from a route: compiled to one regular expression, matched in bounded time.

`*` stands for any number of characters, `/` included, and `?` for one. All others are literal.
"""

import re
from functools import cache

# Why an event is ignored, or a transfer superseded.
FILTERED = "the route's filters exclude this blob"


def is_excluded(globs: tuple[str, ...], rest: str) -> bool:
    """Whether a glob matches the rest of a name after the route's prefix, or the part of it after any `/`."""
    return bool(globs) and _compile(globs).fullmatch(rest) is not None


@cache
def _compile(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_expression, globs)), re.DOTALL)


def _expression(glob: str) -> str:
    """Return the regular expression of a glob.

    Each literal part takes its first occurrence and never gives it back (`(?>...)`). A later one would match no more,
    because a `*` follows. So the time is at most the length of the name times that of the glob.
    """
    first, *others = [
        "".join("." if character == "?" else re.escape(character) for character in part)
        for part in re.split(r"\*+", glob)
    ]
    if not others:
        return f"(?:|.*/){first}"
    *middle, last = others
    return f"(?>(?:|.*?/){first})" + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"

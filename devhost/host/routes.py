"""Which function answers a path. Mirrors ASP.NET Core routing as far as Azure Functions uses it.

Measured: case does not matter, a trailing slash is accepted, a literal segment wins over a parameter *for the methods
that it has*, `%2F` stays encoded in a parameter while everything else is decoded, dots are resolved before routing.
"""

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote

PARAMETER = re.compile(r"\{(?P<stars>\*{0,2})(?P<name>\w+)(?P<constraints>(?::[^{}]*)*)(?P<optional>\?)?\}")
CONSTRAINTS = {
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": r"[A-Za-z]+",
    "guid": r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}",
    "bool": r"(?i:true|false)",
}


class RouteError(Exception):
    """The template cannot be used; only its function is lost."""


@dataclass(frozen=True)
class Route:
    """A route template; `rank` sorts literals before constrained parameters, parameters, and catch-alls."""

    template: str
    pattern: re.Pattern[str]
    rank: tuple[int, ...]
    constraints: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, template: str) -> Self:
        """Compile a template such as `items/{id:length(32)}`, `files/{*path}`, `opt/{name?}`. Raises RouteError."""
        pattern, rank, constraints = "", [], {}
        for segment in filter(None, template.strip("/").split("/")):
            found = PARAMETER.fullmatch(segment)
            if not found:
                pattern += "/" + _literal(segment)
                rank.append(0)
                continue
            name = found["name"]
            constraints[name] = _constraints(found["constraints"])
            for rule in constraints[name]:
                _check(rule)
            pattern += _parameter(name, catch_all=bool(found["stars"]), optional=bool(found["optional"]))
            rank.append(3 if found["stars"] else 1 if constraints[name] else 2)
        return cls(template, re.compile(pattern + "/?", re.IGNORECASE), tuple(rank), constraints)

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters of a raw path below the prefix, decoded; none if it does not fit."""
        if not (found := self.pattern.fullmatch(path)):
            return None
        values = {name: decode(text) for name, text in found.groupdict().items() if text}
        fits = all(_satisfies(text, rule) for name, text in values.items() for rule in self.constraints[name])
        return values if fits else None


def _literal(segment: str) -> str:
    if "{" in segment or "}" in segment:
        raise RouteError(f"the segment '{segment}' mixes text and parameters, which this host does not support")
    return re.escape(segment)


def _parameter(name: str, *, catch_all: bool, optional: bool) -> str:
    if catch_all:
        return f"(?:/(?P<{name}>.*?))?"
    return f"(?:/(?P<{name}>[^/]+))?" if optional else f"/(?P<{name}>[^/]+)"


def _constraints(text: str) -> list[str]:
    return [rule for rule in text.split(":") if rule]


def _check(rule: str) -> None:
    """A constraint that cannot be read must fail now, not in a request."""
    try:
        _satisfies("", rule)
    except (ValueError, IndexError, re.error) as error:
        raise RouteError(f"the constraint '{rule}' cannot be read: {error}") from error


def _satisfies(value: str, rule: str) -> bool:
    found = re.fullmatch(r"(\w+)(?:\((.*)\))?", rule)
    if not found:
        raise RouteError(f"the constraint '{rule}' cannot be read")
    name, argument = found[1], found[2] or ""
    if name in CONSTRAINTS:
        return re.fullmatch(CONSTRAINTS[name], value) is not None
    if name == "regex":
        return re.search(argument, value, re.IGNORECASE) is not None
    limits = [int(number) for number in argument.split(",")] if argument else []
    match name:
        case "length":
            return limits[0] <= len(value) <= limits[-1]
        case "minlength":
            return len(value) >= limits[0]
        case "maxlength":
            return len(value) <= limits[0]
        case _:
            raise RouteError(f"the constraint '{rule}' is not supported by this host")


def decode(text: str) -> str:
    """Percent-decode everything but `%2F`, as Kestrel does."""
    return "".join(part if part.lower() == "%2f" else unquote(part) for part in re.split("(%2[Ff])", text))


def resolve_dots(path: str) -> str:
    """Remove `.` and `..` segments, encoded ones too."""
    if "." not in path and "%2e" not in path.lower():
        return path
    resolved: list[str] = []
    for segment in path.split("/"):
        plain = re.sub("%2e", ".", segment, flags=re.IGNORECASE)
        if plain == "..":
            resolved = resolved[:-1] if len(resolved) > 1 else resolved
        elif plain != ".":
            resolved.append(segment)
    return "/".join(resolved) or "/"

"""One helper that turns the frozen dataclasses of the rules into JSON values and back: decoded once, at the edge."""

import json
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

T = TypeVar("T")  # a dataclass of the rules


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-11-24T19:02:44.120Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Read an RFC 3339 time. ValueError if it is none or has no zone."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return parsed


def encode(value: Any) -> Any:
    """Turn a value of the rules into JSON: dataclasses to objects without their defaults, times to text, durations to seconds."""
    if is_dataclass(value):
        return {f.name: encode(v) for f in fields(value) if (v := getattr(value, f.name)) != f.default}
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.value if isinstance(value, StrEnum) else value


def decode(cls: type[T], value: Any) -> T:
    """Rebuild a dataclass from JSON (an object, or the text of one: the durable SDK encodes some inputs twice).

    Unknown keys are ignored: a newer app may have written them. Raises ValueError, TypeError or KeyError for anything else.
    """
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object was expected for {cls.__name__}, not {type(value).__name__}")
    hints = _hints(cast("Hashable", cls))
    return cls(**{key: _read(hints[key], item) for key, item in value.items() if key in hints})


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return {f.name: _plain(get_type_hints(cls)[f.name]) for f in fields(cls)}


def _plain(hint: Any) -> Any:
    """`X | None` -> X: None is handled before the type is asked."""
    return next(arg for arg in get_args(hint) if arg is not type(None)) if isinstance(hint, UnionType) else hint


def _read(hint: Any, value: Any) -> Any:
    if value is None or not isinstance(hint, type):
        return value
    if is_dataclass(hint):
        return decode(hint, value)
    if hint is datetime:
        return moment(value)
    if hint is timedelta:
        return timedelta(seconds=value)
    if issubclass(hint, StrEnum):
        return hint(value)
    if hint is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"an integer was expected, not {value!r}")
    return value

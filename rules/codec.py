"""Convert the frozen dataclasses of the rules to JSON values and back."""

import base64
import binascii
import json
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

T = TypeVar("T")  # a dataclass of the rules
# Most values have one of these types. Looking it up first saves a quarter of the time of `encode`.
PLAIN = frozenset({str, int, float, bool, NoneType})


def stamp(moment: datetime) -> str:
    """Format a time as RFC 3339 in UTC with milliseconds: `2026-11-24T19:02:44.120Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time. Raises ValueError if it is not one or has no zone, TypeError if it is not text."""
    parsed = datetime.fromisoformat(str.upper(text))  # RFC 3339 allows `t` and `z`, Python only upper case
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return parsed


def time_in(custom: dict[str, Any], key: str) -> datetime | None:
    """Return a time of a custom status in UTC; None if it is missing or not a time."""
    try:
        return parse_time(custom[key]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def encode(value: Any) -> Any:
    """Convert a value to JSON: a dataclass to an object without its defaults, a time to text, a duration to seconds."""
    if type(value) in PLAIN:
        return value
    if (defaults := _defaults(cast("Hashable", type(value)))) is not None:
        return {name: encode(v) for name, default in defaults.items() if (v := getattr(value, name)) != default}
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value.value if isinstance(value, StrEnum) else value


def decode(cls: type[T], value: Any) -> T:
    """Build a dataclass from a JSON object, or from its text, since the durable SDK encodes some inputs twice.

    Ignores unknown keys, which a newer release may have written. Raises ValueError, TypeError or KeyError for
    anything else.
    """
    if isinstance(value, str):
        value = _load(value)
    if not isinstance(value, dict):
        raise TypeError(f"a JSON object was expected for {cls.__name__}, not {type(value).__name__}")
    hints = _type_hints(cast("Hashable", cls))
    return cls(**{key: _decode_as(hints[key], item) for key, item in value.items() if key in hints})


@cache
def _type_hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


@cache
def _defaults(kind: Any) -> dict[str, Any] | None:
    """Return the fields of a dataclass with their defaults, or None for another type. Asking each time takes longer."""
    return {f.name: f.default for f in fields(kind)} if is_dataclass(kind) else None


@cache
def _arguments(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is too deep") from None


def _decode_as(hint: Any, value: Any) -> Any:
    if _arguments(hint):
        return _decode_generic(hint, value)
    if _defaults(hint) is not None:
        return decode(cast("type[Any]", hint), value)
    if hint is datetime:
        return parse_time(value)
    if hint is timedelta:
        return _parse_duration(value)
    if issubclass(hint, StrEnum):
        return hint(value)
    return _checked(hint, value)


def _decode_generic(hint: Any, value: Any) -> Any:
    """Decode an `X | None` or a `tuple[X, ...]`."""
    inner = next(arg for arg in _arguments(hint) if arg is not NoneType)
    if isinstance(hint, UnionType):
        return None if value is None else _decode_as(inner, value)
    return tuple(_decode_as(inner, item) for item in _checked(list, value))


def _checked(hint: Any, value: Any) -> Any:
    if type(value) is not hint:  # not isinstance: True is an int
        raise TypeError(f"{hint.__name__} was expected, not {type(value).__name__}")
    return value


def _parse_duration(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError("the duration is too long") from None


def plain_body(body: bytes) -> bytes:
    """Return the body of a message, decoded if it is base64."""
    try:
        return base64.b64decode(body.strip(), validate=True)
    except binascii.Error:
        return body

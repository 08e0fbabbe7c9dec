"""JSON Schemas from Python types: `str`, `int`, `float`, `bool`, `list`, unions with None, `Literal`, string enums and TypedDicts."""

from collections.abc import Callable
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

JSON = dict[str, Any]
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


class Has:
    """Schema keywords, as metadata of `Annotated`."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords


class Named(Has):
    """Schema keywords of a type that becomes a component with this name."""

    def __init__(self, name: str, description: str | None = None, **keywords: Any) -> None:
        super().__init__(**({"description": description} if description else {}), **keywords)
        self.name = name


class Schemas:
    """Collects the components of all types.

    `enums` has the description of each enum, `rules` further keywords of a TypedDict.
    """

    def __init__(self, enums: dict[type, str], rules: dict[type, JSON]) -> None:
        self.named: dict[str, JSON] = {}
        self._enums, self._rules = enums, rules

    def of(self, hint: Any) -> JSON:  # noqa: PLR0911  # one for each kind of type
        """Return the schema of a type. A string in `Annotated` is the description."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if origin is Required:
            return self.of(arguments[0])
        if origin in {Union, UnionType}:
            return self._union([self.of(part) for part in arguments])
        if origin is Literal:
            return self._literal([value.value if isinstance(value, Enum) else value for value in arguments])
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if hint in TYPES:
            return {"type": TYPES[hint]}
        if is_typeddict(hint):
            return self.put(hint.__name__, lambda: self._object(hint))
        values = [value.value for value in hint]
        return self.put(hint.__name__, lambda: {"type": "string", "description": self._enums[hint], "enum": values})

    def put(self, name: str, make: Callable[[], JSON]) -> JSON:
        """Return a reference to a component, which `make` creates on first use."""
        if name not in self.named:
            self.named[name] = {}
            self.named[name] = make()
        return {"$ref": f"#/components/schemas/{name}"}

    def fields(self, model: type) -> dict[str, JSON]:
        """Return the schemas of a TypedDict's fields. The trailing underscore of `class_` is removed."""
        hints = get_type_hints(model, include_extras=True)
        return {name.removesuffix("_"): self.of(hint) for name, hint in hints.items()}

    def _object(self, model: Any) -> JSON:
        optional = {name.removesuffix("_") for name in model.__optional_keys__}
        fields = self.fields(model)
        return closed(
            " ".join(model.__doc__.split()), fields, [name for name in fields if name not in optional]
        ) | self._rules.get(model, {})

    def _annotated(self, base: Any, metadata: tuple[Any, ...]) -> JSON:
        if isinstance(metadata[0], Named):
            return self.put(metadata[0].name, lambda: self.of(base) | metadata[0].keywords)
        schema = self.of(base)
        for item in metadata:
            schema = schema | ({"description": item} if isinstance(item, str) else item.keywords)
        return schema

    @staticmethod
    def _literal(values: list[Any]) -> JSON:
        kind: JSON = {"type": TYPES[type(values[0])]}
        return kind | ({"const": values[0]} if len(values) == 1 else {"enum": values})

    @staticmethod
    def _union(parts: list[JSON]) -> JSON:
        if all(part.keys() == {"type"} for part in parts):
            return {"type": [part["type"] for part in parts]}
        return {"anyOf": parts}


def closed(description: str, fields: dict[str, JSON], required: list[str] | None = None) -> JSON:
    """Return an object with exactly these fields. `required` names the required ones; by default all are."""
    names = list(fields) if required is None else required
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        **({"required": names} if names else {}),
        "properties": fields,
    }


def either(*cases: JSON) -> JSON:
    """One of several combinations of field values."""
    return {"anyOf": [{"properties": case} for case in cases]}


def together(**kinds: str) -> JSON:
    """These fields have these types, or are all null."""
    return either({name: {"type": kind} for name, kind in kinds.items()}, {name: {"type": "null"} for name in kinds})

"""Loads `function_app.py` and checks every function as the real Python worker does, so that what it refuses is refused.

Mirrors `Registry.add_indexed_function` and `index_function_app` of the worker (azure-functions-runtime 1.3). An error
here loses the *whole* app, on Azure too: the host then runs with no function at all.
"""

import importlib
import inspect
import json
import os
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func
from azure.functions._thirdparty import typing_inspect
from azure.functions.meta import get_binding_registry

DIRECTION_OUT, DIRECTION_INOUT = 1, 2
HERE = Path(__file__).parents[1]


class FunctionLoadError(RuntimeError):
    """A function does not fit its bindings."""

    def __init__(self, function: str, text: str) -> None:
        super().__init__(f"cannot load the {function} function: {text}")


class Generic:
    """The worker's converter for parameters that are annotated `str` or `bytes`."""

    @staticmethod
    def check_input_type_annotation(kind: type) -> bool:
        """Only text and bytes."""
        return issubclass(kind, (str, bytes))

    @staticmethod
    def check_output_type_annotation(kind: type) -> bool:
        """Only text and bytes."""
        return issubclass(kind, (str, bytes, bytearray))

    @staticmethod
    def has_implicit_output() -> bool:
        """Its result needs a `$return` binding."""
        return False

    @staticmethod
    def decode(data: Any, *, trigger_metadata: Any) -> Any:  # noqa: ARG004  # the converters' signature
        """The value as it is; an HTTP request cannot be text, so `req: str` fails in every call."""
        if data.type not in ("string", "bytes", "json", None):
            raise ValueError('unexpected type of data received for the "generic" binding ', repr(data.type))
        return data.value


@dataclass(frozen=True)
class Function:
    """One function of the app: its trigger as the host sees it, and what its parameters are made of."""

    name: str
    kind: str
    trigger: dict[str, Any]
    call: Callable[..., Any]
    inputs: dict[str, str]
    needs_context: bool
    returns: str | None
    is_async: bool
    directory: str

    @property
    def durable_name(self) -> str:
        """The name under which an orchestration calls it."""
        return str(self.trigger.get("activity") or self.trigger.get("orchestration") or self.name)


def converter(binding: str) -> Any:
    """The SDK's converter of a binding type."""
    return get_binding_registry().get(binding) or Generic  # type: ignore[no-untyped-call]  # the SDK's own


def load(folder: Path) -> list[Function]:
    """Import the app, anew if it was loaded before, and check all of its functions. Whatever this raises loses the app."""
    for name in [name for name, module in sys.modules.items() if _is_of(folder, module)]:
        del sys.modules[name]
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    os.chdir(folder)
    module = importlib.import_module("function_app")
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionRegister)]
    if len(apps) != 1:
        raise ValueError(f"{len(apps)} top level function app instances in function_app.py; there must be one")
    return [_check(function) for function in apps[0].get_functions()]


def _is_of(folder: Path, module: ModuleType) -> bool:
    """Whether a module is the app's own: this host and its libraries may lie in the app's folder too."""
    file = Path(getattr(module, "__file__", None) or os.devnull)
    return file.is_relative_to(folder) and not file.is_relative_to(HERE) and "site-packages" not in file.parts


def _check(function: Any) -> Function:
    name, user, bindings = function.get_function_name(), function.get_user_function(), function.get_bindings()
    parameters = dict(inspect.signature(user).parameters)
    hints = typing.get_type_hints(user)
    bound = {binding.name: binding for binding in bindings if binding.name != "$return"}
    if any(int(binding.direction) == DIRECTION_INOUT for binding in bindings):
        raise FunctionLoadError(name, '"inout" bindings are not supported')
    needs_context = _takes_context(name, parameters, bound, hints)
    inputs = {key: _check_parameter(name, bound, key, hints) for key in _check_names(name, parameters, bound)}
    trigger = function.get_trigger()
    raw = next(b for b in map(_raw, function.get_raw_bindings()) if b["name"] == trigger.name)
    return Function(
        name=name,
        kind=raw["type"],
        trigger=raw,
        call=user,
        inputs=inputs,
        needs_context=needs_context,
        returns=_check_return(name, bindings, hints),
        is_async=inspect.iscoroutinefunction(user),
        directory=str(Path(inspect.getfile(user)).parent),
    )


def _raw(binding: str) -> dict[str, Any]:
    return typing.cast("dict[str, Any]", json.loads(binding))


def _takes_context(name: str, parameters: dict[str, Any], bound: dict[str, Any], hints: dict[str, Any]) -> bool:
    if "context" not in parameters or "context" in bound:
        return False
    del parameters["context"]
    hint = hints.get("context", func.Context)
    if not isinstance(hint, type) or hint.__name__ != "Context":
        raise FunctionLoadError(
            name, f'the "context" parameter must be of type azure.functions.Context, got "{hint!r}"'
        )
    return True


def _check_names(name: str, parameters: dict[str, Any], bound: dict[str, Any]) -> list[str]:
    if extra := set(parameters) - set(bound):
        raise FunctionLoadError(name, f"declared in Python but not in the function's decorators: {extra!r}")
    if extra := set(bound) - set(parameters):
        raise FunctionLoadError(name, f"declared in the function's decorators but not in Python: {extra!r}")
    return list(parameters)


def _check_parameter(name: str, bound: dict[str, Any], key: str, hints: dict[str, Any]) -> str:
    """The converter's name for a parameter. Its annotation must be a type that the binding can make."""
    binding = bound[key]
    if int(binding.direction) == DIRECTION_OUT:
        raise FunctionLoadError(name, f"output binding {key} ({binding.type}) is not supported by this host")
    if key not in hints:
        return str(binding.type)
    hint = hints[key]
    if not isinstance(hint, type) and not typing_inspect.is_generic_type(hint):  # type: ignore[no-untyped-call]
        raise FunctionLoadError(name, f"binding {key} has invalid non-type annotation {hint!r}")
    if getattr(hint, "__name__", "") == "Out":
        raise FunctionLoadError(
            name, f'binding {key} has the "in" direction, but its annotation is azure.functions.Out'
        )
    plain = hint in (str, bytes) and not converter(binding.type).has_implicit_output()
    kind = "generic" if plain else str(binding.type)
    if not converter(kind).check_input_type_annotation(hint):
        raise FunctionLoadError(name, f'type of {key} binding "{binding.type}" does not match its annotation "{hint}"')
    return kind


def _check_return(name: str, bindings: list[Any], hints: dict[str, Any]) -> str | None:
    """The converter of the result: the `$return` binding's, or a durable trigger's own; none allows only None."""
    explicit = next((str(binding.type) for binding in bindings if binding.name == "$return"), None)
    if explicit is None:
        return next((str(binding.type) for binding in bindings if converter(binding.type).has_implicit_output()), None)
    if "return" in hints:
        hint = hints["return"]
        if not isinstance(hint, type):
            raise FunctionLoadError(name, f"has invalid non-type return annotation {hint!r}")
        if not converter(explicit).check_output_type_annotation(hint):
            raise FunctionLoadError(
                name, f'return annotation "{hint.__name__}" does not match binding type "{explicit}"'
            )
    return explicit

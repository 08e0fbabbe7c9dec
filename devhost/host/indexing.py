"""Loads `function_app.py` and checks its functions as the real Python worker does.

Mirrors `Registry.add_indexed_function` and `index_function_app` of the worker (azure-functions-runtime 1.3). An error
disables the *whole* app, as on Azure: the host then runs without any function.
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
from azure.functions.meta import get_binding_registry

DIRECTION_IN = 0
DEVHOST = Path(__file__).parents[1]


class FunctionLoadError(RuntimeError):
    """A function does not fit its bindings."""

    def __init__(self, function: str, text: str) -> None:
        super().__init__(f"cannot load the {function} function: {text}")


class Generic:
    """The worker's converter for parameters that are annotated `str` or `bytes`."""

    @staticmethod
    def check_input_type_annotation(kind: type) -> bool:
        """Accept text and bytes."""
        return issubclass(kind, (str, bytes))

    @staticmethod
    def has_implicit_output() -> bool:
        """Require a `$return` binding for a result."""
        return False

    @staticmethod
    def decode(data: Any, *, trigger_metadata: Any) -> Any:  # noqa: ARG004  # the converters' signature
        """Return the value as it is. An HTTP request cannot be text, so `req: str` fails in every call."""
        if data.type not in ("string", "bytes", "json", None):
            raise ValueError('unexpected type of data received for the "generic" binding ', repr(data.type))
        return data.value


@dataclass(frozen=True)
class Function:
    """A function of the app: its trigger as the host sees it, and the converters of its parameters (`inputs`)."""

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
    """Return the SDK's converter of a binding type."""
    return get_binding_registry().get(binding) or Generic  # type: ignore[no-untyped-call]  # the SDK's own


def load(folder: Path) -> list[Function]:
    """Import the app, or import it again, and check its functions. Any exception disables all of them."""
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
    """Whether a module is the app's own. This host and its libraries may be in the app's folder too."""
    file = Path(getattr(module, "__file__", None) or os.devnull)
    return file.is_relative_to(folder) and not file.is_relative_to(DEVHOST) and "site-packages" not in file.parts


def _check(function: Any) -> Function:
    name, user, bindings = function.get_function_name(), function.get_user_function(), function.get_bindings()
    hints = typing.get_type_hints(user)
    parameters = set(inspect.signature(user).parameters)
    bound = {binding.name: binding for binding in bindings if binding.name != "$return"}
    needs_context = "context" in parameters and "context" not in bound
    parameters -= {"context"} if needs_context else set()
    if extra := parameters - bound.keys():
        raise FunctionLoadError(name, f"declared in Python but not in the function's decorators: {extra!r}")
    if extra := bound.keys() - parameters:
        raise FunctionLoadError(name, f"declared in the function's decorators but not in Python: {extra!r}")
    trigger = function.get_trigger()
    raw = next(one for one in map(json.loads, function.get_raw_bindings()) if one["name"] == trigger.name)
    return Function(
        name=name,
        kind=raw["type"],
        trigger=raw,
        call=user,
        inputs={key: _check_parameter(name, binding, hints.get(key)) for key, binding in bound.items()},
        needs_context=needs_context,
        returns=_return(bindings),
        is_async=inspect.iscoroutinefunction(user),
        directory=str(Path(inspect.getfile(user)).parent),
    )


def _check_parameter(name: str, binding: Any, hint: Any) -> str:
    """Return the type of a parameter's converter, after a check that it can produce the annotated type."""
    if int(binding.direction) != DIRECTION_IN:
        raise FunctionLoadError(name, f"this host does not support the output binding {binding.name} ({binding.type})")
    if hint is None:
        return str(binding.type)
    plain = hint in (str, bytes) and not converter(binding.type).has_implicit_output()
    kind = "generic" if plain else str(binding.type)
    if not converter(kind).check_input_type_annotation(hint):
        text = f'type of {binding.name} binding "{binding.type}" does not match its annotation "{hint}"'
        raise FunctionLoadError(name, text)
    return kind


def _return(bindings: list[Any]) -> str | None:
    """Return the type of the result's converter: of `$return`, or a durable trigger's own; without one only None is valid."""
    explicit = next((str(binding.type) for binding in bindings if binding.name == "$return"), None)
    return explicit or next((str(b.type) for b in bindings if converter(b.type).has_implicit_output()), None)

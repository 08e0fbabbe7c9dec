"""The app as the host sees it: every function with its trigger and authorization level."""

import importlib.util
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from settings import EVENTS, InvalidSetting
from tests.api import API
from triggers.http.endpoints import ENDPOINTS

ROOT = Path(__file__).parents[2]
ROUTES = json.dumps(
    [
        {
            "name": "default",
            "source": "https://sharingsource.blob.core.windows.net/source/",
            "target": "https://sharingtarget.blob.core.windows.net/target/",
        }
    ]
)
ACTIVITIES = (
    *(f"transfer_{step}" for step in ("start", "stage", "check", "record", "clean", "close", "notify")),
    *(f"job_{phase}" for phase in ("survey", "extras", "act")),
)
TIMERS = ("drain", "resume", "sweep", "schedule", "watchdog", "figures", "purge")


def load_app() -> ModuleType:
    """A fresh import of `function_app`: its functions can be read only once."""
    spec = importlib.util.spec_from_file_location("function_app_under_test", ROOT / "function_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def set_environment(monkeypatch: pytest.MonkeyPatch, routes: str) -> None:
    """Set the environment of an app on Azure."""
    for connection, account in (("AzureWebJobsStorage", "sharingstate"), ("EVENTS", "sharingevents")):
        monkeypatch.delenv(connection, raising=False)
        monkeypatch.setenv(f"{connection}__accountName", account)
    monkeypatch.setenv("ROUTES", routes)


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The app's functions by name, as the worker indexes them."""
    set_environment(monkeypatch, ROUTES)
    return {function.get_function_name(): function for function in load_app().app.get_functions()}


def bindings(function: Any, kind: str) -> list[dict[str, Any]]:
    """A function's bindings of one type, as the host receives them."""
    raw = [json.loads(text) for text in function.get_raw_bindings()]
    return [binding for binding in raw if binding["type"] == kind]


def test_the_http_api_is_exactly_this_table(functions: dict[str, Any]) -> None:
    http = [binding for function in functions.values() for binding in bindings(function, "httpTrigger")]
    found = {(tuple(binding["methods"]), binding["route"], binding["authLevel"]) for binding in http}
    # The host does not add HEAD.
    assert found == {(("GET", "HEAD") if method == "GET" else (method,), *rest) for method, *rest in API}
    assert len(http) == len(API) == len(ENDPOINTS)


def test_the_other_functions_are_orchestrations_activities_the_queue_and_the_timers(functions: dict[str, Any]) -> None:
    rest = {
        name: function.get_trigger().type
        for name, function in functions.items()
        if not bindings(function, "httpTrigger")
    }
    assert rest == {
        **dict.fromkeys(("transfer", "job"), "orchestrationTrigger"),
        **dict.fromkeys(ACTIVITIES, "activityTrigger"),
        "accept": "queueTrigger",
        **dict.fromkeys(TIMERS, "timerTrigger"),
    }


def test_the_queue_is_blob_events_of_the_events_account(functions: dict[str, Any]) -> None:
    (binding,) = [binding for function in functions.values() for binding in bindings(function, "queueTrigger")]
    assert (binding["queueName"], binding["connection"]) == ("blob-events", EVENTS)


def test_schedules_have_six_fields(functions: dict[str, Any]) -> None:
    """An invalid schedule disables its function, and the host still answers 200."""
    for name in TIMERS:
        (binding,) = bindings(functions[name], "timerTrigger")
        assert len(binding["schedule"].split()) == 6


def test_every_parameter_has_a_binding_of_its_name(functions: dict[str, Any]) -> None:
    """Otherwise the worker loads no function at all."""
    for name, function in functions.items():
        names = {json.loads(text)["name"] for text in function.get_raw_bindings()} - {"$return"} | {"context"}
        assert set(inspect.signature(function.get_user_function()).parameters) <= names, name


def test_every_activity_is_a_coroutine(functions: dict[str, Any]) -> None:
    """Threads would limit how many wait for storage at a time."""
    for name in ACTIVITIES:
        assert inspect.iscoroutinefunction(functions[name].get_user_function())


def test_an_invalid_setting_stops_the_start_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, "[]")
    with pytest.raises(InvalidSetting, match="The setting ROUTES"):
        load_app()


def test_a_start_needs_neither_network_nor_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, ROUTES)
    assert "ports" not in vars(load_app().services)

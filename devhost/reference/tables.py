"""The tables of settings, route fields, log actions, timers, dead-letter reasons and endpoints, as Markdown."""

import json
from collections.abc import Iterable

import azure.functions as func

from devhost.reference.endpoints import OPERATIONS
from devhost.reference.openapi import ALIASES, QUERY, resolved, statuses
from operations.actions import ACTIONS
from rules.errors import HINTS
from rules.figures.metrics import INSTRUMENTS, Form, Instrument
from rules.routes.config import FIELDS
from settings import VARIABLES
from triggers.http.endpoints import ENDPOINTS, Endpoint
from triggers.http.metrics import family_name
from triggers.timers import TIMERS

INTERVALS = {1: "every minute", 5: "every five minutes", 10: "every ten minutes"}
# Examples are long, so each is shown only once.
WITH_EXAMPLE = (
    "get_transfer",
    "share_now",
    "list_dead_letters",
    "get_dead_letter",
    "start_replay",
    "get_replay",
    "get_discard_report",
    "get_reconcile",
    "get_reconcile_report",
    "health",
)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    cells = [list(heads)]
    cells += [["---"] * len(cells[0]), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def code(text: str) -> str:
    """Return the text as inline code."""
    return f"`{text}`"


def settings() -> str:
    """Every environment variable that the app reads."""
    return table(("variable", "meaning"), ((code(name), text) for name, text in VARIABLES.items()))


def route_fields() -> str:
    """Every field of a route."""
    return table(("field", "meaning"), ((code(name), text) for name, text in FIELDS.items()))


def actions() -> str:
    """Every action of a log line."""
    rows = ((code(name), action.when, action.alert or "no") for name, action in ACTIONS.items())
    return table(("action", "meaning", "alert"), rows)


def metrics() -> str:
    """Every metric, with its names in OpenTelemetry and OpenMetrics."""
    heads = ("OpenTelemetry", "OpenMetrics", "unit", "attributes", "meaning")
    return table(heads, (_metric(each) for each in INSTRUMENTS.values()))


def _metric(each: Instrument) -> Iterable[str]:
    suffix = "_total" if each.form is Form.COUNTER else ""
    unit = code(each.unit) if each.unit else ""
    yield from (code(each.name), code(family_name(each) + suffix), unit, ", ".join(map(code, each.attributes)))
    yield f"{each.form.capitalize()}. {each.about}"


def timers() -> str:
    """Every timer."""
    rows = ((code(name), every(timer.schedule), timer.does) for name, timer in TIMERS.items())
    return table(("timer", "runs", "does"), rows)


def every(schedule: str) -> str:
    """Return how often an NCRONTAB schedule fires. The schedule must divide an hour into equal parts."""
    minutes = schedule.split()[1]
    times = 60 if minutes == "*" else 60 // int(minutes[2:]) if minutes.startswith("*/") else minutes.count(",") + 1
    return INTERVALS[60 // times]


def reasons() -> str:
    """Every reason of a dead letter, with its hint."""
    return table(("reason", "hint"), ((code(reason), hint) for reason, hint in HINTS.items()))


def endpoints() -> str:
    """Every endpoint, and examples of answers."""
    parts = [table(("call", "does", "query", "answers", "key"), map(_row, ENDPOINTS))]
    parts += [example for each in ENDPOINTS if each.name in WITH_EXAMPLE for example in _examples(each)]
    return "\n".join(parts)


def _row(endpoint: Endpoint) -> Iterable[str]:
    operation = OPERATIONS[endpoint.name]
    query = ", ".join(code(ALIASES.get(name, name)) for name in operation.parameters if name in QUERY)
    keyed = endpoint.level is func.AuthLevel.FUNCTION
    does = f"{operation.summary}. {operation.description}".strip()
    return (code(_call(endpoint)), does, query, ", ".join(statuses(endpoint)), "yes" if keyed else "no")


def _call(endpoint: Endpoint) -> str:
    return f"{endpoint.method} /api/{endpoint.route}"


def _examples(endpoint: Endpoint) -> Iterable[str]:
    operation = OPERATIONS[endpoint.name]
    request = operation.body["content"]["application/json"]["example"] if operation.body else None
    given = f" with `{json.dumps(request)}`" if request else ""
    for status, response in operation.answers.items():
        content = resolved(response)["content"].get("application/json", {})
        if "example" in content:
            fields = ",\n ".join(
                f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content["example"].items()
            )
            yield f"`{_call(endpoint)}`{given} → {status}:\n\n```json\n{{{fields}}}\n```\n"

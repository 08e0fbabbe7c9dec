"""The queries of alerts and workbook match the log lines of the app."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from operations.actions import ACTIONS
from operations.log import LOGGER, log
from rules.transfers.model import Verdict
from rules.transfers.states import State
from tests.infra import queries
from tests.infra.snapshots import INFRA, Snapshot, SnapshotOf

ALERTS = {
    "dead-letters",
    "queue-depth",
    "queue-age",
    "orchestrations-failed",
    "worker-dies",
    "no-progress",
    "timers-fail",
    "objective-missed",
    "silence",
}
VIEWS = {"transfers", "throughput", "latency", "running", "steps", "failures", "queue", "resumes", "trouble"}
WORKBOOK = json.loads((INFRA / "workbook.json").read_text())
LOGGED = queries.logged_fields()


def views() -> dict[str, str]:
    return {each["name"]: each["content"]["query"] for each in WORKBOOK["items"] if each["type"] == 3}


def alerts(snapshot: Snapshot) -> dict[str, str]:
    return {
        each["properties"]["displayName"].partition(": ")[2]: each["properties"]["criteria"]["allOf"][0]["query"]
        for each in snapshot.of("Microsoft.Insights/scheduledQueryRules")
    }


def errors(query: str) -> Iterator[str]:
    """Yields what is wrong with a query."""
    actions = queries.queried_actions(query)
    yield from (f"no action {action}" for action in actions - set(LOGGED))
    fields = set[str]().union(*(LOGGED.get(action, set()) for action in actions))
    yield from (f"no field {field}" for field in queries.queried_fields(query) - fields)
    yield from (f"no verdict {verdict}" for verdict in queries.queried_values(query, "verdict") - set(Verdict))
    yield from (f"no state {state}" for state in queries.queried_values(query, "state") - set(State))
    if not query.startswith(queries.HEAD):
        yield "another beginning"
    if any(query.count(one) != query.count(other) for one, other in ("()", "[]")) or query.count('"') % 2:
        yield "unbalanced brackets or quotes"
    if not all(line.startswith("| ") for line in query.split("\n")[1:]):
        yield "a line without a pipe"


def test_the_app_logs_exactly_the_documented_actions() -> None:
    assert set(LOGGED) == set(ACTIONS)
    assert {"depth", "oldest_seconds"} <= LOGGED["queue.depth"]
    assert {"id", "route", "attempt", "state", "verdict", "reason", "detail", "ms"} <= LOGGED["transfer.close"]


def test_a_line_with_an_id_names_the_blob() -> None:
    """Except for jobs, messages and unreadable inputs, which have no blob."""
    without_name = {action for action, fields in LOGGED.items() if "id" in fields and "name" not in fields}
    jobs = {action for action in LOGGED if action.startswith("job.")}
    assert without_name == jobs | {
        "message.dead_lettered",
        "message.replayed",
        "pause.ended",
        "reconcile.skipped",
        "resume.unreadable",
    }


def test_every_alert_queries_existing_actions_and_fields(snapshot: SnapshotOf) -> None:
    found = alerts(snapshot("default"))
    assert set(found) == ALERTS
    assert {name: [*errors(query)] for name, query in found.items()} == {name: [] for name in ALERTS}


def test_every_view_queries_existing_actions_and_fields() -> None:
    assert {name: [*errors(query)] for name, query in views().items()} == {name: [] for name in VIEWS}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("transfer.start", "transfer.began", "no action transfer.began"),
        ("line.id", "line.identity", "no field identity"),
        ('== "verified"', '== "fine"', "no verdict fine"),
        ("AppTraces", "traces", "another beginning"),
        ("(line.id)", "(line.id", "unbalanced brackets or quotes"),
    ],
)
def test_a_wrong_query_is_found(old: str, new: str, found: str) -> None:
    query = views()["throughput"]
    assert old in query
    assert found in [*errors(query.replace(old, new))]


def test_an_alert_on_an_unknown_state_is_found(snapshot: SnapshotOf) -> None:
    query = alerts(snapshot("default"))["dead-letters"]
    assert "no state dead" in [*errors(query.replace('== "dead_lettered"', '== "dead"'))]


def test_an_alert_on_an_action_of_an_old_release_is_found(snapshot: SnapshotOf) -> None:
    query = alerts(snapshot("default"))["worker-dies"]
    assert [*errors(query.replace("resume.resumed", "sweep.broken"))] == ["no action sweep.broken"]


def test_a_log_line_starts_as_the_queries_expect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        log("queue.depth", "queue depth", depth=1)
    [text] = re.findall(r'startswith "(.*)"$', queries.HEAD)
    assert caplog.messages[0].startswith(text.replace('\\"', '"'))
    assert json.loads(caplog.messages[0])["action"] == "queue.depth"


def test_when_an_alert_fires(snapshot: SnapshotOf) -> None:
    """At the first matching line within half an hour, except for silence and frequent resumes."""
    rules = {
        each["properties"]["displayName"].partition(": ")[2]: each["properties"]
        for each in snapshot("default").of("Microsoft.Insights/scheduledQueryRules")
    }
    fires = {
        name: (rule["criteria"]["allOf"][0]["operator"], rule["criteria"]["allOf"][0]["threshold"], rule["windowSize"])
        for name, rule in rules.items()
    }
    default = dict.fromkeys(ALERTS, ("GreaterThan", 0, "PT30M"))
    assert fires == default | {"worker-dies": ("GreaterThan", 20, "PT1H")}
    reads = {name: rule.get("overrideQueryTimeRange") for name, rule in rules.items()}
    assert {name: range_ for name, range_ in reads.items() if range_} == {"silence": "P2D"}
    # Without any line, `summarize` returns one row with null, and the filter removes it.
    query = alerts(snapshot("default"))["silence"]
    assert query.endswith(" | summarize last = max(TimeGenerated) | where last < ago(30m)")


def test_the_workbook_queries_the_workspace(snapshot: SnapshotOf) -> None:
    deployment = snapshot("default")
    workspace = deployment.one("Microsoft.OperationalInsights/workspaces")["id"]
    workbook = deployment.one("Microsoft.Insights/workbooks")["properties"]
    assert workbook["sourceId"] == workspace
    assert json.loads(workbook["serializedData"]) == WORKBOOK | {"fallbackResourceIds": [workspace]}

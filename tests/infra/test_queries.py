"""The queries of alerts and workbook are asked of the log lines that the app really writes."""

import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from operations.actions import ACTIONS
from operations.log import LOGGER, log
from rules.transfers.model import Verdict
from rules.transfers.states import State
from tests.infra import queries
from tests.infra.snapshots import INFRA, Snapshot

Taken = Callable[[str], Snapshot]
ALERTS = {
    "dead-letters",
    "queue-depth",
    "queue-age",
    "orchestrations-failed",
    "worker-dies",
    "no-progress",
    "timers-fail",
    "silence",
}
VIEWS = {"transfers", "throughput", "latency", "steps", "failures", "queue", "resumes", "trouble"}
WORKBOOK = json.loads((INFRA / "workbook.json").read_text())
LOGGED = queries.logged()


def views() -> dict[str, str]:
    """The workbook's queries."""
    return {each["name"]: each["content"]["query"] for each in WORKBOOK["items"] if each["type"] == 3}


def alerts(snapshot: Snapshot) -> dict[str, str]:
    """The queries of the alerts."""
    return {
        each["properties"]["displayName"].partition(": ")[2]: each["properties"]["criteria"]["allOf"][0]["query"]
        for each in snapshot.of("Microsoft.Insights/scheduledQueryRules")
    }


def wrong(query: str) -> Iterator[str]:
    """What a query asks for that no line holds."""
    asked = queries.asked_actions(query)
    yield from (f"no action {action}" for action in asked - set(LOGGED))
    held = set[str]().union(*(LOGGED.get(action, set()) for action in asked))
    yield from (f"no field {field}" for field in queries.asked_fields(query) - held)
    yield from (f"no verdict {verdict}" for verdict in queries.asked_values(query, "verdict") - set(Verdict))
    yield from (f"no state {state}" for state in queries.asked_values(query, "state") - set(State))
    if not query.startswith(queries.HEAD):
        yield "another head"
    if any(query.count(one) != query.count(other) for one, other in ("()", "[]")) or query.count('"') % 2:
        yield "it is not closed"
    if not all(line.startswith("| ") for line in query.split("\n")[1:]):
        yield "a line that is no step"


def test_every_action_is_in_the_table() -> None:
    """The app logs these actions and no others."""
    assert set(LOGGED) == set(ACTIONS)
    assert {"depth", "oldest_seconds"} <= LOGGED["queue.depth"]
    assert {"id", "route", "attempt", "state", "verdict", "reason", "detail", "ms"} <= LOGGED["transfer.close"]


def test_a_line_with_an_id_names_the_blob() -> None:
    """Jobs, messages and inputs that cannot be read have no blob to name."""
    nameless = {action for action, fields in LOGGED.items() if "id" in fields and "name" not in fields}
    jobs = {action for action in LOGGED if action.startswith("job.")}
    assert nameless == jobs | {
        "message.dead_lettered",
        "message.replayed",
        "reconcile.skipped",
        "resume.unreadable",
    }


def test_every_alert_is_asked_of_real_lines(snapshot: Taken) -> None:
    """Each action, field and verdict is one that the code writes."""
    found = alerts(snapshot("default"))
    assert set(found) == ALERTS
    assert {name: [*wrong(query)] for name, query in found.items()} == {name: [] for name in ALERTS}


def test_every_view_is_asked_of_real_lines() -> None:
    """The same of the workbook."""
    assert {name: [*wrong(query)] for name, query in views().items()} == {name: [] for name in VIEWS}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("transfer.accepted", "transfer.began", "no action transfer.began"),
        ("line.id", "line.identity", "no field identity"),
        ('== "verified"', '== "fine"', "no verdict fine"),
        ("AppTraces", "traces", "another head"),
        ("count(), p50", "count(, p50", "it is not closed"),
    ],
)
def test_a_query_that_asks_for_what_is_not_there_is_found(old: str, new: str, found: str) -> None:
    """A deliberate mistake of each kind."""
    query = views()["latency"]
    assert old in query
    assert found in [*wrong(query.replace(old, new))]


def test_an_alert_on_a_state_that_there_is_not_is_found(snapshot: Taken) -> None:
    """The alert on dead letters asks for one."""
    query = alerts(snapshot("default"))["dead-letters"]
    assert "no state dead" in [*wrong(query.replace('== "dead_lettered"', '== "dead"'))]


def test_an_alert_on_an_action_of_an_older_release_is_found(snapshot: Taken) -> None:
    """It would never fire again."""
    query = alerts(snapshot("default"))["worker-dies"]
    assert [*wrong(query.replace("resume.resumed", "sweep.broken"))] == ["no action sweep.broken"]


def test_a_line_is_what_the_queries_take_it_for(caplog: pytest.LogCaptureFixture) -> None:
    """Every query begins with how a line begins, and a line is JSON."""
    with caplog.at_level(logging.INFO, logger=LOGGER.name):
        log("queue.depth", "queue depth", depth=1)
    [text] = re.findall(r'startswith "(.*)"$', queries.HEAD)
    assert caplog.messages[0].startswith(text.replace('\\"', '"'))
    assert json.loads(caplog.messages[0])["action"] == "queue.depth"


def test_when_an_alert_fires(snapshot: Taken) -> None:
    """At the first line within half an hour; of silence, when the last line is older; of resumes, when one death does not explain them."""
    rules = {
        each["properties"]["displayName"].partition(": ")[2]: each["properties"]
        for each in snapshot("default").of("Microsoft.Insights/scheduledQueryRules")
    }
    fires = {
        name: (rule["criteria"]["allOf"][0]["operator"], rule["criteria"]["allOf"][0]["threshold"], rule["windowSize"])
        for name, rule in rules.items()
    }
    usual = dict.fromkeys(ALERTS, ("GreaterThan", 0, "PT30M"))
    assert fires == usual | {"worker-dies": ("GreaterThan", 20, "PT1H")}
    reads = {name: rule.get("overrideQueryTimeRange") for name, rule in rules.items()}
    assert {name: range_ for name, range_ in reads.items() if range_} == {"silence": "P2D"}
    # Without a line there is no last one, and nothing is found: `summarize` then gives one row, in which it is null.
    asked = alerts(snapshot("default"))["silence"]
    assert asked.endswith(" | summarize last = max(TimeGenerated) | where last < ago(30m)")


def test_the_workbook_asks_the_workspace(snapshot: Taken) -> None:
    """It is put there whole, and where it has to name the workspace it does."""
    taken = snapshot("default")
    workspace = taken.one("Microsoft.OperationalInsights/workspaces")["id"]
    workbook = taken.one("Microsoft.Insights/workbooks")["properties"]
    assert workbook["sourceId"] == workspace
    assert json.loads(workbook["serializedData"]) == WORKBOOK | {"fallbackResourceIds": [workspace]}

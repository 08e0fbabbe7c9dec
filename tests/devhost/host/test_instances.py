"""Queries over the instances, on a store without a host."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devhost.host import events, instances
from devhost.host.instances import Query
from devhost.host.store import Store

STATUSES = ("Running", "Suspended", "Pending", "Completed", "Failed", "Terminated")
EVERYTHING = list(STATUSES)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Store one instance of each status, named after it."""
    found = Store(tmp_path / "host.sqlite")
    for status in STATUSES:
        found.create(events.execution_started("2026-01-01T00:00:00Z", "any", status, "execution", data=None))
        found.update(status, status=status)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("parameters", "left"),
    [
        ({}, []),
        ({"runtimeStatus": "nonsense"}, []),
        ({"runtimeStatus": "completed"}, []),
        ({"runtimeStatus": "Running"}, []),
        ({"runtimeStatus": "Running,Pending"}, []),
        ({"instanceIdPrefix": "Comp", "timeout": "1"}, []),
        ({"runtimeStatus": "Completed"}, ["Running", "Suspended", "Pending", "Failed", "Terminated"]),
        ({"runtimeStatus": "Completed,Running,failed"}, ["Running", "Suspended", "Pending", "Failed", "Terminated"]),
        ({"runtimeStatus": "Completed,Failed,Terminated"}, ["Running", "Suspended", "Pending"]),
        ({"createdTimeTo": "2020-01-01T00:00:00Z"}, EVERYTHING),
    ],
)
def test_only_final_states_keep_a_purge_from_what_runs(
    store: Store, parameters: dict[str, str], left: list[str]
) -> None:
    """All other filters but the time are ignored."""
    assert instances.purge(store, Query.of(parameters)) == len(STATUSES) - len(left)
    assert [status for status in STATUSES if store.get(status)] == left


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("Running,Failed", ["Failed", "Running"]),
        ("running", sorted(EVERYTHING)),
        ("Nonsense", sorted(EVERYTHING)),
        ("completed,Failed", ["Failed"]),
    ],
)
def test_a_status_in_the_wrong_case_filters_nothing(store: Store, wanted: str, found: list[str]) -> None:
    """It is ignored, as an unknown one is."""
    page, _ = instances.page(store, Query.of({"runtimeStatus": wanted}), None, None)
    assert [instance.id for instance in page] == found


@pytest.mark.parametrize("token", ["%%%", "no token!", "gA==", "ä"])
def test_a_token_that_cannot_be_read_looks_like_the_end(store: Store, token: str) -> None:
    assert instances.page(store, Query(), None, token) == ([], None)

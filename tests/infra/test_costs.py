"""The cost tables rest on what is deployed."""

import json
import tomllib
from collections.abc import Callable

from devhost.bench import bill, cost
from tests.docs.pages import page
from tests.infra.snapshots import Snapshot

Taken = Callable[[str], Snapshot]
TOML = tomllib.loads(bill.PRICES.read_text())


def test_the_memory_is_that_of_an_instance() -> None:
    """One instance of the durable group is always ready."""
    parameters = page("infra/main.bicepparam")
    assert f"'INSTANCE_MEMORY', '{1024 * TOML['assumed']['memory_gb']}'" in parameters
    assert "'ALWAYS_READY', '1'" in parameters


def test_the_numbers_of_host_json_are_those_of_the_bill() -> None:
    """Four partitions; each queue is polled every five seconds."""
    provider = json.loads(page("host.json"))["extensions"]["durableTask"]["storageProvider"]
    assert (provider["partitionCount"], provider["maxQueuePollingInterval"]) == (4, "00:00:05")


def test_the_alert_rules_are_all_counted(snapshot: Taken) -> None:
    """Each is evaluated every five minutes."""
    made = snapshot("default").of("Microsoft.Insights/scheduledQueryRules")
    assert len(made) == cost.alerts()
    assert {each["properties"]["evaluationFrequency"] for each in made} == {"PT5M"}


def test_the_private_endpoints_are_all_counted(snapshot: Taken) -> None:
    """With one source and one target; by default there are none."""
    private, default = snapshot("private"), snapshot("default")
    assert len(private.of("Microsoft.Network/privateEndpoints")) == bill.ENDPOINTS
    assert len(private.of("Microsoft.Network/privateDnsZones")) == bill.ZONES
    assert default.of("Microsoft.Network/privateEndpoints") == []

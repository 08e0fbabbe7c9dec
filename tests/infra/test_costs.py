"""The assumptions of the cost tables match the deployment."""

import json
import tomllib

from devhost.bench import bill, cost
from tests.docs.pages import page
from tests.infra.snapshots import SnapshotOf

TOML = tomllib.loads(bill.PRICES.read_text())


def test_memory_and_ready_instances_match_the_parameters() -> None:
    parameters = page("infra/main.bicepparam")
    assert f"'INSTANCE_MEMORY', '{1024 * TOML['assumed']['memory_gb']}'" in parameters
    assert "'ALWAYS_READY', '1'" in parameters


def test_partitions_and_polling_match_host_json() -> None:
    provider = json.loads(page("host.json"))["extensions"]["durableTask"]["storageProvider"]
    assert (provider["partitionCount"], provider["maxQueuePollingInterval"]) == (4, "00:00:05")


def test_the_alert_rules_are_all_counted(snapshot: SnapshotOf) -> None:
    made = snapshot("default").of("Microsoft.Insights/scheduledQueryRules")
    assert len(made) == cost.alerts()
    assert {each["properties"]["evaluationFrequency"] for each in made} == {"PT5M"}


def test_the_private_endpoints_are_all_counted(snapshot: SnapshotOf) -> None:
    private, default = snapshot("private"), snapshot("default")
    assert len(private.of("Microsoft.Network/privateEndpoints")) == bill.ENDPOINTS
    assert len(private.of("Microsoft.Network/privateDnsZones")) == bill.ZONES
    assert default.of("Microsoft.Network/privateEndpoints") == []

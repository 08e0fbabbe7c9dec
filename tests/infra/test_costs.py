"""The cost tables: their constants are those of the deployment."""

import json
from collections.abc import Callable

from devhost.bench import cost
from tests.docs.pages import page
from tests.infra.snapshots import Snapshot


def test_the_constants_are_those_of_the_deployment() -> None:
    parameters = page("infra/main.bicepparam")
    assert f"'INSTANCE_MEMORY', '{1024 * cost.ASSUMED['memory_gb']:.0f}'" in parameters
    assert "'ALWAYS_READY', '1'" in parameters
    provider = json.loads(page("host.json"))["extensions"]["durableTask"]["storageProvider"]
    assert provider["partitionCount"] == cost.PARTITIONS
    assert provider["maxQueuePollingInterval"] == f"00:00:{cost.POLL_SECONDS:02}"


def test_all_alert_rules_are_counted(snapshot: Callable[[str], Snapshot]) -> None:
    made = snapshot("default").of("Microsoft.Insights/scheduledQueryRules")
    assert len(made) == cost.alerts()
    assert {each["properties"]["evaluationFrequency"] for each in made} == {"PT5M"}


def test_all_private_endpoints_are_counted(snapshot: Callable[[str], Snapshot]) -> None:
    private, default = snapshot("private"), snapshot("default")
    assert len(private.of("Microsoft.Network/privateEndpoints")) == cost.ENDPOINTS
    assert len(private.of("Microsoft.Network/privateDnsZones")) == cost.ZONES
    assert default.of("Microsoft.Network/privateEndpoints") == []

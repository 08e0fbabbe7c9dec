"""What limits the app on Azure: the arithmetic by examples, and inputs that agree with the app and its deployment."""

import json
import re

import pytest

from adapters.clients import MOST_CONNECTIONS, Use
from devhost.bench import capacity, cost
from devhost.bench.capacity import DAY, IN, INPUTS, Resource, blocks, bottleneck, common, scheduler, storage
from devhost.reference.capacity import RATES, SETUPS, setups
from operations.upkeep import purge
from rules.orchestrations.liveness import RETENTION
from rules.transfers import blocks as engine
from tests.docs.pages import page

GIB = 1024**3
ALL = [*common(), *storage(), *scheduler(0), *scheduler(1), *blocks(far=False), *blocks(far=True)]


def most(resources: list[Resource]) -> dict[str, int]:
    return {each.name: round(each.most) for each in resources}


def test_the_task_hub_takes_21_requests_and_the_record_of_the_end_one() -> None:
    """And the message about the end two, with a get for each 32."""
    assert most(storage())["state account"] == round(20_000 / (22 + 2 + 1 / 32))
    assert most(scheduler(1))["state account, without a task hub"] == round(20_000 / (1 + 2 + 1 / 32))


def test_partitions_limit_the_orchestrators() -> None:
    """34 ms for four executions, two of the orchestrator: four cores run 235 a second."""
    assert most(storage())["CPU of 4 instances with orchestrators"] == round(4 / 0.017) == 235
    assert most(storage())["work items of 4 instances with orchestrators"] == 830 // 3 + 1
    assert most(storage())["4 control queues"] == 4 * 2_000 // 2


def test_a_transfer_is_three_actions_of_the_scheduler() -> None:
    assert [round(scheduler(units)[0].most) for units in (0, 1, 3)] == [500 // 3 + 1, 2_000 // 3 + 1, 2_000]


def test_an_event_is_put_read_and_deleted() -> None:
    assert most(common())["queue `blob-events`"] == 2_000
    assert most(common())["events account"] == 20_000 // 3 + 1


def test_the_copy_reads_the_source_too() -> None:
    """A HEAD and a read at the source, a write at the target."""
    assert most(common())["source account"] == 10_000
    assert most(common())["target account"] == 20_000


def test_a_gib_is_more_than_eight_gbit() -> None:
    """25 Gbit are 2.9 GiB; 128 requests of 2 MiB a second are a quarter of a GiB."""
    near, far = ({each.name: each.most for each in blocks(far=far)} for far in (False, True))
    assert near["ingress of the target account"] == pytest.approx(25e9 / 8 / GIB)
    assert far["requests in flight of an instance, between regions"] == 0.25
    assert near["requests in flight of a lane, in a region"] == pytest.approx(32 * 250e6 / 7.6 / GIB, rel=0.01)


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("`storage`", "CPU of 4 instances with orchestrators"),
        ("`storage`, 16 partitions", "state account"),
        ("`scheduler`, Consumption", "scheduler, Consumption"),
        ("`scheduler`, Dedicated, 1 unit", "scheduler, Dedicated (units: 1)"),
        ("`scheduler`, Dedicated, 3 units", "CPU of 40 instances of durable functions"),
    ],
)
def test_no_limit_is_exceeded_at_the_rate_of_the_bottleneck(setup: str, expected: str) -> None:
    least = bottleneck(SETUPS[setup])
    assert least.name == expected
    assert all(least.most * each.demand <= each.limit * (1 + 1e-9) for each in SETUPS[setup])
    assert any(1.01 * least.most * each.demand > each.limit for each in SETUPS[setup])


def test_more_partitions_and_units_never_do_less() -> None:
    for setup, sizes in ((storage, (1, 4, 8, 16)), (scheduler, (0, 1, 2, 3))):
        rates = [bottleneck([*common(), *setup(size)]).most for size in sizes]
        assert rates == sorted(rates)


def test_a_row_never_uses_less_at_a_higher_rate() -> None:
    """A percentage up to the limit, then a number of apps that is enough."""
    for row, resources in zip(setups().splitlines()[2:], SETUPS.values(), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")][3:]
        shares = [int(re.sub(r"\D", "", cell)) * (100 if "apps" in cell else 1) for cell in cells]
        assert shares == sorted(shares)
        for cell, rate in zip(cells, RATES, strict=True):
            apps = int(cell.split()[0]) if "apps" in cell else 1
            assert (apps > 1) == (rate > bottleneck(resources).most)
            assert rate / apps <= bottleneck(resources).most


def test_instances_have_the_cpu_for_a_rate() -> None:
    """A quarter of 34 ms for the trigger, three quarters for durable functions, in instances of their own."""
    assert [capacity.instances(rate) for rate in RATES] == [1 + 1, 1 + 3, 9 + 26, 85 + 255]


def test_a_day_costs_a_month_without_blobs_and_each_blob() -> None:
    idle = cost.usd(cost.idle(capacity.TIMERS)) / 730 * 24
    assert capacity.dollars_a_day(0, hub=True) == pytest.approx(idle)
    blob = (capacity.dollars_a_day(20, hub=True) - capacity.dollars_a_day(10, hub=True)) / (10 * DAY)
    assert f"| **{blob * 1e6:.2f}** |" in cost.tables()
    hub = (capacity.dollars_a_day(10, hub=True) - capacity.dollars_a_day(10, hub=False)) / (10 * DAY)
    assert hub == pytest.approx(12 * cost.USD["queue"] + 9 * cost.USD["table"])


@pytest.mark.parametrize("name", IN)
def test_each_input_has_a_source_and_is_used(name: str) -> None:
    assert INPUTS[name][1]
    elsewhere = {"purged_a_day", "retention_days", "log_cap_gb", "blocks_of_gib", "other_requests_of_gib"}
    assert name in {used for each in ALL for used in each.inputs} | elsewhere


def test_the_inputs_agree_with_the_host_and_the_deployment() -> None:
    durable = json.loads(page("host.json"))["extensions"]["durableTask"]
    assert durable["storageProvider"]["partitionCount"] == cost.PARTITIONS
    defaults = dict(re.findall(r"readEnvironmentVariable\('(\w+)', '(\w+)'\)", page("infra/main.bicepparam")))
    assert IN["instances"] == int(defaults["MAXIMUM_INSTANCES"])
    assert IN["log_cap_gb"] == int(defaults["LOG_DAILY_CAP_GB"])
    assert defaults["INSTANCE_MEMORY"] == "2048"  # one core
    assert "capacity: 1 }" in page("infra/scheduler.bicep")  # the setup with one unit


def test_the_inputs_agree_with_the_app() -> None:
    assert IN["lane_flow"] == engine.MAX_FLOW
    assert IN["process_flow"] == MOST_CONNECTIONS[Use.STAGE]
    assert GIB / engine.Sizes().block_size(GIB) == IN["blocks_of_gib"]
    assert IN["purged_a_day"] == purge.MAX_DONE * DAY / 600  # every ten minutes
    assert IN["retention_days"] == RETENTION.days

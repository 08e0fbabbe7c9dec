"""The tables of what limits the app on Azure."""

from collections.abc import Iterable
from math import ceil

from devhost.bench import capacity, cost
from devhost.bench.capacity import DAY, IN, INPUTS, SMALL, Resource, common, scheduler, storage
from devhost.reference.tables import table

RATES = (10, 100, 1_000, 10_000)
SETUPS: dict[str, list[Resource]] = {
    "`storage`": common() + storage(),
    "`storage`, 16 partitions": common() + storage(16),
    "`scheduler`, Consumption": common() + scheduler(0),
    "`scheduler`, Dedicated, 1 unit": common() + scheduler(1),
    "`scheduler`, Dedicated, 3 units": common() + scheduler(3),
}


def resources() -> str:
    """Each resource and how many small blobs a second it can take, for the default setups."""
    rows = [*common(), *storage(), *scheduler(0), scheduler(1)[0]]
    return table(("resource", "limit", "for a blob", "blobs a second", "source"), map(_cells, _sorted(rows)))


def blocks() -> str:
    """Each resource, how many GiB a second of large blobs it can take, and how much of it a GiB a second uses."""
    found = {each.name: each for far in (False, True) for each in capacity.blocks(far=far)}
    heads = ("resource", "limit", "for a GiB", "GiB a second", "at 1 GiB a second", "source")
    rows = [(each, _cells(each)) for each in _sorted(found.values())]
    return table(heads, ((*cells[:-1], _share(1 / each.most, "of these"), cells[-1]) for each, cells in rows))


def setups() -> str:
    """The bottleneck of each setup, and how much of it each rate uses."""
    heads = ("setup", "bottleneck", "blobs a second", *(f"at {rate:,}" for rate in RATES))
    rows = []
    for name, used in SETUPS.items():
        least = capacity.bottleneck(used)
        rows.append((name, least.name, _number(least.most), *(_share(rate / least.most) for rate in RATES)))
    return table(heads, rows)


def loads() -> str:
    """What each rate costs and leaves behind if it lasts all day."""
    _, log = next((name, each["log-kb"]) for name, each in cost.per_blob(SMALL) if "log-kb" in each)
    heads = (
        "blobs a second",
        "instances",
        "log, GB a day",
        "histories, million",
        "`storage`, $ a day",
        "`scheduler`, $ a day",
    )
    rows = [
        (
            f"{rate:,}",
            f"{capacity.instances(rate):,}",
            _number(rate * DAY * log / 1e6),
            _number(rate * DAY * IN["retention_days"] / 1e6),
            *(_number(capacity.dollars_a_day(rate, hub=hub)) for hub in (True, False)),
        )
        for rate in RATES
    ]
    capped, purged = IN["log_cap_gb"] * 1e6 / log / DAY, IN["purged_a_day"] / DAY
    text = f"On the average of a day, the log's cap is enough for {capped:.1f} blobs a second, and `purge` for {purged:.1f}."
    return f"{table(heads, rows)}\n{text}\n"


def _sorted(resources: Iterable[Resource]) -> list[Resource]:
    return sorted(resources, key=lambda each: each.most)


def _cells(each: Resource) -> tuple[str, ...]:
    unit = each.unit if each.unit in ("ms", "Gbit") else f"{each.unit}s"
    sources = ", ".join(INPUTS[name][1] for name in each.inputs)
    return each.name, f"{_number(each.limit)} {unit}", _number(each.demand), _number(each.most), sources


def _share(used: float, many: str = "apps") -> str:
    return f"{used:.0%}" if used <= 1 else f"{ceil(used):,} {many}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004  # two digits suffice

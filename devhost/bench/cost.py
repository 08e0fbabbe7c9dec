"""`python -m devhost.bench.cost`: count the requests of a small and a large blob on the local stack, and price them."""

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from devhost.bench import bill
from devhost.bench.bill import Item, Prices
from devhost.bench.count import count
from devhost.stack import ROOT, StackFailed

COUNTS = Path(__file__).parent / "counts.json"
PAGE = ROOT / "docs/cost.md"
BEGIN, END = "<!-- begin: costs -->", "<!-- end: costs -->"
ALERTS = ROOT / "infra/alerts.bicep"
GIB = 1024**3 / 1e9
EPILOG = """\
It starts a local stack for each blob, with its own processes, ports and folder; this takes half a minute. Counts are exact,
seconds depend on this machine. docs/cost.md explains what is counted, what is derived and what is assumed.
"""


def main() -> int:
    """Count, price, print, write; the exit code."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        counted = arguments.counts
        document = json.loads(counted.read_text()) if counted else count(arguments.blobs, arguments.rate)
    except StackFailed as error:
        print(f"cost: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    text = tables(document, Prices.read(arguments.prices))
    print(text, end="")
    for place in (arguments.json, COUNTS if arguments.write else None):
        if place:
            place.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.write:
        PAGE.write_text(with_tables(PAGE.read_text(), text))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m devhost.bench.cost",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--blobs", type=int, default=100, choices=range(1, 1001), metavar="N", help="small blobs, 1 to 1000 (100)"
    )
    parser.add_argument(
        "--rate", type=int, default=100, metavar="MiB", help="copy rate of the large blob in MiB per second (100)"
    )
    parser.add_argument("--prices", type=Path, default=bill.PRICES, metavar="FILE", help="(devhost/bench/prices.toml)")
    parser.add_argument("--counts", type=Path, metavar="FILE", help="price the counts in this file; count nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="output file for the counts")
    parser.add_argument("--write", action="store_true", help="save the counts, and write the tables into docs/cost.md")
    return parser


def tables(document: dict[str, Any], prices: Prices) -> str:
    """The bill as Markdown: of a million blobs, and of a month without any."""
    small, large, timers = bill.known(document)
    rows = zip(bill.per_blob(small, prices), bill.per_blob(large, prices), strict=True)
    lines = [
        f"Counted on {document['date']}, app {document['versions']['app']}.",
        "",
        "| for one blob | 1 KiB | $ a million | 1 GiB | $ a million |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(_row(one, other, prices) for one, other in rows),
    ]
    for name, time in (("among many", bill.among_many), ("alone", bill.alone)):
        bills = [[*bill.per_blob(each, prices), time(each, prices)] for each in (small, large)]
        sums = [_million(bill.total(each, prices)) for each in bills]
        lines += [
            _row(bills[0][-1], bills[1][-1], prices),
            f"| **all, {name}** | | **{sums[0]}** | | **{sums[1]}** |",
        ]
    month = bill.idle(timers, prices, alerts())
    return "\n".join(
        [
            *lines,
            "",
            f"Each further look at a copy: ${_million(bill.look(large, prices))} a million, alone.",
            f"Into another region: ${_million(prices.usd['egress-gb'] * GIB)} more for a million GiB.",
            f"Free each month, and not deducted: {_free(prices)}.",
            "",
            "| a month without a blob | | $ |",
            "| --- | ---: | ---: |",
            *(f"| {item.name} | {_number(item.count)} | {item.usd(prices):,.2f} |" for item in month),
            f"| **all** | | **{bill.total(month, prices):,.2f}** |",
            "",
            f"With private endpoints: ${bill.endpoints().usd(prices):,.2f} more.",
            "",
        ]
    )


def alerts() -> int:
    """How many alert rules there are: what stands so in that file is a rule's name, which the resources' are made of."""
    return len(re.findall(r"(?m)^    name: '[a-z-]+'$", ALERTS.read_text()))


def with_tables(page: str, text: str) -> str:
    """The page with these tables in the place of its own."""
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}"


def _row(small: Item, large: Item, prices: Prices) -> str:
    cells = (_number(small.count), _million(small.usd(prices)), _number(large.count), _million(large.usd(prices)))
    return f"| {small.name} | {' | '.join(cells)} |"


def _free(prices: Prices) -> str:
    names = {
        "event": "Event Grid operations",
        "execution": "executions",
        "gb-second": "GB-seconds",
        "log-kb": "KB of log",
    }
    return ", ".join(f"{prices.free[price]:,.0f} {name}" for price, name in names.items())


def _number(count: float) -> str:
    return f"{count:,.0f}" if count % 1 == 0 or count > 99 else f"{count:.2g}"  # noqa: PLR2004  # three digits do


def _million(usd: float) -> str:
    return f"{usd * 1e6:,.2f}"


if __name__ == "__main__":
    sys.exit(main())

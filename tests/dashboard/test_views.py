"""Each view in a real browser: what it shows, whom it shuts out, and that a name is never more than text."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from playwright.async_api import Browser, expect

from devhost.reference.openapi import description
from tests.corpora.corpora import NAMES, text
from tests.dashboard import browser as browsers
from tests.dashboard import data
from tests.dashboard.browser import Tab
from tests.dashboard.conftest import AXE
from tests.dashboard.pictures import DOCS, FORMS, LARGEST, LARGEST_TOGETHER, PICTURES, VIEWS
from tests.dashboard.stub import Server, Stub

SHOWN: dict[str, list[str]] = {
    "overview": ["5,234", "invoices", "over budget", "97.3 %", "weekly.xlsx", "Throughput of the last day"],
    "transfers": [
        "masters/2026/interview.mov",
        "82.0 GiB",
        "62 %",
        "about",
        "waiting: throttled",
        "36 transfers loaded",
    ],
    "transfer": [
        "inv-20388.pdf",
        "403 AuthorizationPermissionMismatch",
        data.source_etag(4),
        "attempt 0",
        "not recorded",
    ],
    "dead-letters": ["target unwritable", "Check that the target container exists", "a message", "inv-20307.pdf"],
    "dead-letter": ["target.copy: 403", "version 0.1.0", "Open the transfer"],
    "jobs": ["640 started", "reconcile (dry run)", "4 discarded"],
    "job": ["1,221 blobs to share", "the target has no receipt", "48,211"],
    "ledger": [data.target_etag(100), "1.2 s", "24 lines loaded"],
    "api": ["GET /api/dead-letters", "limit (optional)", "Maximum number of items per page"],
    "health": ["All 17 checks passed", "signing for route media", "paused"],
}
# What a reader cannot see, or what changes the order of what he sees. A line break may be one of the page's own.
HIDDEN = r"[\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u0000-\u0008\u000b-\u001f\u007f-\u009f]"
CODE = r"U\+([0-9A-F]{4,6})"
MARKUP = [
    "<img src=x onerror=window.hacked=1>",
    "<script>window.hacked=1</script>.csv",
    '"><svg onload=window.hacked=1>',
    "javascript:window.hacked=1",
    "${window.hacked=1}",
    "{{constructor.constructor('window.hacked=1')()}}",
    "&lt;b&gt;bold&lt;/b&gt;",
    '=HYPERLINK("https://example.org")',
    "a\u202egnp.exe",
    "zero\u200bwidth",
    "tag\U000e0041",
    "nul\u0000",
    "line\nbreak",
    "#/health",
]


def hostile_names(count: int = 50) -> list[str]:
    """Markup, and names of the corpus: the shortest of different kinds."""
    known = sorted({name for case in NAMES if (name := text(case["blob"])).strip()}, key=lambda name: (len(name), name))
    step = max(1, len(known) // (count - len(MARKUP)))
    return [*MARKUP, *known[::step]][:count]


@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_shows_its_data(tab: Tab, view: str) -> None:
    await tab.page.clock.set_fixed_time(data.NOW)
    await tab.open(VIEWS[view])
    for expected in SHOWN[view]:
        await expect(tab.page.locator("main")).to_contain_text(expected)
    await expect(tab.page.locator("nav [aria-current=page]")).to_have_count(1)


def test_the_stub_answers_as_the_api_is_described() -> None:
    components = description()["components"]
    page = {"continuation": None}
    answers = {
        "TransferPage": {"items": data.transfers(), **page},
        "DeadLetterPage": {"items": data.letters(), **page},
        "Health": data.health(),
        "ReconcilePage": {"items": data.jobs()["reconciles"], **page},
        "ReplayPage": {"items": data.jobs()["replays"], **page},
        "DiscardPage": {"items": data.jobs()["discards"], **page},
    }
    records = {"DeadLetter": [data.record(item) for item in data.letters()]}
    pairs = [*answers.items(), *((name, item) for name, items in records.items() for item in items)]
    for name, answer in pairs:
        checker = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components})
        assert [f"{name} {error.json_path}: {error.message}" for error in checker.iter_errors(answer)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(browser: Browser, server: Server, stub: Stub, scheme: str) -> None:
    """In no view, and in no dialog."""
    stub.health = data.health(up=False)
    async with browsers.tab(browser, server.url, scripts=(AXE,), color_scheme=scheme) as tab:
        for name, view in VIEWS.items():
            await tab.open(view)
            await expect(tab.page.locator("main")).to_contain_text(SHOWN[name][0] if name != "health" else "1 of 17")
            if name == "overview":
                await tab.page.locator(".uplot").first.wait_for()
            assert await tab.axe() == [], name
        await tab.open("dead-letters")
        await tab.page.get_by_role("button", name="Replay group … target unwritable").click()
        await expect(tab.page.get_by_role("dialog")).to_contain_text("Dry run:")
        assert await tab.axe() == []
        assert await tab.violations() == []


async def test_no_view_is_wider_than_a_narrow_window(browser: Browser, server: Server, stub: Stub) -> None:
    width = 360
    stub.health = data.health(up=False)
    long = "no-place-to-break-" * 50
    stub.transfers[0]["source"]["name"] = stub.letters[0]["name"] = long
    async with browsers.tab(browser, server.url, viewport={"width": width, "height": 760}) as tab:
        for view in (*VIEWS.values(), f"transfers/{stub.transfers[0]['id']}"):
            await tab.open(view)
            await expect(tab.page.get_by_text("Loading …")).to_have_count(0)
            assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width, view
        await tab.open("dead-letters")
        await tab.page.get_by_role("button", name=f"Replay … {long[:40]}").click()
        box = await tab.page.get_by_role("dialog").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_the_documentation_shows_each_picture_in_every_form() -> None:
    sizes = {path.name: path.stat().st_size for path in DOCS.iterdir()}
    assert set(sizes) == {f"{name}-{width}-{scheme}.webp" for name in PICTURES for width, scheme in FORMS}
    assert [name for name, size in sizes.items() if size > LARGEST] == []
    assert sum(sizes.values()) <= LARGEST_TOGETHER
    views, every = ((DOCS.parent / f"{page}.md").read_text() for page in ("dashboard", "dashboard-pictures"))
    assert [name for name in sizes if f"(dashboard/{name})" not in every] == []
    assert [name for name in PICTURES if f"(dashboard/{name}-1280-light.webp)" not in views] == []


@pytest.mark.parametrize("name", PICTURES)
async def test_on_a_telephone_what_is_pressed_is_large_enough(
    browser: Browser, server: Server, stub: Stub, name: str
) -> None:
    """Buttons, fields and the labels of checkboxes are 44 pixels high. Links in a text are exempt."""
    picture = PICTURES[name]
    picture.prepare(stub)
    async with browsers.tab(browser, server.url, viewport={"width": 360, "height": 760}) as tab:
        await tab.open(picture.address)
        await expect(tab.page.get_by_text("Loading …")).to_have_count(0)
        await picture.act(tab, stub)
        pressed = tab.page.locator(
            "button, select, nav a, .heading > a, input:not([type=checkbox]), label:has([type=checkbox])"
        )
        sizes = await pressed.evaluate_all(
            "all => all.map((one) => [one.textContent, one.getBoundingClientRect().height])"
        )
        assert [size for size in sizes if 0 < size[1] < 44] == []


async def test_hostile_names_are_text(tab: Tab, stub: Stub) -> None:
    names = hostile_names()
    assert len(names) == 50
    stub.transfers = [data.transfer(number, name, age=float(number)) for number, name in enumerate(names)]
    stub.letters = [data.letter(number, name, "target_unwritable", age=number) for number, name in enumerate(names)]
    await tab.open("transfers")
    await expect(tab.page.locator("tbody tr")).to_have_count(50)
    shown = await tab.page.locator("tbody td:nth-child(2)").all_text_contents()
    for name, found in zip(names, shown, strict=True):
        # Every character is there: the visible ones as they are, the others as their code.
        assert re.sub(CODE, lambda code: chr(int(code[1], 16)), found) == name
    for view in (
        "transfers",
        "dead-letters",
        "",
        f"transfers/{data.transfer_id(8)}",
        f"dead-letters/{data.transfer_id(8)}",
    ):
        await tab.open(view)
        await expect(tab.page.locator("main .name").first).to_be_visible()
        found = await tab.page.evaluate(f"/{HIDDEN}/u.exec(document.body.innerText + document.title)?.[0]")
        assert found is None, (view, found)
        assert await tab.page.locator("main :is(img, svg, script, iframe, b)").count() == 0
    await tab.page.get_by_role("button", name="Replay …").click()
    await expect(tab.page.get_by_role("dialog")).to_contain_text("U+202E")
    assert await tab.page.evaluate("window.hacked") is None


async def test_ten_thousand_transfers(tab: Tab, stub: Stub) -> None:
    """The page shows a hundred rows at a time: running ones first, then the newest of what is loaded."""
    many = [data.transfer(number, f"many/{number}", age=float(number * 7 % 10_000)) for number in range(10_000)]
    many[9_000] = data.transfer(9_000, "the one that runs", "copying", copied=1)
    stub.transfers = many
    await tab.open("transfers")
    await expect(tab.page.locator("main")).to_contain_text("101 transfers loaded, more exist")
    await expect(tab.page.locator("tbody tr").first).to_contain_text("the one that runs")
    await tab.page.get_by_role("button", name="Load up to 10,000").click()
    await expect(tab.page.locator("main")).to_contain_text("10,000 transfers loaded")
    await expect(tab.page.locator("tbody tr")).to_have_count(100)
    await expect(tab.page.locator("tbody tr").nth(0)).to_contain_text("the one that runs")
    await expect(tab.page.locator("tbody tr").nth(1)).to_contain_text("many/0")
    await tab.page.get_by_role("button", name="Next").click()
    await expect(tab.page.locator("main")).to_contain_text("Page 2 of 100")
    assert max(int(asked.query["limit"]) for asked in stub.asks("GET", "transfers") if "limit" in asked.query) == 500


async def test_a_filter_is_part_of_the_address_and_of_the_call(tab: Tab, stub: Stub) -> None:
    await tab.open("transfers")
    await tab.page.get_by_label("State").select_option("dead_lettered")
    await expect(tab.page.locator("tbody tr")).to_have_count(1)
    await tab.page.get_by_label("Route").select_option("media")
    await expect(tab.page.locator("main")).to_contain_text("No transfer.")
    assert tab.page.url.endswith("#/transfers?route=media&state=dead_lettered")
    assert stub.asks("GET", "transfers")[-1].query == {"route": "media", "state": "dead_lettered", "limit": "100"}


async def test_a_blob_is_found_by_its_exact_name(tab: Tab, stub: Stub) -> None:
    stub.transfers.append(data.transfer(500, " a &?#+%41/ü"))
    await tab.open("transfers?route=invoices")
    await tab.page.get_by_label("Exact blob name").fill(" a &?#+%41/ü")
    await tab.page.get_by_role("button", name="Find").click()
    await expect(tab.page.locator("tbody tr")).to_have_count(1)
    assert stub.asks("GET", "transfers")[-1].query == {"route": "invoices", "name": " a &?#+%41/ü"}


async def test_progress_has_speed_and_remaining_time(tab: Tab, stub: Stub) -> None:
    """From what was copied between two looks of the app."""
    row = tab.page.locator("tbody tr", has_text="interview.mov")
    first = stub.transfers[0] | {"copied": 0, "total": 1000 * data.MIB, "accepted_at": data.ago(seconds=100)}
    first["updated_at"] = data.ago(seconds=100)
    stub.transfers[0] = first
    await tab.open("transfers")
    await expect(row).to_contain_text("0 %")
    await expect(row).not_to_contain_text("left")
    stub.transfers[0] = first | {"copied": 100 * data.MIB, "updated_at": data.ago(seconds=90)}
    await tab.poll()
    await expect(row).to_contain_text("10 %, 10.0 MiB/s, about 90 s left")
    stub.transfers[0] = first | {"state": "verified", "copied": 1000 * data.MIB, "updated_at": data.ago(seconds=1)}
    await tab.poll()
    await expect(row).to_contain_text("verified")


async def test_an_api_without_figures_says_so(tab: Tab, stub: Stub) -> None:
    stub.routes = stub.summary = stub.ledger = None
    await tab.open()
    await expect(tab.page.locator("main")).to_contain_text("This version of the API has no figures")
    await expect(tab.page.get_by_role("link", name="transfers of media")).to_be_visible()
    await tab.open("ledger")
    await expect(tab.page.locator("main")).to_contain_text("This version of the API has no ledger")


async def test_an_idle_deployment(tab: Tab, stub: Stub) -> None:
    """Nothing was ever counted, shared or failed."""
    nothing = {"count": 0, "p50": None, "p95": None, "p99": None}
    idle: data.JSON = {
        "updated_at": None,
        "throughput": [],
        "latency": {"hour": nothing, "day": nothing},
        "dead_letters": {},
    }
    assert stub.summary is not None
    assert stub.routes is not None
    stub.summary |= idle | {"queued": {"count": 0, "oldest_at": None}, "egress": None}
    stub.routes = {"updated_at": None, "routes": [one | idle for one in stub.routes["routes"][3:]]}
    stub.transfers, stub.letters, stub.ledger = [], [], []
    stub.jobs = {kind: [] for kind in stub.jobs}
    expected = {
        "": "The figures are not counted yet.",
        "transfers": "No transfer.",
        "dead-letters": "No open dead letter.",
        "jobs": "No job yet.",
        "ledger?route=archive": "No entry on this day.",
    }
    for view, shown in expected.items():
        await tab.open(view)
        await expect(tab.page.locator("main")).to_contain_text(shown)


async def test_health_shows_a_failed_check_first_with_its_fix(tab: Tab, stub: Stub) -> None:
    stub.health = data.health(up=False)
    await tab.open("health")
    await expect(tab.page.locator("tbody tr").first).to_contain_text("has Storage Blob Data Contributor on it")
    await expect(tab.page.get_by_role("link", name="Health: unhealthy")).to_be_visible()
    await tab.page.get_by_role("button", name="Try everything …").click()
    await expect(tab.page.get_by_role("dialog")).to_contain_text("writes a small blob to the target")
    assert stub.asks("GET", "health/deep") == []
    await tab.page.get_by_role("button", name="Try", exact=True).click()
    await expect(tab.page.locator(".announcement")).to_have_text("1 of 17 checks failed.")
    assert len(stub.asks("GET", "health/deep")) == 1
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("button", name="Show the short check")).to_be_visible()


async def test_times_are_local_with_utc_on_hover(browser: Browser, server: Server, stub: Stub) -> None:
    at = stub.transfers[6]["updated_at"]
    async with browsers.tab(browser, server.url, timezone_id="Asia/Tokyo") as tab:
        await tab.page.clock.set_fixed_time(data.NOW)
        await tab.open(f"transfers/{stub.transfers[6]['id']}")
        last = tab.page.locator("ol time").last
        await expect(last).to_have_text("23:04:30")
        assert await last.get_attribute("title") == "2026-11-30 14:04:30 UTC"
        assert await last.get_attribute("datetime") == at


async def test_with_read_only_no_action_is_offered(tab: Tab, stub: Stub) -> None:
    stub.health = data.health(read_only=True)
    for view in (*VIEWS.values(), f"transfers/{data.transfer_id(1)}"):
        await tab.open(view)
        await expect(tab.page.locator("header")).to_contain_text("read-only")
        await expect(tab.page.get_by_text("Loading …")).to_have_count(0)
        offered = tab.page.get_by_role(
            "button", name=re.compile("Replay|Discard|Cancel|Share|Notify|Dry run|Start|Try")
        )
        await expect(offered).to_have_count(0)


async def test_a_download_has_every_line_and_no_formula(tab: Tab, stub: Stub, tmp_path: Path) -> None:
    """The CSV is for spreadsheets, which would run a name that begins like a formula. JSON Lines are exact."""
    assert stub.ledger is not None
    stub.ledger = [stub.ledger[0] | {"id": data.transfer_id(number), "name": f"=1+{number}"} for number in range(250)]
    await tab.open("ledger?route=invoices&day=2026-11-30")
    await expect(tab.page.locator("main")).to_contain_text("100 lines loaded")
    for kind, label in (("csv", "Download CSV"), ("jsonl", "Download JSON Lines")):
        async with tab.page.expect_download() as started:
            await tab.page.get_by_role("button", name=label).click()
        download = await started.value
        assert download.suggested_filename == f"ledger-invoices-2026-11-30.{kind}"
        await download.save_as(tmp_path / kind)
    lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    assert lines == stub.ledger
    rows = (tmp_path / "csv").read_text().splitlines()
    assert len(rows) == 251
    assert '"\'=1+7"' in rows[8]


async def test_a_report_is_filtered_by_the_api(tab: Tab, stub: Stub) -> None:
    await tab.open(VIEWS["job"])
    await expect(tab.page.locator("main")).to_contain_text("10 lines loaded")
    await tab.page.get_by_label("Class").select_option("stale")
    await expect(tab.page.locator("main")).to_contain_text("1 line loaded")
    assert stub.asks("GET", "reconciles")[-1].query == {"class": "stale"}


async def test_the_page_is_there_before_the_api_answers(tab: Tab, stub: Stub) -> None:
    answers = asyncio.Event()

    async def hold(_request: web.Request, _call: str) -> None:
        await answers.wait()

    stub.script = hold
    await tab.open()
    await expect(tab.page.locator("main")).to_contain_text("Loading …")
    answers.set()
    await expect(tab.page.locator("main")).to_contain_text("5,234")


async def test_skipping_to_the_content_keeps_the_view(tab: Tab) -> None:
    await tab.open("jobs")
    await tab.page.keyboard.press("Tab")
    await expect(tab.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("main")).to_be_focused()
    assert tab.page.url.endswith("#/jobs")


async def test_an_unknown_address_shows_the_overview(tab: Tab) -> None:
    for view in ("nothing", "%", "%E0%A4%A", "transfers/%2e%2e", "transfers?route=%E2%80%AE&state=<b>", "ledger?day=x"):
        await tab.open(view)
        await expect(tab.page.locator("main h1")).to_be_visible()

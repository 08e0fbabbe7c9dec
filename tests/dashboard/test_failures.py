"""What the page does when the API wants a key, is slow, fails or is gone, and how often it asks."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.dashboard import data
from tests.dashboard.browser import Tab
from tests.dashboard.stub import Stub, problem

KEY = "aKey_1234567890-abcdefghijklmnopqrstuvwxyz=="
Answer = Callable[[web.Request, str], Awaitable[web.Response | None]]


def always(status: int, retry: int | None = None) -> Answer:
    """A script that answers every call of dead letters so."""

    async def script(_request: web.Request, call: str) -> web.Response | None:
        return problem(status, "storage is busy", retry=retry) if call == "GET dead-letters" else None

    return script


async def count(stub: Stub, path: str) -> int:
    """How often the page asked, once its requests have arrived."""
    await asyncio.sleep(0.15)
    return len(stub.asks("GET", path))


async def pass_time(tab: Tab, seconds: int) -> None:
    """Let the page's clock run, with time for real answers in between."""
    for _ in range(seconds):
        await tab.page.clock.run_for(1_000)
        await asyncio.sleep(0.01)


async def test_a_key_is_asked_for_once_and_sent_in_the_header_only(tab: Tab, stub: Stub) -> None:
    stub.key = KEY
    await tab.open("dead-letters")
    dialog = tab.page.get_by_role("dialog", name="Function key")
    await dialog.get_by_label("Key").fill(f" {KEY} ")
    await dialog.get_by_role("button", name="Use key").click()
    await expect(tab.page.locator("main")).to_contain_text("a message")
    await tab.open("jobs")
    await expect(tab.page.locator("main")).to_contain_text("640 started")
    await expect(dialog).to_have_count(0)
    assert {asked.key for asked in stub.asked if asked.path == "reconciles"} == {KEY}
    assert not [url for url in tab.requests if KEY in url or "code=" in url]
    assert await tab.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert KEY in str(await tab.page.evaluate("JSON.stringify(sessionStorage)"))


async def test_a_forgotten_key_is_asked_for_again(tab: Tab, stub: Stub) -> None:
    stub.key = KEY
    await tab.open("jobs")
    await tab.page.get_by_role("textbox", name="Key").fill(KEY)
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("main")).to_contain_text("640 started")
    await tab.page.get_by_role("button", name="Forget key").click()
    await expect(tab.page.get_by_role("dialog", name="Function key")).to_be_visible()
    assert await tab.page.evaluate("sessionStorage.length") == 0


async def test_a_refused_key_is_asked_for_again(tab: Tab, stub: Stub) -> None:
    stub.key = KEY
    await tab.open("jobs")
    dialog = tab.page.get_by_role("dialog", name="Function key")
    await dialog.get_by_label("Key").fill("wrong")
    await dialog.get_by_role("button", name="Use key").click()
    await expect(dialog).to_contain_text("did not accept this key")
    await dialog.get_by_label("Key").fill("two words")
    await dialog.get_by_role("button", name="Use key").click()
    await expect(dialog).to_contain_text("without spaces")
    await dialog.get_by_role("button", name="Not now").click()
    await expect(tab.page.locator("main")).to_contain_text("The API needs a function key")
    await tab.page.get_by_role("button", name="Enter key").first.click()
    await dialog.get_by_label("Key").fill(KEY)
    await dialog.get_by_role("button", name="Use key").click()
    await expect(tab.page.locator("main")).to_contain_text("640 started")


async def test_the_page_works_without_a_key_where_none_is_needed(tab: Tab, stub: Stub) -> None:
    await tab.open("jobs")
    await expect(tab.page.locator("main")).to_contain_text("640 started")
    await expect(tab.page.get_by_role("button", name="Forget key")).to_have_count(0)
    assert {asked.key for asked in stub.asked} == {None}


async def test_a_key_that_expires_makes_the_data_stale(tab: Tab, stub: Stub) -> None:
    await tab.open("jobs")
    await expect(tab.page.locator("main")).to_contain_text("640 started")
    stub.key = KEY
    await tab.poll()
    await tab.page.get_by_role("button", name="Not now").click()
    await expect(tab.page.locator("main")).to_contain_text("Stale: as of")
    await expect(tab.page.locator("main")).to_contain_text("640 started")


@pytest.mark.parametrize("status", [500, 503])
async def test_an_error_keeps_the_last_answer_as_stale(tab: Tab, stub: Stub, status: int) -> None:
    await tab.open("dead-letters")
    await expect(tab.page.locator("main")).to_contain_text("a message")
    stub.script = always(status)
    await tab.poll()
    await expect(tab.page.locator("main")).to_contain_text("Stale: as of")
    await expect(tab.page.locator("main")).to_contain_text("storage is busy")
    await expect(tab.page.locator("main")).to_contain_text("a message")
    stub.script = None
    await tab.poll()
    await expect(tab.page.locator("main")).not_to_contain_text("Stale")


async def test_an_api_that_is_gone_is_reported(tab: Tab) -> None:
    await tab.open("jobs")
    await expect(tab.page.locator("main")).to_contain_text("640 started")
    await tab.page.context.set_offline(offline=True)
    await tab.poll()
    await expect(tab.page.locator("main")).to_contain_text("The request failed before the API answered")
    await expect(tab.page.get_by_role("link", name="Health: unknown")).to_be_visible()
    await tab.page.context.set_offline(offline=False)
    await tab.poll()
    await expect(tab.page.locator("main")).not_to_contain_text("Stale")


async def test_a_first_answer_that_is_an_error_shows_its_fix(tab: Tab, stub: Stub) -> None:
    stub.script = always(503)
    await tab.open("dead-letters")
    await expect(tab.page.locator("main")).to_contain_text("storage is busy Do something else.")


async def test_a_slow_api_is_called_slow(tab: Tab, stub: Stub) -> None:
    await tab.page.clock.install()
    await tab.open("dead-letters")
    await expect(tab.page.locator("main")).to_contain_text("a message")
    answers = asyncio.Event()

    async def hold(_request: web.Request, _call: str) -> None:
        await answers.wait()

    stub.script = hold
    await tab.poll()
    await tab.page.clock.run_for(5_000)
    await expect(tab.page.locator("main")).to_contain_text("The API is slow to answer. Shown as of")
    answers.set()
    await expect(tab.page.locator("main")).not_to_contain_text("slow")


async def test_polling_slows_down_while_nothing_changes(tab: Tab, stub: Stub) -> None:
    """From every 2 s to every 30 s; a change brings it back."""
    await tab.page.clock.install()
    await tab.open("dead-letters")
    await expect(tab.page.locator("main")).to_contain_text("a message")
    before = await count(stub, "dead-letters")
    await pass_time(tab, 10)
    early = await count(stub, "dead-letters") - before
    await pass_time(tab, 60)
    before = await count(stub, "dead-letters")
    await pass_time(tab, 60)
    late = await count(stub, "dead-letters") - before
    assert 2 <= early <= 5
    assert 1 <= late <= 3
    stub.letters.append(data.letter(900, "new.csv", "throttled"))
    for _ in range(31):
        await pass_time(tab, 1)
        if await tab.page.get_by_role("link", name="new.csv").count():
            break
    before = await count(stub, "dead-letters")
    await pass_time(tab, 8)
    assert await count(stub, "dead-letters") > before


async def test_polling_stops_in_a_hidden_tab(tab: Tab, stub: Stub) -> None:
    await tab.page.clock.install()
    await tab.open("dead-letters")
    await expect(tab.page.locator("main")).to_contain_text("a message")
    await _set_hidden(tab, hidden=True)
    before = await count(stub, "")
    await pass_time(tab, 60)
    assert await count(stub, "") == before
    await _set_hidden(tab, hidden=False)
    assert await count(stub, "") > before


async def _set_hidden(tab: Tab, *, hidden: bool) -> None:
    script = "(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); }"
    await tab.page.evaluate(script, hidden)


async def test_retry_after_is_respected(tab: Tab, stub: Stub) -> None:
    await tab.page.clock.install()
    stub.script = always(503, retry=50)
    await tab.open("dead-letters")
    await expect(tab.page.locator("main")).to_contain_text("storage is busy")
    before = await count(stub, "dead-letters")
    await pass_time(tab, 45)
    assert await count(stub, "dead-letters") == before
    await pass_time(tab, 10)
    assert await count(stub, "dead-letters") == before + 1


async def test_an_unchanged_answer_is_not_sent_again(tab: Tab, stub: Stub) -> None:
    """Where the API sends ETags."""
    stub.etags = True
    await tab.open("jobs")
    await expect(tab.page.locator("main")).to_contain_text("640 started")
    before = len(stub.asked)
    await tab.poll()
    await asyncio.sleep(0.3)
    again = [asked for asked in stub.asked[before:] if asked.path == "reconciles"]
    assert again
    assert all("If-None-Match" in asked.headers for asked in again)
    await expect(tab.page.locator("main")).to_contain_text("640 started")
    stub.jobs["reconciles"][0]["counts"]["started"] = 650
    await tab.poll()
    await expect(tab.page.locator("main")).to_contain_text("650 started")

"""Debian's Chromium through Playwright, and a tab of it that notes whatever the page must not do."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
MISSING = "no Chromium is on PATH. Fix: apt-get install chromium"
# Violations are noted in the page: some browsers do not write all of them to the console.
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


def executable() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def required() -> str:
    """The browser's path. A missing browser skips the test, or fails it in CI."""
    found = executable()
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    return str(found)


@asynccontextmanager
async def running(path: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A tab in a context of its own. `errors` are what the page wrote to its console as errors, and uncaught exceptions."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))

    async def open(self, view: str = "") -> None:
        """Open a view: the part of its address after `#/`."""
        await self.page.goto(f"{self.url}#/{view}")
        await self.page.locator("main h1").wait_for()

    async def poll(self) -> None:
        """Make the view ask now, instead of in some seconds."""
        await self.page.evaluate("window.dispatchEvent(new Event('poll-again'))")

    async def violations(self) -> list[str]:
        found: list[str] = await self.page.evaluate("window.violations")
        return found

    async def axe(self) -> list[str]:
        """What axe-core finds, one line for each violation."""
        found: dict[str, Any] = await self.page.evaluate("axe.run({ resultTypes: ['violations'] })")
        return [
            f"{one['id']}: {one['nodes'][0]['target']} {one['nodes'][0]['html'][:160]}" for one in found["violations"]
        ]


@asynccontextmanager
async def tab(browser: Browser, url: str, *, scripts: tuple[Path, ...] = (), **options: Any) -> AsyncIterator[Tab]:
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "timezone_id": "UTC", **options})
    try:
        await context.add_init_script(NOTE_VIOLATIONS)
        for script in scripts:
            await context.add_init_script(path=script)
        page = await context.new_page()
        page.set_default_timeout(8_000)
        yield Tab(page, url)
    finally:
        await context.close()

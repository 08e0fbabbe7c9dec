"""One browser and one loopback server for all tests; a fresh stub and a fresh tab for each."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from devhost.stack import ROOT
from tests.dashboard import browser as browsers
from tests.dashboard.browser import Tab
from tests.dashboard.stub import Server, Stub

AXE = ROOT / "devhost" / "storage" / "node_modules" / "axe-core" / "axe.min.js"
# The browser itself writes these for an unsuccessful answer.
OF_THE_BROWSER = ("Failed to load resource",)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    running = Server()
    await running.start()
    yield running
    await running.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with browsers.running(browsers.required()) as running:
        yield running


@pytest.fixture
def stub(server: Server) -> Stub:
    server.stub = Stub()
    return server.stub


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser, server: Server, stub: Stub) -> AsyncIterator[Tab]:
    """A tab. After the test: no violation of the policy, no error of the page, and no request to another site."""
    del stub  # made first, so that the tab never asks the stub of another test
    async with browsers.tab(browser, server.url) as one:
        yield one
        assert await one.violations() == []
        assert [error for error in one.errors if not error.startswith(OF_THE_BROWSER)] == []
        own = server.url.removesuffix("dashboard")
        assert [url for url in one.requests if not url.startswith((own, "blob:"))] == []

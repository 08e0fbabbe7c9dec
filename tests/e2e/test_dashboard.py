"""The dashboard on the local stack, whose host requires keys as on Azure: a blob arrives, another fails and is replayed."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

import dashboard
from tests.dashboard.browser import required, running, tab
from tests.e2e.client import Client
from tests.e2e.stacks import environment, running_stack

REFUSED = {"status": 404, "code": "ContainerNotFound"}
ARRIVES, FAILS = "page/<b>arrives</b>.txt", "page/fails \u202e.txt"
# In milliseconds. A transfer fails after several tries.
PATIENCE = 60_000


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    state = tmp_path_factory.mktemp("dashboard")
    with running_stack(state, environment(state) | {"DEVHOST_KEYS": "1", "HOST": ""}) as client:
        for account, container in (("sharingsource", "source"), ("sharingtarget", "target")):
            client.create_container(account, container)
        yield client


def key_of(client: Client) -> str:
    return str(json.loads((Path(client.stack.state) / "host-keys.json").read_text())["function"])


def test_the_host_serves_the_files(keyed: Client) -> None:
    """Also compressed, and with 304; an unknown file is not found, nor is a path."""
    url = f"{keyed.stack.api}/dashboard"
    page = keyed.request("GET", url, None, {})
    assert (page.status, page.body) == (200, dashboard.files()[dashboard.PAGE].body)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    known = keyed.request("GET", f"{url}/app.js", None, {"If-None-Match": dashboard.files()["app.js"].etag})
    assert (known.status, known.body) == (304, b"")
    packed = keyed.request("GET", f"{url}/app.js", None, {"Accept-Encoding": "gzip"})
    assert (packed.body, packed.headers["Content-Encoding"]) == (dashboard.files()["app.js"].gzipped, "gzip")
    for name in ("none.js", "__init__.py", "..%2fsettings.py", "%2e%2e/%2e%2e/settings.py", "sub/app.js"):
        assert keyed.request("GET", f"{url}/{name}", None, {}).status == 404
    assert keyed.request("HEAD", url, None, {}).status == 200


async def test_a_blob_arrives_and_a_dead_letter_is_replayed(keyed: Client) -> None:
    rule = keyed.control.add_fault({"operation": "CopyBlobFromUrl", "blob": "^page/fails"}, REFUSED, times=1_000)
    async with running(required()) as browser, tab(browser, f"{keyed.stack.api}/dashboard") as one:
        main, dialog = one.page.locator("main"), one.page.get_by_role("dialog")
        await one.open("transfers?route=default")
        await dialog.get_by_role("textbox", name="Key").fill(key_of(keyed))
        await dialog.get_by_role("button", name="Use key").click()
        await expect(main).to_contain_text("No transfer.")
        await asyncio.to_thread(keyed.put, ARRIVES, b"hello")
        await asyncio.to_thread(keyed.put, FAILS, b"again")
        arrived = one.page.locator("tbody tr", has_text=ARRIVES)
        await expect(arrived).to_contain_text("verified", timeout=PATIENCE)
        await one.open("dead-letters?route=default")
        await expect(main).to_contain_text("target unwritable", timeout=PATIENCE)
        await expect(main).to_contain_text("U+202E")
        keyed.control.remove_faults(rule)
        await one.page.get_by_role("button", name="Replay … page/fails").click()
        await dialog.get_by_role("button", name="Replay", exact=True).click()
        await expect(dialog).to_contain_text("A transfer was started.")
        await dialog.get_by_role("link", name="Open it").click()
        await expect(main.locator(".summary")).to_contain_text("verified", timeout=PATIENCE)
        await expect(main).to_contain_text("attempt 0: target unwritable")
        for view in ("", "jobs", "health", "ledger", "dead-letters"):
            await one.open(view)
            await expect(one.page.get_by_text("Loading …")).to_have_count(0)
        await expect(main).to_contain_text("No open dead letter.", timeout=PATIENCE)
        assert await one.violations() == []
        assert [error for error in one.errors if not error.startswith("Failed to load resource")] == []
    assert keyed.read(keyed.target(ARRIVES)) == b"hello"
    assert keyed.read(keyed.target(FAILS)) == b"again"

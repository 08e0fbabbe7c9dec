"""The view of the API: it sends exactly the call that was typed, and shows the answer as text."""

import json
import subprocess
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import expect

from devhost.reference.openapi import description
from tests.dashboard import data
from tests.dashboard.browser import Tab
from tests.dashboard.stub import Stub
from triggers.http.endpoints import ENDPOINTS

# What a shell, a URL or a page could read in a text.
HOSTILE = "a b/../c?d=e&f#g%2F'h\"$(id)`i`<img src=x onerror=window.hacked=1>ü"


async def test_every_call_has_a_form(tab: Tab) -> None:
    await tab.open("api")
    options = await tab.page.get_by_label("Call").locator("option").all_text_contents()
    expected = [f"{call.method} /api/{call.route}" for call in ENDPOINTS if not call.route.startswith(("dash", "open"))]
    assert sorted(options) == sorted(expected)


async def test_a_get_is_sent_with_its_parameters(tab: Tab, stub: Stub) -> None:
    await tab.open("api/list_dead_letters")
    await tab.page.get_by_label("route (optional)").fill("invoices")
    await tab.page.get_by_label("reason (optional)").select_option("target_unwritable")
    await tab.page.get_by_label("name (optional)").fill(HOSTILE)
    await tab.page.get_by_role("button", name="Send").click()
    answer = tab.page.get_by_role("region", name="Answer")
    await expect(answer).to_contain_text("200")
    (asked,) = stub.asks("GET", "dead-letters")
    assert asked.query == {"route": "invoices", "reason": "target_unwritable", "name": HOSTILE}
    assert json.loads(await answer.locator("pre").inner_text())["items"]
    await tab.page.get_by_label("route (optional)").fill("media")
    await expect(answer).to_have_count(0)


async def test_a_change_is_sent_only_after_it_was_confirmed(tab: Tab, stub: Stub) -> None:
    await tab.open("api/start_replay")
    body = {"reason": "target_unwritable", "dry_run": True}
    await tab.page.get_by_label("Body").fill(json.dumps(body))
    await tab.page.get_by_role("button", name="Send …").click()
    dialog = tab.page.get_by_role("dialog")
    await expect(dialog).to_contain_text("POST /api/replays")
    await expect(dialog).to_contain_text("target_unwritable")
    assert stub.asks("POST") == []
    await dialog.get_by_role("button", name="Send", exact=True).click()
    await expect(dialog).to_contain_text("The API answered 202.")
    (asked,) = stub.asks("POST")
    assert (asked.path, asked.body) == ("replays", body)


async def test_a_required_parameter_is_asked_for(tab: Tab, stub: Stub) -> None:
    await tab.open("api/cancel_transfer")
    send = tab.page.get_by_role("button", name="Send …")
    await expect(send).to_be_disabled()
    await tab.page.get_by_label("id", exact=True).fill(data.transfer_id(1))
    await expect(send).to_be_enabled()
    stub.health = data.health(read_only=True)
    await tab.open("api/share_now")
    await tab.poll()
    await expect(tab.page.locator("main")).to_contain_text("The app is read-only.")
    await expect(send).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "body"), [(404, {"detail": HOSTILE}), (400, {"detail": "line\u2028separator\u202e"})]
)
async def test_an_answer_is_only_text(tab: Tab, stub: Stub, status: int, body: dict[str, Any]) -> None:
    async def refuse(_request: web.Request, call: str) -> web.Response | None:
        return web.json_response(body, status=status) if call.startswith("GET routes") else None

    stub.script = refuse
    await tab.open("api/get_routes")
    await tab.page.get_by_role("button", name="Send").click()
    answer = tab.page.get_by_role("region", name="Answer")
    await expect(answer).to_contain_text(str(status))
    shown = await answer.locator("pre").inner_text()
    expected = body["detail"].replace("\u2028", "[U+2028]").replace("\u202e", "[U+202E]")
    assert json.loads(shown)["detail"] == expected
    assert await tab.page.evaluate("window.hacked") is None


def words_of(command: str) -> list[str]:
    """The arguments that a shell passes to curl."""
    spread = f"KEY=secret; curl() {{ printf '%s\\0' \"$@\"; }}; {command}"
    return subprocess.run(["/bin/bash", "-c", spread], capture_output=True, text=True, check=True).stdout.split("\0")


async def test_the_curl_command_says_the_same_to_a_shell(tab: Tab) -> None:
    await tab.page.add_init_script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    await tab.open("api/share_now")
    body = json.dumps({"route": "default", "name": HOSTILE})
    await tab.page.get_by_label("Body").fill(body)
    await tab.page.get_by_role("button", name="Copy curl command").click()
    command = await tab.page.evaluate("window.copied")
    words = words_of(command)
    address = tab.page.url.partition("dashboard")[0] + "transfers"
    assert words[:-1] == [
        *("-X", "POST", "-H", "x-functions-key: secret", "-H", "Content-Type: application/json", "-d", body, address),
    ]


def test_every_reference_of_the_description_leads_somewhere() -> None:
    """The page follows them."""
    whole = description()

    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if reference := value.get("$ref"):
                found: Any = whole
                for name in reference.removeprefix("#/").split("/"):
                    found = found[name]
            for each in value.values():
                follow(each)
        elif isinstance(value, list):
            for each in value:
                follow(each)

    follow(whole)

"""Every action asks first, says what it will do, does exactly that, and says what came of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.dashboard import data
from tests.dashboard.browser import Tab
from tests.dashboard.pictures import VIEWS
from tests.dashboard.stub import Stub, problem

VERIFIED, COPYING, DEAD = data.transfer_id(100), data.transfer_id(1), data.transfer_id(4)
GROUP = {"reason": "target_unwritable"}
DRY = GROUP | {"dry_run": True}


@dataclass(frozen=True)
class Action:
    """An action of a view: its button, what the dialog says, the calls it sends, and its result.

    `planned` are the calls before the confirmation: the dry run. The time of a dry run in a body is checked apart.
    """

    view: str
    button: str
    says: str
    confirm: str
    result: str
    sent: list[tuple[str, str, Any]]
    planned: list[tuple[str, str, Any]] = field(default_factory=list)
    select: str = ""


ACTIONS = {
    "cancel in the list": Action(
        "transfers",
        "Cancel … masters/2026/interview.mov",
        "no incomplete target blob remains",
        "Cancel the transfer",
        "The transfer is cancelled.",
        [("DELETE", f"transfers/{COPYING}", None)],
    ),
    "cancel": Action(
        f"transfers/{COPYING}",
        "Cancel …",
        "masters/2026/interview.mov",
        "Cancel the transfer",
        "The transfer is cancelled.",
        [("DELETE", f"transfers/{COPYING}", None)],
    ),
    "share again": Action(
        f"transfers/{VERIFIED}",
        "Share again …",
        "along the route invoices",
        "Share",
        "A transfer was started.",
        [("POST", "transfers", {"route": "invoices", "name": "2026/11/30/inv-20419.pdf"})],
    ),
    "share a blob without a transfer": Action(
        "transfers?route=media&name=lost.mov",
        "Share this blob …",
        "lost.mov",
        "Share",
        "A transfer was started.",
        [("POST", "transfers", {"route": "media", "name": "lost.mov"})],
    ),
    "notify again": Action(
        f"transfers/{VERIFIED}",
        "Notify again …",
        "Nothing is copied",
        "Send again",
        "The notification is sent again.",
        [("POST", f"transfers/{VERIFIED}/notify", None)],
    ),
    "replay in the list": Action(
        "dead-letters",
        "Replay … 2026/11/30/inv-20388.pdf",
        "The next attempt starts",
        "Replay",
        "A transfer was started.",
        [("POST", f"dead-letters/{DEAD}/replay", None)],
    ),
    "discard in the list": Action(
        "dead-letters",
        "Discard … 2026/11/30/inv-20388.pdf",
        "can never be replayed",
        "Discard",
        "The dead letter is discarded.",
        [("DELETE", f"dead-letters/{DEAD}", None)],
    ),
    "replay": Action(
        f"dead-letters/{DEAD}",
        "Replay …",
        "inv-20388.pdf",
        "Replay",
        "A transfer was started.",
        [("POST", f"dead-letters/{DEAD}/replay", None)],
    ),
    "discard of a transfer": Action(
        f"transfers/{DEAD}",
        "Discard …",
        "inv-20388.pdf",
        "Discard",
        "The dead letter is discarded.",
        [("DELETE", f"dead-letters/{DEAD}", None)],
    ),
    "replay a selection": Action(
        "dead-letters",
        "Replay selected (2) …",
        "The next attempt starts for each of them",
        "Replay all of these",
        "Replayed: 2. Refused: 0.",
        [("POST", f"dead-letters/{data.transfer_id(number)}/replay", None) for number in (30, 31)],
        select="Select 2 dead letters",
    ),
    "discard a selection": Action(
        "dead-letters",
        "Discard selected (2) …",
        "None of them can be replayed",
        "Discard all of these",
        "Discarded: 2. Refused: 0.",
        [("DELETE", f"dead-letters/{data.transfer_id(number)}", None) for number in (30, 31)],
        select="Select 2 dead letters",
    ),
    "replay a group": Action(
        "dead-letters",
        "Replay group … target unwritable",
        "Dry run: 6 dead letters",
        "Replay the group",
        "The job is done: 6 started.",
        [("POST", "replays", GROUP)],
        [("POST", "replays", DRY)],
    ),
    "discard a group of a route": Action(
        "dead-letters?route=invoices",
        "Discard group … target unwritable",
        "Dry run: 6 dead letters",
        "Discard the group",
        "The job is done: 6 discarded.",
        [("POST", "discards", GROUP | {"route": "invoices"})],
        [("POST", "discards", DRY | {"route": "invoices"})],
    ),
    "reconcile": Action(
        "jobs",
        "Dry run …",
        "Dry run: 12 blobs to share, 33.8 KiB (10 missing, 2 stale)",
        "Start the reconcile",
        "The job is done: 12 started.",
        [("POST", "reconciles", {"route": "invoices", "max_per_second": 20})],
        [("POST", "reconciles", {"route": "invoices", "dry_run": True})],
    ),
    "reconcile after a dry run": Action(
        VIEWS["job"],
        "Start for real …",
        "The dry run found 1,221 blobs",
        "Start",
        "The job is done: 12 started.",
        [("POST", "reconciles", {"route": "invoices", "prefix": "2026/11/", "max_per_second": 20})],
    ),
    "cancel a job": Action(
        f"jobs/reconcile/{data.job('reconcile', 2)['id']}",
        "Cancel …",
        "ends after its current batch",
        "Cancel the job",
        "The job is cancelled.",
        [("DELETE", f"reconciles/{data.job('reconcile', 2)['id']}", None)],
    ),
}


def changes(stub: Stub) -> list[tuple[str, str, Any]]:
    """The calls that change something, without the time of the dry run."""
    found = []
    for asked in stub.asked:
        if asked.method != "GET":
            body = asked.body and {name: value for name, value in asked.body.items() if name != "until"}
            found.append((asked.method, asked.path, body))
    return found


@pytest.mark.parametrize("name", ACTIONS)
async def test_an_action_asks_acts_and_reports(tab: Tab, stub: Stub, name: str) -> None:
    action = ACTIONS[name]
    await tab.open(action.view)
    if action.select:
        await tab.page.get_by_label(action.select).check()
    button = tab.page.get_by_role("button", name=action.button, exact=True)
    dialog = tab.page.get_by_role("dialog")
    await button.click()
    await expect(dialog).to_contain_text(action.says)
    await dialog.get_by_role("button", name="Cancel", exact=True).click()
    await expect(dialog).to_have_count(0)
    await expect(button).to_be_focused()
    assert changes(stub) == action.planned
    await button.click()
    await expect(dialog).to_contain_text(action.says)
    await dialog.get_by_role("button", name=action.confirm, exact=True).click()
    await expect(dialog).to_contain_text(action.result)
    await expect(tab.page.locator(".announcement")).to_have_text(action.result)
    await expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)
    assert changes(stub) == 2 * action.planned + action.sent
    # On the button, or where that is gone, on the content.
    await tab.page.locator(":focus").first.wait_for(state="attached")


async def test_the_replay_of_a_group_takes_no_later_failure(tab: Tab, stub: Stub) -> None:
    await tab.open("dead-letters")
    await tab.page.get_by_role("button", name="Replay group … target unwritable").click()
    await expect(tab.page.get_by_role("dialog")).to_contain_text("Dry run:")
    await tab.page.get_by_role("button", name="Replay the group").click()
    await expect(tab.page.get_by_role("dialog")).to_contain_text("6 started")
    dry, real = (asked.body for asked in stub.asks("POST", "replays"))
    assert "until" not in dry
    assert real["until"] == stub.jobs["replays"][-2]["created_at"]


async def test_a_refusal_is_shown_with_its_fix_and_can_be_tried_again(tab: Tab, stub: Stub) -> None:
    async def refuse(_request: web.Request, call: str) -> web.Response | None:
        return problem(409, "the transfer is running", "Wait until it ends.") if call.startswith("POST") else None

    stub.script = refuse
    await tab.open(f"dead-letters/{DEAD}")
    await tab.page.get_by_role("button", name="Replay …").click()
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Replay", exact=True).click()
    await expect(dialog).to_contain_text("the transfer is running Wait until it ends.")
    stub.script = None
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog).to_contain_text("A transfer was started.")


async def test_a_refused_one_does_not_stop_a_selection(tab: Tab, stub: Stub) -> None:
    async def refuse(_request: web.Request, call: str) -> web.Response | None:
        return problem(409, "it is running") if call == f"POST dead-letters/{data.transfer_id(30)}/replay" else None

    stub.script = refuse
    await tab.open("dead-letters")
    await tab.page.get_by_label("Select 2 dead letters").check()
    await tab.page.get_by_role("button", name="Replay selected (2) …").click()
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Replay all of these").click()
    await expect(dialog).to_contain_text("Replayed: 1. Refused: 1.")
    await expect(dialog).to_contain_text("2026/11/30/weekly.xlsx: it is running")


async def test_a_failed_dry_run_does_not_lead_to_the_action(tab: Tab, stub: Stub) -> None:
    async def refuse(_request: web.Request, call: str) -> web.Response | None:
        return problem(503, "storage is busy") if call.startswith("POST") else None

    stub.script = refuse
    await tab.open("dead-letters")
    await tab.page.get_by_role("button", name="Discard group … malformed").click()
    dialog = tab.page.get_by_role("dialog")
    await expect(dialog).to_contain_text("storage is busy")
    await expect(dialog.get_by_role("button", name="Try again")).to_be_disabled()


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_a_dry_run_without_an_end_does_not_lead_to_the_action(tab: Tab, stub: Stub, state: str) -> None:
    async def fail(request: web.Request, call: str) -> web.Response | None:
        if not call.startswith("GET discards/"):
            return None
        return web.json_response(data.job("discard", 1, state, detail="reports: 403") | {"id": request.path})

    stub.script = fail
    await tab.open("dead-letters")
    await tab.page.get_by_role("button", name="Discard group … malformed").click()
    dialog = tab.page.get_by_role("dialog")
    await expect(dialog).to_contain_text(f"The dry run is {state}")
    await expect(dialog).to_contain_text("reports: 403")
    await expect(dialog.get_by_role("button", name="Try again")).to_be_disabled()
    assert [asked.body.get("dry_run") for asked in stub.asks("POST")] == [True]


async def test_a_dialog_that_the_browser_closes_can_be_opened_again(tab: Tab, stub: Stub) -> None:
    """Some browsers close it at the second press of Escape, whatever the page says. The action goes on."""
    release = asyncio.Event()

    async def hold(_request: web.Request, call: str) -> None:
        if call.startswith("POST"):
            await release.wait()

    stub.script = hold
    await tab.open(f"dead-letters/{DEAD}")
    button, dialog = tab.page.get_by_role("button", name="Replay …"), tab.page.get_by_role("dialog")
    await button.click()
    await dialog.get_by_role("button", name="Replay", exact=True).click()
    await expect(dialog).to_contain_text("Working …")
    await tab.page.evaluate("document.querySelector('dialog').close()")
    await expect(dialog).to_have_count(0)
    await button.click()
    await expect(dialog.get_by_role("button", name="Replay", exact=True)).to_be_enabled()
    release.set()
    await expect(tab.page.locator(".announcement")).to_have_text("A transfer was started.")


async def test_an_id_is_copied(tab: Tab) -> None:
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.open(f"transfers/{DEAD}")
    await tab.page.get_by_role("button", name="Copy transfer id").click()
    await expect(tab.page.locator(".announcement")).to_have_text("transfer id copied")
    assert await tab.page.evaluate("navigator.clipboard.readText()") == DEAD


async def test_an_action_works_by_keyboard_alone(tab: Tab, stub: Stub) -> None:
    """From the top of the page to a dead letter, through its dialog, and back; the focus is always visible."""
    await tab.open("dead-letters")
    await expect(tab.page.locator("main")).to_contain_text("a message")
    label = "Replay … 2026/11/30/inv-20388.pdf"
    await _tab_to(tab, label)
    await tab.page.keyboard.press("Enter")
    dialog = tab.page.get_by_role("dialog")
    await expect(dialog.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(tab.page.get_by_role("button", name=label)).to_be_focused()
    await tab.page.keyboard.press("Space")
    await _tab_to(tab, "Replay")
    await tab.page.keyboard.press("Enter")
    await expect(dialog).to_contain_text("A transfer was started.")
    assert changes(stub) == [("POST", f"dead-letters/{DEAD}/replay", None)]
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator("main")).to_be_focused()


async def _tab_to(tab: Tab, label: str) -> None:
    """Press Tab until the control with this name has the focus."""
    for _ in range(60):
        await tab.page.keyboard.press("Tab")
        name, outline = await tab.page.evaluate(
            "[document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim(), getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none", name
        if name == label:
            return
    raise AssertionError(f"Tab does not reach {label}")

"""`python -m tests.dashboard.pictures [FOLDER]`: pictures of the views, as WebP in docs/dashboard/, or as PNG in a folder."""

import asyncio
import base64
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from playwright.async_api import Page

from tests.dashboard import data
from tests.dashboard.browser import Tab, executable, running, tab
from tests.dashboard.stub import Server, Stub, problem

DOCS = Path(__file__).parents[2] / "docs" / "dashboard"
VIEWS = {
    "overview": "",
    "transfers": "transfers",
    "transfer": f"transfers/{data.transfer_id(4)}",
    "dead-letters": "dead-letters",
    "dead-letter": f"dead-letters/{data.transfer_id(4)}",
    "jobs": "jobs",
    "job": f"jobs/reconcile/{data.job_id('reconcile', 300)}",
    "ledger": "ledger?day=2026-11-30",
    "health": "health",
    "api": "api/list_dead_letters",
}
WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
# The height of a picture is that of the view, or of its dialog, within these bounds.
LOWEST, HIGHEST = 560, 900
BOTTOM = (
    "Math.max(...[...document.querySelectorAll('#app, dialog')].map((one) => one.getBoundingClientRect().bottom)) + 16"
)
QUALITIES = (45, 35, 25)
LARGEST = 64_000
LARGEST_TOGETHER = 1_750_000


async def nothing(_tab: Tab, _stub: Stub) -> None:
    """The view as it is opened."""


async def replay_group(tab: Tab, _stub: Stub) -> None:
    await tab.page.get_by_role("button", name="Replay group … target unwritable").click()
    await tab.page.get_by_text("Dry run:").wait_for()


async def lose_api(tab: Tab, stub: Stub) -> None:
    async def busy(_request: web.Request, _call: str) -> web.Response:
        return problem(503, "The storage of the app is busy.", "Wait; the page asks again.")

    stub.script = busy
    await tab.poll()
    await tab.page.get_by_text("Stale").wait_for()


@dataclass(frozen=True)
class Picture:
    """A view, and what is done before the picture is taken: to the stub's data, and then in the page."""

    address: str
    prepare: Callable[[Stub], None] = lambda _stub: None
    act: Callable[[Tab, Stub], Awaitable[None]] = nothing


def require_key(stub: Stub) -> None:
    stub.key = "a key"


def read_only(stub: Stub) -> None:
    stub.health = data.health(read_only=True)


PICTURES = {
    **{name: Picture(address) for name, address in VIEWS.items()},
    "replay-group": Picture(VIEWS["dead-letters"], act=replay_group),
    "sign-in": Picture(VIEWS["overview"], require_key),
    "read-only": Picture(VIEWS["dead-letters"], read_only),
    "stale": Picture(VIEWS["jobs"], act=lose_api),
}
FORMS = [(width, scheme) for width in WIDTHS for scheme in SCHEMES]


async def settle(page: Page) -> None:
    """Wait until nothing loads and the charts are drawn."""
    await page.wait_for_load_state("networkidle")
    await page.get_by_text("Loading …").wait_for(state="detached")
    await page.wait_for_timeout(150)


async def take(folder: Path | None) -> list[Path]:
    """Take every picture in every form: as PNG of the whole view into a folder, or as WebP for the documentation."""
    path = executable()
    if path is None:
        sys.exit("no Chromium is on PATH. Fix: apt-get install chromium")
    made = []
    server = Server()
    await server.start()
    try:
        async with running(path) as browser:
            for name, picture in PICTURES.items():
                for width, scheme in FORMS:
                    server.stub = Stub(health=data.health(up=False))
                    picture.prepare(server.stub)
                    size = {"width": width, "height": HIGHEST}
                    async with tab(browser, server.url, viewport=size, color_scheme=scheme) as one:
                        await one.page.clock.set_fixed_time(data.NOW)
                        await one.open(picture.address)
                        await settle(one.page)
                        await picture.act(one, server.stub)
                        await settle(one.page)
                        made.append(await _save(one.page, folder, f"{name}-{width}-{scheme}"))
    finally:
        await server.stop()
    return made


async def _save(page: Page, folder: Path | None, name: str) -> Path:
    if folder is not None:
        await page.screenshot(path=folder / f"{name}.png", full_page=True)
        return folder / f"{name}.png"
    assert page.viewport_size is not None
    width = page.viewport_size["width"]
    high: float = await page.evaluate(BOTTOM)
    clip = {"x": 0, "y": 0, "width": width, "height": min(max(LOWEST, high), HIGHEST), "scale": 1}
    session = await page.context.new_cdp_session(page)
    path = DOCS / f"{name}.webp"
    for quality in QUALITIES:
        shot = await session.send("Page.captureScreenshot", {"format": "webp", "quality": quality, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))
        if path.stat().st_size <= LARGEST:
            break
    return path


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    (folder or DOCS).mkdir(parents=True, exist_ok=True)
    for path in asyncio.run(take(folder)):
        print(f"{path.stat().st_size // 1024:4} KiB  {path}")  # noqa: T201  # a command


if __name__ == "__main__":
    main()

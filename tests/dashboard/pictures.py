"""`python -m tests.dashboard.pictures [FOLDER]`: pictures of the views, as WebP in docs/dashboard/, or as PNG in a folder."""

import asyncio
import base64
import sys
from pathlib import Path

from playwright.async_api import Page

from tests.dashboard import data
from tests.dashboard.browser import executable, running, tab
from tests.dashboard.stub import Server

DOCS = Path(__file__).parents[2] / "docs" / "dashboard"
VIEWS = {
    "overview": "",
    "transfers": "transfers",
    "transfer": f"transfers/{data.transfer_id(4)}",
    "dead-letters": "dead-letters",
    "dead-letter": f"dead-letters/{data.transfer_id(4)}",
    "jobs": "jobs",
    "job": f"jobs/reconcile/{data.job('reconcile', 300)['id']}",
    "ledger": "ledger?day=2026-11-30",
    "health": "health",
}
WIDTHS = {1280: 900, 360: 760}
SCHEMES = ("light", "dark")
# In the documentation: all views in one form, and the overview in every form.
QUALITIES = (60, 40, 25)
LARGEST = 60_000


def shown_in_docs(view: str, width: int, scheme: str) -> bool:
    return view == "overview" or (width, scheme) == (1280, "light")


async def settle(page: Page) -> None:
    """Wait until nothing loads and the charts are drawn."""
    await page.wait_for_load_state("networkidle")
    await page.get_by_text("Loading …").wait_for(state="detached")
    await page.wait_for_timeout(150)


async def take(folder: Path | None) -> list[Path]:
    """Take the pictures: PNG of every view in every form into a folder, or WebP for the documentation."""
    path = executable()
    if path is None:
        sys.exit("no Chromium is on PATH. Fix: apt-get install chromium")
    made = []
    server = Server()
    server.stub.health = data.health(up=False)
    await server.start()
    try:
        async with running(path) as browser:
            for width, height in WIDTHS.items():
                for scheme in SCHEMES:
                    size = {"width": width, "height": height}
                    async with tab(browser, server.url, viewport=size, color_scheme=scheme) as one:
                        await one.page.clock.set_fixed_time(data.NOW)
                        for view, address in VIEWS.items():
                            if folder is None and not shown_in_docs(view, width, scheme):
                                continue
                            await one.open(address)
                            await settle(one.page)
                            made.append(await _save(one.page, folder, f"{view}-{width}-{scheme}"))
    finally:
        await server.stop()
    return made


async def _save(page: Page, folder: Path | None, name: str) -> Path:
    if folder is not None:
        await page.screenshot(path=folder / f"{name}.png", full_page=True)
        return folder / f"{name}.png"
    session = await page.context.new_cdp_session(page)
    path = DOCS / f"{name}.webp"
    for quality in QUALITIES:
        shot = await session.send("Page.captureScreenshot", {"format": "webp", "quality": quality})
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

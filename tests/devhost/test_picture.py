"""Pictures of a terminal: the screen shows what rich's own bars leave on it, and every screen is in the picture."""

from io import StringIO
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from devhost.picture import Screen, animated


def plain(screen: Screen) -> list[str]:
    return [Text.from_ansi(line).plain.rstrip() for line in screen.shown()]


def test_a_screen_shows_what_bars_leave_on_it() -> None:
    """Also if the output is cut anywhere, within an escape sequence too."""
    file = StringIO()
    console = Console(file=file, force_terminal=True, width=60, color_system="standard")
    with Progress("{task.description}", console=console, auto_refresh=False) as bars:
        first, second = bars.add_task("one"), bars.add_task("two")
        bars.refresh()
        console.print("a line above")
        bars.update(second, description="[green]two and a half")
        bars.remove_task(first)
        bars.refresh()
    sent = file.getvalue()
    for size in (1, 2, 3, 7, len(sent)):
        screen = Screen()
        for start in range(0, len(sent), size):
            screen.write(sent[start : start + size])
        assert plain(screen) == ["a line above", "two and a half"]


def test_an_animated_picture_has_each_screen_and_nothing_from_elsewhere() -> None:
    drawn = animated([[f"number {each}"] * each for each in range(1, 5)], "title", 40)
    root = ET.fromstring(drawn)  # noqa: S314  # made here
    frames = [each for each in root if each.get("class") == "frame"]
    assert [len({*"".join(frame.itertext()).split()} & {str(each)}) for each, frame in enumerate(frames, 1)] == [1] * 4
    assert drawn.count("animation:") == 4
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")

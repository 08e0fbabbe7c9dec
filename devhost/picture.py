"""Pictures of a terminal: what a rich console has recorded, as SVG without a web font."""

import re
from collections.abc import Sequence
from io import StringIO

from rich.console import Console
from rich.text import Text

WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
FONTS = "Menlo, Consolas, DejaVu Sans Mono, monospace"
# Of the escape sequences, only colors and styles remain in a line.
STEP = re.compile(r"\r|\n|\x1b\[(?P<number>[0-9;?]*)(?P<letter>[A-Za-z])|[^\r\n\x1b]+")
SECONDS_PER_FRAME, FRAMES_AT_END = 1.2, 3


def svg(console: Console, title: str, unique_id: str) -> str:
    """Return what a console has recorded."""
    drawn = console.export_svg(title=title, unique_id=unique_id)
    return WEB_FONT.sub("", drawn).replace("Fira Code, monospace", FONTS)


class Screen:
    """The lines of a terminal to which a program writes as rich does: it clears each line before it writes it again."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0
        self._rest = ""

    def write(self, text: str) -> None:
        """Write what the program has sent. An escape sequence may continue in the next text."""
        text = self._rest + text
        start = text.rfind("\x1b")
        self._rest = text[start:] if start >= 0 and not STEP.match(text, start) else ""
        for step in STEP.finditer(text.removesuffix(self._rest) if self._rest else text):
            self._take(step)

    def _take(self, step: re.Match[str]) -> None:
        match step[0], step["letter"]:
            case "\n", _:
                self._row += 1
                self.lines += [""] * (self._row + 1 - len(self.lines))
            case "\r", _:
                pass
            case _, "A":
                self._row -= int(step["number"] or 1)
            case _, "K":
                self.lines[self._row] = ""
            case text, None | "m":
                self.lines[self._row] += text

    def shown(self) -> list[str]:
        """Return the lines, without empty ones at the end."""
        lines = self.lines.copy()
        while lines and not Text.from_ansi(lines[-1]).plain.strip():
            lines.pop()
        return lines


def animated(frames: Sequence[Sequence[str]], title: str, width: int) -> str:
    """Return an SVG that shows these screens one after the other, again and again.

    Without animations, or if the reader wants few, it shows the one in the middle.
    """
    height = max(map(len, frames))
    drawn = [_frame(lines, height, title, width, f"f{number}") for number, lines in enumerate(frames)]
    steps, middle = len(frames) + FRAMES_AT_END, len(frames) // 2
    view = drawn[0].partition('viewBox="')[2].partition('"')[0]
    shares = [*((1, number) for number in range(len(frames) - 1)), (1 + FRAMES_AT_END, len(frames) - 1)]
    rules = "".join(
        f"@keyframes k{number}{{0%{{visibility:visible}}{100 * share / steps:.2f}%,100%{{visibility:hidden}}}}"
        f"#s{number}{{animation:k{number} {steps * SECONDS_PER_FRAME:g}s {number * SECONDS_PER_FRAME:g}s infinite step-end}}"
        for share, number in shares
    )
    style = (
        f"<style>.frame{{visibility:hidden}}#s{middle}{{visibility:visible}}"
        f"@media (prefers-reduced-motion:no-preference){{#s{middle}{{visibility:hidden}}{rules}}}</style>"
    )
    body = "".join(f'<g class="frame" id="s{number}">{one}</g>' for number, one in enumerate(drawn))
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">{style}{body}</svg>\n'


def _frame(lines: Sequence[str], height: int, title: str, width: int, unique_id: str) -> str:
    console = Console(width=width, record=True, file=StringIO(), force_terminal=True, color_system="standard")
    for line in [*lines, *[""] * (height - len(lines))]:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    return svg(console, title, unique_id)

"""The picture in the README: its source is `docs/architecture.svg`; `make picture` draws the PNG and stamps it with it."""

import importlib
import re
import struct
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.docs.pages import ROOT

SOURCE = ROOT / "docs" / "architecture.svg"
DRAWN = ROOT / "docs" / "architecture.png"
KEYWORD = b"Source-SHA256"
HEAD = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"


def stamp(source: bytes) -> bytes:
    """What a PNG that was drawn from this source says."""
    return sha256(source).hexdigest().encode()


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The parts of a PNG: kind and content."""
    place = len(HEAD)
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        place += size + 12


def stamped(png: bytes, text: bytes) -> bytes:
    """The PNG with a text, before its last chunk."""
    body = b"tEXt" + KEYWORD + b"\0" + text
    return png[:-12] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + png[-12:]


def stamp_of(png: bytes) -> bytes | None:
    """The stamp in a PNG, if it has one."""
    texts = dict(content.split(b"\0", 1) for kind, content in chunks(png) if kind == b"tEXt")
    return texts.get(KEYWORD)


def types(svg: str, *, optional: bool) -> set[str]:
    """The types of resources that are drawn, of what is made always or of what is made if it is asked for."""
    root = ET.fromstring(svg)  # noqa: S314  # our own file
    asked_for = {each for group in root.iter(f"{SVG}g") if group.get("class") == "option" for each in group.iter()}
    return {
        kind
        for each in root.iter()
        if (each in asked_for) is optional
        for kind in (each.get("data-types") or "").split()
    }


def names(svg: str) -> set[str]:
    """The names of containers and queues that can be read in it."""
    return set(re.findall(r'<text class="name"[^>]*>([^<]+)</text>', svg))


def draw(source: Path, drawn: Path) -> None:
    """Draw the source, one and a half times its size, and stamp it."""
    resvg = importlib.import_module("resvg_py")
    png = bytes(resvg.svg_to_bytes(svg_path=str(source), zoom=1.5, background="#ffffff"))
    drawn.write_bytes(stamped(png, stamp(source.read_bytes())))


if __name__ == "__main__":
    draw(SOURCE, DRAWN)

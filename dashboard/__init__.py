"""The dashboard: static files of a page that calls the API from the browser. They hold no data and no key."""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
PAGE = "index.html"
# The description of the API, from which the page makes its forms.
DESCRIPTION = FOLDER.parent / "docs" / "openapi.json"
# A library has its version in its name, so its content never changes.
VERSIONED = re.compile(r".+-\d+\.\d+\.\d+\.(?:js|css)")


@dataclass(frozen=True, slots=True)
class File:
    """A file to serve. `gzipped` holds the same bytes compressed, and `etag` stands for both."""

    body: bytes
    gzipped: bytes
    media_type: str
    etag: str
    forever: bool


@cache
def files() -> dict[str, File]:
    """Return every file by its name, read once. A name that is not a key is not served, so no path can leave the folder."""
    return {
        path.name: _file(path, MEDIA_TYPES[path.suffix])
        for path in sorted(FOLDER.iterdir())
        if path.suffix in MEDIA_TYPES
    }


@cache
def description() -> File:
    """Return the description of the API."""
    return _file(DESCRIPTION, "application/json")


def _file(path: Path, media_type: str) -> File:
    body = path.read_bytes()
    return File(
        body=body,
        gzipped=gzip.compress(body, mtime=0),
        media_type=media_type,
        etag=f'W/"{hashlib.sha256(body).hexdigest()[:32]}"',
        forever=VERSIONED.fullmatch(path.name) is not None,
    )

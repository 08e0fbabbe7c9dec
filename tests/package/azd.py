"""How azd makes the package of a function app: `createDeployableZip` and `rzip` of Azure/azure-dev, read at 1.31.

Each entry of a folder is asked for by itself, a folder before what is in it; what is left out is not entered. The last line
of .funcignore that fits an entry decides. azd leaves out by itself `.azure`, `local.settings.json` and .funcignore; virtual
environments and `__pycache__` only where there is no .funcignore. Links are followed, and what they lead to outside of the
folder is not asked for again.
"""

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from pathspec import GitIgnoreSpec

IGNORE = ".funcignore"


def make_zip(folder: Path, target: Path) -> Path:
    """Make the package of a folder."""
    path = folder / IGNORE
    ignored = GitIgnoreSpec.from_lines(path.read_text("utf-8-sig").splitlines()) if path.exists() else None
    with ZipFile(target, "w", ZIP_DEFLATED) as file:
        for entry, name in _entries(folder, folder, "", ignored):
            file.write(entry, name)
    return target


def _entries(folder: Path, root: Path, into: str, ignored: GitIgnoreSpec | None) -> Iterator[tuple[Path, str]]:
    for entry in sorted(folder.iterdir()):
        if _left_out(entry, root, ignored):
            continue
        place = f"{into}{entry.name}"
        if entry.is_dir():
            yield from _entries(entry.resolve(), root, f"{place}/", ignored)
        else:
            yield entry, place


def _left_out(entry: Path, root: Path, ignored: GitIgnoreSpec | None) -> bool:
    if entry.is_dir():
        if entry.name == ".azure":
            return True
        if ignored is None and (entry.name.lower() == "__pycache__" or (entry / "pyvenv.cfg").exists()):
            return True
    elif entry.name in (IGNORE, "local.settings.json"):
        return True
    return ignored is not None and entry.is_relative_to(root) and ignored.match_file(entry.relative_to(root))

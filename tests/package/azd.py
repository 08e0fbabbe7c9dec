"""The package of a function app as azd makes it: `createDeployableZip` and `rzip` of Azure/azure-dev, version 1.31.

azd checks a folder before its entries, and does not enter an excluded folder. The last matching line of .funcignore decides.
azd always excludes `.azure`, `local.settings.json` and .funcignore. Without a .funcignore it also excludes virtual
environments and `__pycache__`. It follows links, and does not apply .funcignore to their targets outside the folder.

"""

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from pathspec import GitIgnoreSpec

IGNORE = ".funcignore"


def make_zip(folder: Path, target: Path) -> Path:
    path = folder / IGNORE
    ignored = GitIgnoreSpec.from_lines(path.read_text("utf-8-sig").splitlines()) if path.exists() else None
    with ZipFile(target, "w", ZIP_DEFLATED) as file:
        for entry, name in _entries(folder, folder, "", ignored):
            file.write(entry, name)
    return target


def _entries(folder: Path, root: Path, into: str, ignored: GitIgnoreSpec | None) -> Iterator[tuple[Path, str]]:
    for entry in sorted(folder.iterdir()):
        if _is_excluded(entry, root, ignored):
            continue
        place = f"{into}{entry.name}"
        if entry.is_dir():
            yield from _entries(entry.resolve(), root, f"{place}/", ignored)
        else:
            yield entry, place


def _is_excluded(entry: Path, root: Path, ignored: GitIgnoreSpec | None) -> bool:
    if entry.is_dir():
        if entry.name == ".azure":
            return True
        if ignored is None and (entry.name.lower() == "__pycache__" or (entry / "pyvenv.cfg").exists()):
            return True
    elif entry.name in (IGNORE, "local.settings.json"):
        return True
    return ignored is not None and entry.is_relative_to(root) and ignored.match_file(entry.relative_to(root))

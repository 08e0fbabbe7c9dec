"""The durable backend in host.json, in the package and in the working tree.

For the Durable Task Scheduler, host.json in the package must name it: the scale controller reads that file, not app settings.
The lines are added and removed as text, so that the file in the working tree is restored byte for byte.
"""

from collections.abc import Mapping
from pathlib import Path

HOST = Path(__file__).resolve().parents[2] / "host.json"
HEAD = '"storageProvider": {\n'
LINES = """\
        "type": "azureManaged",
        "connectionStringName": "DURABLE_TASK_SCHEDULER",
"""


def for_package(environment: Mapping[str, str]) -> None:
    """Add the scheduler if the azd environment selects it."""
    write(scheduler=environment.get("DURABLE_BACKEND") == "scheduler")


def restore() -> None:
    """Remove the scheduler."""
    write(scheduler=False)


def write(*, scheduler: bool) -> None:
    """Write the file with or without the scheduler, unless it is already correct.

    Raises:
        SystemExit: The file has no storageProvider.
    """
    data = HOST.read_bytes()
    newline = "\r\n" if b"\r\n" in data else "\n"
    text = data.decode().replace("\r\n", "\n")
    plain = text.replace(LINES, "")
    if plain.count(HEAD) != 1:
        raise SystemExit(f"{HOST.name} has no storageProvider to write to")
    wanted = plain.replace(HEAD, HEAD + LINES) if scheduler else plain
    if wanted != text:
        HOST.write_bytes(wanted.replace("\n", newline).encode())

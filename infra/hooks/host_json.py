"""What host.json says of the durable backend, in the package and in the working tree.

For the Durable Task Scheduler the package's host.json has to name it: the scale controller reads that file and no app setting.
Lines are added and taken away as text, so that the file afterwards is what it was, byte for byte.
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
    """Name the scheduler if the azd environment asks for it."""
    write(scheduler=environment.get("DURABLE_BACKEND") == "scheduler")


def restore() -> None:
    """Name none, as it is kept."""
    write(scheduler=False)


def write(*, scheduler: bool) -> None:
    """Write it, with the scheduler or without, whatever it names now; leave it alone if that changes nothing."""
    data = HOST.read_bytes()
    newline = "\r\n" if b"\r\n" in data else "\n"
    text = data.decode().replace("\r\n", "\n")
    plain = text.replace(LINES, "")
    if plain.count(HEAD) != 1:
        raise SystemExit(f"{HOST.name} has no storageProvider to write to")
    wanted = plain.replace(HEAD, HEAD + LINES) if scheduler else plain
    if wanted != text:
        HOST.write_bytes(wanted.replace("\n", newline).encode())

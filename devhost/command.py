"""How a command of the workbench ends: with its exit code, an error in one line, or an interruption."""

import signal
import sys
from collections.abc import Callable

from devhost.storage.config import StackError


def command(name: str, execute: Callable[[], int]) -> int:
    """Return the exit code of `execute`, of an error, or of Ctrl-C."""
    # Make and `kill` send SIGTERM: stop the stack as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return execute()
    except StackError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130

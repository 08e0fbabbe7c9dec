"""The program `sharing`."""

import io
import os
import sys
from collections.abc import Sequence

import click

from sharing.commands import cli
from sharing.failure import INTERRUPTED, UNREACHABLE, USAGE, Failure
from sharing.session import Session

# An answer that is JSON, but lacks fields or has others.
UNEXPECTED = (AttributeError, LookupError, TypeError, ValueError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # print names in any encoding
            stream.reconfigure(errors="backslashreplace")
    session = Session()
    try:
        code = cli.main(arguments, prog_name="sharing", standalone_mode=False, obj=session)
    except Failure as failure:
        session.out.fail(failure.message, failure.fix, failure.code)
        return failure.code
    except click.ClickException as error:
        error.show()
        return USAGE
    except click.Abort:
        return INTERRUPTED
    except UNEXPECTED as error:
        if os.environ.get("SHARING_DEBUG"):
            raise
        fix = "check SHARING_URL, and whether the app and this program are of one release; SHARING_DEBUG=1 shows more"
        session.out.fail(f"an answer of the app is not as expected ({type(error).__name__}: {error})", fix, UNREACHABLE)
        return UNREACHABLE
    finally:
        session.close()
    return code if isinstance(code, int) else 0


def run() -> None:
    """Run a command and exit."""
    sys.exit(main())


if __name__ == "__main__":
    run()

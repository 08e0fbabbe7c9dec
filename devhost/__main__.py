"""`python -m devhost run | demo`: run the local stack in the foreground, or run the demo on a separate stack."""

import argparse
import sys
import time
from pathlib import Path

from devhost.command import command
from devhost.demo import demo
from devhost.stack import LocalStack
from devhost.storage.config import HOST, StackError

HELP = """\
environment (default):
  HOST                the host (stand-in); `func` uses Azure Functions Core Tools
  HOST_PORT           the app's API (7071)
  AZURITE_BLOB_PORT   blobs, through the proxy (10000)
  AZURITE_QUEUE_PORT  queues (10001)
  AZURITE_TABLE_PORT  tables (10002)
  DEVHOST_STATE       folder for all stored data (.local)
  ROUTES              the routes; by default sharingsource/source -> sharingtarget/target
"""


def main() -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m devhost", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("run", "demo"))
    parser.add_argument("--keep", action="store_true", help="demo: leave the stack running until Ctrl-C")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="demo: save the output as SVG")
    arguments = parser.parse_args()
    if arguments.command == "demo":
        return command("devhost", lambda: demo(keep=arguments.keep, picture=arguments.picture))
    return command("devhost", run)


def run() -> int:
    """Run the stack until Ctrl-C, and return 0. The stack keeps its data.

    Raises:
        StackError: the stack did not start, or a part of it ended.
    """
    stack = LocalStack(create_containers=True)
    try:
        with stack:
            print(_welcome(stack), flush=True)
            while (ended := stack.ended()) is None:
                time.sleep(0.5)
    except KeyboardInterrupt:
        print(f"\nThe local stack has stopped. Its blobs are in {stack.state}/.", flush=True)
        return 0
    raise StackError(f"{ended} stopped unexpectedly; see its output above")


def _welcome(stack: LocalStack) -> str:
    ends = stack.ends()
    verbs = {"source": "put blobs into ", "target": "read blobs from"}
    routes = "\n".join(f"  route {end.route}: {verbs[end.side]}  {end.url}" for end in ends)
    warnings = "".join(
        f"  WARNING: the {end.side} of route {end.route}, {end.url}, is not in this stack. The stack's accounts:"
        f" {stack.account('')}({', '.join(stack.accounts)})\n"
        for end in ends
        if end.account is None
    )
    return f"""
The local stack is running. Press Ctrl-C to stop it; its data stays in {stack.state}/.

{routes}
{warnings}  (use any client: Azure Storage Explorer, AzCopy, rclone, an SDK; the key is the emulator's well-known key)
  call the API     {stack.api}/health
  change the app   stop the stack, then start it again

Try, in a second terminal:
  .venv/bin/sharing --url http://{HOST}:{stack.host_port} ls
"""


if __name__ == "__main__":
    sys.exit(main())

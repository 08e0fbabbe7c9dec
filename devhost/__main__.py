"""`python -m devhost run | demo`: the local stack in the foreground, or the main job on it, unattended."""

import argparse
import signal
import sys
import time

from devhost.demo import demo
from devhost.stack import LocalStack, StackFailed

HELP = """\
environment (default):
  HOST                stand-in; `func` runs the app on Azure Functions Core Tools
  HOST_PORT           the app's API (7071)
  AZURITE_BLOB_PORT   blobs, through the proxy (10000)
  AZURITE_QUEUE_PORT  queues (10001)
  AZURITE_TABLE_PORT  tables (10002)
  DEVHOST_STATE       folder of everything that is kept (.local)
  ROUTES              what is shared; the default is sharingsource/source -> sharingtarget/target
"""


def main() -> int:
    """Do what was asked; the exit code."""
    parser = argparse.ArgumentParser(
        "python -m devhost", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("run", "demo"))
    # Make and `kill` stop with SIGTERM: the children are stopped in the same way as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return demo() if parser.parse_args().what == "demo" else run()
    except StackFailed as error:
        print(f"devhost: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run() -> int:
    """Run the stack until Ctrl-C, which is its proper end; data survive."""
    stack = LocalStack(furnished=True)
    try:
        with stack:
            print(_welcome(stack), flush=True)
            while (ended := stack.ended()) is None:
                time.sleep(0.5)
    except KeyboardInterrupt:
        print(f"\nThe local stack has stopped; its blobs are in {stack.state}/.", flush=True)
        return 0
    raise StackFailed(f"{ended} ended by itself; its own lines say why")


def _welcome(stack: LocalStack) -> str:
    ends = stack.ends()
    verbs = {"source": "put blobs into", "target": "find them in  "}
    routes = "\n".join(f"  route {end.route}: {verbs[end.side]}  {end.url}" for end in ends)
    warnings = "".join(
        f"  WARNING: the {end.side} of route {end.route}, {end.url}, is not in this stack. Its accounts are"
        f" {stack.account('')}({', '.join(stack.accounts)})\n"
        for end in ends
        if end.account is None
    )
    return f"""
The local stack runs; Ctrl-C stops it, and what it holds stays in {stack.state}/.

{routes}
{warnings}  (any client: Azure Storage Explorer, AzCopy, rclone, the SDKs; the key is the emulator's well-known one)
  ask the API      {stack.api}/health
  change the app   it was read at the start: stop, and start again

Try:
  curl -s {stack.api}/transfers
"""


if __name__ == "__main__":
    sys.exit(main())

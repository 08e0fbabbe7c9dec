"""`python -m devhost.host --app <folder>`: run the host until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from devhost import parent
from devhost.host import config
from devhost.host.config import Config, ConfigError
from devhost.host.server import Host

HELP = """environment:
  HOST_PORT              port of the functions (7071)
  DEVHOST_STATE          state folder, with host.sqlite and host-keys.json (.local)
  DEVHOST_KEYS=1         require function keys, as Azure does; the host prints them at the start
  DEVHOST_EARLY_TIMERS=1 fire durable timers up to 0.9 s early, as Azure does

signals:
  SIGINT, SIGTERM        stop: running functions have 5 s to finish. A queue message whose function does not finish
                         becomes visible again when its lock ends
  SIGUSR1                kill the Python worker, as out of memory does: every call fails until the next worker is up, a
                         second later. An orchestrator that is called in the meantime fails for good. After the third
                         death the host exits with code 1; start it again

control:
  POST /admin/host/restart  restart the job host in this process: it has no worker for a second, then loads the app
                         again. The old queue listener keeps the messages whose function it lost
"""


def main() -> int:
    """Run the host and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m devhost.host",
        description="A stand-in for the Azure Functions host: runs the real function app.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--app", type=Path, default=Path(), help="folder with function_app.py and host.json (.)")
    parent.add_option(parser)
    arguments = parser.parse_args()
    _set_up_logs()
    try:
        settings = config.load(arguments.app.absolute(), os.environ)
        return asyncio.run(_run(settings, exit_with_parent=arguments.exit_with_parent))
    except ConfigError as error:
        print(f"devhost: {error}", file=sys.stderr)
        return 1


async def _run(settings: Config, *, exit_with_parent: bool) -> int:
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    os.environ.setdefault("WEBSITE_HOSTNAME", f"localhost:{settings.port}")
    stop = parent.stop_on_signal()
    if exit_with_parent:
        parent.exit_with_parent(stop)
    host = Host(settings, os.environ, stop.set)
    await host.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, host.kill_worker)
    await stop.wait()
    await host.stop()
    # The app's sessions live as long as its process, because no host has a hook that closes them.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return int(host.exhausted)


def _set_up_logs() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for name in ("azure", "asyncio", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It would print unreadable requests, including their keys.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    code = main()
    if threading.active_count() > 1:  # a plain function that never returns would block the exit
        os._exit(code)
    sys.exit(code)

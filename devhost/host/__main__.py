"""`python -m devhost.host --app <folder>`: run the host until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from devhost.host import config
from devhost.host.config import Config, ConfigError
from devhost.host.server import Host

ENVIRONMENT = """environment:
  HOST_PORT              port of the functions (7071)
  DEVHOST_STATE          state folder, with host.sqlite and host-keys.json (.local)
  DEVHOST_KEYS=1         require function keys, as Azure does; they are printed at the start
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
    """Parse, run, give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m devhost.host",
        description="A stand-in for the Azure Functions host: runs the real function app.",
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--app", type=Path, default=Path(), help="folder with function_app.py and host.json (.)")
    parser.add_argument(
        "--leash", action="store_true", help="stop when standard input closes, as when the parent process ends"
    )
    arguments = parser.parse_args()
    _set_up_logs()
    try:
        settings = config.load(arguments.app.absolute(), os.environ)
        return asyncio.run(_run(settings, leashed=arguments.leash))
    except ConfigError as error:
        print(f"devhost: {error}", file=sys.stderr)
        return 1


async def _run(settings: Config, *, leashed: bool) -> int:
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
    os.environ.setdefault("WEBSITE_HOSTNAME", f"localhost:{settings.port}")
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if leashed:
        _stop_without_parent(stopped)
    host = Host(settings, os.environ, stopped.set)
    await host.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, host.lose_worker)
    await stopped.wait()
    await host.stop()
    # The app's sessions live as long as its process: no host has a hook that closes them, so nothing is amiss.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return int(host.exhausted)


def _stop_without_parent(stopped: asyncio.Event) -> None:
    """The parent holds the other end of stdin and never writes: the end of it means that the parent is gone, however."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(sys.stdin)
        stopped.set()

    loop.add_reader(sys.stdin, gone)


def _set_up_logs() -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for chatty in ("azure", "asyncio", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It would print requests that it cannot read, key and all.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    code = main()
    if threading.active_count() > 1:  # a plain function that never returns would hold the exit for ever
        os._exit(code)
    sys.exit(code)

"""`python -m devhost.storage`: Azure Storage and Event Grid on this machine, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from aiohttp import web

from devhost.storage.azurite import listen, running
from devhost.storage.config import HOST, Config, StackError
from devhost.storage.control import Control
from devhost.storage.copies import Copies
from devhost.storage.events import Events
from devhost.storage.faults import Faults
from devhost.storage.journal import Journal
from devhost.storage.ledger import Ledger
from devhost.storage.proxy import Proxy
from devhost.storage.upstream import LONGEST_LINE, connected
from devhost.storage.wire import keep_header_bytes, keep_requests_out_of_the_log

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from devhost.storage.azurite import Azurite
    from devhost.storage.upstream import Upstream

HELP = """\
environment (default):
  AZURITE_BLOB_PORT     blob service, through the proxy (10000)
  AZURITE_QUEUE_PORT    queue service (10001)
  AZURITE_TABLE_PORT    table service (10002)
  DEVHOST_STATE         state directory; storage data goes into its storage/ (.local)
  DEVHOST_ACCOUNTS      more accounts, separated by commas (always present: sharingsource, sharingtarget, sharingstate,
                        sharingevents)
  DEVHOST_KEY           key of all accounts, base64 (the emulator's published key)
  DEVHOST_WATCH         containers whose new blobs raise events, separated by commas (sharingsource/source):
                        account/container, or account/container@events-account to use the queue blob-events of
                        another account than sharingevents
  DEVHOST_COPY_RATE     bytes per second of an asynchronous copy (104857600)
  DEVHOST_COPY_SECONDS  minimum duration of an asynchronous copy (1)

control API for tests: http://127.0.0.1:$AZURITE_BLOB_PORT/-/{health,requests,faults,copies,events,accounts}
"""


def main() -> int:
    """Run the stack; return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m devhost.storage", description=__doc__, epilog=HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--leash", action="store_true", help="stop when standard input closes, as when the parent process ends"
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(_run(Config.from_env(os.environ), leashed=arguments.leash))
    except StackError as error:
        print(f"devhost.storage: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(config: Config, *, leashed: bool) -> None:
    stop = _stop_signal(leashed=leashed)
    with listen(config.blob_port, "AZURITE_BLOB_PORT") as port:
        async with running(config) as azurite, connected(azurite.blob_port, config) as upstream:
            await upstream.create_what_is_missing()
            async with _serving(port, upstream, config):
                print(
                    f"ready: blobs http://{HOST}:{config.blob_port} queues http://{HOST}:{config.queue_port}"
                    f" tables http://{HOST}:{config.table_port}",
                    flush=True,
                )
                await _until(stop, azurite)


@contextlib.asynccontextmanager
async def _serving(port: socket.socket, upstream: Upstream, config: Config) -> AsyncIterator[None]:
    """Build the proxy from its parts and let it answer for the block inside."""
    keep_header_bytes()
    keep_requests_out_of_the_log()
    with contextlib.closing(Ledger(config.state / "copies.sqlite")) as ledger:
        events, faults, journal = Events(upstream, config), Faults(), Journal()
        copies = Copies(upstream, ledger, events, config)
        proxy = Proxy(upstream, copies, events, faults, journal)
        await copies.recover()
        clock = asyncio.create_task(copies.run())
        server = web.Server(
            Control(upstream, copies, events, faults, journal).in_front_of(proxy.handle),
            access_log=None,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        runner = web.ServerRunner(server, shutdown_timeout=5)
        await runner.setup()
        await web.SockSite(runner, port).start()
        try:
            yield
        finally:
            faults.remove()
            await runner.cleanup()
            clock.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await clock


def _stop_signal(*, leashed: bool) -> asyncio.Event:
    stop = asyncio.Event()
    for number in signal.SIGINT, signal.SIGTERM:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if leashed:
        _stop_without_parent(stop)
    return stop


def _stop_without_parent(stop: asyncio.Event) -> None:
    """The parent holds the other end of stdin and never writes: the end of it means that the parent is gone, however."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(sys.stdin)
        stop.set()

    loop.add_reader(sys.stdin, gone)


async def _until(stop: asyncio.Event, azurite: Azurite) -> None:
    """Wait for a signal; an Azurite that ends before it is an error."""
    stopped, ended = asyncio.create_task(stop.wait()), asyncio.create_task(azurite.ended())
    await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done():
        raise StackError(f"Azurite stopped unexpectedly. Its last output: {ended.result()}")
    ended.cancel()


if __name__ == "__main__":
    sys.exit(main())

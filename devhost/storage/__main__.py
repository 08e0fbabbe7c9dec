"""`python -m devhost.storage`: Azure Storage and Event Grid on this machine, until SIGINT or SIGTERM."""

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator

from aiohttp import http_writer, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import server_logger
from multidict import CIMultiDict

from devhost import parent
from devhost.storage.azurite import Azurite, listen, running
from devhost.storage.config import HOST, Config, StackError
from devhost.storage.control import Control
from devhost.storage.copies import Copies
from devhost.storage.events import Events
from devhost.storage.faults import Faults
from devhost.storage.journal import Journal
from devhost.storage.ledger import Ledger
from devhost.storage.proxy import Proxy
from devhost.storage.upstream import LONGEST_LINE, Upstream, connected

HELP = """\
environment (default):
  AZURITE_BLOB_PORT     blob service, through the proxy (10000)
  AZURITE_QUEUE_PORT    queue service (10001)
  AZURITE_TABLE_PORT    table service (10002)
  DEVHOST_STATE         state directory; storage data goes into its storage/ (.local)
  DEVHOST_ACCOUNTS      more accounts, separated by commas (always present: sharingsource, sharingtarget, sharingstate,
                        sharingevents)
  DEVHOST_KEY           key of all accounts, base64 (the emulator's published key)
  DEVHOST_WATCH         containers whose blobs raise events, separated by commas (sharingsource/source):
                        account/container, or account/container@events-account to use the queue blob-events of
                        another account than sharingevents; with created: or renamed: in front only the new or the
                        renamed blobs
  DEVHOST_COPY_RATE     bytes per second of an asynchronous copy (104857600)
  DEVHOST_COPY_SECONDS  minimum duration of an asynchronous copy (1)

control API for tests: http://127.0.0.1:$AZURITE_BLOB_PORT/-/{health,requests,faults,copies,events,accounts,sftp}
"""


def main(proxy_type: type[Proxy] = Proxy) -> int:
    """Run the storage half and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m devhost.storage", description=__doc__, epilog=HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    parent.add_option(parser)
    arguments = parser.parse_args()
    try:
        asyncio.run(_run(Config.from_env(os.environ), proxy_type, exit_with_parent=arguments.exit_with_parent))
    except StackError as error:
        print(f"devhost.storage: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(config: Config, proxy_type: type[Proxy], *, exit_with_parent: bool) -> None:
    stop = parent.stop_on_signal()
    if exit_with_parent:
        parent.exit_with_parent(stop)
    with listen(config.blob_port, "AZURITE_BLOB_PORT") as port:
        async with running(config) as azurite, connected(azurite.blob_port, config) as upstream:
            await upstream.create_missing()
            async with _serving(port, upstream, config, proxy_type):
                print(
                    f"ready: blobs http://{HOST}:{config.blob_port} queues http://{HOST}:{config.queue_port}"
                    f" tables http://{HOST}:{config.table_port}",
                    flush=True,
                )
                await _until(stop, azurite)


@contextlib.asynccontextmanager
async def _serving(
    port: socket.socket, upstream: Upstream, config: Config, proxy_type: type[Proxy]
) -> AsyncIterator[None]:
    """Run the proxy for the block."""
    http_writer._serialize_headers = _serialize_headers  # noqa: SLF001  # no public hook exists
    server_logger.addFilter(_hide_unreadable)
    with contextlib.closing(Ledger(config.state / "copies.sqlite")) as ledger:
        events, faults, journal = Events(upstream, config), Faults(), Journal()
        copies = Copies(upstream, ledger, events, config)
        proxy = proxy_type(upstream, copies, events, faults, journal)
        await copies.recover()
        ending = asyncio.create_task(copies.run())
        server = web.Server(
            Control(upstream, copies, events, faults, journal, proxy.lake).in_front_of(proxy.handle),
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
            ending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ending


def _serialize_headers(status_line: str, headers: CIMultiDict[str]) -> bytes:
    """Write header bytes as aiohttp read them.

    aiohttp reads bytes beyond UTF-8 as surrogates, and cannot write those. The SDK sends metadata beyond ASCII as
    Latin-1, and a request with changed metadata would be refused, because its signature no longer fits.
    """
    lines = (status_line, *(f"{name}: {value}" for name, value in headers.items()))
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a header")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def _hide_unreadable(record: logging.LogRecord) -> bool:
    """Hide request lines that aiohttp cannot read, because they may hold a signature."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _until(stop: asyncio.Event, azurite: Azurite) -> None:
    """Wait for `stop`; if Azurite ends first, raise StackError."""
    stopped, ended = asyncio.create_task(stop.wait()), asyncio.create_task(azurite.ended())
    await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done():
        raise StackError(f"Azurite stopped unexpectedly. Its last output: {ended.result()}")
    ended.cancel()


if __name__ == "__main__":
    sys.exit(main())

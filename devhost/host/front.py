"""The two HTTP servers: the public port with everything, and the RPC port that the SDK's client uses."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPMethod, HTTPStatus

from aiohttp import web

from devhost.host.admin import Admin
from devhost.host.keys import Keys
from devhost.host.management import Management
from devhost.host.urls import RPC, WEBHOOK
from devhost.host.web import Web, clean_path

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOOPBACK = "127.0.0.1"
"""Nobody is asked for a key, so nobody from elsewhere may ask."""
RPC_PORT = 17071
MAX_BODY = 100 * 1024 * 1024
GRACE = 5.0
LONGEST_LINE = 65_536


@dataclass
class Front:
    """Leads requests to whoever answers them. `durable` is none in an app without orchestrations."""

    functions: Web
    admin: Admin
    durable: Management | None
    keys: Keys
    _runners: list[web.AppRunner] = field(default_factory=list)

    async def listen(self, port: int) -> int:
        """Open the RPC port, 17071 or a free one, and then the public one. Gives the former. Raises OSError."""
        try:
            rpc_port = await self._open(self.rpc, RPC_PORT)
        except OSError:  # another host runs here: side by side is fine
            rpc_port = await self._open(self.rpc, 0)
        await self._open(self.public, port)
        return rpc_port

    async def close_public(self) -> None:
        """Take in no more requests, let those that run finish."""
        await self._runners.pop().cleanup()

    async def close(self) -> None:
        """Close what is still open."""
        for runner in self._runners:
            await runner.cleanup()

    async def _open(self, handler: Handler, port: int) -> int:
        runner = web.AppRunner(
            _app(handler),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=GRACE,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runners.append(runner)
        return int(runner.addresses[0][1])

    async def public(self, request: web.Request) -> web.StreamResponse:
        """Answer on the public port. A NUL in the path or a header beyond ASCII is Kestrel's 400."""
        path = clean_path(request.raw_path)
        if "%00" in path or any(not value.isascii() for _, value in request.raw_headers):
            return web.Response(status=HTTPStatus.BAD_REQUEST, headers={"Connection": "close"})
        if path.lower().startswith(WEBHOOK):
            return await self._webhook(request, path[len(WEBHOOK) :])
        if path == "/" or path.lower().startswith("/admin/"):
            return await self.admin.answer(request, path)
        return await self.functions.answer(request, path)

    async def _webhook(self, request: web.Request, path: str) -> web.Response:
        if not self.keys.admits(request, "SYSTEM"):
            if self.keys.admits(request, "FUNCTION"):  # a key, but not one for this
                return web.Response(status=HTTPStatus.FORBIDDEN)
            return web.Response(status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
        if self.durable is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        return await self.durable.answer(request, path)

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        """Answer on the RPC port, which asks for no key."""
        path = clean_path(request.raw_path)
        if self.durable is None or not path.lower().startswith(RPC + "/"):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        response = await self.durable.answer(request, path[len(RPC) :])
        if path.lower().rstrip("/") == f"{RPC}/instances" and request.method == HTTPMethod.GET:
            # Measured: at the last page the header is empty here, and absent on the public port.
            response.headers.setdefault("x-ms-continuation-token", "")
        return response


def _app(handler: Handler) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:(?s:.*)}", handler)
    app.on_response_prepare.append(_undress)
    return app


async def _undress(_request: web.Request, response: web.StreamResponse) -> None:
    """Kestrel names no content type for an empty answer."""
    if isinstance(response, web.Response) and not response.body and "application/octet-stream" in response.content_type:
        response.headers.popall("Content-Type", None)

"""A loopback API for the browser: the app's own handlers of the dashboard, and scripted answers for the rest."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import azure.functions as func
from aiohttp import web

from devhost.reference.endpoints import OPERATIONS
from operations.upkeep.doctor import Doctor
from operations.upkeep.health import Health
from tests.dashboard import data
from tests.dashboard.data import JSON
from tests.unit.triggers.api import services
from tests.unit.world import World
from triggers.http import endpoints

JOBS = {"reconciles": "reconcile", "replays": "replay", "discards": "discard"}
ANONYMOUS = ("health",)
# Called with each request to the API, method and path first; may return the answer, or None for the usual one.
Script = Callable[[web.Request, str], Awaitable[web.Response | None]]


@dataclass(frozen=True)
class Asked:
    """A request that the browser sent to the API."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    key: str | None
    headers: dict[str, str]


def problem(status: int, detail: str, fix: str = "Do something else.", retry: int | None = None) -> web.Response:
    body = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail, "fix": fix}
    headers = {} if retry is None else {"Retry-After": str(retry)}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


@dataclass
class Stub:
    """The data that the API answers, what it was asked, and what it does instead of its usual answers."""

    key: str | None = None
    script: Script | None = None
    etags: bool = False
    transfers: list[JSON] = field(default_factory=data.transfers)
    letters: list[JSON] = field(default_factory=data.letters)
    jobs: dict[str, list[JSON]] = field(default_factory=data.jobs)
    routes: JSON | None = field(default_factory=data.routes)
    summary: JSON | None = field(default_factory=data.summary)
    ledger: list[JSON] | None = field(default_factory=data.ledger)
    health: JSON = field(default_factory=data.health)
    asked: list[Asked] = field(default_factory=list)

    def asks(self, method: str, path: str = "") -> list[Asked]:
        """The requests of this method whose path begins with this."""
        return [one for one in self.asked if one.method == method and one.path.startswith(path)]

    async def answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        text = await request.text()
        key = request.headers.get("x-functions-key")
        body = json.loads(text) if text else None
        self.asked.append(Asked(request.method, path, dict(request.query), body, key, dict(request.headers)))
        if self.script is not None and (scripted := await self.script(request, f"{request.method} {path}")) is not None:
            return scripted
        if self.key is not None and key != self.key and path not in ANONYMOUS:
            return web.Response(status=401)
        found = (
            self._read(request, path.split("/"))
            if request.method == "GET"
            else self._change(request.method, path, body)
        )
        if found is None:
            return web.Response(status=404)
        status = {"POST": 202, "DELETE": 200}.get(request.method, 200)
        if path in {"health", "health/deep"} and not self.health["up"]:
            status = 503
        return self._json(request, found, status)

    def _json(self, request: web.Request, found: Any, status: int) -> web.Response:
        etag = f'"{hash(json.dumps(found))}"'
        if self.etags and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.json_response(found, status=status, headers={"ETag": etag} if self.etags else {})

    def _read(self, request: web.Request, parts: list[str]) -> JSON | None:  # noqa: C901, PLR0911  # one for each call
        query = request.query
        match parts:
            case ["transfers"] if "name" in query:
                return next((item for item in self.transfers if item["source"]["name"] == query["name"]), None)
            case ["transfers"]:
                # For a state that is not final, the API reads only what runs.
                running = query.get("state", "verified") not in data.FINAL
                items = [item for item in self.transfers if not running or item["state"] not in data.FINAL]
                return self._page(query, items, "route", "state")
            case ["transfers", identity]:
                return next((item for item in self.transfers if item["id"] == identity), None)
            case ["dead-letters"]:
                return self._page(query, self.letters, "route", "reason")
            case ["dead-letters", identity]:
                return next((data.record(item) for item in self.letters if item["id"] == identity), None)
            case [kind] if kind in JOBS:
                return self._page(query, self.jobs[kind])
            case [kind, identity] if kind in JOBS:
                return next((item for item in self.jobs[kind] if item["id"] == identity), None)
            case [kind, _, "report"] if kind in JOBS:
                return self._page(query, data.report_lines(), "class", "result")
            case ["ledger"]:
                return None if self.ledger is None else {**self._page(query, self.ledger), "route": query["route"]}
            case ["health", "deep"]:
                return self.health
            case ["health" | "routes" | "summary" as name]:
                found: JSON | None = getattr(self, name)
                return found
        return None

    @staticmethod
    def _page(query: Any, items: list[JSON], *filters: str) -> JSON:
        wanted = {name: query[name] for name in filters if name in query}
        limit = int(query.get("limit", 100))
        keep = lambda item: all(item.get(name) == value for name, value in wanted.items())  # noqa: E731
        return data.page(items, limit, query.get("continuation", ""), keep)

    def _change(self, method: str, path: str, body: Any) -> Any:  # noqa: PLR0911  # one for each call
        match method, path.split("/"):
            case "POST", ["transfers"]:
                return {"transfers": [{"id": data.transfer_id(777), "url": f"/api/transfers/{data.transfer_id(777)}"}]}
            case "DELETE", ["transfers", identity]:
                item = next(item for item in self.transfers if item["id"] == identity)
                item |= {"state": "cancelled", "next_check_at": None}
                return item
            case "POST", ["transfers", _, "notify"]:
                return {"transfers": []}
            case "POST", ["dead-letters", identity, "replay"]:
                self.letters = [item for item in self.letters if item["id"] != identity]
                return {"transfers": [{"id": identity, "url": f"/api/transfers/{identity}"}]}
            case "DELETE", ["dead-letters", identity]:
                item = next(item for item in self.letters if item["id"] == identity)
                self.letters = [other for other in self.letters if other is not item]
                return data.record(item) | {"state": "resolved", "resolved_as": "discarded", "resolved_at": data.ago()}
            case "POST", [kind] if kind in JOBS:
                return self._start(kind, body)
            case "DELETE", [kind, identity] if kind in JOBS:
                item = next(item for item in self.jobs[kind] if item["id"] == identity)
                item |= {"state": "cancelled", "phase": None, "cancelling": True}
                return item
        return None

    def _start(self, kind: str, body: JSON) -> JSON:
        """Start a job that is done at once: a dry run only counts, another acts on what it finds."""
        counts: JSON = {"found": 12, "bytes": 34_567, "missing": 10, "stale": 2, "match": 5}
        if kind != "reconciles":
            found = [item for item in self.letters if item["reason"] == body.get("reason", item["reason"])]
            counts = {"found": len(found), "bytes": sum(item["size"] or 0 for item in found)}
        if not body.get("dry_run"):
            counts["discarded" if kind == "discards" else "started"] = counts["found"]
            if kind != "reconciles":
                self.letters = [item for item in self.letters if item not in found]
        made = data.job(JOBS[kind], 5_000 + len(self.jobs[kind]), counts=counts, **{"route": None, **body})
        self.jobs[kind].append(made)
        return {"id": made["id"], "url": f"/api/{kind}/{made['id']}"}


class Server:
    """The loopback server. Each test gives it a fresh stub."""

    def __init__(self) -> None:
        self.stub = Stub()
        world = World()
        self._files = {
            endpoint.name: endpoints._function(endpoint, services(world), Health(), Doctor())
            for endpoint in endpoints.ENDPOINTS
            if OPERATIONS[endpoint.name].static
        }
        app = web.Application()
        app.router.add_get("/api/dashboard", self._file)
        app.router.add_get("/api/dashboard/", self._file)
        app.router.add_get("/api/dashboard/{file}", self._file)
        app.router.add_get("/api/openapi.json", self._file)
        app.router.add_route("*", "/api/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.port = 0

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/dashboard"

    async def _answer(self, request: web.Request) -> web.Response:
        return await self.stub.answer(request)

    async def _file(self, request: web.Request) -> web.Response:
        """Answer with the app's own handler, as the host does."""
        name = request.match_info.get("file")
        sent = func.HttpRequest(
            method="GET",
            url=str(request.url),
            headers={key.lower(): value for key, value in request.headers.items()},
            route_params={} if name is None else {"file": name},
            body=b"",
        )
        endpoint = "openapi" if request.path.endswith(".json") else "dashboard" if name is None else "dashboard_file"
        answer = await self._files[endpoint](req=sent, client="client")
        headers = dict(answer.headers)
        kind = {} if answer.status_code == 304 else {"Content-Type": f"{answer.mimetype}; charset={answer.charset}"}
        return web.Response(status=answer.status_code, body=answer.get_body(), headers={**headers, **kind})

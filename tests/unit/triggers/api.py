"""The registered triggers of an app, called as the worker calls them, on a world in memory."""

import json
from dataclasses import dataclass
from typing import Any

import azure.durable_functions as df
import azure.functions as func

import triggers
from operations.upkeep.health import Health
from ports.orchestrations import Instances
from ports.services import Ports
from tests.unit.world import World
from triggers.http.endpoints import ENDPOINTS

ROUTES = {endpoint.name: endpoint.route for endpoint in ENDPOINTS}
KEY = "c2VjcmV0LWtleQ=="


@dataclass(frozen=True)
class Wired:
    """What the triggers are given."""

    world: World

    def ports(self) -> Ports:
        """The twins."""
        return self.world.ports

    def health(self) -> Health:
        """The shared look."""
        return self.world.health

    def instances(self, client: Any) -> Instances:
        """The twin, whatever the host's client is."""
        assert client == "client"
        return self.world.instances


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `text` as it was sent."""

    status: int
    text: str
    headers: dict[str, str]
    mimetype: str

    @property
    def body(self) -> Any:
        """The JSON value."""
        return json.loads(self.text)


class Api:
    """The functions by name, and a way to call each kind."""

    def __init__(self, world: World) -> None:
        app = df.DFApp()
        triggers.register(app, Wired(world))
        self.functions = {function.get_function_name(): function for function in app.get_functions()}

    async def call(
        self, function: str, path_id: str | None = None, sent: bytes = b"", slash: str = "", /, **query: str
    ) -> Answer:
        """Call an HTTP function, perhaps with a slash at the end of its path. The host puts the key among the parameters."""
        path = ROUTES[function].replace("{id}", path_id or "")
        request = func.HttpRequest(
            method="GET",
            url=f"http://localhost:7071/api/{path}{slash}?code={KEY}",
            params={"code": KEY, **query},
            route_params={} if path_id is None else {"id": path_id},
            headers={"x-functions-key": KEY},
            body=sent,
        )
        response = await self.run(function, req=request)
        return Answer(response.status_code, response.get_body().decode(), dict(response.headers), response.mimetype)

    async def run(self, name: str, **given: Any) -> Any:
        """Call any function behind the SDK's client middleware."""
        return await self.functions[name].get_user_function().client_function(client="client", **given)

"""The registered triggers of an app, called as the worker calls them, with in-memory fakes behind them."""

import json
import re
from dataclasses import dataclass
from typing import Any

import azure.durable_functions as df
import azure.functions as func

import triggers
from ports.orchestrations import Instances
from ports.services import Services
from rules.dead_letters import letters
from rules.errors import Reason
from rules.transfers.model import Ended, Ending, Run, Transfer
from rules.transfers.states import State
from rules.transfers.status import progress
from tests.unit.samples import NAME, NOW
from tests.unit.world import World
from triggers.http.endpoints import ENDPOINTS

ROUTES = {endpoint.name: endpoint.route for endpoint in ENDPOINTS}
KEY = "c2VjcmV0LWtleQ=="


def services(world: World) -> Services:
    """The services of an in-memory world. They check that triggers pass on the host's client."""

    def instances(client: Any) -> Instances:
        assert client == "client"
        return world.instances

    return Services(lambda: world.ports, instances)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `text` as it was sent."""

    status: int
    text: str
    headers: dict[str, str]
    mimetype: str

    @property
    def body(self) -> Any:
        """The parsed JSON."""
        return json.loads(self.text)


class Api:
    """The functions of the app by name."""

    def __init__(self, world: World) -> None:
        app = df.DFApp()
        triggers.register(app, services(world))
        self.functions = {function.get_function_name(): function for function in app.get_functions()}

    async def call(
        self,
        function: str,
        path_id: str | None = None,
        sent: bytes = b"",
        slash: str = "",
        headers: dict[str, str] | None = None,
        /,
        **query: str,
    ) -> Answer:
        """Call an HTTP function. `slash` is appended to its path. Like the host, it adds the key to the parameters."""
        (parameter,) = re.findall(r"{(\w+)}", ROUTES[function]) or ["id"]
        path = ROUTES[function].replace(f"{{{parameter}}}", path_id or "")
        request = func.HttpRequest(
            method="GET",
            url=f"http://localhost:7071/api/{path}{slash}?code={KEY}",
            params={"code": KEY, **query},
            route_params={} if path_id is None else {parameter: path_id},
            headers={"x-functions-key": KEY, **(headers or {})},
            body=sent,
        )
        response = await self.run(function, req=request)
        return Answer(response.status_code, response.get_body().decode(), dict(response.headers), response.mimetype)

    async def run(self, name: str, **given: Any) -> Any:
        """Call a function through the SDK's client middleware."""
        return await self.functions[name].get_user_function().client_function(client="client", **given)


UNKNOWN = "37a8eec1-000000000000000000000000"


async def dead(world: World, name: str = NAME) -> Transfer:
    """A transfer that ended as an open dead letter."""
    transfer = world.put(name)
    ending = Ending(State.DEAD_LETTERED, reason=Reason.THROTTLED, detail="503")
    run = Run(transfer, NOW, state=State.DEAD_LETTERED, step=None, ending=ending)
    world.put_instance(transfer, "Completed", Run(transfer, NOW), progress(run))
    await world.dead_letters.write_ended(Ended(transfer.id, 0, Ending(State.DEAD_LETTERED, Reason.THROTTLED)))
    await world.dead_letters.write(letters.of_run(run, NOW, "0.1.0"))
    return transfer

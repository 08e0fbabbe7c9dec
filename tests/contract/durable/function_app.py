"""An orchestration `transfer` whose end depends on the name of its blob, and another orchestration."""

# mypy: disable-error-code="untyped-decorator"
# The SDK's decorators have no types.

from collections.abc import Generator
from typing import Any

import azure.durable_functions as df
import azure.functions as func

app: Any = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.orchestration_trigger(context_name="context")
def transfer(context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    """Wait for the cancel event. A blob named `broken` fails, one named `done` ends immediately."""
    name = context.get_input()["transfer"]["name"]
    context.set_custom_status({"engine": "sync"})
    if name == "broken":
        raise ValueError(name)
    if name != "done":
        yield context.wait_for_external_event("cancel")
    return {"state": "cancelled"}


@app.orchestration_trigger(context_name="context")
def other(_context: df.DurableOrchestrationContext) -> Generator[Any, Any, Any]:
    """Wait forever."""
    yield _context.wait_for_external_event("never")


@app.route("rpc", methods=["GET"])
@app.durable_client_input(client_name="client")
async def rpc(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> str:  # noqa: ARG001  # a trigger has one
    """Return the URL that the SDK's client calls."""
    return str(client._orchestration_bindings.rpc_base_url)

"""Every orchestration of the app is started by the one port, found by it, and resumed where the host failed it."""

from types import SimpleNamespace
from typing import Any, cast, get_args

import azure.durable_functions as df
import pytest

import orchestrators
from adapters.instances import DurableInstances
from operations.upkeep import resume
from rules.jobs.model import Job, JobKind
from rules.orchestrations import recovery
from rules.orchestrations.instance import Input, Instance
from rules.transfers.model import Run
from tests.unit.samples import NOW, RUN

INPUTS: dict[type, Input] = {Run: RUN, Job: Job("reconcile-" + "a" * 24, JobKind.RECONCILE, NOW)}


class Client:
    """The SDK's client: it keeps what it is asked to start, and shows it as failed."""

    def __init__(self) -> None:
        self.started: dict[str, tuple[str, Any]] = {}

    async def start_new(self, name: str, identity: str, given: Any) -> str:
        """Keep it."""
        self.started[identity] = name, given
        return identity

    async def get_status(self, identity: str, *, show_input: bool) -> Any:
        """Show it as the host does after its worker died."""
        assert show_input
        return SimpleNamespace(
            runtime_status=SimpleNamespace(value="Failed"),
            input_=self.started[identity][1],
            custom_status=None,
            output="the language worker exited",
            last_updated_time=NOW,
        )


def registered() -> set[str]:
    """The orchestrations that the host is told of."""
    app = df.DFApp()
    orchestrators.register(app)
    triggers = [function.get_trigger() for function in app.get_functions()]
    return {trigger.orchestration for trigger in triggers if trigger.get_binding_name() == "orchestrationTrigger"}


def identity_of(given: Input) -> str:
    """The id that it runs by."""
    return given.id if isinstance(given, Job) else given.transfer.id


async def test_every_orchestration_is_started_by_the_port() -> None:
    """A new one cannot be forgotten, nor one be started that the host does not know."""
    assert set(INPUTS) == set(get_args(Input))
    client = Client()
    instances = DurableInstances(cast("Any", client), cast("Any", None), cast("Any", None))
    for given in INPUTS.values():
        assert await instances.start(given)
    assert {name for name, _ in client.started.values()} == registered()
    assert len(client.started) == len(registered())


@pytest.mark.parametrize("given", INPUTS.values(), ids=lambda given: type(given).__name__)
async def test_every_orchestration_is_resumed_where_the_host_failed_it(given: Input) -> None:
    """Found with its input, followed by the same kind, and listed by a prefix that the resume timer asks for."""
    client = Client()
    instances = DurableInstances(cast("Any", client), cast("Any", None), cast("Any", None))
    await instances.start(given)
    found = await instances.find(identity_of(given))
    assert isinstance(found, Instance)
    assert found.input == given
    plan = recovery.plan(found)
    assert plan is not None
    assert plan.resumed
    assert type(plan.input) is type(given)
    assert identity_of(plan.input) == found.id
    assert any(found.id.startswith(prefix) for prefix in resume.PREFIXES if prefix or isinstance(given, Run))

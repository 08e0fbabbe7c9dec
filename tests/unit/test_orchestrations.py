"""The port starts, finds and resumes every orchestration of the app."""

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


class FakeClient:
    """The SDK's client. It stores each start, and shows it as failed."""

    def __init__(self) -> None:
        self.started: dict[str, tuple[str, Any]] = {}

    async def start_new(self, name: str, identity: str, given: Any) -> str:
        """Store the start."""
        self.started[identity] = name, given
        return identity

    async def get_status(self, identity: str, *, show_input: bool) -> Any:
        """Show it as the host does after the death of its worker."""
        assert show_input
        return SimpleNamespace(
            runtime_status=SimpleNamespace(value="Failed"),
            input_=self.started[identity][1],
            custom_status=None,
            output="the language worker exited",
            last_updated_time=NOW,
        )


def registered_names() -> set[str]:
    """The orchestrations that the host knows."""
    app = df.DFApp()
    orchestrators.register(app)
    triggers = [function.get_trigger() for function in app.get_functions()]
    return {trigger.orchestration for trigger in triggers if trigger.get_binding_name() == "orchestrationTrigger"}


def identity_of(given: Input) -> str:
    return given.id if isinstance(given, Job) else given.transfer.id


async def test_every_orchestration_is_started_by_the_port() -> None:
    assert set(INPUTS) == set(get_args(Input))
    client = FakeClient()
    instances = DurableInstances(cast("Any", client), cast("Any", None), cast("Any", None))
    for given in INPUTS.values():
        assert await instances.start(given)
    assert {name for name, _ in client.started.values()} == registered_names()
    assert len(client.started) == len(registered_names())


@pytest.mark.parametrize("given", INPUTS.values(), ids=lambda given: type(given).__name__)
async def test_every_orchestration_is_found_and_resumed_after_the_host_failed_it(given: Input) -> None:
    client = FakeClient()
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

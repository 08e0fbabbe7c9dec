"""How the steps become activities: one function each, one value in, one out, one line in the log."""

import json
import logging
import traceback
from typing import Any

import azure.durable_functions as df
import pytest

import activities
from adapters.translation import SOURCE_HEAD
from operations.log import LOGGER
from rules import codec
from rules.models import Outcome, Run, Step, Verdict
from tests.unit.operations.world import World
from tests.unit.rules.samples import NOW


def registered(world: World) -> dict[str, Any]:
    """The activities of an app, by name."""
    app = df.DFApp()
    activities.register(app, lambda: world.ports, lambda _client: world.instances)
    return {function.get_function_name(): function for function in app.get_functions()}


def test_every_step_is_an_activity_of_the_same_name(world: World) -> None:
    """The orchestrator calls them by it."""
    assert list(registered(world)) == [step.value for step in Step]


async def test_an_activity_takes_a_run_and_gives_an_outcome_as_json(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What the SDK hands over is a plain object; what it stores is one as well."""
    transfer = world.put()
    with caplog.at_level(logging.INFO, LOGGER.name):
        given = await registered(world)["start"].get_user_function()(run=codec.encode(Run(transfer, NOW)))
    assert codec.decode(Outcome, json.loads(json.dumps(given))).verdict is Verdict.VERIFIED
    (line,) = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER.name]
    assert (line["action"], line["id"], line["verdict"]) == ("transfer.start", transfer.id, "verified")
    assert "sig" not in caplog.text


async def test_an_input_that_is_no_run_raises_so_that_the_orchestrator_backs_off(world: World) -> None:
    """Infrastructure, not a verdict on the blob."""
    with pytest.raises((TypeError, ValueError, KeyError)):
        await registered(world)["start"].get_user_function()(run={"transfer": 5})


async def test_what_an_activity_raises_leaves_it_without_its_signature(world: World) -> None:
    """The host writes it into its log and into the history, with whatever it was raised from."""
    transfer = world.put()
    world.refuse(SOURCE_HEAD, ValueError("GET https://x/y?sv=1&sig=c2VjcmV0&se=2 broke"))
    with pytest.raises(RuntimeError, match=r"ValueError: GET https://x/y\?sv=1&sig=\w+&se=2 broke") as raised:
        await registered(world)["start"].get_user_function()(run=codec.encode(Run(transfer, NOW)))
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)
    assert "c2VjcmV0" not in "".join(traceback.format_exception(raised.value))

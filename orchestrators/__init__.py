"""The orchestrations. They only yield: `rules` decides, and the context gives the time, so that a replay is deterministic."""

import azure.durable_functions as df

from orchestrators.job import job
from orchestrators.transfer import transfer
from rules.fixed_names import JOB, TRANSFER


def register(app: df.DFApp) -> None:
    """Register the orchestrations under their fixed names."""
    app.orchestration_trigger(context_name="context", orchestration=TRANSFER)(transfer)
    app.orchestration_trigger(context_name="context", orchestration=JOB)(job)

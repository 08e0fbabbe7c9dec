"""Orchestrations: generators that only yield. What they decide is in `rules.course`; the clock here is the context's."""

import azure.durable_functions as df

from orchestrators.job import job
from orchestrators.transfer import transfer
from rules.fixed_names import JOB, TRANSFER


def register(app: df.DFApp) -> None:
    """Put the orchestrations into the app."""
    app.orchestration_trigger(context_name="context", orchestration=TRANSFER)(transfer)
    app.orchestration_trigger(context_name="context", orchestration=JOB)(job)

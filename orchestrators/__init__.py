"""Orchestrations: generators that only yield. What they decide is in `rules.course`; the clock here is the context's."""

import azure.durable_functions as df

from orchestrators.job import job
from orchestrators.transfer import transfer


def register(app: df.DFApp) -> None:
    """Put the orchestrations into the app."""
    app.orchestration_trigger(context_name="context", orchestration="transfer")(transfer)
    app.orchestration_trigger(context_name="context", orchestration="job")(job)

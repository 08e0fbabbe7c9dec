"""Reporting what happened to a transfer."""

import json
import logging

from operations.log import log
from ports.services import Ports
from rules import codec
from rules.errors import StorageError
from rules.figures import feed
from rules.figures.feed import Kind
from rules.transfers.model import Outcome, Run


async def report(ports: Ports, run: Run, outcome: Outcome) -> None:
    """Put the message that follows from the outcome of a step, if any.

    Raises:
        StorageError: the step is to be repeated, which is safe: `start` finds its copy and confirms it. After a few
            repetitions, or if one could end the transfer, this gives up and loses the message instead.
    """
    now = ports.now()
    message = feed.message(run, outcome, now)
    if message is None:
        return
    try:
        await ports.feed.put(json.dumps(codec.encode(message)).encode())
    except StorageError as error:
        if message.kind is not Kind.OPENED and feed.may_repeat(run, now):
            raise
        log(
            "feed.lost",
            str(error),
            level=logging.WARNING,
            id=message.id,
            route=message.route,
            name=message.name,
            kind=message.kind,
        )

"""Draining the poison queue: what the queue trigger could not take is accepted here, or becomes a dead letter (rule 10)."""

from operations.accept import accept
from operations.log import log
from rules.ports import Instances, Ports


async def drain(ports: Ports, instances: Instances) -> int:
    """Take every poison message there is; how many. A message is deleted only after it was accepted or kept.

    Raises what storage raises: the message shows again, and the next round takes it.
    """
    count = 0
    async for message in ports.events.poison():
        accepted = await accept(ports, instances, message.body)
        await ports.events.consumed(message)
        log("poison.drained", "a poison message was taken", started=accepted.started, letter=accepted.letter)
        count += 1
    return count

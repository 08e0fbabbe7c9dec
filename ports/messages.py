"""A received message of a queue."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """The body of a message, and the id and receipt to delete it."""

    body: bytes
    id: str
    receipt: str

"""One twin in memory for each port, with the service's own copy semantics: for tests, and for exploring interleavings.

Each method asks the world's `hook` once before it has its effect; that is its only await. `tests/contract` runs one suite on
the twins and on real storage.
"""

from tests.fakes.dead_letters import MemoryDeadLetters
from tests.fakes.events import MemoryEvents
from tests.fakes.instances import MemoryInstances
from tests.fakes.reports import MemoryReports
from tests.fakes.source import MemorySource
from tests.fakes.target import MemoryTarget
from tests.fakes.world import Item, MemoryStorage

__all__ = [
    "Item",
    "MemoryDeadLetters",
    "MemoryEvents",
    "MemoryInstances",
    "MemoryReports",
    "MemorySource",
    "MemoryStorage",
    "MemoryTarget",
]

"""One twin in memory for each port, with the service's own copy semantics: for tests, and for exploring interleavings.

Each method asks the world's `hook` once before it has its effect; that is its only await. `tests/contract` runs one suite on
the twins and on real storage.
"""

from adapters.memory.events import MemoryEvents
from adapters.memory.instances import MemoryInstances
from adapters.memory.letters import MemoryLetters
from adapters.memory.probe import MemoryProbe
from adapters.memory.reports import MemoryReports
from adapters.memory.source import MemorySource
from adapters.memory.target import MemoryTarget
from adapters.memory.world import Item, MemoryStorage

__all__ = [
    "Item",
    "MemoryEvents",
    "MemoryInstances",
    "MemoryLetters",
    "MemoryProbe",
    "MemoryReports",
    "MemorySource",
    "MemoryStorage",
    "MemoryTarget",
]

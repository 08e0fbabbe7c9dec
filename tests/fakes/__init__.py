"""In-memory fakes of the ports, with the copy semantics of the service, for tests and for exploring interleavings.

Each method awaits the world's `hook` exactly once, before its effect. `tests/contract` runs one suite on the fakes and on real
storage.
"""

from tests.fakes.dead_letters import MemoryDeadLetters
from tests.fakes.events import MemoryEvents
from tests.fakes.figures import MemoryFeed, MemoryFigures, MemoryLedger
from tests.fakes.instances import MemoryInstances
from tests.fakes.recipients import MemoryRecipients
from tests.fakes.reports import MemoryReports
from tests.fakes.source import MemorySource
from tests.fakes.target import MemoryTarget
from tests.fakes.world import Item, MemoryStorage

__all__ = [
    "Item",
    "MemoryDeadLetters",
    "MemoryEvents",
    "MemoryFeed",
    "MemoryFigures",
    "MemoryInstances",
    "MemoryLedger",
    "MemoryRecipients",
    "MemoryReports",
    "MemorySource",
    "MemoryStorage",
    "MemoryTarget",
]

"""Names that must not change: a renamed queue or activity strands messages and running orchestrations."""

from devhost.storage.config import CONTAINERS, EVENT_QUEUE, EVENTS_ACCOUNT, FEED_QUEUE, QUEUES, STATE_ACCOUNT
from rules import fixed_names


def test_the_names_never_change() -> None:
    """`tests/unit/test_function_app.py` has the names of orchestrations and activities."""
    assert fixed_names.CANCEL == "cancel"
    assert (fixed_names.EVENTS_QUEUE, fixed_names.POISON_QUEUE) == ("blob-events", "blob-events-poison")
    assert fixed_names.UNDELIVERED_CONTAINER == "event-dead-letters"
    assert (fixed_names.DEAD_LETTERS_CONTAINER, fixed_names.REPORTS_CONTAINER) == ("dead-letters", "reports")
    assert (fixed_names.FIGURES_CONTAINER, fixed_names.LEDGER_CONTAINER) == ("figures", "ledger")
    assert fixed_names.FEED_QUEUE == "transfer-ends"


def test_the_local_stack_creates_the_queues_and_containers_of_the_app() -> None:
    """The local stack does not import the app, so it repeats their names."""
    assert (EVENT_QUEUE, *QUEUES) == (fixed_names.EVENTS_QUEUE, fixed_names.EVENTS_QUEUE, fixed_names.POISON_QUEUE)
    assert FEED_QUEUE == fixed_names.FEED_QUEUE
    made = {(account, container) for account, container in CONTAINERS if account in {STATE_ACCOUNT, EVENTS_ACCOUNT}}
    assert made == {
        (STATE_ACCOUNT, fixed_names.DEAD_LETTERS_CONTAINER),
        (STATE_ACCOUNT, fixed_names.REPORTS_CONTAINER),
        (STATE_ACCOUNT, fixed_names.FIGURES_CONTAINER),
        (STATE_ACCOUNT, fixed_names.LEDGER_CONTAINER),
        (EVENTS_ACCOUNT, fixed_names.UNDELIVERED_CONTAINER),
    }

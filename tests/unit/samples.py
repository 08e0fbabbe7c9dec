"""Sample values for tests, and Hypothesis strategies."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from rules.errors import Reason
from rules.routes import names
from rules.routes.model import Engine, Place, Recipient, Route
from rules.transfers import identity
from rules.transfers.decisions import SourceBlob, TargetBlob
from rules.transfers.model import Ending, Kind, Lane, Outcome, Run, Step, Successor, Transfer, Verdict
from rules.transfers.states import State

# `make soak` tries more.
LONG = os.environ.get("SOAK") == "long"
quick = settings(max_examples=200 if LONG else 60, deadline=None)

NOW = datetime(2026, 11, 24, 19, 2, 44, 120_000, UTC)
SOURCE_HOST = "https://sharingsource.blob.core.windows.net"
TARGET_HOST = "https://sharingtarget.blob.core.windows.net"
ETAG = "0x8DD0C9F9B2A3C4D"
NEWER = "0x8DD0C9F9B2A3C4E"
NAME = "in/2026/report.csv"

ROUTE = Route("default", Place(SOURCE_HOST, "source", "in/"), Place(TARGET_HOST, "target", "out/"))
RECIPIENT = Recipient("https://partner.queue.core.windows.net", "arrivals")
NOTIFYING = replace(ROUTE, notify=RECIPIENT)
TRANSFER = identity.transfer(ROUTE, NAME, ETAG)
RUN = Run(TRANSFER, NOW)
SOURCE = SourceBlob(ETAG, 1_000, Kind.BLOCK, {})
TARGET = TargetBlob("0x1", 1_000, source_etag=ETAG, transfer_id=TRANSFER.id)


def event(**data: Any) -> dict[str, Any]:
    """The event of `TRANSFER`'s version as CloudEvents, with these fields of `data` replaced."""
    return {
        "specversion": "1.0",
        "id": "1",
        "type": "Microsoft.Storage.BlobCreated",
        "time": "2026-11-24T19:02:44.120Z",
        "source": "/subscriptions/-/resourceGroups/-/providers/Microsoft.Storage/storageAccounts/sharingsource",
        "subject": f"/blobServices/default/containers/source/blobs/{NAME}",
        "data": {"api": "PutBlob", "eTag": ETAG, "url": f"{SOURCE_HOST}/source/{NAME}", **data},
    }


def event_grid(**data: Any) -> dict[str, Any]:
    """The same event in the Event Grid schema."""
    cloud = event(**data)
    return {
        "id": "1",
        "topic": cloud["source"],
        "subject": cloud["subject"],
        "eventType": cloud["type"],
        "eventTime": cloud["time"],
        "data": cloud["data"],
        "dataVersion": "",
        "metadataVersion": "1",
    }


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def after(**length: float) -> datetime:
    """The time this long after `NOW`."""
    return NOW + timedelta(**length)


def moments() -> st.SearchStrategy[datetime]:
    """Times with the codec's precision: UTC and milliseconds."""
    return st.integers(0, 2**40).map(lambda milliseconds: after(milliseconds=milliseconds))


def carried_names(max_size: int = 1_024) -> st.SearchStrategy[str]:
    """Names that can be carried."""
    return st.text(min_size=1, max_size=max_size).filter(lambda name: names.refusal(name) is None)


def endings() -> st.SearchStrategy[Ending]:
    successors = st.sampled_from([Successor(None), Successor(NEWER), Successor(NEWER, growing=True)])
    return st.builds(
        Ending, st.sampled_from(State), st.none() | st.sampled_from(Reason), st.text(max_size=5), st.none() | successors
    )


def refused_engines() -> st.SearchStrategy[tuple[Engine, ...]]:
    return st.lists(st.sampled_from(Engine), max_size=3).map(tuple)


def some_lanes() -> st.SearchStrategy[tuple[Lane, ...]]:
    """Lanes in any condition, including impossible ones."""
    numbers = st.integers(0, 50_000)
    lane = st.builds(
        Lane, numbers, numbers, st.integers(0, 2**50), st.integers(1, 32), st.integers(0, 8), st.none() | moments()
    )
    return st.lists(lane, max_size=4).map(tuple)


def outcomes() -> st.SearchStrategy[Outcome]:
    """Outcomes without lanes, including impossible ones."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "engine": st.sampled_from(Engine),
        "size": st.integers(0, 2**40),
        "copied": st.integers(0, 2**40),
        "reason": st.sampled_from(Reason),
        "detail": st.text(max_size=5),
        "ending": endings(),
        "pause": st.integers(0, 90),
        "note": st.text(max_size=5),
        "began": st.booleans(),
        "refused": refused_engines(),
        "copy_id": st.text(max_size=5),
        "patience": st.none() | st.timedeltas(timedelta(), timedelta(hours=1)),
    }
    return st.builds(_outcome, st.sampled_from(Verdict), st.fixed_dictionaries({}, optional=fields))


def _outcome(verdict: Verdict, fields: dict[str, Any]) -> Outcome:
    return Outcome(verdict, **fields)


def transfers() -> st.SearchStrategy[Transfer]:
    """Transfers of any name and any prefixes."""
    return st.builds(
        lambda prefix, target, rest: identity.transfer(
            Route("any", Place(SOURCE_HOST, "source", prefix), Place(TARGET_HOST, "target", target)),
            prefix + rest,
            ETAG,
        ),
        carried_names(5) | st.just(""),
        carried_names(5) | st.just(""),
        carried_names(10),
    )


def runs() -> st.SearchStrategy[Run]:
    """Runs in any condition, including impossible ones."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "attempt": st.integers(0, 1_000),
        "has_open_dead_letter": st.booleans(),
        "deadline": st.timedeltas(timedelta(minutes=1), timedelta(days=6)),
        "step": st.none() | st.sampled_from(Step),
        "state": st.sampled_from(State),
        "first": st.booleans(),
        "engine": st.sampled_from(Engine),
        "size": st.integers(0, 2**50),
        "copied": st.integers(0, 2**50),
        "copy_attempts": st.integers(0, 20),
        "activity_failures": st.integers(0, 20),
        "resumes": st.integers(0, 99),
        "polls": st.integers(0, 10_000),
        "copying_at": moments(),
        "progressed_at": moments(),
        "updated_at": moments(),
        "cancelling": st.booleans(),
        "recorded": st.booleans(),
        "lanes": some_lanes(),
        "refused": refused_engines(),
        "ending": endings(),
        "reason": st.sampled_from(Reason),
        "detail": st.text(max_size=5),
    }
    return st.builds(_run, transfers(), moments(), st.fixed_dictionaries({}, optional=fields))


def _run(transfer: Transfer, accepted_at: datetime, fields: dict[str, Any]) -> Run:
    return Run(transfer, accepted_at, **fields)

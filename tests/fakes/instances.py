"""A fake of `Instances`. It stores runs and jobs as the extension does, but runs no orchestrator: tests call `become`."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from adapters.continuation import decode_token, encode_token
from adapters.translation import (
    INSTANCES_CANCEL,
    INSTANCES_FIND,
    INSTANCES_OLDEST,
    INSTANCES_PAGE,
    INSTANCES_PURGE,
    INSTANCES_START,
    INSTANCES_TERMINATE,
)
from rules import codec
from rules.errors import Reason, Retryable
from rules.jobs.model import Job
from rules.orchestrations.instance import Input, Instance
from rules.transfers.identity import listable_ids
from tests.fakes.world import MemoryStorage


class MemoryInstances:
    """Instances by id in `kept`; `cancels` lists the ids whose cancel event was raised."""

    def __init__(self, world: MemoryStorage) -> None:
        self._world = world
        self.kept: dict[str, Instance] = {}
        self.created: dict[str, datetime] = {}
        self.cancels: list[str] = []
        self.oldest: datetime | None = None

    async def find(self, identity: str) -> Instance | None:
        async with self._world.request(INSTANCES_FIND, identity):
            return self.kept.get(identity)

    async def start(self, run_or_job: Input) -> bool:
        """Start a run or a job; it replaces an ended instance of its id."""
        identity = run_or_job.id if isinstance(run_or_job, Job) else run_or_job.transfer.id
        async with self._world.request(INSTANCES_START, identity):
            existing = self.kept.get(identity)
            if existing is not None and existing.running:
                return False
            stored = codec.decode(type(run_or_job), json.dumps(codec.encode(run_or_job)))
            run, job = (None, stored) if isinstance(stored, Job) else (stored, None)
            now = self.created[identity] = self._world.now()
            self.kept[identity] = Instance(identity, "Pending", run, {}, None, now, job)
            return True

    async def cancel(self, identity: str) -> None:
        async with self._world.request(INSTANCES_CANCEL, identity):
            if (existing := self.kept.get(identity)) and existing.running:
                self.cancels.append(identity)

    async def terminate(self, identity: str, why: str) -> None:
        async with self._world.request(INSTANCES_TERMINATE, identity):
            if (existing := self.kept.get(identity)) and existing.running:
                self.become(identity, "Terminated", why)

    async def purge(self, identity: str) -> None:
        async with self._world.request(INSTANCES_PURGE, identity):
            if (existing := self.kept.get(identity)) and existing.running:
                raise Retryable(Reason.INTERNAL, INSTANCES_PURGE.name, "it runs")
            self.kept.pop(identity, None)

    async def oldest_message(self) -> datetime | None:
        async with self._world.request(INSTANCES_OLDEST, ""):
            return self.oldest

    async def page(
        self,
        *,
        prefix: str = "",
        statuses: frozenset[str] = frozenset(),
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int,
        continuation: str | None = None,
    ) -> tuple[list[Instance], str | None]:
        """List by id prefix. Instances of other orchestrations count toward the limit, so a page may be short."""
        after = decode_token(prefix, continuation) or ""
        async with self._world.request(INSTANCES_PAGE, prefix):
            found = sorted(
                identity
                for identity, instance in self.kept.items()
                if identity.startswith(prefix)
                and identity > after
                and (not statuses or instance.status in statuses)
                and (since is None or self.created.get(identity, since) >= since)
                and (before is None or self.created.get(identity, before) <= before)
            )
            items = [self.kept[identity] for identity in found[:limit] if listable_ids(prefix).fullmatch(identity)]
            return items, encode_token(prefix, found[limit - 1]) if len(found) > limit else None

    def become(self, identity: str, status: str, output: Any = None, custom: dict[str, Any] | None = None) -> None:
        """Change an instance as the extension does after its orchestrator has run."""
        instance = self.kept[identity]
        self.kept[identity] = replace(
            instance,
            status=status,
            output=output,
            custom=instance.custom if custom is None else custom,
            updated_at=self._world.now(),
        )

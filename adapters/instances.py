"""The port `Instances` on the Durable extension: through the SDK, and by HTTP for lists, which the SDK cannot page."""

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
from azure.durable_functions import DurableOrchestrationClient
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, use_span

from adapters.continuation import decode_token, encode_token
from adapters.hub import HubQueues
from adapters.translation import (
    INSTANCES_CANCEL,
    INSTANCES_FIND,
    INSTANCES_PAGE,
    INSTANCES_PURGE,
    INSTANCES_START,
    INSTANCES_TERMINATE,
    Request,
)
from rules import codec
from rules.errors import Reason, Retryable
from rules.fixed_names import CANCEL, JOB, TRANSFER
from rules.jobs.model import Job
from rules.orchestrations.instance import Input, Instance
from rules.transfers.identity import JOB_ID_PATTERN, listable_ids, trace_id
from rules.transfers.model import Run

T = TypeVar("T", Run, Job)
# The extension's limit. It answers a request for 0 with an empty list and a token.
MAX_PAGE = 1_000
CONTINUATION = "x-ms-continuation-token"


class DurableInstances:
    """The orchestrations, through the client of one invocation; `session` and `queues` belong to the process."""

    def __init__(self, client: DurableOrchestrationClient, session: aiohttp.ClientSession, queues: HubQueues) -> None:
        self._client = client
        self._session = session
        self._queues = queues

    async def find(self, identity: str) -> Instance | None:
        """Return an instance; None if there is none."""
        try:
            found = await self._client.get_status(identity, show_input=True)
        except Exception as error:  # noqa: BLE001  # the SDK raises plain Exceptions, and their texts are not an API
            raise _unavailable(INSTANCES_FIND, error) from None
        if found.runtime_status is None:
            return None
        return Instance(
            id=identity,
            status=found.runtime_status.value,
            run=_read(Run, found.input_),
            custom=_custom_status(found.custom_status),
            output=found.output,
            updated_at=found.last_updated_time.astimezone(UTC),
            job=_job(identity, found.input_),
        )

    async def start(self, run_or_job: Input) -> bool:
        """Start a run or a job; return False if an instance of its id is running."""
        name, identity = (JOB, run_or_job.id) if isinstance(run_or_job, Job) else (TRANSFER, run_or_job.transfer.id)
        try:
            with _trace_of(identity):
                await self._client.start_new(name, identity, codec.encode(run_or_job))
        except Exception as error:  # noqa: BLE001  # as above; the instance's status shows whether it was running
            if await self._is_running(identity):
                return False
            raise _unavailable(INSTANCES_START, error) from None
        return True

    async def cancel(self, identity: str) -> None:
        """Raise the cancel event. It has no effect on an instance that is missing or has ended."""
        try:
            await self._client.raise_event(identity, CANCEL)
        except Exception as error:  # noqa: BLE001  # as above
            if await self._is_running(identity):
                raise _unavailable(INSTANCES_CANCEL, error) from None

    async def terminate(self, identity: str, why: str) -> None:
        """Terminate an instance. It has no effect on one that is missing or has ended."""
        try:
            await self._client.terminate(identity, why)
        except Exception as error:  # noqa: BLE001  # as above
            if await self._is_running(identity):
                raise _unavailable(INSTANCES_TERMINATE, error) from None

    async def purge(self, identity: str) -> None:
        """Delete an ended instance and its history. By id, because the extension's purge by filter ignores prefixes."""
        try:
            await self._client.purge_instance_history(identity)
        except Exception as error:  # noqa: BLE001  # as above
            raise _unavailable(INSTANCES_PURGE, error) from None

    async def oldest_message(self) -> datetime | None:
        """Return when the oldest visible message of the task hub was put."""
        hub = self._client._orchestration_bindings.task_hub_name  # noqa: SLF001  # no public accessor
        return await self._queues.oldest(hub)

    async def page(  # noqa: PLR0913  # the filters
        self,
        *,
        prefix: str = "",
        statuses: frozenset[str] = frozenset(),
        since: datetime | None = None,
        before: datetime | None = None,
        limit: int,
        continuation: str | None = None,
    ) -> tuple[list[Instance], str | None]:
        """List transfers or jobs by id prefix."""
        query = {"top": str(max(1, min(limit, MAX_PAGE))), "showInput": "true"}
        query |= {"instanceIdPrefix": prefix} if prefix else {}
        query |= {"runtimeStatus": ",".join(sorted(statuses))} if statuses else {}
        query |= {"createdTimeFrom": codec.stamp(since)} if since else {}
        query |= {"createdTimeTo": codec.stamp(before)} if before else {}
        token = decode_token(prefix, continuation)
        try:
            items, next_token = await self._query(query, {CONTINUATION: token} if token else {})
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unavailable(INSTANCES_PAGE, error) from None
        pattern = listable_ids(prefix)
        instances = [_instance(item) for item in items if pattern.fullmatch(item["instanceId"])]
        return instances, encode_token(prefix, next_token)

    async def _query(
        self, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[list[dict[str, Any]], str | None]:
        # The SDK's queries return the first 100 instances and no token.
        url = f"{self._client._orchestration_bindings.rpc_base_url}instances"  # noqa: SLF001
        async with self._session.get(url, params=query, headers=headers, raise_for_status=True) as response:
            # On the last page the header is empty or missing.
            return await response.json(), response.headers.get(CONTINUATION) or None

    async def _is_running(self, identity: str) -> bool:
        found = await self.find(identity)
        return found is not None and found.running


def _trace_of(identity: str) -> AbstractContextManager[Span]:
    """Make a span of the id's trace current: the SDK sends its context, and the extension continues the trace."""
    span = SpanContext(int(trace_id(identity), 16), secrets.randbits(64) | 1, is_remote=True, trace_flags=TraceFlags(1))
    return use_span(NonRecordingSpan(span))


def _instance(item: dict[str, Any]) -> Instance:
    return Instance(
        id=item["instanceId"],
        status=item["runtimeStatus"],
        run=_read(Run, item.get("input")),
        custom=_custom_status(item.get("customStatus")),
        output=item.get("output"),
        updated_at=codec.parse_time(item["lastUpdatedTime"]).astimezone(UTC),
        job=_job(item["instanceId"], item.get("input")),
    )


def _custom_status(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _job(identity: str, value: Any) -> Job | None:
    return _read(Job, value) if JOB_ID_PATTERN.fullmatch(identity) else None


def _read(cls: type[T], value: Any) -> T | None:
    """Decode an input; return None if it is of another type, or of an incompatible version of the app."""
    try:
        return codec.decode(cls, value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _unavailable(request: Request, error: Exception) -> Retryable:
    # The error's text is left out: it may contain the extension's URLs, which include a key.
    return Retryable(
        Reason.INTERNAL, request.name, f"unexpected answer from the Durable extension ({type(error).__name__})"
    )

"""Runs the orchestrations: takes messages, plays episodes, runs activities, fires timers.

An episode calls the orchestrator on the event loop and does not await anything, so no other task can interleave with its
transaction. Up to `maxConcurrentActivityFunctions` activities run concurrently.
"""

import asyncio
import json
import logging
import secrets
from datetime import timedelta
from uuid import uuid4

from devhost.host import clock, episode, events, tracing
from devhost.host.actions import Activity, Child, Decision, Timer
from devhost.host.episode import OrchestratorError, Result, compact
from devhost.host.events import Event
from devhost.host.store import TERMINAL, Alarm, Instance, Store, Work
from devhost.host.worker import FunctionError, Worker

log = logging.getLogger("host.durable")
GATHER = 0.001
"""Seconds from a message to its episode. Messages that arrive in this time share the episode, as between two queue polls of
the real host."""
EARLY = 0.9
"""With `DEVHOST_EARLY_TIMERS=1`, timers fire up to this many seconds early."""
CHILD_STACK = (
    "   at System.Threading.Tasks.Task.ThrowIfExceptional(Boolean includeTaskCanceledExceptions)\n"
    "   at Microsoft.Azure.WebJobs.Extensions.DurableTask.TaskOrchestrationShim.InvokeUserCodeAndHandleResults("
    "RegisteredFunctionInfo orchestratorInfo, OrchestrationContext innerContext)"
)


class Engine:
    """Drives the instances of one task hub."""

    def __init__(self, store: Store, worker: Worker, *, max_activities: int, early_timers: bool = False) -> None:
        self.store = store
        self._worker = worker
        self._slots = asyncio.Semaphore(max_activities)
        self._early = early_timers
        self._ready: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._alarms: dict[int, asyncio.TimerHandle] = {}

    def resume(self) -> None:
        """Continue the work of the last process: messages, unanswered activities, timers."""
        for work in self.store.activities():
            self._launch(work)
        for alarm in self.store.timers():
            self._set(alarm)
        for instance in self.store.waiting():
            self.wake(instance)

    def wake(self, instance: str) -> None:
        """Play an instance that has a message."""
        self._ready[instance] = None
        self._wake.set()

    async def run(self) -> None:
        """Play episodes until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER)
            self._wake.clear()
            ready, self._ready = self._ready, {}
            for instance in ready:
                try:
                    self._play(instance)
                except Exception:  # its messages stay, and the other instances continue
                    log.exception("an episode of %s cannot be played", instance)
                await asyncio.sleep(0)

    async def stop(self, grace: float) -> None:
        """Let activities finish for `grace` seconds; the next process runs the others again."""
        for handle in self._alarms.values():
            handle.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _play(self, name: str) -> None:
        """Play one episode, and immediately the next while it continues as new: no message can arrive in between."""
        while (instance := self.store.get(name)) and self._episode(instance):
            pass

    def _episode(self, instance: Instance) -> bool:
        seqs, inbound = self.store.inbox(instance.id, instance.execution)
        history = self.store.history(instance.id)
        is_started = history or (inbound and inbound[0]["EventType"] == events.Kind.EXECUTION_STARTED)
        if not instance.live or not inbound or not is_started:
            # A message for an ended instance, or one that arrived before the start, has no effect.
            self.store.consume(seqs)
            return False
        result = episode.run(history, inbound, self._orchestrate, continued=instance.continued and not history)
        with self.store.transaction():
            self.store.consume(seqs)
            scheduled = self._commit(instance, len(history), result)
        for item in scheduled:
            self._set(item) if isinstance(item, Alarm) else self._launch(item)
        return result.continued is not None

    def _orchestrate(self, name: str, trigger: str) -> str:
        try:
            return self._worker.orchestrate(name, trigger)
        except FunctionError as error:
            raise OrchestratorError(error.text) from error

    def _commit(self, instance: Instance, length: int, result: Result) -> list[Work | Alarm]:
        custom = result.custom if result.custom is not None else instance.custom
        if result.continued:
            self.store.continue_as_new(result.continued, custom)
            return []
        self.store.append(instance.id, length, result.new)
        self.store.update(instance.id, status=result.status, output=result.output, custom=custom)
        if result.status in TERMINAL:
            self._finish(instance, result)
        return [item for decision in result.decisions if (item := self._decide(instance, decision))]

    def _finish(self, instance: Instance, result: Result) -> None:
        self.store.drop_timers(instance.id)
        log.info("'%s' %s: %s", instance.name, result.status.lower(), instance.id)
        if result.status == "Failed":
            log.error("%s", str(json.loads(result.output or "null")).partition("\n")[0])
        if instance.parent:
            self._answer_parent(json.loads(instance.parent), result)

    def _answer_parent(self, parent: Event, result: Result) -> None:
        at, number, ids = clock.timestamp(), parent["TaskScheduleId"], parent["OrchestrationInstance"]
        if result.status == "Completed":
            answer = events.child_completed(at, number, result.output)
        else:
            text = str(json.loads(result.output or '""'))
            reason = text.partition(" failed: ")[2] or text
            answer = events.child_failed(at, number, text, f"Message: {reason}, StackTrace: {CHILD_STACK}")
        self.store.post(ids["InstanceId"], answer, ids["ExecutionId"])
        self.wake(ids["InstanceId"])

    def _decide(self, instance: Instance, decision: Decision) -> Work | Alarm | None:
        match decision:
            case Activity(number, name, data, _):
                return self.store.add_activity(instance, number, name, data)
            case Timer(number, fire_at):
                return self.store.add_timer(instance, number, fire_at, clock.timestamp())
            case Child():
                self._start_child(instance, decision)
        return None

    def _start_child(self, parent: Instance, child: Child) -> None:
        name = child.instance or ""
        if (other := self.store.get(name)) and other.live:
            log.warning("sub-orchestration '%s' is already running: %s waits forever", name, parent.id)
            return
        version = child.version if child.version is not None else self._worker.default_version
        ids = {"InstanceId": parent.id, "ExecutionId": parent.execution}
        origin = {"Name": parent.name, "OrchestrationInstance": ids, "TaskScheduleId": child.number,
                  "Version": parent.version}  # fmt: skip
        at, data = clock.timestamp(), compact(child.data)
        trace = child.trace and tracing.started(child.trace)
        started = events.execution_started(
            at, child.name, name, uuid4().hex, data=data, version=version, parent=origin, trace=trace
        )
        self.store.create(started)
        self.wake(name)

    def _launch(self, work: Work) -> None:
        if not self._worker.has_activity(work.name):
            # Measured: the call is lost, also for a later host that has the activity.
            self.store.drop_activity(work.seq)
            log.warning("no activity '%s': the call is dropped, %s stays Running", work.name, work.instance)
            return
        task = asyncio.create_task(self._activity(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _activity(self, work: Work) -> None:
        async with self._slots:
            answer = await self._answer(work)
        with self.store.transaction():
            self.store.drop_activity(work.seq)
            self.store.post(work.instance, answer, work.execution)
        self.wake(work.instance)

    async def _answer(self, work: Work) -> Event:
        scheduled = self.store.scheduled(work) or {}
        trace = tracing.of_activity(scheduled.get("ParentTraceContext"), work.name, work.instance)
        try:
            text = await self._worker.activity(work.name, work.data, trace)
        except FunctionError as error:
            log.warning("'%s' failed: %s", work.name, error.line)
            reason = f"Activity function '{work.name}' failed: {error.text}"
            return events.task_failed(clock.timestamp(), work.number, reason, failure_details(error))
        value = json.loads(text)
        result = None if value is None else compact(value)
        return events.task_completed(clock.timestamp(), work.number, result)

    def _set(self, alarm: Alarm) -> None:
        """Set a timer. The real host fires up to a second early; so does this one with `DEVHOST_EARLY_TIMERS=1`."""
        early = timedelta(seconds=EARLY * secrets.randbelow(1000) / 1000 if self._early else 0)
        delay = (clock.parse(alarm.fire_at) - early - clock.now()).total_seconds()
        self._alarms[alarm.seq] = asyncio.get_running_loop().call_later(max(delay, 0), self._fire, alarm)

    def _fire(self, alarm: Alarm) -> None:
        self._alarms.pop(alarm.seq, None)
        with self.store.transaction():
            if self.store.drop_timer(alarm.seq):
                fired = events.timer_fired(alarm.created, alarm.number, alarm.fire_at)
                self.store.post(alarm.instance, fired, alarm.execution)
        self.wake(alarm.instance)


def failure_details(error: FunctionError) -> str:
    """Return `TaskFailed.Details`: JSON of a .NET exception that wraps the worker's answer.

    The SDK appends it to the reason, so an app that parses or cuts exception texts receives it here as well.
    """
    rpc = {
        "$type": "Microsoft.Azure.WebJobs.Script.Workers.Rpc.RpcException, Microsoft.Azure.WebJobs.Script",
        "IsUserException": False,
        "RemoteStackTrace": error.stack,
        "RemoteMessage": error.text,
        "RemoteTypeName": None,
        "Message": f"Result: Failure\nException: {error.text}\nStack: {error.stack}",
        "Data": {"$type": "System.Collections.ListDictionaryInternal, System.Private.CoreLib"},
        "InnerException": None,
        "HelpLink": None,
        "Source": "System.Private.CoreLib",
        "HResult": -2146233088,
        "StackTrace": "",
    }
    outer = {
        "$type": "System.Exception, System.Private.CoreLib",
        "ClassName": "System.Exception",
        "Message": error.text,
        "Data": None,
        "InnerException": rpc,
        "HelpURL": None,
        "StackTraceString": None,
        "RemoteStackTraceString": None,
        "RemoteStackIndex": 0,
        "ExceptionMethod": None,
        "HResult": -2146233088,
        "Source": None,
        "WatsonBuckets": None,
    }
    return compact(outer)

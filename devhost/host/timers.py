"""Timer triggers: NCRONTAB of six fields or a time span, `runOnStartup`, missed runs, one run at a time.

As on the real host, a schedule of less than a minute is not monitored: its status is empty and a missed run is lost.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from azure.functions.meta import Datum
from croniter import croniter
from croniter.croniter import CroniterError

from devhost.host import clock, config
from devhost.host.config import ConfigError
from devhost.host.indexing import Function
from devhost.host.store import Store
from devhost.host.worker import FunctionError, Worker

log = logging.getLogger("host.timer")
FIELDS = 6
MONITORED = timedelta(minutes=1)
MARGIN = 0.005
"""Seconds added to a sleep: if the sleep ended before the due time, the timer would fire twice."""


class Schedule:
    """The schedule of a timer."""

    def __init__(self, text: str) -> None:
        """Raises ConfigError for an invalid expression."""
        self.text = text
        self._span = config.timespan(text) if ":" in text else None
        if self._span is None and len(text.split()) not in (FIELDS, FIELDS - 1):
            raise ConfigError(f"'{text}' is not an NCRONTAB expression of {FIELDS} fields")
        try:
            self.after(clock.now())
        except (CroniterError, ValueError) as error:
            raise ConfigError(f"'{text}' is not an NCRONTAB expression: {error}") from error

    def after(self, moment: datetime) -> datetime:
        """Return the first time after `moment`."""
        if self._span is not None:
            return moment + self._span
        six = self.text if len(self.text.split()) == FIELDS else f"0 {self.text}"
        found: datetime = croniter(six, moment, second_at_beginning=True).get_next(datetime)
        return found

    @property
    def monitored(self) -> bool:
        """Whether the host remembers its last run."""
        first = self.after(clock.now())
        return self.after(first) - first >= MONITORED


class Timer:
    """Runs a timer function on its schedule."""

    def __init__(self, function: Function, worker: Worker, store: Store, environment: Mapping[str, str]) -> None:
        """Raises ConfigError, which disables this function alone."""
        self.function = function
        self.schedule = Schedule(config.resolve(str(function.trigger["schedule"]), environment))
        self._worker, self._store = worker, store
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        """Fire until cancelled."""
        last = self._last()
        missed = last is not None and self.schedule.monitored and self.schedule.after(last) < clock.now()
        if missed or self.function.trigger.get("runOnStartup"):
            await self.fire(past_due=missed)
        while True:
            now = clock.now()
            await asyncio.sleep((self.schedule.after(now) - now).total_seconds() + MARGIN)
            await self.fire()

    async def fire(self, *, past_due: bool = False) -> None:
        """Run the function now, after a run that is in progress."""
        async with self._busy:
            datum = Datum(self._payload(past_due=past_due), "json")
            self._remember()
            try:
                await self._worker.invoke(self.function, datum)
            except FunctionError as error:
                log.error("'%s' failed: %s", self.function.name, error.line)  # noqa: TRY400  # the function's own trace

    def _payload(self, *, past_due: bool) -> str:
        last, status = self._last(), None
        if self.schedule.monitored:
            following = self.schedule.after(last or clock.now())
            shown = clock.stamp(last) if last else "0001-01-01T00:00:00+00:00"
            status = {"Last": shown, "Next": clock.stamp(following), "LastUpdated": shown}
        return json.dumps({"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": past_due})

    def _last(self) -> datetime | None:
        row = self._store.db.execute("SELECT last FROM schedules WHERE name = ?", (self.function.name,)).fetchone()
        return clock.parse(row[0]) if row else None

    def _remember(self) -> None:
        row = (self.function.name, clock.sortable(clock.now()))
        self._store.db.execute("INSERT OR REPLACE INTO schedules VALUES (?, ?)", row)

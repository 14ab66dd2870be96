"""Trailing: the bus over a journal that it writes behind. Dispatched at once, durable a moment later, many events together.

For a program that can do again what a crash took from the end of its journal, because it goes back to a checkpoint: an event
that it publishes again is recognised by its id, dispatched again, and not appended twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eventbus.burst import Burst
from eventbus.bus import Handler, Selects
from eventbus.committer import as_record
from eventbus.context import inside_delivery
from eventbus.errors import EventBusError, JournalUnavailable, PolicyConflict
from eventbus.event import Event, Kind
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Appended
from eventbus.kept import KeptEventBus
from eventbus.receipt import Receipt
from eventbus.runtime import log
from eventbus.subscription import Subscription

_CROWDED = 20  # batches that may wait for the journal before publishers wait for it too


class Trail:
    """Events on their way into the journal: one batch is written while the next gathers."""

    def __init__(self, journal: Journal, *, batch: int, delay: float) -> None:
        self._journal = journal
        self._batch = batch
        self._delay = delay
        self._events: list[Event] = []
        self._writing: asyncio.Future[Sequence[Appended]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.failure: EventBusError | None = None

    @property
    def is_crowded(self) -> bool:
        return len(self._events) >= _CROWDED * self._batch

    def keep(self, events: Iterable[Event]) -> None:
        """These were dispatched; write them soon."""
        self._events += events
        self._schedule()

    async def flush(self) -> None:
        """Wait until all of them are durable. Raises what the journal answered; they stay here to be tried again."""
        self.failure = None
        while self._events or self._writing is not None:
            self._write()
            if self._writing is not None:
                await asyncio.wait([self._writing])
            if self.failure is not None:
                raise self.failure

    def _schedule(self) -> None:
        if self.failure is not None or self._writing is not None or not self._events:
            return
        if len(self._events) >= self._batch:
            self._write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._write)

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None or not self._events:
            return
        events, self._events = self._events, []
        try:
            self._writing = asyncio.ensure_future(self._journal.append([as_record(event) for event in events]))
        except EventBusError as error:  # it is closed, or an event cannot be written
            self._failed(events, error)
        else:
            self._writing.add_done_callback(lambda done: self._written(events, done))

    def _written(self, events: Sequence[Event], done: asyncio.Future[Sequence[Appended]]) -> None:
        self._writing = None
        error = JournalUnavailable("of this bus", "it was cancelled") if done.cancelled() else done.exception()
        if error is None:
            self._schedule()
        else:
            self._failed(events, error if isinstance(error, EventBusError) else JournalUnavailable("", repr(error)))

    def _failed(self, events: Sequence[Event], error: EventBusError) -> None:
        self._events[:0] = events
        self.failure = error


class TrailingEventBus(KeptEventBus):
    """An event bus whose events are dispatched at once, and journalled behind, at most `batch` events or `delay` seconds later.

    A crash takes the events that were not written yet, though their handlers ran: use it where a restart does them again, and
    `await flush()` before anything that must not be taken back. A receipt says `memory`. When the journal fails,
    publishing from outside raises its error until a `flush()` succeeds. It has no durable subscriptions.
    """

    def __init__(self, journal: Journal, *, batch: int = 1_000, delay: float = 0.1, **settings: Any) -> None:
        super().__init__(journal, **settings)
        self.capabilities -= {"durable", "groups"}
        self._trail = Trail(journal, batch=batch, delay=delay)

    async def flush(self) -> None:
        """Wait until everything dispatched so far is durable; after a `drain()` that is everything.

        Raises what the journal answered: `JournalUnavailable`, or `IdConflict` when an event was published again and differs.
        """
        await self._open()
        await self._trail.flush()

    async def publish(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Receipt:
        """As on the bus in memory. Raises what the journal answered when it could not be written."""
        if not self._is_open:
            await self._open()
        trail = self._trail
        if (trail.failure is not None or trail.is_crowded) and not inside_delivery():
            if trail.failure is not None:
                raise trail.failure
            await trail.flush()
        return await super().publish(event, payload, timeout=timeout)

    def subscribe(
        self,
        selector: Selects,
        handler: Handler,
        *,
        name: str | None = None,
        replay_last: bool = False,
        durable: bool = False,
        group: str | None = None,
        **policy: Any,
    ) -> Subscription:
        """As on the bus in memory. Raises `PolicyConflict` for a durable subscription."""
        if durable or group:
            raise PolicyConflict("durable", "needs events that are durable before they are dispatched: no write_behind")
        return super().subscribe(selector, handler, name=name, replay_last=replay_last, **policy)

    def _dispatching(self, burst: Burst) -> None:
        super()._dispatching(burst)
        if self._journal_quotes or burst.events[0].__event__.kind is not Kind.QUOTE:
            self._trail.keep(burst.events)

    async def _written(self) -> None:
        try:
            await self._trail.flush()
        except EventBusError as error:
            log.error("events not written to the journal", extra={"error": str(error)})

    async def _readable(self) -> None:
        await self.flush()

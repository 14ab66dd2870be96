"""Durable: a subscription with a cursor in the journal. It reads the journal, never the lane: behind, perhaps, but never full.

Attempts are counted before they start, outcomes are committed after they are known, so pending deliveries go on after a restart
and a poison event cannot loop for ever. What was in flight when a process died runs alone first, one at a time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from eventbus.burst import Burst
from eventbus.codec import decode, encode
from eventbus.dead_letter import DeadLetter
from eventbus.delivery import Delivery
from eventbus.door import Door
from eventbus.errors import CodecError, JournalError
from eventbus.event import Event
from eventbus.journal.base import Cursor, Journal, NewDeadLetter, NewQuarantined, Record, Settled, Start
from eventbus.receipt import Flight, Outcome, Status
from eventbus.runtime import Runtime, log
from eventbus.subscription import Subscription
from eventbus.worker import Worker

_WINDOW = 256  # deliveries of one group that are read ahead
_CRASHES = 5  # attempts that a delivery without a retry policy may have begun in processes that died
_RETRY_JOURNAL_S = 0.25


class Recent:
    """Events that passed lately, by offset, so that a subscription that keeps up decodes nothing."""

    def __init__(self, size: int = 10_000) -> None:
        self._events: OrderedDict[int, Event] = OrderedDict()
        self._size = size

    def remember(self, offset: int, event: Event) -> None:
        self._events[offset] = event
        if len(self._events) > self._size:
            self._events.popitem(last=False)

    def event(self, record: Record) -> Event:
        """The event of a record. Raises `CodecError`."""
        known = self._events.get(record.offset)
        return decode(record.body) if known is None else known


class DurableReader:
    """Feeds one durable subscription from the journal, and commits what became of it."""

    def __init__(
        self, group: str, subscription: Subscription, journal: Journal, runtime: Runtime, recent: Recent, start: Start
    ) -> None:
        self.group = group
        self.subscription = subscription
        self._worker: Worker = subscription.worker
        self._journal = journal
        self._runtime = runtime
        self._door: Door = runtime.door
        self._recent = recent
        self._start = start
        self._position: int | None = None
        self._cursor: Cursor | None = None
        self._flights: dict[int, Flight] = {}
        self._settled: list[Settled] = []
        self._dead: list[NewDeadLetter] = []
        self._quarantined: list[NewQuarantined] = []
        self._skipped: list[tuple[int, int]] = []
        self._committing = False
        self._progress: asyncio.Event = asyncio.Event()
        self.quarantined = 0
        self._worker.on_outcome = self._settle
        self._worker.before_retry = self._count_again

    @property
    def is_behind(self) -> bool:
        """Is there anything in the journal that this subscription has not finished, or not committed?"""
        return (
            self._position is None
            or self._position < self._journal.last
            or bool(self._worker.tally.pending or self._settled or self._skipped)
            or self._committing
        )

    def watch(self, burst: Burst, indices: Sequence[int]) -> None:
        """Somebody waits for the outcome of these events here too."""
        if burst.offset is None:
            return
        for index in indices:
            flight = burst.flights.get(index)
            if flight is not None and flight.is_watched:
                flight.open += 1
                self._flights[burst.offset + index] = flight

    async def run(self) -> None:
        """Read, deliver, commit, until the bus stops."""
        while self._runtime.is_running and not self._worker.is_cancelled:
            try:
                if self._cursor is None:
                    self._cursor = await self._journal.open_group(self.group, self._start)
                    self._position = self._cursor.floor
                await self._step()
            except JournalError as error:
                log.error(
                    "durable subscription waits for its journal", extra={"group": self.group, "error": str(error)}
                )
                await asyncio.sleep(_RETRY_JOURNAL_S)

    async def _step(self) -> None:
        assert self._position is not None
        records = await self._journal.read(self._position, _WINDOW)
        if not records:
            self._runtime.check_idle()
            await self._journal.wait(self._position, timeout=1.0)
            return
        wanted = self._select(records)
        alone = [delivery for delivery in wanted if delivery.attempt]
        for delivery in alone:  # in flight when a process died: one of them may be what killed it
            await self._begin([delivery])
            await self._until(0)
        others = [delivery for delivery in wanted if not delivery.attempt]
        if others:
            await self._begin(others)
        self._position = records[-1].offset
        self._flush()
        await self._until(_WINDOW // 2)

    def _select(self, records: Sequence[Record]) -> list[Delivery]:
        """Deliveries for the records that this subscription listens to and has not finished."""
        assert self._cursor is not None
        wanted: list[Delivery] = []
        for record in records:
            offset = record.offset
            if self._cursor.is_settled(offset):
                self._position = offset
                continue
            try:
                event = self._recent.event(record)
            except CodecError as error:
                self.quarantined += 1
                self._quarantined.append(NewQuarantined(offset, str(error), record.time_ns, record.body))
                self._skip(offset)
                continue
            selector, where = self.subscription.selector, self.subscription.policy.where
            if not selector.matches(type(event), event.type) or (where is not None and not where(event)):
                self._skip(offset)
                continue
            wanted.append(self._delivery(event, record))
        return wanted

    def _delivery(self, event: Event, record: Record) -> Delivery:
        assert self._cursor is not None
        burst = self._door.outside(event)
        burst.offset = record.offset
        burst.accepted_ns = self._accepted_ns(record)
        max_age = self.subscription.policy.max_age_for(event.__event__)
        delivery = self._worker.adopt(burst, event, 0, is_lossless=False, max_age=max_age)
        delivery.attempt = self._cursor.attempts.get(record.offset, 0)
        return delivery

    def _accepted_ns(self, record: Record) -> int:
        """When it was accepted, by the clock that measures: the label of the wall clock tells how long ago."""
        clock = self._runtime.clock
        age_ns = max(0, int(clock.now().timestamp() * 1e9) - record.time_ns)
        return clock.monotonic_ns() - age_ns

    async def _begin(self, deliveries: Sequence[Delivery]) -> None:
        """Count an attempt for each, durably, and only then let them run."""
        offsets = [delivery.offset for delivery in deliveries if delivery.offset is not None]
        attempts = await self._journal.record_attempts(self.group, offsets)
        retry = self.subscription.policy.retry
        limit = max(_CRASHES, retry.attempts if retry else 0)
        for delivery in deliveries:
            assert delivery.offset is not None
            delivery.attempt = attempts[delivery.offset] - 1
            if delivery.attempt >= limit:
                self._worker.give_up_unstarted(delivery, f"{delivery.attempt} attempts began and none ended")
            else:
                self._worker.enqueue(delivery)
        self._worker.pump()

    async def _until(self, pending: int) -> None:
        """Wait until at most so many deliveries are open."""
        while self._worker.tally.pending > pending and self._runtime.is_running and not self._worker.is_cancelled:
            self._progress.clear()
            await self._progress.wait()

    async def _count_again(self, delivery: Delivery) -> None:
        """A retry is an attempt too: counted before it starts."""
        if delivery.offset is not None:
            await self._journal.record_attempts(self.group, [delivery.offset])

    # --- outcomes ------------------------------------------------------------------------------------------------

    def _settle(self, delivery: Delivery, outcome: Outcome, letter: DeadLetter | None) -> None:
        offset = delivery.offset
        if offset is None:
            return
        if outcome.status is Status.CANCELLED:
            self._progress.set()  # the subscription ended, not the delivery: it stays pending for the group
            return
        self._settled.append(
            Settled(
                offset, outcome.status.value, outcome.attempts, int(outcome.queued_s * 1e9), int(outcome.ran_s * 1e9)
            )
        )
        if letter is not None:
            self._dead.append(as_kept(letter, offset))
        flight = self._flights.pop(offset, None)
        if flight is not None:
            flight.outcomes.append(outcome)
            flight.open -= 1
            if not flight.open and flight.is_routed:
                flight.landed()
        self._progress.set()
        self._flush()

    def _skip(self, offset: int) -> None:
        if self._skipped and self._skipped[-1][1] == offset - 1:
            self._skipped[-1] = (self._skipped[-1][0], offset)
        else:
            self._skipped.append((offset, offset))

    def _flush(self) -> None:
        if not self._committing and (self._settled or self._skipped or self._quarantined):
            self._committing = True
            self._runtime.start(self.commit())

    async def commit(self) -> None:
        """Write what became of the deliveries: whatever gathers while one commit runs goes into the next."""
        self._committing = True
        try:
            while self._settled or self._skipped or self._quarantined:
                settled, self._settled = self._settled, []
                skipped, self._skipped = self._skipped, []
                dead, self._dead = self._dead, []
                quarantined, self._quarantined = self._quarantined, []
                try:
                    await self._journal.commit(self.group, settled, skip=skipped, dead=dead, quarantined=quarantined)
                except JournalError as error:
                    self._settled, self._skipped = settled + self._settled, skipped + self._skipped
                    self._dead, self._quarantined = dead + self._dead, quarantined + self._quarantined
                    log.error("cursor not committed", extra={"group": self.group, "error": str(error)})
                    return  # the next outcome tries again; after a crash these deliveries repeat
        finally:
            self._committing = False
            self._runtime.check_idle()


def as_kept(letter: DeadLetter, offset: int | None) -> NewDeadLetter:
    """A dead letter as a journal keeps it."""
    return NewDeadLetter(
        subscription=letter.subscription,
        event_id=letter.event.event_id,
        type=letter.event.type,
        offset=offset,
        reason=letter.reason,
        error=letter.error,
        attempts=letter.attempts,
        first_failed_ns=int(letter.first_failed.timestamp() * 1e9),
        last_failed_ns=int(letter.last_failed.timestamp() * 1e9),
        body=encode(letter.event),
    )

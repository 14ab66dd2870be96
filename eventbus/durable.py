"""Durable: a subscription with a cursor in the journal. It reads the journal, never the lane: behind, perhaps, but never full.

Attempts are counted before they start, outcomes are committed after they are known, so pending deliveries go on after a restart
and a poison event cannot loop for ever. What was in flight when a process died runs alone first, one at a time. A crash repeats
at most what had begun and was not committed yet: 256 deliveries, whatever the handlers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any

from eventbus.burst import Burst
from eventbus.codec import decode
from eventbus.dead_letter import DeadLetter
from eventbus.delivery import Delivery
from eventbus.errors import CodecError, JournalError, OffsetGone, PolicyConflict
from eventbus.event import Event, Kind
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Cursor, NewDeadLetter, NewQuarantined, Settled, Start
from eventbus.keeper import as_kept
from eventbus.outcome import Outcome, Status
from eventbus.policy import UNPLANNED_ATTEMPTS
from eventbus.quarantine import Quarantine
from eventbus.receipt import Flight
from eventbus.recent import Found, Recent
from eventbus.runtime import Runtime, log
from eventbus.selector import Selector
from eventbus.subscription import Subscription

_AHEAD = 256  # deliveries of one group that are counted as begun and not committed: a crash repeats no more
_PAGE = _AHEAD // 2  # records read at a time, and attempts counted in one commit
_RETRY_JOURNAL_S = 0.25
_NO_CONTEXT = Context()


def check_durable(
    selector: type[Event] | str, *, replay_last: bool, start: Start, policy: Mapping[str, Any], with_quotes: bool
) -> None:
    """Raise `PolicyConflict` for what a durable subscription cannot have."""
    for argument in ("queue_size", "overflow"):
        if policy.get(argument) is not None:
            raise PolicyConflict(argument, "a durable subscription is never full, it reads the journal: leave it out")
    if replay_last:
        raise PolicyConflict("replay_last", 'is for subscriptions in memory: use start="beginning"')
    if start not in ("beginning", "end") and (not isinstance(start, int) or start < 0):
        raise PolicyConflict("start", f"{start!r} is none of 'beginning', 'end', or an offset")
    if not with_quotes and any(cls.__event__.kind is Kind.QUOTE for cls in Selector(selector).classes()):
        raise PolicyConflict("durable", "quotes are not in this journal: set journal_quotes=True")


class DurableReader:
    """Feeds one durable subscription from the journal, and commits what became of it."""

    def __init__(
        self,
        group: str,
        subscription: Subscription,
        journal: Journal,
        runtime: Runtime,
        recent: Recent,
        quarantine: Quarantine,
        start: Start,
        previous: DurableReader | None = None,
    ) -> None:
        self.group = group
        self.subscription = subscription
        self.overtaken = 0  # records that retention removed before this group read them
        self._worker = subscription.worker
        self._journal = journal
        self._runtime = runtime
        self._recent = recent
        self._quarantine = quarantine
        self._start = start
        self._previous = previous  # of the same group, in this process
        self._task: asyncio.Task[Any] | None = None
        self._cursor: Cursor | None = None
        self._position = 0  # read and delivered up to here
        self._noted = 0  # read up to here: what nobody listens to is noted as such
        self._watched: dict[int, Flight] = {}
        self._early: dict[int, Outcome] = {}  # of events that the dispatcher has yet to offer
        self._settled: list[Settled] = []
        self._dead: list[NewDeadLetter] = []
        self._quarantined: list[NewQuarantined] = []
        self._skipped: list[tuple[int, int]] = []
        self._committing = False
        self._uncommitted = 0  # outcomes that are known and not committed
        self._progress = asyncio.Event()
        self._on_other_outcome = self._worker.on_outcome
        self._worker.feed = self._watch
        self._worker.on_outcome = self._settle
        self._worker.before_retry = self._count_again

    @property
    def lag(self) -> int:
        """Records of the journal that this subscription has not read yet."""
        return 0 if self._cursor is None else max(0, self._journal.last - self._position)

    @property
    def is_behind(self) -> bool:
        """Is there anything in the journal that this subscription has not finished, or not committed?"""
        if self._cursor is None:
            return self._runtime.is_running
        return bool(
            self.lag
            or self._worker.tally.pending
            or self._settled
            or self._skipped
            or self._quarantined
            or self._committing
        )

    @property
    def is_finished(self) -> bool:
        """Has all that had begun an outcome, and is every outcome committed?"""
        return not (self._committing or self._unfinished or self._skipped)

    async def open(self) -> None:
        """Find the place to go on from; a new group begins now. Raises `ValueError` for a start that is none."""
        if self._cursor is not None:
            return
        if self._previous is not None:
            await self._previous.finished()
            self._previous = None
        cursor = await self._journal.open_group(self.group, self._start)
        if self._cursor is None:  # not opened meanwhile
            self._position = self._noted = cursor.floor
            self._cursor = cursor

    def start(self) -> None:
        """Read, deliver and commit from now on, until the bus stops."""
        self._flush()
        if self._task is None or self._task.done():
            self._task = self._runtime.start(self._run())

    async def _run(self) -> None:
        while self._runtime.is_running and not self._worker.is_cancelled:
            try:
                await self.open()
                await self._step()
            except OffsetGone as gone:
                self._skip_gone(gone)
            except JournalError as error:
                log.error("durable subscription waits for its journal", extra=self._about(error))
                await asyncio.sleep(_RETRY_JOURNAL_S)
            except ValueError as error:
                log.error("durable subscription cannot start", extra=self._about(error))
                self.subscription.cancel()

    async def _step(self) -> None:
        page = self._recent.following(self._position, _PAGE) or await self._read()
        if not page:
            self._runtime.check_idle()
            await self._journal.wait(self._position, timeout=1.0)
            return
        assert self._cursor is not None
        fresh: list[tuple[Found, Event]] = []
        for found in page:
            event = self._wanted(found)
            if event is None:
                continue
            if found.offset in self._cursor.attempts:
                # In flight when a process died, and perhaps what killed it: it runs alone, and before what came later.
                await self._begin([(found, event)])
                await self._until(lambda: not self._unfinished)
            elif self._only_attempt:
                # Counted ahead, or handled and not committed when the process dies, it would be given up as one that failed.
                await self._until(lambda: self._unfinished < self.subscription.policy.concurrency)
                await self._begin([(found, event)])
            else:
                fresh.append((found, event))
        await self._begin(fresh)
        self._position = page[-1].offset
        self._flush()
        await self._until(lambda: self._unfinished <= _AHEAD - _PAGE)

    async def _read(self) -> list[Found]:
        """What follows in the journal. How long ago it was accepted, on the clock that measures, its label tells."""
        records = await self._journal.read(self._position, _PAGE)
        clock = self._runtime.clock
        now_ns, label_ns = clock.monotonic_ns(), int(clock.now().timestamp() * 1e9)
        page: list[Found] = []
        for record in records:
            waited_ns = max(0, label_ns - record.time_ns)
            old = Found(record.offset, None, _NO_CONTEXT, 0, now_ns - waited_ns, record)
            page += self._recent.following(record.offset - 1, 1) or [old]
        return page

    @property
    def _only_attempt(self) -> bool:
        """Does the policy allow one attempt and no more, whatever becomes of the process?"""
        retry = self.subscription.policy.retry
        return retry is not None and retry.attempts == 1

    @property
    def _unfinished(self) -> int:
        """Deliveries that were counted as begun and are not committed."""
        return self._worker.tally.pending + self._uncommitted

    def _wanted(self, found: Found) -> Event | None:
        """The event, if this subscription listens to it and has not finished it."""
        assert self._cursor is not None
        offset, event, record = found.offset, found.event, found.record
        is_new = offset > self._noted
        self._noted = max(self._noted, offset)
        if self._cursor.is_settled(offset):
            return None
        try:
            if record is not None:
                event = decode(record.body)
        except CodecError as error:
            if is_new and record is not None:
                item = self._quarantine.note(record, error)
                self._quarantined += [] if item is None else [item]
                self._settled.append(Settled(offset, Status.DROPPED.value, 0))
            return None
        assert event is not None
        if self.subscription.selector.matches(type(event), event.type):
            where = self.subscription.policy.where
            try:
                if where is None or where(event):
                    return event
            except Exception as error:  # noqa: BLE001 - the user's code: this event fails, and only this one
                if is_new:
                    self._worker.give_up_unstarted(self._deliver(event, found), "where= raised", error)
                return None
        if is_new:
            self._skip(offset, offset)
        return None

    def _deliver(self, event: Event, found: Found) -> Delivery:
        """A delivery of what was found, counted as one."""
        burst = Burst(
            event,
            base=found.base,
            hops=found.hops,
            accepted_ns=found.accepted_ns,
            table=None,
            is_plain=False,
            is_urgent=event.__event__.kind is Kind.CONTROL,
        )
        burst.offset, burst.is_closed = found.offset, True
        max_age = self.subscription.policy.max_age_for(event.__event__)
        return self._worker.adopt(burst, event, 0, is_lossless=False, max_age=max_age)

    async def _begin(self, wanted: Sequence[tuple[Found, Event]]) -> None:
        """Count an attempt for each, durably, and only then let them run."""
        if not wanted:
            return
        attempts = await self._journal.record_attempts(self.group, [found.offset for found, _ in wanted])
        if self._worker.is_cancelled:
            return
        retry = self.subscription.policy.retry
        limit = retry.attempts if retry else UNPLANNED_ATTEMPTS
        for found, event in wanted:
            delivery = self._deliver(event, found)
            delivery.attempt = attempts[found.offset] - 1
            if delivery.attempt >= limit:
                self._worker.give_up_unstarted(delivery, f"attempts that began and did not end: {delivery.attempt}")
            else:
                self._worker.enqueue(delivery)
        self._position = wanted[-1][0].offset
        self._worker.pump()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for deliveries to end, or to be committed."""
        while not is_so() and not self._worker.is_cancelled:
            self._progress.clear()
            await self._progress.wait()

    async def _count_again(self, delivery: Delivery) -> None:
        """A retry is an attempt too: counted before it starts, however long the journal takes."""
        while delivery.offset is not None and not self._worker.is_cancelled:
            try:
                await self._journal.record_attempts(self.group, [delivery.offset])
            except JournalError as error:
                log.error("retry waits for its journal", extra=self._about(error))
                await asyncio.sleep(_RETRY_JOURNAL_S)
            else:
                return

    def _skip_gone(self, gone: OffsetGone) -> None:
        """Retention was forced past this group: say so, and go on with what is left."""
        lost = gone.oldest - 1 - self._position
        self.overtaken += lost
        log.error("retention overtook a durable subscription", extra=self._about(gone) | {"records": lost})
        self._skip(self._position + 1, gone.oldest - 1)
        self._position = self._noted = gone.oldest - 1
        self._flush()

    def _about(self, error: Exception) -> dict[str, object]:
        return {"group": self.group, "error": str(error)}

    # --- outcomes ------------------------------------------------------------------------------------------------

    def _watch(self, burst: Burst, indices: Sequence[int]) -> None:
        """The dispatcher offers events: whoever waits for their outcomes waits for those of this subscription too."""
        if burst.offset is None:
            return
        where = self.subscription.policy.where
        for index in indices:
            offset = burst.offset + index
            early = self._early.pop(offset, None)
            flight = burst.flights.get(index)
            if flight is None or not flight.is_watched:
                continue
            if early is not None:
                flight.outcomes.append(early)
            elif where is None or _holds(where, burst.events[index]):
                flight.open += 1
                self._watched[offset] = flight

    def _settle(self, delivery: Delivery, outcome: Outcome, letter: DeadLetter | None) -> None:
        """A delivery of this subscription has its outcome."""
        self._progress.set()
        offset = delivery.offset
        if offset is None:  # not out of the journal: a retained event, a dead letter again
            if self._on_other_outcome is not None:
                self._on_other_outcome(delivery, outcome, letter)
            return
        flight = self._watched.pop(offset, None)
        if flight is not None:
            _land(flight, outcome)
        elif offset > self._recent.newest:
            self._early[offset] = outcome
        if outcome.status is Status.CANCELLED:
            return  # the subscription ended, or the bus, not the delivery: it stays pending for the group
        queued_ns, ran_ns = int(outcome.queued_s * 1e9), int(outcome.ran_s * 1e9)
        self._settled.append(Settled(offset, outcome.status.value, outcome.attempts, queued_ns, ran_ns))
        self._uncommitted += 1
        if letter is not None:
            self._dead.append(as_kept(letter, offset))
        self._flush()

    def _skip(self, first: int, last: int) -> None:
        if self._skipped and self._skipped[-1][1] == first - 1:
            self._skipped[-1] = (self._skipped[-1][0], last)
        else:
            self._skipped.append((first, last))

    def _flush(self) -> None:
        if not self._committing and (self._settled or self._skipped):
            self._committing = True
            self._runtime.start(self.commit())

    async def commit(self) -> None:
        """Write what became of the deliveries: whatever gathers while one commit runs goes into the next."""
        self._committing = True
        try:
            while self._settled or self._skipped:
                settled, self._settled = self._settled, []
                skipped, self._skipped = self._skipped, []
                dead, self._dead = self._dead, []
                quarantined, self._quarantined = self._quarantined, []
                try:
                    await self._journal.commit(self.group, settled, skip=skipped, dead=dead, quarantined=quarantined)
                except JournalError as error:
                    self._settled, self._skipped = settled + self._settled, skipped + self._skipped
                    self._dead, self._quarantined = dead + self._dead, quarantined + self._quarantined
                    log.error("cursor not committed", extra=self._about(error))
                    await asyncio.sleep(_RETRY_JOURNAL_S)
                    if not self._runtime.is_running:
                        return  # these deliveries repeat
                self._uncommitted = len(self._settled)
                self._progress.set()
        finally:
            self._committing = False
            self._progress.set()
            self._runtime.check_idle()

    async def finished(self) -> None:
        """Wait until all that had begun has an outcome, and every outcome is committed."""
        while not self.is_finished:
            if self._committing or self._worker.tally.pending:
                self._progress.clear()
                await self._progress.wait()
            else:
                await self.commit()

    def end(self) -> None:
        """The subscription or the bus is gone: nobody waits for it any more. What is pending stays so in the journal."""
        self._progress.set()
        watched, self._watched = self._watched, {}
        for flight in watched.values():
            _land(flight, Outcome(self.subscription.name, Status.CANCELLED))


def _land(flight: Flight, outcome: Outcome) -> None:
    flight.outcomes.append(outcome)
    flight.open -= 1
    if not flight.open and flight.is_routed:
        flight.landed()


def _holds(where: Any, event: Event) -> bool:
    try:
        return bool(where(event))
    except Exception:  # noqa: BLE001 - the reader meets the same error and makes a dead letter of the event
        return True

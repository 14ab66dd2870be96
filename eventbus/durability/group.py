"""Group: a subscription with a cursor. It reads a log, never the lane: behind, perhaps, but never full.

Attempts are counted before they start, outcomes are committed after they are known, so pending deliveries go on after a restart
and a poison event cannot loop for ever. What was in flight when a process died runs alone first, one at a time. A crash repeats
at most what had begun and was not committed yet: 256 deliveries, whatever the handlers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import compress, groupby
from typing import TYPE_CHECKING, Any

from eventbus.durability.passage import Passage, run_of
from eventbus.durability.trouble import Patience
from eventbus.durability.watched import Watch
from eventbus.errors import JournalError, OffsetGone
from eventbus.journal.values import Settled
from eventbus.log import log
from eventbus.outcome import Status
from eventbus.policy import UNPLANNED_ATTEMPTS
from eventbus.road.arrival import deliver, resume
from eventbus.road.part import Part

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.recent import Found
    from eventbus.durability.source import Source
    from eventbus.durability.trouble import Trouble
    from eventbus.event import Event
    from eventbus.journal.values import Cursor, NewQuarantined, Start
    from eventbus.outcome import Outcome
    from eventbus.road.burst import Burst
    from eventbus.road.lifetime import Lifetime
    from eventbus.subscription import Subscription

_AHEAD = 256  # deliveries of one group that are counted as begun and not committed: a crash repeats no more
_PAGE = _AHEAD // 2  # places read at a time, and attempts counted in one commit


class Group:
    """Feeds one durable subscription, and commits what became of it."""

    def __init__(
        self,
        name: str,
        subscription: Subscription,
        source: Source,
        lifetime: Lifetime,
        trouble: Trouble,
        start: Start,
        since: int,
        previous: Group | None,
        left: Callable[[Group], None],
    ) -> None:
        self.name = name
        self.subscription = subscription
        self.overtaken = 0  # places that were removed before this group read them
        self._worker = subscription.worker
        self._source = source
        self._lifetime = lifetime
        self._trouble = trouble
        self._start = start
        self._since = since
        self._previous = previous  # of the same group, in this process
        self._left = left  # called when its subscription is cancelled
        self._watch = Watch(self._worker)
        self._chosen: dict[int, bool] = {}  # what where= said of events that are dispatched and not read
        self._task: asyncio.Task[Any] | None = None
        self._waits = False  # for something to read
        self._cursor: Cursor | None = None
        self._position = 0  # read and delivered up to here
        self._noted = 0  # read up to here: what nobody listens to is noted as such
        self._settled: list[Settled] = []
        self._dead: list[tuple[DeadLetter, int]] = []
        self._quarantined: list[NewQuarantined] = []
        self._skipped: list[tuple[int, int]] = []
        self._is_committing = False
        self._uncommitted = 0  # outcomes that are known and not committed
        self._progress = asyncio.Event()

    @property
    def lag(self) -> int:
        """Places that this group has not read yet."""
        return 0 if self._cursor is None else max(0, self._source.last - self._position)

    @property
    def is_behind(self) -> bool:
        """Is there anything that this group has not finished, or not committed?"""
        if self._cursor is None:
            return self._lifetime.is_running
        return bool(self.lag or self._worker.tally.pending or self._has_news or self._is_committing)

    @property
    def is_finished(self) -> bool:
        """Has all that had begun an outcome, and is every outcome committed?"""
        return not (self._is_committing or self._unfinished or self._skipped)

    @property
    def _has_news(self) -> bool:
        return bool(self._settled or self._skipped or self._quarantined)

    @property
    def _unfinished(self) -> int:
        """Deliveries that were counted as begun and are not committed."""
        return self._worker.tally.pending + self._uncommitted

    # --- life ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find the place to go on from; a new group begins now. Raises `ValueError` for a start that is none."""
        if self._cursor is not None:
            return
        if self._previous is not None:
            await self._previous.finished()
            self._previous = None
        cursor = await self._source.open_group(self.name, self._start)
        if self._cursor is None:  # not opened meanwhile
            self._position = self._noted = cursor.floor
            self._cursor = cursor
            self._watch.settled_upto(cursor.floor)

    def start(self) -> None:
        """Read, deliver and commit from now on, until the bus stops."""
        if self._task is None or self._task.done() or self._task.get_loop() is not self._lifetime.loop:
            self._progress, self._is_committing = asyncio.Event(), False
            self._task = self._lifetime.crew.start(self._run())
        self._flush()

    def end(self) -> None:
        """The subscription or the bus is gone. What is pending stays so in the log."""
        self._progress.set()
        if self._waits and self._task is not None:
            self._task.cancel()
        self._watch.end()

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        patience = Patience()
        while self._lifetime.is_running and not self._worker.is_cancelled:
            try:
                await self.open()
                await self._step()
                patience.worked()
            except OffsetGone as gone:
                self._skip_gone(gone)
            except JournalError as error:
                self._trouble.tell("durable subscription waits for its journal", error, group=self.name)
                await patience.wait()
            except ValueError as error:
                log.error("durable subscription cannot start: %s", error, extra=self._about(error))
                self.subscription.cancel()

    async def _step(self) -> None:
        page = await self._source.read(self._position, _PAGE)
        if not page:
            self._lifetime.look_idle()
            self._waits = True
            try:
                await self._source.wait(self._position)
            finally:
                self._waits = False
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

    @property
    def _only_attempt(self) -> bool:
        """Does the policy allow one attempt and no more, whatever becomes of the process?"""
        retry = self.subscription.policy.retry
        return retry is not None and retry.attempts == 1

    def _wanted(self, found: Found) -> Event | None:
        """The event, if this subscription listens to it and has not finished it."""
        assert self._cursor is not None
        offset, event = found.offset, found.event
        is_new = offset > self._noted
        self._noted = max(self._noted, offset)
        if self._cursor.is_settled(offset):
            return None
        if 0 <= found.burst < self._since:  # accepted before the group was there, and dispatched after
            self._skip(offset, offset)
            return None
        if event is None:
            if is_new:
                self._quarantined += [] if found.unreadable is None else [found.unreadable]
                self._settled.append(Settled(offset, Status.DROPPED.value, 0))
            return None
        if self.subscription.selector.matches(type(event), event.type):
            try:
                if self._chooses(offset, event):
                    return event
            except BaseException as error:  # noqa: BLE001 - the user's code: this event fails, and only this one
                if is_new:
                    delivery = resume(self._worker, self._part([(found, event)]), 0)
                    self._worker.endings.give_up(self._worker, delivery, "where= raised", error)
                return None
        if is_new:
            self._skip(offset, offset)
        return None

    def _chooses(self, offset: int, event: Event) -> bool:
        where = self.subscription.policy.where
        if where is None:
            return True
        known = self._chosen.pop(offset, None)
        return bool(where(event)) if known is None else known

    def _part(self, run: Sequence[tuple[Found, Event]]) -> Part:
        max_age = self.subscription.policy.max_age_for(run[0][1].__event__)
        burst = Passage(self, run)
        max_age_ns = None if max_age is None else int(max_age * 1e9)
        part = Part(burst, self._worker, burst.events, None, is_lossless=False, max_age_ns=max_age_ns)
        burst.routed((part,), 1)
        return part

    async def _begin(self, wanted: Sequence[tuple[Found, Event]]) -> None:
        """Count an attempt for each, durably, and only then let them run."""
        if not wanted:
            return
        attempts = await self._source.record_attempts(self.name, [found.offset for found, _ in wanted])
        if self._worker.is_cancelled:
            return
        for (is_first, *_), run in groupby(wanted, lambda each: (attempts[each[0].offset] == 1, *run_of(each))):
            if is_first:
                deliver(self._worker, self._part([*run]))
            else:
                for each in run:
                    self._resume(each, attempts[each[0].offset] - 1)
        self._position = wanted[-1][0].offset

    def _resume(self, each: tuple[Found, Event], behind: int) -> None:
        """A delivery that so many attempts were made of before."""
        retry = self.subscription.policy.retry
        delivery = resume(self._worker, self._part([each]), behind)
        if behind >= (retry.attempts if retry else UNPLANNED_ATTEMPTS):
            reason = f"attempts that began and did not end: {behind}"
            self._worker.endings.give_up(self._worker, delivery, reason)
        else:
            self._worker.put_back(delivery)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for deliveries to end, or to be committed."""
        while not is_so() and not self._worker.is_cancelled:
            self._progress.clear()
            await self._progress.wait()

    async def count_again(self, offset: int) -> None:
        """Another attempt begins."""
        patience = Patience()
        while not self._worker.is_cancelled:
            try:
                await self._source.record_attempts(self.name, [offset])
            except JournalError as error:
                self._trouble.tell("retry waits for its journal", error, group=self.name)
                await patience.wait()
            else:
                return

    def _skip_gone(self, gone: OffsetGone) -> None:
        """What this group had not read is removed: say so, and go on with what is left."""
        lost = gone.oldest - 1 - self._position
        self.overtaken += lost
        log.error(
            "durable subscription %s was overtaken: %d events were removed before it read them",
            self.name,
            lost,
            extra=self._about(gone) | {"records": lost},
        )
        self._skip(self._position + 1, gone.oldest - 1)
        self._position = self._noted = gone.oldest - 1
        self._flush()

    def _about(self, error: Exception) -> dict[str, object]:
        return {"group": self.name, "error": str(error)}

    # --- outcomes --------------------------------------------------------------------------------------------------

    def arrived(self, burst: Burst, events: Sequence[Event], indices: Sequence[int] | None) -> Part | None:
        """The dispatcher offers events: whoever waits for their outcomes waits for those of this subscription too."""
        first, where = self._source.place_of(burst), self.subscription.policy.where
        if first is None:
            return None
        places = range(len(events)) if indices is None else indices
        if where is not None:
            heard = [self._hears(where, first + index, event) for index, event in zip(places, events, strict=True)]
            if not any(heard):
                return None
            indices, events = [*compress(places, heard)], [*compress(events, heard)]
        return self._watch.arrived(first, burst, events, indices, self._is_settled)

    def _hears(self, where: Callable[[Event], object], offset: int, event: Event) -> bool:
        try:
            does = bool(where(event))
        except BaseException:  # noqa: BLE001 - reading it meets the same error, and makes a dead letter of the event
            return True
        if offset > self._position and len(self._chosen) < 2 * _AHEAD * _PAGE:
            self._chosen[offset] = does
        return does

    def _is_settled(self, offset: int) -> bool:
        return self._cursor is not None and self._cursor.is_settled(offset)

    def ended(self) -> None:
        """The subscription was cancelled: no attempt starts any more, and what had begun is still committed."""
        self._left(self)
        self.end()

    def succeeded(self, burst: Passage, part: Part, places: Sequence[int]) -> None:
        """Deliveries that simply succeeded."""
        now_ns = self._lifetime.clock.monotonic_ns()
        for place in places:
            outcome = part.outcome(place)
            queued_ns = max(0, now_ns - burst.accepted_ns - int(outcome.ran_s * 1e9) * len(places))
            self._note(burst.offsets[place], outcome, queued_ns)
        self._flush()

    def settled(self, offset: int, outcome: Outcome, letter: DeadLetter | None) -> None:
        """A delivery that was followed by itself has its outcome."""
        if outcome.status is Status.CANCELLED:
            self._progress.set()
            return  # the subscription ended, or the bus, not the delivery: it stays pending for the group
        self._note(offset, outcome, int(outcome.queued_s * 1e9))
        if letter is not None:
            self._dead.append((letter, offset))
        self._flush()

    def _note(self, offset: int, outcome: Outcome, queued_ns: int) -> None:
        self._progress.set()
        self._watch.tell(offset, outcome)
        ran_ns = int(outcome.ran_s * 1e9)
        self._settled.append(Settled(offset, outcome.status.value, outcome.attempts, queued_ns, ran_ns))
        self._uncommitted += 1

    def _skip(self, first: int, last: int) -> None:
        if self._skipped and self._skipped[-1][1] == first - 1:
            self._skipped[-1] = (self._skipped[-1][0], last)
        else:
            self._skipped.append((first, last))

    # --- commits ---------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if not self._is_committing and self._has_news:
            self._is_committing = True
            self._lifetime.crew.start(self.commit())

    async def commit(self) -> None:
        """Write what became of the deliveries: whatever gathers while one commit runs goes into the next."""
        self._is_committing, patience = True, Patience()
        try:
            while self._has_news:
                news = self._settled, self._skipped, self._dead, self._quarantined
                self._settled, self._skipped, self._dead, self._quarantined = [], [], [], []
                try:
                    await self._source.commit(self.name, *news)
                    patience.worked()
                except JournalError as error:
                    settled, skipped, dead, quarantined = news
                    self._settled, self._skipped = settled + self._settled, skipped + self._skipped
                    self._dead, self._quarantined = dead + self._dead, quarantined + self._quarantined
                    self._trouble.tell("cursor not committed", error, group=self.name)
                    if not self._lifetime.is_running:
                        return  # these deliveries repeat
                    await patience.wait()
                self._uncommitted = len(self._settled)
                self._progress.set()
        finally:
            self._is_committing = False
            self._progress.set()
            self._lifetime.look_idle()

    async def finished(self) -> None:
        """Wait until all that had begun has an outcome, and every outcome is committed."""
        while not self.is_finished:
            if self._is_committing or self._worker.tally.pending:
                self._progress.clear()
                await self._progress.wait()
            else:
                await self.commit()

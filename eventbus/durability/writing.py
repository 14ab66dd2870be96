"""Writing: the station between door and lane on a bus over a journal.

`WriteAhead` appends, and only what is durable is dispatched: whatever was accepted in one turn of the loop is one batch, and the
journal's own group commit joins what is concurrent. `WriteBehind` lets events be dispatched at once and appends many together a
moment later: for a program that can do again what a crash took from the end of its journal. Both know no subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

from eventbus.durability.record import as_record
from eventbus.errors import BusNotRunning, EventBusError, IdConflict, JournalUnavailable, OutcomeUnknown
from eventbus.journal.values import NewRecords
from eventbus.kind import Kind
from eventbus.log import log
from eventbus.road.commit import Commit

if TYPE_CHECKING:
    from eventbus.durability.opening import Opening
    from eventbus.event import Event
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Append, Appended
    from eventbus.retained import Retained
    from eventbus.road.burst import Burst
    from eventbus.road.door import Door
    from eventbus.road.lifetime import Lifetime

_NOTHING: frozenset[str] = frozenset()
_CROWDED = 20  # batches that may wait for the journal before publishers wait for it too


class WriteAhead:
    """Written, then dispatched. `go_on` gets each burst that is durable, and sends it to the dispatcher in its turn.

    `has_passed` says of a place in the journal whether it was dispatched here before; where nobody else appends, that is so of
    everything that was there before.
    """

    writes_first = True

    def __init__(
        self,
        journal: Journal,
        opening: Opening,
        door: Door,
        lifetime: Lifetime,
        retained: Retained,
        go_on: Callable[[Burst], None],
        *,
        with_quotes: bool,
        has_passed: Callable[[int], bool] | None = None,
    ) -> None:
        self._journal = journal
        self._opening = opening
        self._door = door
        self._lifetime = lifetime
        self._retained = retained
        self._go_on = go_on
        self._has_passed = has_passed
        self.is_shared = has_passed is not None
        self._with_quotes = with_quotes
        self._must_ask: Callable[[Event], None] | None = None
        self._context = Context()  # what is done later is done in nobody's name
        self._bursts: list[Burst] = []  # of this turn of the loop, the last one perhaps still filled
        self._appends: dict[
            asyncio.Future[Sequence[Appended]], frozenset[str]
        ] = {}  # and the ids that others may see first
        self._unknown: set[str] = set()  # ids of events that the journal may have or not
        self._left = 0  # events that are on their way, were refused, or had been there before

    async def ready(self, *, is_inside: bool) -> None:
        """Wait for the journal to be open. Raises what stands in its way."""
        await self._opening.open("publish()")

    def must_be_open(self, call: str) -> None:
        """Raise `BusNotRunning` where it is not, or no loop runs that would write."""
        self._opening.must_own(call)
        if not self._opening.is_open or not _is_in_loop():
            raise BusNotRunning(f"{call} on a bus with a journal")

    def record(self, event: Event) -> Append | None:
        """An event that cannot be written is refused; one that is written is retained when it is durable."""
        if self._must_ask is not None:
            self._must_ask(event)
        if event.__event__.retain:
            self._retained.check(event)
        return _record(event, self._with_quotes)

    def take(self, burst: Burst) -> None:
        """A burst was accepted; it is written at the end of this turn of the loop."""
        if not self._bursts:
            asyncio.get_running_loop().call_soon(self._flush, context=self._context)
        burst.waits_for(Commit())
        self._bursts.append(burst)

    @property
    def unwritten(self) -> int:
        """Events accepted and not yet written, or never to be."""
        return self._left + sum(len(burst.events) for burst in self._bursts)

    @property
    def is_behind(self) -> bool:
        """Is anything on its way?"""
        return bool(self._bursts or self._appends)

    def asks(self, must: Callable[[Event], None]) -> None:
        """From the beginning on: that may refuse an event."""
        self._must_ask = must

    def brought(self, events: int) -> None:
        """So many more are counted at the door that somebody else published."""
        self._left += events

    def is_sending(self, event_id: str) -> bool:
        """Is this one on its way, so that its place is not known yet?"""
        return any(event_id in ids for ids in self._appends.values())

    async def answered(self) -> None:
        """Wait for the next answer of the journal."""
        if self._appends:
            await asyncio.wait(self._appends, return_when=asyncio.FIRST_COMPLETED)

    async def flush(self) -> None:
        """Wait until everything accepted so far is in the journal, or refused by it."""
        while self.is_behind:
            if self._appends:
                await asyncio.wait(self._appends)
            await asyncio.sleep(0)

    def _flush(self) -> None:
        self._door.seal()  # who comes now comes too late for it
        bursts, self._bursts = self._bursts, []
        self._left += sum(len(burst.events) for burst in bursts)
        self._append(bursts)

    def _append(self, bursts: Sequence[Burst]) -> None:
        records = [record for burst in bursts for record in burst.records or () if record is not None]
        if not records:
            for burst in bursts:
                self._enter(burst)
            return
        try:
            appending = asyncio.ensure_future(self._journal.append(records))
        except EventBusError as error:  # it is closed
            self._refuse(bursts, error)
            return
        ids = frozenset(record.event_id for record in records) if self._has_passed is not None else _NOTHING
        self._appends[appending] = ids
        appending.add_done_callback(lambda done: self._answered(bursts, done), context=self._context)

    def _answered(self, bursts: Sequence[Burst], done: asyncio.Future[Sequence[Appended]]) -> None:
        self._appends.pop(done, None)
        error = _error_of(done)
        if error is None:
            places, at = done.result(), 0
            for burst in bursts:
                size = _size(burst)
                self._acknowledge(burst, places, at)
                at += size
        elif isinstance(error, IdConflict) and sum(map(_size, bursts)) > 1:
            # One event contradicts the journal; its neighbours have nothing to do with it.
            for burst in bursts:
                for part in self._part(burst):
                    self._append([part])
        else:
            self._refuse(bursts, error)
        if not self.is_behind:
            self._lifetime.look_idle()

    def _acknowledge(self, burst: Burst, places: Sequence[Appended], at: int) -> None:
        """The journal has it all, from `places[at]` on; what it had before is not dispatched again."""
        count = _size(burst)
        if not count:
            self._enter(burst)
            return
        is_new = isinstance(places, NewRecords)
        if count > 1 and not is_new and not _follow(places[at : at + count]):
            for part in self._part(burst):
                self._acknowledge(part, places, at)
                at += 1
            return
        burst.written(places[at].offset, str(self._journal.durability))
        if places[at].duplicate and self._was_dispatched(burst, places[at].offset):
            self._drop(burst)
        else:
            self._enter(burst)

    def _was_dispatched(self, burst: Burst, offset: int) -> bool:
        """Of what the journal had before."""
        if self._has_passed is not None:
            return self._has_passed(offset)
        return burst.events[0].event_id not in self._unknown

    def _part(self, burst: Burst) -> list[Burst]:
        """One burst for each event; the receipts follow their events."""
        if len(burst.events) == 1:
            return [burst]
        parts = self._door.part(burst)
        for part in parts:
            part.waits_for(Commit())
        _resolve(burst, None)
        return parts

    def _enter(self, burst: Burst) -> None:
        """The burst is durable: on to the dispatcher."""
        self._left -= len(burst.events)
        if self._unknown:
            self._unknown.difference_update(event.event_id for event in burst.events)
        burst.hand_over()
        self._go_on(burst)
        _resolve(burst, None)

    def _drop(self, burst: Burst) -> None:
        """It was accepted before, under the same id: once is enough."""
        burst.hand_over()
        self._door.withdraw(burst)
        burst.routed((), 0)
        _resolve(burst, None)

    def _refuse(self, bursts: Iterable[Burst], error: BaseException) -> None:
        if not isinstance(error, EventBusError):
            log.error("journal failed: %r", error, extra={"error": repr(error)})
        for burst in bursts:
            if isinstance(error, OutcomeUnknown):
                self._unknown.update(event.event_id for event in burst.events)
            burst.hand_over()
            self._door.withdraw(burst)
            burst.fail(error)
            _resolve(burst, error)


class WriteBehind:
    """Dispatched, then written, at most `batch` events or `delay` seconds later: one batch is written while the next gathers.

    When the journal fails, publishing from outside raises its error until a `flush()` succeeds.
    """

    writes_first = False
    is_shared = False
    unwritten = 0  # nobody waits for that

    def __init__(
        self,
        journal: Journal,
        opening: Opening,
        door: Door,
        lifetime: Lifetime,
        *,
        with_quotes: bool,
        batch: int,
        delay: float,
    ) -> None:
        self._journal = journal
        self._opening = opening
        self._door = door
        self._lifetime = lifetime
        self._with_quotes = with_quotes
        self._batch = batch
        self._delay = delay
        self._context = Context()
        self._dispatched = 0  # the number of the burst that came last, in turn
        self._records: list[Append] = []
        self._writing: asyncio.Future[Sequence[Appended]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: EventBusError | None = None

    async def ready(self, *, is_inside: bool) -> None:
        """Wait for the journal to be open and, outside of handlers, not crowded. Raises what it answered last, if it failed."""
        await self._opening.open("publish()")
        if is_inside:
            return
        if self._failure is not None:
            raise self._failure
        if len(self._records) >= _CROWDED * self._batch:
            await self._write_all()

    def must_be_open(self, call: str) -> None:
        """Raise `BusNotRunning` where it is not."""
        self._opening.must_own(call)
        if not self._opening.is_open:
            raise BusNotRunning(f"{call} on a bus with a journal")

    def record(self, event: Event) -> Append | None:
        """An event that cannot be written is refused."""
        return _record(event, self._with_quotes)

    def take(self, burst: Burst) -> None:
        """These are dispatched now; write them soon."""
        if not burst.is_urgent:
            self._dispatched = burst.number
        self._records += [record for record in burst.hand_over() if record is not None]
        self._schedule()

    @property
    def is_behind(self) -> bool:
        """What is written behind keeps nobody from being idle."""
        return False

    async def flush(self) -> None:
        """Wait until everything accepted so far is durable, as far as the bus runs: else what was dispatched.

        Raises what the journal answered; what was not written is kept, and tried again by the next call.
        """
        accepted = self._door.number
        while self._lifetime.is_running and self._door.queued and self._dispatched < accepted:  # noqa: ASYNC110 - some go with each turn
            await asyncio.sleep(0)
        await self._write_all()

    async def _write_all(self) -> None:
        self._failure = None
        while self._records or self._writing is not None:
            self._write()
            if self._writing is not None:
                await asyncio.wait([self._writing])
            if self._failure is not None:
                raise self._failure

    def _schedule(self) -> None:
        if self._failure is not None or self._writing is not None or not self._records:
            return
        if len(self._records) >= self._batch:
            self._write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._write, context=self._context)

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None or not self._records:
            return
        records, self._records = self._records, []
        try:
            self._writing = asyncio.ensure_future(self._journal.append(records))
        except EventBusError as error:  # it is closed
            self._failed(records, error)
        else:
            self._writing.add_done_callback(lambda done: self._written(records, done), context=self._context)

    def _written(self, records: Sequence[Append], done: asyncio.Future[Sequence[Appended]]) -> None:
        self._writing = None
        error = _error_of(done)
        if error is None:
            self._schedule()
        else:
            self._failed(records, error if isinstance(error, EventBusError) else JournalUnavailable("", repr(error)))

    def _failed(self, records: Sequence[Append], error: EventBusError) -> None:
        self._records[:0] = records
        self._failure = error


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _size(burst: Burst) -> int:
    """Its records: all of its events are written, or none."""
    return 0 if not burst.records or burst.records[0] is None else len(burst.records)


def _follow(places: Sequence[Appended]) -> bool:
    """Are they all new, one after the other? More than one batch holds may have others between, and an id may have been there."""
    first = places[0].offset
    return not any(place.duplicate or place.offset != first + nth for nth, place in enumerate(places))


def _error_of(done: asyncio.Future[Any]) -> BaseException | None:
    return JournalUnavailable("of this bus", "it was cancelled") if done.cancelled() else done.exception()


def _resolve(burst: Burst, error: BaseException | None) -> None:
    if burst.commit is not None:
        burst.commit.resolve(error)


def _record(event: Event, with_quotes: bool) -> Append | None:
    return as_record(event) if with_quotes or event.__event__.kind is not Kind.QUOTE else None

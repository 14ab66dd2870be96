"""Committer: stands between door and lane on a bus with a journal: append, commit, and only then dispatch.

Whatever was accepted in one turn of the loop is appended as one batch; the journal's own group commit joins what is concurrent.
Knows no subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from eventbus.burst import Burst
from eventbus.codec import encode, form_of
from eventbus.door import Door
from eventbus.errors import EventBusError, IdConflict, JournalUnavailable, OutcomeUnknown
from eventbus.event import Event, event_key
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Append, Appended, NewRecords
from eventbus.receipt import Commit, Following, Receipt
from eventbus.runtime import log


class Committer:
    """Bursts on their way into the journal.

    `on_entered` is called with each burst that is durable, before it is dispatched; `on_refused` with each that will never be;
    `on_idle` when nothing is on its way any more.
    """

    def __init__(
        self,
        journal: Journal,
        door: Door,
        *,
        on_entered: Callable[[Burst], None],
        on_refused: Callable[[Burst], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._door = door
        self._on_entered = on_entered
        self._on_refused = on_refused
        self._on_idle = on_idle
        self._bursts: list[Burst] = []
        self._appends: set[asyncio.Future[Sequence[Appended]]] = set()
        self._receipts: dict[Following, list[Receipt]] = {}
        self._unknown: set[str] = set()  # ids of events that the journal may have or not
        self.failures = 0

    def take(self, burst: Burst) -> None:
        """A burst was accepted; it is written at the end of this turn of the loop."""
        if not self._bursts:
            asyncio.get_running_loop().call_soon(self._flush)
        burst.committed = Commit()
        self._door.uncommitted += len(burst.events)
        self._bursts.append(burst)

    def follow(self, receipt: Receipt) -> None:
        """The first receipt of a burst: should its events have to part, their receipts go with them."""
        self._receipts[receipt.burst] = [receipt]

    def join(self, burst: Burst, event: Event) -> Receipt:
        """One more event for the open burst, which is not on its way yet. Raises `CodecError`."""
        if burst.records:
            burst.records.append(as_record(event))
        if type(event) is not burst.admits:
            burst.is_mixed = True
        events, receipt = burst.events, Receipt()
        receipt.burst = burst
        receipt.index = len(events)
        events.append(event)
        self._receipts[burst].append(receipt)
        self._door.uncommitted += 1
        return receipt

    @property
    def is_busy(self) -> bool:
        return bool(self._bursts or self._appends)

    async def flushed(self) -> None:
        """Wait until everything accepted so far is in the journal, or refused by it."""
        while self.is_busy:
            if self._appends:
                await asyncio.wait(self._appends)
            await asyncio.sleep(0)

    def _flush(self) -> None:
        self._door.seal()  # who comes now comes too late for it
        bursts, self._bursts = self._bursts, []
        self._append(bursts)

    def _append(self, bursts: Sequence[Burst]) -> None:
        records = [record for burst in bursts for record in burst.records]
        if not records:
            for burst in bursts:
                self._enter(burst)
            return
        try:
            appending = asyncio.ensure_future(self._journal.append(records))
        except EventBusError as error:  # it is closed
            self._refuse_all(bursts, error)
            return
        self._appends.add(appending)
        appending.add_done_callback(lambda done: self._answered(bursts, done))

    def _answered(self, bursts: Sequence[Burst], done: asyncio.Future[Sequence[Appended]]) -> None:
        self._appends.discard(done)
        error = JournalUnavailable("of this bus", "it was cancelled") if done.cancelled() else done.exception()
        if error is None:
            places, at = done.result(), 0
            for burst in bursts:
                self._settle(burst, places, at)
                at += len(burst.records)
        elif isinstance(error, IdConflict) and sum(len(burst.records) for burst in bursts) > 1:
            # One event contradicts the journal; its neighbours have nothing to do with it.
            for burst in bursts:
                for part in self._part(burst):
                    self._append([part])
        else:
            self._refuse_all(bursts, error)
        if not self.is_busy:
            self._on_idle()

    def _settle(self, burst: Burst, places: Sequence[Appended], at: int) -> None:
        """The journal has it all, from `places[at]` on; what it had before is not dispatched again."""
        count = len(burst.records)
        if not count:
            self._enter(burst)
            return
        is_new = isinstance(places, NewRecords)
        if count > 1 and not is_new and any(place.duplicate for place in places[at : at + count]):
            for part in self._part(burst):
                self._settle(part, places, at)
                at += 1
            return
        burst.offset, burst.durability = places[at].offset, str(self._journal.durability)
        if places[at].duplicate and burst.events[0].event_id not in self._unknown:
            self._drop(burst)
        else:
            self._enter(burst)

    def _part(self, burst: Burst) -> list[Burst]:
        """One burst for each event; the receipts follow their events."""
        if len(burst.events) == 1:
            return [burst]
        parts = []
        for index, receipt in enumerate(self._receipts.pop(burst, ())):
            part = burst.part(index)
            part.committed = Commit()
            receipt.burst, receipt.index = part, 0
            parts.append(part)
        _resolve(burst, None)
        return parts

    def _enter(self, burst: Burst) -> None:
        """The burst is durable: on to the dispatcher."""
        self._receipts.pop(burst, None)
        self._door.uncommitted -= len(burst.events)
        if self._unknown:
            self._unknown.difference_update(event.event_id for event in burst.events)
        self._on_entered(burst)
        self._door.lane.put_nowait(burst)
        _resolve(burst, None)

    def _drop(self, burst: Burst) -> None:
        """It was accepted before, under the same id: once is enough."""
        self._receipts.pop(burst, None)
        self._door.withdraw(burst)
        self._on_refused(burst)
        burst.is_closed = True
        for flight in burst.flights.values():
            flight.landed()
        _resolve(burst, None)

    def _refuse_all(self, bursts: Iterable[Burst], error: BaseException) -> None:
        if not isinstance(error, EventBusError):
            log.error("journal failed", extra={"error": repr(error)})
        for burst in bursts:
            self._receipts.pop(burst, None)
            self.failures += len(burst.events)
            if isinstance(error, OutcomeUnknown):
                self._unknown.update(event.event_id for event in burst.events)
            self._door.withdraw(burst)
            self._on_refused(burst)
            for index in range(len(burst.events)):
                burst.flight(index).fail(error)
            burst.is_closed = True
            _resolve(burst, error)


async def durable(receipt: Receipt) -> None:
    """Wait until the event of a receipt is in the journal. Raises what the journal answered."""
    while True:
        burst = receipt.burst
        assert burst.committed is not None
        await burst.committed.wait()
        if receipt.burst is burst:  # else it parted from its neighbours, and has to wait by itself
            return


def as_record(event: Event) -> Append:
    """How an event is kept in a journal. Raises `CodecError`."""
    form, spec, fields = form_of(event), event.__event__, event.__dict__
    type_ = form.type or event.type
    key = None if spec.key is None else event_key(event, spec.key)
    text = None if key is None else str(key)
    # As a plain call of Append, at a third of its price; and every field of the header is in the dictionary of the event.
    return tuple.__new__(
        Append,
        (
            fields["event_id"],
            type_,
            form.version,
            form.kind,
            text,
            int(fields["timestamp"].timestamp() * 1e9),
            fields["correlation_id"],
            fields["causation_id"],
            encode(event),
            f"{type_} {text or ''}" if spec.retain else None,
        ),
    )


def _resolve(burst: Burst, error: BaseException | None) -> None:
    if burst.committed is not None:
        burst.committed.resolve(error)

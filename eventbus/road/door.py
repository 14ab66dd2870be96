"""Door: admission whole: refuses what may not enter, waits for places, and fills bursts with what is published in a row.

Keeps the publisher's context. Bursts leave by the lane. Knows which queues an event would fill, and runs no handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextvars import Context, copy_context
from itertools import groupby
from threading import get_ident
from typing import TYPE_CHECKING

from eventbus.errors import BusStopped, Halted, PublishTimeout, QueueFull, ReentrantPublish
from eventbus.event import AdHocEvent, Event
from eventbus.kind import Kind
from eventbus.road.burst import SEALED, Burst
from eventbus.road.causes import Causes
from eventbus.road.context import CURRENT, Mark, Publishers, inside, is_same, without_decimal
from eventbus.road.gate import have_room
from eventbus.road.lane import Lane
from eventbus.road.places import BURST, Places
from eventbus.road.receipt import Receipt, receipt_for, receipts_for

if TYPE_CHECKING:
    from eventbus.causality import History, Identify
    from eventbus.retained import Retained
    from eventbus.road.gate import Gate
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.station import Station
    from eventbus.road.worker import Worker
    from eventbus.selector import RouteTable

_PLAIN = frozenset({Kind.EVENT, Kind.SIGNAL, Kind.EXECUTION})  # lossless, and none overtakes another
_NOBODY: Collection[type[Event]] = ()


class Door:
    """Admission. `size` bounds the events accepted and not yet settled; handlers have `reserve` on top, CONTROL one of its own.

    With `max_bytes` it is full at so many bytes too: events are measured one by one then, and share no bursts.
    """

    def __init__(
        self,
        lifetime: Lifetime,
        routes: RouteTable[Worker],
        history: History,
        retained: Retained,
        *,
        size: int,
        reserve: int,
        max_bytes: int | None = None,
        identify: Identify | None = None,
    ) -> None:
        self.places = Places(size, reserve, max_bytes, lifetime.somebody_waits)
        self.lane = Lane()
        self.filling = SEALED
        self.urgent = 0  # bursts of CONTROL that were not dispatched
        self.is_shut = False
        self.halt_reason: str | None = None
        self._lifetime = lifetime
        self._clock = lifetime.clock.monotonic_ns
        self._routes = routes
        self._history = history
        self._retained = retained
        self._causes = Causes(history, identify)
        self._station: Station | None = None
        self._is_entered = False  # between the two halves of an admission, or of what one changes too
        self._number = 0  # of the burst begun last
        self._ordinary: set[type[Event]] = set()  # classes whose events may join a burst of another
        self._sealed = 0  # events of bursts that nothing joins any more, and that were not dispatched
        self._publishers = Publishers()

    # --- counts ----------------------------------------------------------------------------------------------------

    @property
    def published(self) -> int:
        """Events accepted for good, ever."""
        return self.places.accepted - (self._station.unwritten if self._station is not None else 0)

    @property
    def queued(self) -> int:
        """Events accepted and not yet dispatched."""
        return self._sealed + len(self.filling.events)

    @property
    def number(self) -> int:
        """Of the burst that was begun last: what subscribes now is concerned with later ones."""
        return self._number

    # --- enter -----------------------------------------------------------------------------------------------------

    def join(self, event: Event) -> Receipt | None:
        """Into the burst being filled, if it admits the event: then nothing about it needs a look. Else None.

        Raises `ReentrantPublish` in the middle of another admission.
        """
        if self._is_entered:
            raise ReentrantPublish
        self._is_entered = True
        try:
            burst, cls = self.filling, type(event)
            events = burst.events
            index = len(events)
            if index >= burst.room or get_ident() != burst.thread:
                return None
            context = copy_context()
            try:
                if context != burst.context and (burst.cell is None or context != burst.cell.clean):
                    return None
            except BaseException:  # noqa: BLE001 - a value that cannot be compared: then this context is another one
                return None
            if cls is not burst.cls:
                if cls not in burst.joins:
                    return None
                if not burst.is_mixed:
                    burst.mix()
            receipt = Receipt()
            receipt.burst, receipt.index, receipt.event = burst, index, event
            if burst.is_noted:
                self._note(burst, event, receipt)
            events.append(event)
            return receipt
        finally:
            self._is_entered = False

    def _note(self, burst: Burst, event: Event, receipt: Receipt) -> None:
        """An event is told its cause and written down, as the first of its burst was."""
        if burst.is_caused:
            self._causes.stamp(event, CURRENT.get(), None, burst.hops)
        if burst.records is not None and self._station is not None:
            burst.records.append(self._station.record(event))
            if burst.receipts is not None:
                burst.receipts.append(receipt)

    def join_all(self, events: Sequence[Event], start: int, receipts: list[Receipt]) -> int:
        """As many of these, from `start` on, as may join the burst being filled together; gives how many, and their receipts."""
        self._is_entered = True
        try:
            burst = self.filling
            first = len(burst.events)
            if burst.is_caused or first >= burst.room or get_ident() != burst.thread:
                return 0
            allowed = {burst.cls, *burst.joins}
            if start >= len(events) or type(events[start]) not in allowed or not is_same(copy_context(), burst.context):
                return 0
            run, classes = list[Event](), set[type[Event]]()
            for cls, same in groupby(events[start : start + burst.room - first], type):
                if cls not in allowed:
                    break
                classes.add(cls)
                run += same
            if burst.records is not None and self._station is not None:
                burst.records.extend(list(map(self._station.record, run)))  # all of them, or none
            if classes != {burst.cls}:
                burst.mix()
            burst.events.extend(run)
            accepted = receipts_for(burst, first, run)
            receipts += accepted
            if burst.receipts is not None:
                burst.receipts.extend(accepted)
        finally:
            self._is_entered = False
        return len(run)

    async def admit(self, event: Event, cause: Event | None, timeout: float | None) -> Receipt:
        """Let an event in, waiting at most `timeout` seconds for a place. A handler never waits: it enters, or this raises."""
        if self._station is not None:
            await self._station.ready(is_inside=inside() is not None)
        if self._sealed + len(self.filling.events) >= BURST and inside() is None:
            await asyncio.sleep(0)  # a publisher that never pauses lets the dispatcher in
        receipt = self.enter(event, cause)
        if receipt is not None:
            return receipt
        patience = asyncio.timeout(timeout)
        try:
            async with patience:
                return await self._wait_to_enter(event, cause)
        except TimeoutError:
            if timeout is None or not patience.expired():
                raise
            raise PublishTimeout(timeout) from None

    async def _wait_to_enter(self, event: Event, cause: Event | None) -> Receipt:
        """Wait wherever it has to, as often as somebody else was quicker."""
        self._lifetime.somebody_waits()
        while True:
            gate = self._full_gate(event)
            has_place = gate is None
            if gate is None:
                await self.places.room()
            else:
                await gate.vacancy()
            receipt = None
            try:
                receipt = self.enter(event, cause, has_place=has_place)
            finally:
                if receipt is None:
                    self.places.give_back(0)  # the place that this one was woken for is the next one's
            if receipt is not None:
                return receipt

    def enter_now(self, event: Event, cause: Event | None) -> Receipt:
        """Let an event in without waiting. Raises `QueueFull`, and `ReentrantPublish` in the middle of another admission."""
        if self._station is not None:
            self._station.must_be_open("publish_nowait()")
        receipt = self.enter(event, cause)
        if receipt is None:
            self._lifetime.never_started()
            raise QueueFull(self.places.occupied, self.places.whose)
        return receipt

    def enter(self, event: Event, cause: Event | None = None, *, has_place: bool = False) -> Receipt | None:
        """Join, or begin a burst; None: it has to wait. Raises for what may not enter, and for who would wait for ever."""
        if cause is None and self.filling is not SEALED and (receipt := self.join(event)) is not None:
            return receipt
        if self._is_entered:
            raise ReentrantPublish
        self._is_entered = True
        try:
            return self._begin_burst(event, cause, has_place)
        finally:
            self._is_entered = False

    def _begin_burst(self, event: Event, cause: Event | None, has_place: bool) -> Receipt | None:
        mark, spec, station, places = CURRENT.get(), event.__event__, self._station, self.places
        is_inside, is_urgent = mark is not None and mark[0].at == mark[1], spec.kind is Kind.CONTROL
        self._lifetime.must_own("publish()")
        if self.is_shut or self.halt_reason is not None:
            self._refuse(event, is_inside)
        self.seal()
        gates = self._gates(event) if self._routes.has_gates and not is_urgent else ()
        if gates and not have_room(gates, is_inside=is_inside):
            return None
        room = places.room_for_burst(is_inside=is_inside, is_urgent=is_urgent, is_promised=has_place)
        if not room:
            return None
        hops = 0
        if mark is not None or cause is not None:
            hops = self._causes.hops(event, mark, cause)
            self._causes.stamp(event, mark, cause, hops)
        record = None if station is None else station.record(event)
        if spec.retain and (station is None or not station.writes_first):
            self._retained.keep(event)
        context, base, exact = self._publishers.context(mark)
        self._number += 1
        burst = self.filling = Burst(event, base, hops, self._number, self._clock(), is_urgent, gates)
        places.fill(burst)
        is_gated = type(event) is AdHocEvent and self._routes.has_gates
        if exact and cause is None and places.budget is None and not (spec.retain or is_gated):
            self._invite(burst, context, room, mark)
        receipt = receipt_for(burst, 0, event)
        if station is not None:
            burst.is_recorded([record], [receipt] if station.writes_first else None)
        if station is not None and station.writes_first:
            station.take(burst)
        else:
            self.lane.put(burst)
        if is_urgent:
            self.urgent += 1
            self._lifetime.interrupt()
        return receipt

    def _refuse(self, event: Event, is_inside: bool) -> None:
        if self.is_shut and not (is_inside and self._lifetime.is_running):
            raise BusStopped
        if self.halt_reason is not None and event.__event__.kind is Kind.EXECUTION:
            raise Halted(self.halt_reason)

    def _gates(self, event: Event) -> Sequence[Gate]:
        """Of the subscriptions with a queue of their own that the event would go to."""
        return [worker.gate for worker in self._routes.gates(event) if worker.gate is not None]

    def _full_gate(self, event: Event) -> Gate | None:
        """The first of them that is full. CONTROL waits at none."""
        self.seal()
        gates = () if event.__event__.kind is Kind.CONTROL else self._gates(event)
        return next((gate for gate in gates if gate.room <= 0), None)

    def _invite(self, burst: Burst, context: Context, room: int, mark: Mark | None) -> None:
        """What the same publisher publishes next may join: the same class, and others that need no look either."""
        cls, joins, cell = burst.cls, _NOBODY, None
        if burst.gates:
            room = min(room, *(gate.room for gate in burst.gates))
        elif cls in self._ordinary:
            joins = self._ordinary
        elif cls.__event__.kind in _PLAIN and cls.__event__.max_age is None:
            self._ordinary.add(cls)
            joins = self._ordinary
        if mark is not None and burst.base is mark[0].base:
            cell = mark[0]
        burst.invite(room, get_ident(), context, joins, cell, mark is not None)

    # --- the burst being filled ------------------------------------------------------------------------------------

    def seal(self) -> None:
        """No event joins the burst being filled any more: something changed that the next one must see."""
        burst = self.filling
        if burst is SEALED:
            return
        was_entered, self._is_entered = self._is_entered, True
        events = self._close(burst)
        self._sealed += events
        for gate in burst.gates:
            gate.expect(events)
        self._is_entered = was_entered

    def _close(self, burst: Burst) -> int:
        """The burst being filled is full, or has to go; gives how many events it has."""
        self.filling = SEALED
        self._history.remember(burst.events, burst)
        return self.places.close(burst)

    def routes_changed(self, *, is_simple: bool) -> tuple[int, int]:
        """Somebody comes or goes, which for who is neither durable nor a gate counts from here on; gives the burst and the place."""
        if not is_simple or self._station is not None:
            self.seal()
            self._ordinary = set()
        return (self._number + 1, 0) if self.filling is SEALED else (self._number, len(self.filling.events))

    def withdraw(self, burst: Burst) -> None:
        """The journal did not take these events, or had them already: they give their places back undispatched."""
        self.take(burst)
        self.places.give_back(len(burst.events))
        for gate in burst.gates:
            gate.look()  # whoever waits there had waited for these

    def part(self, burst: Burst) -> list[Burst]:
        """Its events cannot stay together on their way into the journal: each has a burst of its own from now on."""
        parts = burst.parted()
        self.urgent += burst.is_urgent * (len(parts) - 1)
        return parts

    def take(self, burst: Burst) -> None:
        """A burst leaves, mostly to be dispatched: it counts as queued no more."""
        was_entered, self._is_entered = self._is_entered, True
        self.urgent -= burst.is_urgent
        if burst is self.filling:
            self._close(burst)
        else:
            self._sealed -= len(burst.events)
            for gate in burst.gates:
                gate.expect(-len(burst.events))
        self._is_entered = was_entered

    def bring(self, burst: Burst) -> None:
        """Events that another process accepted take their places, and go to whoever listens now. They waited there, not here."""
        self.seal()
        self._number += 1
        burst.brought_in(self._number, self._clock())
        self.places.fill(burst)
        self.filling = burst
        self.seal()
        self.urgent += burst.is_urgent
        self.lane.put(burst)
        if burst.is_urgent:
            self._lifetime.interrupt()

    def outside(self, event: Event) -> Burst:
        """A burst for an event that did not come in by the door: it holds no place."""
        base = without_decimal(copy_context())
        return Burst(event, base, 0, self._number, self._clock())

    # --- life ------------------------------------------------------------------------------------------------------

    def write_to(self, station: Station) -> None:
        """From the beginning on: accepted bursts stop there."""
        self._station = station
        self._causes.tells_hops(station.is_shared)

    def halt(self, reason: str) -> None:
        """Refuse EXECUTION from now on. Safe in the middle of an admission: whoever is half in stays."""
        self.halt_reason = reason
        self.filling.admit_none()
        self._ordinary = set()  # what is refused from now on joins nobody

    def rearm(self) -> None:
        """EXECUTION may enter again."""
        self.halt_reason = None

    def shut(self) -> None:
        """Outside publishers are refused from now on; those who wait get `BusStopped`."""
        self.is_shut = True
        self.seal()
        self.places.refuse_waiting()

    def move(self) -> None:
        """The bus goes on in another loop: nothing of the old one is kept."""
        self.seal()
        self.lane.move()
        self.places.move()

    def left(self) -> list[Burst]:
        """Everything that was accepted and not dispatched, taken out."""
        self.seal()
        return self.lane.left()

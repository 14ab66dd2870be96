"""Door: where events come in, and the only place where anybody waits.

It bounds what was accepted and is not yet settled. Events accepted in a row, from one context, form a `Burst`; the lane is an
`asyncio.Queue` of bursts in which CONTROL overtakes. Knows no subscription and no handler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextvars import Context, copy_context
from threading import get_ident
from typing import Any

from eventbus.burst import NOBODY, SEALED, Burst
from eventbus.clock import Clock
from eventbus.context import is_comparable, same_context, without_decimal
from eventbus.errors import BusStopped, QueueFull, WouldDeadlock
from eventbus.event import Event
from eventbus.receipt import Receipt
from eventbus.weight import Scale

_BURST = 2048  # events; publishers that never pause let the dispatcher in after as many
_CONTROL_RESERVE = 1_024
_OPENING_S = 0.001


class Lane(asyncio.Queue[Burst]):
    """The queue between door and dispatcher. CONTROL bursts come out first."""

    def _init(self, maxsize: int) -> None:
        self._control: deque[Burst] = deque()
        self._queue: deque[Burst] = deque()

    def _put(self, item: Burst) -> None:
        (self._control if item.is_urgent else self._queue).append(item)

    def _get(self) -> Burst:
        return (self._control or self._queue).popleft()

    def qsize(self) -> int:
        return len(self._control) + len(self._queue)

    def empty(self) -> bool:
        return not (self._queue or self._control)

    @property
    def has_control(self) -> bool:
        return bool(self._control)

    def events(self) -> int:
        """Events that wait in it."""
        return sum(len(burst.events) for bursts in (self._control, self._queue) for burst in bursts)


class Door:
    """Admission. `size` bounds the events accepted and not yet settled; handlers have `reserve` on top, CONTROL one of its own.

    With `max_bytes` it is full at so many bytes too. Events are weighed one by one then, and share no bursts.
    """

    def __init__(self, size: int, reserve: int, clock: Clock, max_bytes: int | None = None) -> None:
        self.size = size
        self._scale = None if max_bytes is None else Scale(max_bytes)
        self.reserve = reserve
        self.lane = Lane()
        self.reserve_used = 0
        self.is_shut = False
        self._clock = clock
        self._sealed = 0  # events in sealed bursts, ever
        self._taken = 0
        self._settled = 0
        self._promised = 0  # places given to publishers that were woken and have not entered yet
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._opening = False  # the waiting will be let in in a moment
        self._last_context: Context = Context()
        self._last_base: Context = Context()
        self._last_comparable = True
        self.open = SEALED
        self.pass_on: Callable[[Burst], None] = self.lane.put_nowait  # a bus with a journal writes it down first
        self.uncommitted = 0  # events on their way into the journal
        self._withdrawn = 0

    @property
    def accepted(self) -> int:
        """Events that came in, ever."""
        return self._sealed + len(self.open.events)

    @property
    def published(self) -> int:
        """Events accepted for good, ever."""
        return self.accepted - self.uncommitted - self._withdrawn

    @property
    def queued(self) -> int:
        """Events accepted and not yet dispatched."""
        return self._sealed + len(self.open.events) - self._taken

    @property
    def held(self) -> int:
        """Events accepted and not yet settled, and places promised."""
        return self._sealed + len(self.open.events) - self._settled + self._promised

    @property
    def is_full(self) -> bool:
        """Is there no place, or somebody who waits for one?"""
        # `held`, written out: a publisher that waits for outcomes asks before every event.
        held = self._sealed + len(self.open.events) - self._settled + self._promised
        is_heavy = self._scale is not None and self._scale.is_full(self._promised)
        return held >= self.size or bool(self._waiting) or is_heavy

    @property
    def _is_heavy(self) -> bool:
        return self._scale is not None and self._scale.is_full(self._promised)

    @property
    def crowded(self) -> bool:
        """Do so many events wait that the dispatcher should have a turn?"""
        return self._sealed + len(self.open.events) - self._taken >= _BURST

    def seal(self) -> None:
        """No event joins the open burst any more: something changed that the next one must see."""
        burst = self.open
        if burst.events:
            burst.room = 0
            self._sealed += len(burst.events)
            self.open = SEALED

    def enter(
        self,
        event: Event,
        table: Any,
        *,
        base: Context | None = None,
        cause: Event | None = None,
        hops: int = 0,
        shares: bool = True,
        joins: AbstractSet[type[Event]] = NOBODY,
        is_plain: bool = True,
        is_urgent: bool = False,
    ) -> Receipt:
        """Accept. With `shares`, what the same publisher publishes next may join this burst: the same class, and those of `joins`.

        `base` is what handlers get a copy of; by default the present context, of which the door keeps a copy. `cause` is the event
        whose handler publishes.
        """
        self.seal()
        base = self._base() if base is None else base
        if self._scale is not None:
            self._scale.put_on(event)
            shares = False
        burst = Burst(event, base, hops, self._clock.monotonic_ns(), table, is_plain, is_urgent)
        if shares and (self._last_comparable or cause is not None):
            burst.admits = type(event)
            burst.joins = joins
            if cause is None:
                burst.context = self._last_context
            else:
                burst.cause = cause
            room = self.size - self.held + (_CONTROL_RESERVE if is_urgent else 0)
            burst.room = room if room < _BURST else _BURST
            burst.thread = get_ident()
        self.open = burst
        self.pass_on(burst)
        if not shares:
            self.seal()
        receipt = Receipt()
        receipt.burst, receipt.index = burst, 0
        return receipt

    def pass_through(self, event: Event, table: Any) -> Burst:
        """Accept an event that is dispatched before anything else happens: it never waits in the lane."""
        self._sealed += 1
        self._taken += 1
        if self._scale is not None:
            self._scale.put_on(event)
        return Burst(event, self._base(), 0, self._clock.monotonic_ns(), table, is_plain=True, is_urgent=False)

    def _base(self) -> Context:
        """The context of whoever publishes now, as handlers get it. Publishers change seldom: the last one is kept."""
        context = copy_context()
        if not self._last_comparable or not same_context(context, self._last_context):
            self._last_context = context
            self._last_comparable = is_comparable(context)
            self._last_base = without_decimal(context)
        return self._last_base

    def outside(self, event: Event) -> Burst:
        """A burst for an event that did not come in by the door: it holds no place."""
        base = without_decimal(copy_context())
        burst = Burst(event, base, 0, self._clock.monotonic_ns(), None, is_plain=False, is_urgent=False)
        burst.is_closed = True
        return burst

    def has_room(self, *, inside: bool, is_urgent: bool) -> bool:
        """May an event enter now? Raises `WouldDeadlock` for a handler beyond the reserve: it must not wait for itself."""
        held = self.held
        if held < self.size and (inside or not self._waiting) and not self._is_heavy:
            return True
        if inside:
            if held >= self.size + self.reserve or self._is_twice_as_heavy:
                raise WouldDeadlock(held)
            self.reserve_used += 1
            return True
        return is_urgent and held < self.size + _CONTROL_RESERVE

    @property
    def _is_twice_as_heavy(self) -> bool:
        return self._scale is not None and self._scale.total >= 2 * self._scale.limit

    def refuse_full(self) -> QueueFull:
        where = (
            "the bus" if self._scale is None or not self._is_heavy else f"the bus, full at {self._scale.limit} bytes,"
        )
        return QueueFull(self.held, where)

    async def room(self) -> None:
        """Wait for a place, in order of arrival. Raises `BusStopped` when the door is shut meanwhile."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._promised -= 1
                self._let_in()
            raise
        finally:
            if not place.done() or place.cancelled() or place.exception() is not None:
                self._forget(place)
        self._promised -= 1

    async def next_burst(self) -> Burst:
        """Wait for the next burst; CONTROL comes first."""
        burst = await self.lane.get()
        self.take(burst)
        return burst

    def take(self, burst: Burst) -> None:
        """A burst is dispatched now: nothing joins it any more."""
        if burst is self.open:
            self.seal()
        self._taken += len(burst.events)

    def withdraw(self, burst: Burst) -> None:
        """The journal did not take these events, or had them already: they give their places back undispatched."""
        if burst is self.open:
            self.seal()
        self.uncommitted -= len(burst.events)
        self._withdrawn += len(burst.events)
        self._taken += len(burst.events)
        self.settle(len(burst.events))

    def nudge(self) -> None:
        """Let the dispatcher look up although no event came."""
        self.lane.put_nowait(SEALED)

    def settle(self, events: int) -> None:
        """So many events are settled by every lossless subscription."""
        self._settled += events
        if self._scale is not None:
            self._scale.take_off(events)
        if self._waiting and not self._opening:
            # One place at a time would give bursts of one event: wait a moment for more, but no longer.
            if self.size - self.held >= min(self.size // 4, _BURST):
                self._let_in()
            else:
                self._opening = True
                # Their loop, which need not be running now: a subscription may be resumed or cancelled by plain code.
                self._waiting[0].get_loop().call_later(_OPENING_S, self._let_in)

    def shut(self) -> None:
        """Outside publishers are refused from now on; those who wait get `BusStopped`."""
        self.is_shut = True
        self.seal()
        for place in self._waiting:
            if not place.done():
                place.set_exception(BusStopped())
        self._waiting.clear()

    def _let_in(self) -> None:
        self._opening = False
        while self._waiting and self.held < self.size and not self._is_heavy:
            place = self._waiting.popleft()
            if not place.done():
                self._promised += 1
                place.set_result(None)

    def _forget(self, place: asyncio.Future[None]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)

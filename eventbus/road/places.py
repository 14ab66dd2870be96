"""Places: how many events were accepted and are not settled, how many more may be, and who waits for that.

The door asks before it lets an event in, and tells what entered; whoever settles gives places back. Knows nothing of events but
how many there are and, with a bound in bytes, what they hold.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.errors import BusStopped, WouldDeadlock
from eventbus.footprint import MemoryBudget
from eventbus.road.burst import SEALED

if TYPE_CHECKING:
    from eventbus.road.burst import Burst

BURST = 2048  # events; publishers that never pause let the dispatcher in after as many
_CONTROL_RESERVE = 1_024
_LET_IN_S = 0.001


class Places:
    """Of one door: `size` for all, `reserve` on top for handlers, one more for CONTROL.

    With `max_bytes` it is full at so many bytes too: events are measured one by one then. `somebody_waits` has those who keep places
    that they need no longer tell so.
    """

    def __init__(self, size: int, reserve: int, max_bytes: int | None, somebody_waits: Callable[[], None]) -> None:
        self.size, self.reserve = size, reserve
        self.reserve_used = 0
        self.budget = None if max_bytes is None else MemoryBudget(max_bytes)  # None: events are not measured
        self._somebody_waits = somebody_waits
        self._filling = SEALED  # what is accepted now goes in there
        self._closed = self._given_back = 0  # events, ever
        self._promised = 0  # places given to publishers that were woken and have not entered yet
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._letting_in: asyncio.TimerHandle | None = None  # the waiting will be let in in a moment

    @property
    def accepted(self) -> int:
        """Events, ever."""
        return self._closed + len(self._filling.events)

    @property
    def occupied(self) -> int:
        """Events accepted and not yet settled, and places promised."""
        return self._closed + len(self._filling.events) - self._given_back + self._promised

    @property
    def has_waiting(self) -> bool:
        """Does a publisher wait for a place?"""
        return bool(self._waiting)

    @property
    def lets_in_soon(self) -> bool:
        """Will those who wait be let in in a moment?"""
        return self._letting_in is not None

    @property
    def whose(self) -> str:
        """Who is full, for who is refused."""
        if self.budget is not None and self._is_out_of_memory:
            return f"the bus, full at {self.budget.limit} bytes,"
        return "the bus"

    @property
    def _is_out_of_memory(self) -> bool:
        return self.budget is not None and self.budget.is_full(self._promised)

    # --- in --------------------------------------------------------------------------------------------------------

    def room_for_burst(self, *, is_inside: bool, is_urgent: bool, is_promised: bool) -> int:
        """How many a burst may have that begins now; 0: it has to wait. Raises `WouldDeadlock` where a handler would have to."""
        free = self.size - self._closed + self._given_back - self._promised
        if free <= 0:  # what is settled and not counted yet gives its places back now
            self._somebody_waits()
            free = self.size - self.occupied
        if not (is_promised or (free > 0 and (is_inside or not self._waiting) and not self._is_out_of_memory)):
            if is_inside:
                is_twice_over = self.budget is not None and self.budget.total >= 2 * self.budget.limit
                if free + self.reserve <= 0 or is_twice_over:
                    raise WouldDeadlock(self.occupied)
            elif not is_urgent or free + _CONTROL_RESERVE <= 0:
                return 0
        if is_urgent:
            free += _CONTROL_RESERVE
        elif free <= 0:  # a handler's: the reserve is there for it
            free += self.reserve
        return min(BURST, max(1, free))

    def fill(self, burst: Burst) -> None:
        """Its events are accepted as they join; where they are measured, none does."""
        self._filling = burst
        if self.budget is not None:
            for event in burst.events:
                self.budget.take(event)

    def close(self, burst: Burst) -> int:
        """No event joins it any more; gives how many it has."""
        events = burst.close()
        self.reserve_used += max(0, min(events, self.occupied - self.size)) if burst.is_caused else 0
        self._closed += events
        self._filling = SEALED
        return events

    # --- out -------------------------------------------------------------------------------------------------------

    def give_back(self, events: int) -> None:
        """So many events are settled by every lossless subscription, or were withdrawn."""
        self._given_back += events
        if self.budget is not None:
            self.budget.give_back(events)
        if self._waiting and self._letting_in is None:
            # One place at a time would give bursts of one event: wait a moment for more, but no longer.
            if self.size - self.occupied >= min(self.size // 4, BURST):
                self._let_in()
            else:
                # Their loop, which need not be running now: a subscription may be resumed or cancelled by plain code.
                self._letting_in = self._waiting[0].get_loop().call_later(_LET_IN_S, self._let_in)

    # --- wait ------------------------------------------------------------------------------------------------------

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

    def _forget(self, place: asyncio.Future[None]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)

    def _let_in(self) -> None:
        if self._letting_in is not None:
            self._letting_in.cancel()
            self._letting_in = None
        while self._waiting and self.occupied < self.size and not self._is_out_of_memory:
            place = self._waiting.popleft()
            if not place.done():
                self._promised += 1
                place.set_result(None)

    def refuse_waiting(self) -> None:
        """The door is shut: those who wait get `BusStopped`."""
        for place in self._waiting:
            if not place.done():
                place.set_exception(BusStopped())
        self._waiting.clear()

    def move(self) -> None:
        """The bus goes on in another loop: who waits in an old one is gone with it."""
        here = asyncio.get_running_loop()
        self._waiting = deque(place for place in self._waiting if place.get_loop() is here)
        self._promised, self._letting_in = 0, None

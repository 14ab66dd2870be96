"""Dispatcher: takes bursts from the lane, finds who they go to, offers each a part. It never waits for a handler, and runs none.

One stepper leads: it takes and dispatches, and serves the subscriptions listed here. When a handler waits in it, it follows that
delivery and another takes the lead.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from eventbus.event import AdHocEvent, Event
from eventbus.log import log
from eventbus.road.arrival import offer
from eventbus.road.stepping import Stepper

if TYPE_CHECKING:
    from eventbus.road.burst import Burst
    from eventbus.road.context import Cell
    from eventbus.road.door import Door
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.part import Part
    from eventbus.road.worker import Worker
    from eventbus.selector import RouteTable
    from eventbus.tap import Taps

_TYPES_COUNTED = 10_000
_BURSTS_A_TURN = 64  # dispatched in a row without giving the loop a turn
_BACK_OFF_S = 0.05
_SPREAD = 64  # bursts looked through at once for those that are done


class Dispatcher:
    """Moves events from the lane to the subscriptions, for as long as the bus runs. The way of stepped handlers."""

    def __init__(self, lifetime: Lifetime, door: Door, routes: RouteTable[Worker], taps: Taps) -> None:
        self.lifetime = lifetime
        self.dispatched = 0
        self.by_type: dict[str, int] = {}
        self.door = door
        self._routes = routes
        self._taps = taps
        self._watching: Callable[[Burst], None] | None = None
        self.listed: OrderedDict[Worker, None] = OrderedDict()  # subscriptions that the leader is to serve
        self._steppers: set[Stepper] = set()
        self._in_turn = 0  # bursts
        self._failures = 0  # of leaders, in a row
        self._spread: list[Burst] = []  # that hold places for several subscriptions

    def watched_by(self, watching: Callable[[Burst], None]) -> None:
        """Somebody sees every burst just before it is dealt out."""
        self._watching = watching

    # --- who leads -------------------------------------------------------------------------------------------------

    def lead(self) -> None:
        """Somebody leads from now on: a new task, unless that of the run before has not ended yet."""
        if not any(stepper.leads for stepper in self._steppers):
            self.new_leader()

    def new_leader(self) -> None:
        """Give the lead to a new task."""
        loop = self.lifetime.loop
        assert loop is not None
        stepper = Stepper(self, loop)
        self._steppers.add(stepper)
        self.lifetime.crew.owns(stepper.task)

    def left_by(self, stepper: Stepper, failure: BaseException | None) -> None:
        """A task that led, or stayed with a delivery, ends."""
        self._steppers.discard(stepper)
        self.lifetime.crew.disowns(stepper.task)
        if not stepper.leads:
            return
        if not self.lifetime.is_running or self.lifetime.is_ending:
            return
        if failure is None:
            self._failures = 0
            self.new_leader()  # a handler kept hold of the task: whatever it has in mind must not hit the next delivery
        else:
            self._failures += 1
            log.critical("dispatcher failed", exc_info=failure)
            self.lifetime.crew.call_later(min(5.0, _BACK_OFF_S * 2**self._failures), self._lead_again)

    def move(self) -> None:
        """The bus goes on in another loop: whoever led in the old one is gone with it."""
        self._steppers.clear()
        self.listed.clear()

    def _lead_again(self) -> None:
        if self.lifetime.is_running:
            self.lead()

    # --- the way of stepped handlers -------------------------------------------------------------------------------

    def wake(self, worker: Worker, *, first: bool = False) -> None:
        """There is work for it: the leader serves it."""
        if worker in self.listed or worker.busy >= worker.policy.concurrency:
            return
        self.listed[worker] = None
        if first:
            self.listed.move_to_end(worker, last=False)
        if self.door.lane.arrival is not None:
            self.door.lane.nudge()

    def recall(self, worker: Worker) -> None:
        """Nothing is taken ahead."""

    def part_with(self, worker: Worker, part: Part) -> None:
        """The delivery of a part that runs ends by itself; the rest of the part is somebody else's."""
        if worker.running.get(part.cell) is part and part.cell.at >= 0:
            worker.passed(part, part.cell.at, 0)
            worker.detach(part)

    def abort(self, worker: Worker, cell: Cell) -> None:
        """Whoever waits in there is cancelled: a task that was serves nobody else."""
        for stepper in self._steppers:
            if stepper.cell is cell:
                stepper.task.cancel()

    def interrupt(self) -> None:
        """Something must take effect before the next attempt."""
        for stepper in self._steppers:
            if stepper.cell is not None:
                stepper.cell.interrupt()

    @property
    def somebody_waits(self) -> bool:
        """Does a publisher wait for a place?"""
        return self.door.places.has_waiting

    def flush(self) -> None:
        """Somebody wants to know what has ended."""
        for stepper in self._steppers:
            stepper.flush()

    def count_places(self) -> None:
        """A publisher waits: events of bursts that hold places for several subscriptions give back their own."""
        self.flush()
        spread, self._spread = self._spread, []
        for burst in spread:
            if burst.is_spread:
                self.door.places.give_back(burst.count_by_event())

    # --- dispatch --------------------------------------------------------------------------------------------------

    def look_up(self) -> None:
        """If the leader waits for the lane, it goes on."""
        self.door.lane.nudge()

    def arrival(self) -> asyncio.Future[None]:
        """There is nothing to do: done when there may be something."""
        self.lifetime.look_idle()
        assert self.lifetime.loop is not None
        self._in_turn = 0
        return self.door.lane.wait(self.lifetime.loop)

    def dispatch_next(self) -> bool:
        """Offer the next burst to everybody it goes to; True when the loop should have its turn. Runs no handler."""
        door, routes = self.door, self._routes
        burst = door.lane.take()
        door.take(burst)
        events, count = burst.events, len(burst.events)
        self.dispatched += count
        if self._watching is not None:
            self._watching(burst)
        if self._taps.are_there:
            self._taps.show(events, burst.offset)
        parts: list[Part] = []
        if count > 1 and (burst.is_mixed or burst.cls is AdHocEvent):
            most = self._deal_out(burst, parts)
        else:
            number = burst.number
            takers = routes.takers(events[0], number)
            most = len(takers)
            for worker in takers:
                if number in (worker.since, worker.until):  # it came or went while that was filled
                    self._offer(worker, burst, worker.share(number, range(count)), parts)
                else:
                    offer(worker, burst, events, None, parts)
            self._count(events[0].type, count)
        free = burst.routed(parts, most)
        if most > 1 and burst.is_spread:
            if door.places.has_waiting:
                free += burst.count_by_event()
            else:
                self._remember(burst)
        if free:
            door.places.give_back(free)
        if burst.waiters:
            self.lifetime.waits.routed(burst)
        if routes.has_leaving:
            routes.dispatched(burst.number, is_urgent=burst.is_urgent)
        self._in_turn += 1
        return self._in_turn % _BURSTS_A_TURN == 0

    def _deal_out(self, burst: Burst, parts: list[Part]) -> int:
        """Events of several types: each subscription gets its own, in order of acceptance. Gives the most that one goes to."""
        events, number, most = burst.events, burst.number, 0
        by_key: dict[type[Event] | str, list[int]] = {}
        by_takers: defaultdict[tuple[Worker, ...], list[int]] = defaultdict(list)  # of one type, or of many
        keys = [event.type if (cls := type(event)) is AdHocEvent else cls for event in events]
        for index, key in enumerate(keys):
            indices = by_key.get(key)
            if indices is None:
                takers = self._routes.takers(events[index], number)
                most = max(most, len(takers))
                indices = by_key[key] = by_takers[takers]
            indices.append(index)
        for key, count in Counter(keys).items():
            self._count(key if isinstance(key, str) else key.__event__.type, count)
        runs_of: dict[Worker, list[list[int]]] = {}
        for takers, indices in by_takers.items():
            for worker in takers:
                runs_of.setdefault(worker, []).append(indices)
        for worker, runs in runs_of.items():
            places: Sequence[int] = runs[0] if len(runs) == 1 else sorted(chain.from_iterable(runs))
            if number in (worker.since, worker.until):  # it came or went while that was filled
                places = worker.share(number, places)
            self._offer(worker, burst, places, parts)
        return most

    def _offer(self, worker: Worker, burst: Burst, indices: Sequence[int], parts: list[Part]) -> None:
        if len(indices) == len(burst.events):
            offer(worker, burst, burst.events, None, parts)
        elif indices:
            offer(worker, burst, [burst.events[index] for index in indices], indices, parts)

    def _count(self, event_type: str, events: int) -> None:
        """Types may come from outside by the thousand: beyond a number they are counted together."""
        counts = self.by_type
        if event_type in counts or len(counts) < _TYPES_COUNTED:
            counts[event_type] = counts.get(event_type, 0) + events
        else:
            counts["other"] = counts.get("other", 0) + events

    def _remember(self, burst: Burst) -> None:
        if len(self._spread) >= _SPREAD:
            self._spread = [older for older in self._spread if older.is_spread]
        self._spread.append(burst)

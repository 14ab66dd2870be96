"""Dispatcher: takes bursts from the lane, finds their routes, offers them to the mailboxes. It never waits for a handler.

One task leads: it dispatches, and it steps the handlers that do not suspend. When one suspends after all, the task stays with
that delivery and another takes the lead: leader and followers. What an attempt came to is the worker's business.
"""

from __future__ import annotations

import asyncio
import typing
from asyncio.tasks import _enter_task, _leave_task  # documented for those who step coroutines themselves
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from sys import getrefcount
from typing import Any

from eventbus.burst import SEALED, Burst
from eventbus.context import InContext
from eventbus.event import AdHocEvent, Event
from eventbus.hands import LeaderHand, RunnerHand
from eventbus.runtime import Runtime, log
from eventbus.selector import RouteTable
from eventbus.single import Suspension, step
from eventbus.sweep import Part, Sweep
from eventbus.threads import ThreadHand
from eventbus.worker import Worker

_TYPES_COUNTED = 10_000
_BUDGET = 64  # deliveries served in a row without giving the loop a turn
_SLOW_NS = 1_000_000  # an event at once that took longer has the next one wait for its turn


def _held_elsewhere(bursts: list[Any]) -> int:
    """References to the one burst in the list: more than a lone one has, and somebody holds a receipt of it."""
    for burst in bursts:
        return getrefcount(burst)
    raise AssertionError("one burst is given")


async def _dispatch_lone(burst: Burst) -> int:
    return _held_elsewhere([burst])


async def _lead_lone() -> int:
    burst = Burst.__new__(Burst)
    return await _dispatch_lone(burst)


def _lone() -> int:
    """What a burst is referenced by while it is dispatched and nobody holds a receipt: measured, as it differs by version."""
    try:
        _lead_lone().send(None)
    except StopIteration as end:
        return typing.cast(int, end.value)
    raise AssertionError("nothing in there suspends")


_LONE = _lone()


class LeaderTask(asyncio.Task[None]):
    """The leader. A handler that it steps may cancel "its" task: that is meant for the delivery, not for what comes after."""

    is_stepping = False
    is_self_cancelled = False
    runtime: Runtime

    def cancel(self, msg: Any | None = None) -> bool:
        if self.is_stepping:
            self.is_self_cancelled = True
            self.runtime.interrupt()
            return True
        return super().cancel(msg)

    def suspend(self) -> None:
        """The delivery gives up the task: a cancellation it asked for reaches it now."""
        self.is_stepping = False
        if self.is_self_cancelled:
            super().cancel()


class Dispatcher:
    """Moves events from the lane to the mailboxes, for as long as the bus runs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._door = runtime.door
        self._is_waiting = False
        self._at_once = 0  # events that may still run in their publishers' turns before the leader has its own
        self._suspension: Suspension | None = None  # of such an event: the leader is to stay with it
        self.dispatched = 0
        self.by_type: dict[str, int] = {}
        self.replaced = 0
        self.on_dispatch: Callable[[Burst], None] = lambda _burst: None
        self.on_end: Callable[[], None] = lambda: None
        runtime.wake_leader = self._wake
        runtime.burst_returned = self._burst_returned

    def start(self) -> None:
        """Give the lead to a new task."""
        runtime = self._runtime
        assert runtime.loop is not None
        task = LeaderTask(self._lead(), loop=runtime.loop, name="eventbus-leader")
        task.runtime = runtime
        runtime.leader = task
        runtime.tasks.add(task)
        task.add_done_callback(self._ended)

    def stop(self) -> None:
        """End after the batch in hand."""
        runtime = self._runtime
        runtime.interrupt()
        if self._is_waiting and runtime.leader is not None:
            asyncio.Task.cancel(runtime.leader)

    def _wake(self) -> None:
        """There is work that did not come through the lane."""
        if self._is_waiting:
            self._door.nudge()

    def _ended(self, task: asyncio.Task[None]) -> None:
        runtime = self._runtime
        runtime.tasks.discard(task)
        if runtime.leader is not task:
            return  # it stayed with a delivery that suspended; another leads
        runtime.leader = None
        runtime.is_sweeping = False
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("dispatcher failed", exc_info=error)
        if runtime.is_running:
            # A handler kept hold of the task, or cancelled it: whatever it has in mind must not hit the next delivery.
            self.replaced += 1
            log.debug("leader replaced", extra={"cancelled": task.cancelled()})
            self.start()
        else:
            self.on_end()

    async def _lead(self) -> None:
        runtime, lane = self._runtime, self._door.lane
        task = asyncio.current_task()
        assert isinstance(task, LeaderTask)
        clean = getrefcount(task)
        budget = _BUDGET
        while runtime.is_running:
            if runtime.ready and not lane.has_control:
                # Mailboxes first: a worker that has caught up gets its next burst whole.
                if await self._serve(runtime.ready.popleft(), task):
                    return
            else:
                if lane.empty():
                    runtime.is_sweeping = False
                    runtime.check_idle()
                self._is_waiting = True
                self._at_once = _BUDGET
                burst = await self._next_burst(task)
                self._is_waiting = False
                if self._suspension is not None:
                    suspension, self._suspension = self._suspension, None
                    task.suspend()
                    await suspension
                    return
                runtime.is_sweeping = True
                if burst.events and await self._dispatch(burst, task):
                    return
                del burst
            runtime.clear_interrupts()
            if task.is_self_cancelled or task.cancelling() or getrefcount(task) != clean:
                return
            budget -= 1
            if not budget:
                budget = _BUDGET
                await asyncio.sleep(0)

    async def _next_burst(self, task: LeaderTask) -> Burst:
        try:
            return await self._door.next_burst()
        except asyncio.CancelledError:
            if self._suspension is None:
                raise
            asyncio.Task.cancel(task)  # meant for the delivery that it is to stay with
            return SEALED

    # --- one event -----------------------------------------------------------------------------------------------

    @property
    def is_at_rest(self) -> bool:
        """Is there nothing that an event published now would have to come after?"""
        return (
            self._at_once > 0
            and self._is_waiting
            and self._door.lane.empty()
            and not self._runtime.ready
            and self._runtime.is_running
        )

    def run_at_once(self, event: Event, table: RouteTable[Any], *, is_watched: bool) -> Burst | None:
        """Dispatch an event in its publisher's turn, with the identity of the leader, who sleeps meanwhile.

        None, and nothing happened, when somebody that it goes to cannot be stepped.
        """
        runtime = self._runtime
        loop, leader = runtime.loop, runtime.leader
        caller = asyncio.current_task(loop)
        workers = _steppable(table.route(event))
        if workers is None or caller is None or loop is None or not isinstance(leader, LeaderTask):
            return None
        burst = self._door.pass_through(event, table)
        burst.is_watched = is_watched
        _leave_task(loop, caller)
        _enter_task(loop, leader)
        try:
            clean = getrefcount(leader)
            suspension = self._step(burst, workers, leader, burst.accepted_ns)
            runtime.clear_interrupts()
            is_kept = leader.is_self_cancelled or getrefcount(leader) != clean
        finally:
            _leave_task(loop, leader)
            _enter_task(loop, caller)
        is_slow = runtime.clock.monotonic_ns() - burst.accepted_ns > _SLOW_NS
        self._at_once = 0 if is_slow else self._at_once - 1
        if suspension is not None:
            self._suspension = suspension
            self._door.nudge()
            self.start()
        elif is_kept:
            self._door.nudge()  # it sees for itself that it must go
        return burst

    def _step(self, burst: Burst, workers: list[Worker], task: LeaderTask, started_ns: int) -> Suspension | None:
        """Run the one event of a burst through its handlers; those not reached get it in their mailboxes."""
        runtime, event = self._runtime, burst.events[0]
        self.dispatched += 1
        self.on_dispatch(burst)
        _count(self.by_type, event.type, 1)
        burst.out = 1
        if burst.is_watched:
            burst.flight(0).is_watched = True
        runtime.dispatch.add(max(0, started_ns - burst.accepted_ns), len(workers))
        left = iter(workers)
        task.is_stepping = True
        suspension = step(burst, left, task, runtime.clock.monotonic_ns, started_ns)
        if suspension is None:
            task.is_stepping = False
        else:
            suspension.worker.hand = RunnerHand(suspension.worker)
        for worker in left:
            burst.flight(0).is_watched = True
            worker.tally.accepted += 1
            worker.return_unstarted(burst, burst.events, (0,))
            worker.pump()
        self._burst_returned(burst)
        return suspension

    # --- bursts --------------------------------------------------------------------------------------------------

    async def _dispatch(self, burst: Burst, task: LeaderTask) -> bool:
        """Offer a burst to everybody it goes to; True when the lead was lost on the way."""
        is_watched = bool(burst.flights) or _held_elsewhere([burst]) > _LONE
        is_alone = len(burst.events) == 1 and burst.is_plain
        if is_alone and (workers := _steppable(burst.table.route(burst.events[0]))) is not None:
            burst.is_watched = is_watched
            suspension = self._step(burst, workers, task, self._runtime.clock.monotonic_ns())
            if suspension is None:
                return False
            self._pass_on(task)
            await suspension
            return True
        self.dispatched += len(burst.events)
        self.on_dispatch(burst)
        burst.out = 1
        burst.is_watched = is_watched
        parts = self._parts(burst)
        if is_watched and parts:
            for index in range(len(burst.events)):
                burst.flight(index).is_watched = True
        sweeps: list[Part] = []
        deliveries = 0
        for part in parts:
            worker, events, indices = part
            by = worker.hand.sweeps if burst.is_plain else "no"
            if by == "leader":
                sweeps.append(part)
                deliveries += len(events)
            elif not is_watched and not burst.is_urgent and (by == "thread" or (by == "runner" and len(parts) == 1)):
                assert isinstance(worker.hand, ThreadHand | RunnerHand)
                worker.hand.take_whole(burst, events, indices)
                if burst.is_owned:
                    self._door.settle(len(burst.events) - len(events))  # those that go to nobody
            else:
                worker.offer(burst, events, indices)
        if sweeps:
            now = self._runtime.clock.monotonic_ns()
            self._runtime.dispatch.add(max(0, now - burst.accepted_ns), deliveries)
            sweep = Sweep(
                burst, sweeps, self._runtime.clock.monotonic_ns, is_watched=is_watched, is_sole=len(parts) == 1
            )
            if await self._sweep(sweep, task):
                return True
        self._burst_returned(burst)
        return False

    def _parts(self, burst: Burst) -> list[Part]:
        """Who gets which events of a burst, each in order of acceptance."""
        events, table, counts = burst.events, burst.table, self.by_type
        if not burst.is_mixed:
            indices = range(len(events))
            _count(counts, events[0].type, len(events))
            return [(member.worker, events, indices) for member in table.route(events[0])]
        keys: list[type[Event] | str] = list(map(type, events))
        if AdHocEvent in keys:
            keys = [event.type if key is AdHocEvent else key for key, event in zip(keys, events, strict=True)]
        places = defaultdict[Worker, list[int]](list)
        takers: dict[type[Event] | str, Callable[[int], None]] = {}
        for key, event in dict(zip(keys, events, strict=True)).items():
            workers = [member.worker for member in table.route(event)]
            takers[key] = places[workers[0]].append if len(workers) == 1 else _to_each(places, workers)
        for index, key in enumerate(keys):
            takers[key](index)
        for key, number in Counter(keys).items():
            _count(counts, key if isinstance(key, str) else key.__event__.type, number)
        return [(worker, [events[index] for index in indices], indices) for worker, indices in places.items()]

    def _burst_returned(self, burst: Burst) -> None:
        """One of the parties that worked on the burst as a whole is done; after the last, single events may still be open."""
        burst.out -= 1
        if burst.out:
            return
        burst.is_closed = True
        held = 0
        if burst.flights:
            for flight in burst.flights.values():
                flight.is_routed = True
                if flight.holding:
                    flight.is_counted = True
                    held += 1
                if not flight.open:
                    flight.landed()
        if not burst.is_owned:
            self._door.settle(len(burst.events) - held)

    # --- attempts by the leader ----------------------------------------------------------------------------------

    async def _sweep(self, sweep: Sweep, task: LeaderTask) -> bool:
        """Run a burst through the handlers that do not suspend; True when one did and took the task with it."""
        runtime = self._runtime
        clean = getrefcount(task)
        task.is_stepping = True
        while True:
            await InContext(sweep.run(), sweep.context(), lambda: self._suspended(sweep, task))
            if sweep.left_with is not None:
                sweep.cell.live = False
                worker, delivery = sweep.left_with
                worker.conclude(delivery, sweep.error, sweep.result, 0)
                worker.pump()
                return True
            if sweep.is_done:
                break
            if sweep.is_due:
                task.is_stepping = False
                await asyncio.sleep(0)
                task.is_stepping = True
            runtime.clear_interrupts()
            is_kept = task.is_self_cancelled or task.cancelling() or getrefcount(task) != clean
            if is_kept or not runtime.is_running or self._door.lane.has_control or not sweep.may_go_on:
                self._leave(sweep)
                break
        task.is_stepping = False
        sweep.cell.live = False
        return False

    def _suspended(self, sweep: Sweep, task: LeaderTask) -> None:
        """A handler gives up the task in the middle of a sweep: this delivery keeps it, the others go on without it."""
        worker, _delivery = sweep.suspended()
        hand = worker.hand = RunnerHand(worker)
        burst = sweep.burst
        if sweep.is_sole and not (
            burst.is_watched or burst.is_urgent
        ):  # then the rest of the burst is all that is left of it
            events, indices = sweep.rest_of_part()
            worker.tally.accepted -= len(events)  # taking them counts them again
            hand.take_whole(burst, events, indices)
            self._door.settle(len(burst.events) - len(events) - 1)
        self._leave(sweep)
        self._burst_returned(burst)
        self._pass_on(task)

    def _leave(self, sweep: Sweep) -> None:
        """What the sweep did not start waits in the mailboxes."""
        for worker in sweep.return_unstarted():
            worker.pump()

    async def _serve(self, worker: Worker, task: LeaderTask) -> bool:
        """Run deliveries of a worker one by one; True when one suspended and took the task with it."""
        runtime, budget = self._runtime, _BUDGET
        clean = getrefcount(task)
        while not worker.in_flight and isinstance(worker.hand, LeaderHand):
            delivery = worker.next()
            if delivery is None:
                return False
            task.is_stepping = True
            await worker.attempt(delivery, lambda: self._suspended_alone(worker, task))
            if runtime.leader is not task:
                worker.pump()
                return True
            task.is_stepping = False
            budget -= 1
            runtime.clear_interrupts()
            is_kept = task.is_self_cancelled or getrefcount(task) != clean
            if is_kept or not budget or self._door.lane.has_control or not runtime.is_running:
                break
        worker.pump()
        return False

    def _suspended_alone(self, worker: Worker, task: LeaderTask) -> None:
        worker.hand = RunnerHand(worker)
        self._pass_on(task)

    def _pass_on(self, task: LeaderTask) -> None:
        """Another task leads from here on."""
        self._runtime.is_sweeping = False
        self.start()
        task.suspend()


def _steppable(members: Sequence[Any]) -> list[Worker] | None:
    """The workers behind subscriptions, if the leader can step an event through all of them."""
    workers = []
    for member in members:
        worker: Worker = member.worker
        if worker.hand.sweeps != "leader":
            return None
        workers.append(worker)
    return workers


def _to_each(places: Mapping[Worker, list[int]], workers: Sequence[Worker]) -> Callable[[int], None]:
    """What notes the place of an event that several get, or nobody."""
    noting = [places[worker] for worker in workers]

    def note(index: int) -> None:
        for noted in noting:
            noted.append(index)

    return note


def _count(counts: dict[str, int], name: str, events: int) -> None:
    """Ad-hoc types come from outside: beyond a bound, new ones are counted together."""
    if name in counts:
        counts[name] += events
    elif len(counts) < _TYPES_COUNTED:
        counts[name] = events
    else:
        counts["other"] = counts.get("other", 0) + events

"""Threads: sync handlers cross into the pool, whole bursts per hop where nothing has to be watched one by one.

Thread and loop share nothing but a deque of places to start from, which either may empty, and one of what came out otherwise.
Whatever the handler returns that can be awaited is awaited on the loop, before anything else of the subscription starts.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from contextvars import Context, copy_context
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from eventbus.errors import HandlerTimeout
from eventbus.log import log
from eventbus.road.context import CURRENT, Cell

if TYPE_CHECKING:
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.part import Delivery, Part
    from eventbus.road.pool import ThreadPool
    from eventbus.road.worker import Worker

_STUCK_S = 1.0  # a job that waited so long for a thread gets a spare one
_LOOK_S = _STUCK_S / 64  # the loop looks how far a thread is, at first after so long
_REPORT_NS = 20_000_000  # a thread that works for longer tells how far it is
_TICK_S = 0.001


class Threads:
    """Runs the attempts of sync handlers."""

    def __init__(self, lifetime: Lifetime, pool: ThreadPool) -> None:
        self._lifetime = lifetime
        self._pool = pool
        self._hops: dict[Worker, set[_Hop]] = {}
        self._awaiting: set[Worker] = set()  # whose handlers return what must be awaited

    def wake(self, worker: Worker, *, first: bool = False) -> None:
        """Hand what waits to threads, in order, whoever is `first`."""
        while worker.has_slot and not worker.is_suspended:
            stages = self._next(worker)
            if not stages:
                return
            worker.enter()
            hop = _Hop(self, self._lifetime, self._pool, worker, stages)
            self._hops.setdefault(worker, set()).add(hop)
            hop.submit()

    def _next(self, worker: Worker) -> list[_Stage]:
        policy, mailbox = worker.policy, worker.mailbox
        is_watched = policy.concurrency > 1 or policy.timeout is not None or worker in self._awaiting
        if is_watched or worker.takes_delivery or worker.keys or mailbox.freed or mailbox.replaceable:
            delivery = worker.take_one()
            return [] if delivery is None else [_Stage(delivery.part, deque((delivery.place,)), delivery)]
        first = mailbox.next_part()
        if first is None:
            return []
        if first.max_age_ns is not None:
            delivery = worker.take_one()
            return [] if delivery is None else [_Stage(delivery.part, deque((delivery.place,)), delivery)]
        is_urgent = first.burst.is_urgent
        alike = takewhile(lambda part: part.max_age_ns is None and part.burst.is_urgent == is_urgent, mailbox.parts)
        return [_Stage(part, deque(range(part.done, len(part.events))), None) for part in alike if not part.is_done]

    def recall(self, worker: Worker) -> None:
        """What threads have not started they leave."""
        for hop in tuple(self._hops.get(worker, ())):
            hop.recall()

    def part_with(self, worker: Worker, part: Part) -> None:
        """The delivery that runs is followed by itself; the rest of its part is the loop's again."""
        for hop in tuple(self._hops.get(worker, ())):
            hop.part_with(part)

    def abort(self, worker: Worker, cell: Cell) -> None:
        """A thread cannot be cancelled: it goes on, and what comes of it counts for nothing."""
        worker.tally.abandons()

    def returned(self, worker: Worker, hop: _Hop) -> None:
        """A hop is over."""
        hops = self._hops[worker]
        hops.discard(hop)
        if not hops:
            del self._hops[worker]
        worker.leave()

    def awaits(self, worker: Worker, does: bool) -> None:
        """Its handler returned something to be awaited, or nothing of the kind."""
        (self._awaiting.add if does else self._awaiting.discard)(worker)


class _Stage:
    """Events of one part in a hop, or the one delivery that is followed by itself."""

    __slots__ = ("began_ns", "cell", "delivery", "events", "odd", "part", "size", "todo")

    def __init__(self, part: Part, todo: deque[int], delivery: Delivery | None) -> None:
        self.part = part
        self.events = part.events
        self.todo = todo  # places that have not started: the thread takes them one by one, the loop may take all
        self.delivery = delivery
        self.odd: deque[tuple[int, Any, BaseException | None]] = deque()  # what was no plain success
        self.size = todo[-1] + 1  # the place after the last that may start here
        self.began_ns = -1  # when a thread began with it
        self.cell = Cell(part.burst.base, part.burst.hops, part.worker)

    def take_back(self) -> None:
        """The thread starts no other."""
        while True:
            try:
                self.size = self.todo.pop()
            except IndexError:
                return

    @property
    def begun(self) -> int:
        """The place after the last that has started."""
        try:
            return self.todo[0]
        except IndexError:
            return self.size


class _Hop:
    """One crossing into a thread and back."""

    def __init__(
        self, threads: Threads, lifetime: Lifetime, pool: ThreadPool, worker: Worker, stages: list[_Stage]
    ) -> None:
        self._threads = threads
        self._lifetime = lifetime
        self._pool = pool
        self._worker = worker
        self._stages = deque(stages)
        self._clock = lifetime.clock.monotonic_ns
        self._ahead_s = lifetime.crew.loop_ahead_s  # what the clock of the loop shows more than ours
        self._started_ns = -1  # when a thread began with it
        self._is_back = self._is_abandoned = self._is_overdue = self._is_reporting = False
        self._awaited: tuple[asyncio.Task[None], Delivery] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def submit(self) -> None:
        """Off it goes."""
        for stage in self._stages:
            self._worker.running.takes(stage.cell, stage.delivery or stage.part)
        timeout = self._worker.policy.timeout
        self._look = self._lifetime.crew.call_later(_LOOK_S, self._look_after, _LOOK_S)
        if timeout is not None:
            self._deadline = self._lifetime.crew.call_later(timeout, self._time_is_up, timeout)
        self._pool.submit(self._work)

    # --- in the thread ---------------------------------------------------------------------------------------------

    def _work(self) -> None:
        self._started_ns = reported_ns = self._clock()
        for stage in tuple(self._stages):
            base, is_awaited = stage.cell.base, False
            stage.began_ns = self._clock()
            while stage.todo:
                context = base.copy()
                is_awaited = context.run(self._step, stage, context)
                if stage.todo and self._clock() - reported_ns > _REPORT_NS:
                    self._post(self._report)
                    reported_ns = self._clock()
            if not is_awaited:
                stage.cell.close()
        self._post(self._end)

    def _step(self, stage: _Stage, context: Context) -> bool:
        """As on the loop: one context for as long as nobody leaves anything there. True: the result is to be awaited."""
        worker, cell, events, odd, take = self._worker, stage.cell, stage.events, stage.odd, stage.todo.popleft
        handler, set_current, delivery = worker.handler, CURRENT.set, stage.delivery
        while True:
            try:
                place = take()
            except IndexError:  # the loop took the rest
                return False
            event = events[place]
            cell.at = place
            set_current((cell, place, event))
            cell.clean = clean = copy_context()
            if delivery is not None:
                cell.started_ns = self._clock()
                delivery.begin(cell, cell.started_ns, self._deadline_of(cell))
            try:
                result = handler(event, delivery) if worker.takes_delivery else handler(event)
                if result is not None:
                    is_awaited = inspect.isawaitable(result)
                    if is_awaited:
                        self._leave_rest()  # it waits until that is done
                    odd.append((place, result, None))
                    if is_awaited:
                        return True
            except BaseException as error:  # noqa: BLE001 - inside the thread: StopIteration could not cross into a future
                self._leave_rest()  # a retry may hold back what comes next
                odd.append((place, None, error))
                return False
            try:
                if cell.look or context != clean:
                    return False
            except BaseException:  # noqa: BLE001 - a value that cannot be compared: then it is another one
                return False

    def _deadline_of(self, cell: Cell) -> float | None:
        timeout = self._worker.policy.timeout
        return None if timeout is None else cell.started_ns / 1e9 + self._ahead_s + timeout

    def _leave_rest(self, first: Part | None = None) -> None:
        """Nothing else starts, or nothing from a part on. The last stage first: the thread must not go on behind what it left."""
        for stage in reversed(tuple(self._stages)):
            stage.take_back()
            if stage.part is first:
                return

    def _post(self, call: Any) -> None:
        """Back on the loop, if it still lives."""
        try:
            self._lifetime.crew.call_from_thread(call)
        except RuntimeError:
            return  # the loop is closed: the bus ended without waiting for this handler, and said so in its report

    # --- on the loop -----------------------------------------------------------------------------------------------

    def recall(self) -> None:
        """The thread ends after the attempt in hand."""
        self._leave_rest()
        self._report()
        for stage in tuple(self._stages):
            self._put_back(stage)

    def _put_back(self, stage: _Stage) -> None:
        """A delivery that was taken and has not started waits again."""
        delivery = stage.delivery
        if delivery is not None and stage.begun <= delivery.place:
            stage.delivery = None
            self._worker.running.drops(stage.cell)
            self._worker.not_started(delivery)

    def part_with(self, part: Part) -> None:
        """The attempt of that part that runs is followed by itself."""
        for stage in tuple(self._stages):
            if stage.part is not part or stage.delivery is not None:
                continue
            self._leave_rest(part)
            self._report()
            if stage in self._stages and stage.size > part.done:  # it runs, or its end is on its way here
                stage.delivery = part.follow(part.done)
                stage.delivery.begin(stage.cell, stage.began_ns, None)
                self._worker.running.takes(stage.cell, stage.delivery)

    def _report(self) -> None:
        """Conclude what has ended so far: every stage before the last one that has begun, and most of that."""
        if self._is_reporting:  # what is concluded may recall this hop
            return
        self._is_reporting = True
        try:
            self._report_stages()
        finally:
            self._is_reporting = False

    def _report_stages(self) -> None:
        while self._stages:
            stage = self._stages[0]
            is_over = self._is_back or (len(self._stages) > 1 and self._stages[1].began_ns >= 0)
            if not self._is_abandoned:
                self._conclude(stage, stage.begun if is_over else stage.begun - 1)
            if not is_over:
                return
            self._stages.popleft()
            self._put_back(stage)
            if self._awaited is None:
                self._worker.running.drops(stage.cell)

    def _conclude(self, stage: _Stage, upto: int) -> None:
        """Its attempts are over up to that place."""
        worker, part, now = self._worker, stage.part, self._clock()
        took_ns = now - stage.began_ns if stage.began_ns >= 0 else 0
        while stage.odd and stage.odd[0][0] < upto:
            place, result, error = stage.odd.popleft()
            delivery, stage.delivery = stage.delivery, None
            if delivery is None:
                if error is None and not inspect.isawaitable(result):
                    part.answered(place, result)
                    continue
                delivery = part.follow(place, is_running=True)
                delivery.begin(stage.cell, stage.began_ns, None)
            self._attempt_ended(stage, delivery, result, error, took_ns)
        delivery = stage.delivery
        if delivery is not None:
            if delivery.place < upto:
                stage.delivery = None
                self._attempt_ended(stage, delivery, None, None, took_ns)
        elif upto > part.done:
            queued_ns = max(0, stage.began_ns - part.burst.accepted_ns)
            self._lifetime.dispatch.add(queued_ns, upto - part.done)
            worker.passed(part, upto, took_ns, queued_ns)
            stage.began_ns = now

    def _attempt_ended(
        self, stage: _Stage, delivery: Delivery, result: Any, error: BaseException | None, ran_ns: int
    ) -> None:
        worker, is_awaited = self._worker, error is None and inspect.isawaitable(result)
        self._threads.awaits(worker, is_awaited)
        if is_awaited:
            context = delivery.part.burst.base.copy()
            context.run(CURRENT.set, (stage.cell, delivery.place, delivery.event))
            worker.running.takes(stage.cell, delivery)
            task = self._lifetime.crew.start(self._await(delivery, result, stage.cell, ran_ns), context)
            self._awaited = task, delivery
            return
        worker.running.drops(stage.cell)
        if error is None:
            worker.endings.succeed(worker, delivery, result, ran_ns)
        else:
            worker.endings.fail(worker, delivery, error, ran_ns)

    async def _await(self, delivery: Delivery, result: Any, cell: Cell, ran_ns: int) -> None:
        """What the handler returned is part of the attempt."""
        worker, started_ns = self._worker, self._clock()
        value: Any = result
        error: BaseException | None = None
        try:
            while inspect.isawaitable(value):
                value = await value
        except BaseException as raised:
            if self._lifetime.crew.is_closing(raised):
                raise
            error, value = raised, None
        cell.close()
        if self._is_abandoned:
            return  # its outcome is recorded already
        worker.running.drops(cell)
        if self._is_overdue:  # whatever the handler made of its cancellation
            error = HandlerTimeout(worker.name, worker.policy.timeout or 0.0, error)
        if error is None:
            worker.endings.succeed(worker, delivery, value, ran_ns + self._clock() - started_ns)
        else:
            worker.endings.fail(worker, delivery, error, ran_ns + self._clock() - started_ns)
        self._awaited = None
        if self._is_back:
            self._finish()

    def _end(self) -> None:
        """The thread came back."""
        self._is_back = True
        self._report()
        if self._awaited is None and not self._is_abandoned:
            self._finish()

    def _finish(self) -> None:
        for timer in (self._look, self._deadline):  # they would keep its events until they are due
            if timer is not None:
                timer.cancel()
        self._threads.returned(self._worker, self)

    def _look_after(self, waited_s: float) -> None:
        """See how far the thread is, ever less often."""
        if self._lifetime.is_ended or self._is_back or self._is_abandoned:
            return
        # All threads hang in handlers of others, or there are none. A spare one may go to another job: the next look will tell.
        is_stuck = self._started_ns < 0 and waited_s >= _STUCK_S
        if is_stuck and not self._pool.replace_stuck() and waited_s < 2 * _STUCK_S:
            name = self._worker.name
            log.warning("no thread for a sync handler of %s: others hang", name, extra={"subscription": name})
        self._report()
        delay_s = min(waited_s, _STUCK_S)
        self._look = self._lifetime.crew.call_later(delay_s, self._look_after, waited_s + delay_s)

    def _time_is_up(self, timeout: float) -> None:
        ran_s = (self._clock() - self._started_ns) / 1e9 if self._started_ns >= 0 else 0.0
        if timeout - ran_s > _TICK_S:  # the clock starts with the handler
            self._deadline = self._lifetime.crew.call_later(timeout - ran_s, self._time_is_up, timeout)
        elif self._awaited is not None:
            self._is_overdue = True
            self._awaited[0].cancel()
            self._deadline = self._lifetime.crew.call_later(self._lifetime.grace, self._abandon, timeout)
        elif not self._is_back:
            self._pool.replace_stuck()
            self._abandon(timeout)

    def _abandon(self, timeout: float) -> None:
        """The handler does not come back: record the outcome and go on without it."""
        worker, delivery = self._worker, self._stages[0].delivery if self._stages else None
        if self._awaited is not None:
            delivery = self._awaited[1]
        if delivery is None or self._is_abandoned:
            return
        self._is_abandoned = True
        if delivery.cell is not None:
            worker.running.drops(delivery.cell)
        if self._awaited is not None:
            worker.abandons(self._awaited[0])
        else:
            worker.tally.abandons()
        worker.endings.fail(worker, delivery, HandlerTimeout(worker.name, timeout), int(timeout * 1e9))
        self._finish()

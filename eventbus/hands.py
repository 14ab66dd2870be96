"""Hands: the ways in which attempts of async handlers get to run.

A handler that never suspends is stepped by the leader, whole batches at a time. As soon as it suspends, its subscription has a
runner of its own; one that asks for a deadline, for concurrency or for isolation has a task per delivery. For sync handlers
see `threads`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from inspect import isawaitable
from operator import length_hint
from sys import getrefcount
from typing import Any, Literal

from eventbus.burst import Burst
from eventbus.context import CURRENT, Cell, InContext
from eventbus.delivery import Delivery
from eventbus.errors import HandlerTimeout
from eventbus.event import Event
from eventbus.runtime import log
from eventbus.worker import Worker, because

_BUDGET = 256  # attempts in a row without giving the loop a turn
_ABANDONED_CAP = 64

Whole = tuple[Burst, Sequence[Event], Sequence[int]]  # events, and their places in their burst


class LeaderHand:
    """The dispatcher's own task runs them, whole batches at a time, until one suspends."""

    held = (0, 0)
    running = ()
    taken = ()

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def pump(self) -> None:
        runtime = self._worker.runtime
        if self._worker.mailbox.may_move and not self._worker.in_flight and self._worker not in runtime.ready:
            runtime.ready.append(self._worker)
            runtime.wake_leader()

    def recall(self) -> None:
        """Nothing is taken ahead."""

    def return_waiting(self) -> None:
        """Nothing is taken ahead."""

    @property
    def sweeps(self) -> Literal["leader", "no"]:
        return "leader" if self._worker.is_at_rest else "no"


class RunnerHand:
    """One task runs one delivery after another, for as long as no handler keeps hold of the task.

    A handler may have cancelled it, or left a timer that will; the next delivery must not be hit, so it gets a new task. A burst
    that goes to this subscription alone is taken whole: its events need no delivery of their own.
    """

    taken = ()

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._runs = False
        self._is_recalled = False
        self._wholes: deque[Whole] = deque()
        self._left = 0  # events of the batch in hand that have not started
        self._in_hand: tuple[Burst, Iterator[Event], Sequence[int]] | None = None  # that batch, and what is left of it
        self._running: Event | None = None  # the one of them that has

    @property
    def sweeps(self) -> Literal["runner", "no"]:
        worker = self._worker
        return "runner" if worker.is_simple and worker.is_open else "no"

    @property
    def held(self) -> tuple[int, int]:
        waiting = self._left + sum(len(events) for _burst, events, _indices in self._wholes)
        return waiting, len(self.running)

    @property
    def running(self) -> tuple[Event, ...]:
        return () if self._running is None else (self._running,)

    def take_whole(self, burst: Burst, events: Sequence[Event], indices: Sequence[int]) -> None:
        """A burst that goes to nobody else: it is settled event by event, as they end."""
        burst.is_owned = True
        worker = self._worker
        worker.tally.accepted += len(events)
        worker.runtime.open_deliveries += len(events)
        self._wholes.append((burst, events, indices))
        self.pump()

    def pump(self) -> None:
        worker = self._worker
        if not self._runs and not worker.in_flight and (worker.mailbox.may_move or self._wholes):
            self._runs, self._is_recalled = True, False
            worker.runtime.start(self._run())

    def recall(self) -> None:
        self._is_recalled = True
        if not self._runs:
            self._return_wholes()
        elif (
            self._worker.is_cancelled
        ):  # at once: the attempt that runs may never end, and these keep places at the door
            self._give_back_rest()
            self.return_waiting()

    def return_waiting(self) -> None:
        while self._wholes:
            self._give_back(*self._wholes.popleft())

    async def _run(self) -> None:
        worker, budget = self._worker, _BUDGET
        task = asyncio.current_task()
        assert task is not None
        clean = getrefcount(task)
        has_more = True
        try:
            while True:
                if (delivery := worker.next()) is not None:  # what is in the mailbox came before the batches
                    await worker.attempt(delivery)
                elif self._wholes and not self._is_recalled:
                    await self._run_whole(*self._wholes.popleft())
                else:
                    has_more = self._is_recalled  # what waits behind a key that is busy is started when the key is free
                    break
                if task.cancelling() or getrefcount(task) != clean:
                    break
                budget -= 1
                if not budget:
                    budget = _BUDGET
                    await asyncio.sleep(0)
        finally:
            self._runs = False
            if self._is_recalled:
                self._return_wholes()
            if has_more:
                worker.pump()

    async def _run_whole(self, burst: Burst, events: Sequence[Event], indices: Sequence[int]) -> None:
        """Run a batch, in a new context whenever a handler left something behind in the last."""
        rest = iter(events)
        self._left, self._in_hand = len(events), (burst, rest, indices)
        while self._left and not self._is_recalled:
            context = burst.base.copy()
            await InContext(self._sweep(burst, rest, indices, context), context)
            if asyncio.current_task().cancelling():  # type: ignore[union-attr] # this runs in a task
                break
        if self._is_recalled:
            self._give_back_rest()
        elif unstarted := list(rest):
            self._wholes.appendleft((burst, unstarted, indices[len(events) - len(unstarted) :]))
        self._left, self._in_hand = 0, None

    async def _sweep(self, burst: Burst, rest: Iterator[Event], indices: Sequence[int], context: Context) -> None:
        worker, handler, hops = self._worker, self._worker.handler, burst.hops
        tally, runtime, clock = worker.tally, worker.runtime, worker.runtime.clock.monotonic_ns
        task = asyncio.current_task()
        untouched, budget, started = getrefcount(task), _BUDGET, clock()
        for event in rest:
            self._left -= 1
            self._running = event
            place = indices[len(indices) - length_hint(rest) - 1]
            cell = Cell(event, hops, worker.name)
            CURRENT.set(cell)
            clean = copy_context()
            runtime.dispatch.add(max(0, started - burst.accepted_ns))
            try:
                result = await handler(event)
                if result is not None and isawaitable(result):
                    await result
            except BaseException as error:
                if runtime.is_closing(error):
                    raise
                delivery = worker.follow(burst, event, place)
                ended = clock()
                worker.conclude(delivery, error, None, ended - started)
            else:
                ended = clock()
                tally.ran.add(ended - started)
                tally.succeeded += 1
                runtime.door.settle(1)
            cell.live, self._running, started = False, None, ended
            runtime.closed()
            budget -= 1
            if self._is_recalled or not budget or worker.retrying or context != clean or getrefcount(task) != untouched:
                break
        if worker.retrying:
            self._is_recalled = True  # what follows of the same key has to wait for it
        elif not budget:
            await asyncio.sleep(0)

    def _give_back_rest(self) -> None:
        """What the batch in hand did not start."""
        if self._in_hand is not None:
            burst, rest, indices = self._in_hand
            unstarted = list(rest)
            self._left = 0
            self._give_back(burst, unstarted, indices[len(indices) - len(unstarted) :], was_running=True)

    def _return_wholes(self) -> None:
        self.return_waiting()
        self._is_recalled = False
        self._worker.check_quiet()

    def _give_back(
        self, burst: Burst, events: Sequence[Event], indices: Sequence[int], *, was_running: bool = False
    ) -> None:
        """Events of a batch that do not run now are followed one by one from here on."""
        self._worker.return_unstarted(burst, events, indices, was_running=was_running)
        self._worker.runtime.closed(len(events))


class TaskHand:
    """A task per delivery, up to the concurrency of the subscription, each under its deadline."""

    held = (0, 0)
    running = ()
    taken = ()
    sweeps: Literal["no"] = "no"

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._overdue: set[Delivery] = set()
        self._abandoned = 0

    def pump(self) -> None:
        worker = self._worker
        while len(worker.in_flight) < worker.policy.concurrency and (delivery := worker.next()) is not None:
            context, cell = worker.begin(delivery)
            worker.runtime.start(self._run(delivery, cell), context)

    def recall(self) -> None:
        """Nothing is taken ahead."""

    def return_waiting(self) -> None:
        """Nothing is taken ahead."""

    async def _run(self, delivery: Delivery, cell: Cell) -> None:
        worker, loop, attempt = self._worker, asyncio.get_running_loop(), delivery.attempt
        if worker.is_held:  # cancelled, paused or stopped since this task was made
            cell.live = False
            delivery.attempt -= 1
            worker.not_started(delivery)
            worker.pump()
            return
        clock, timeout = worker.runtime.clock.monotonic_ns, worker.policy.timeout
        cancel_timer: Callable[[], None] | None = None
        if timeout is not None:  # from here, not from when it was queued
            delivery.deadline = loop.time() + timeout
            cancel_timer = loop.call_at(
                delivery.deadline, self._deadline_passed, delivery, asyncio.current_task()
            ).cancel
        started = clock()
        result: Any = None
        error: BaseException | None = None
        try:
            result = await worker.invoke(delivery)
        except BaseException as failure:
            if worker.runtime.is_closing(failure):
                raise
            error = failure
        if cancel_timer is not None:
            cancel_timer()
        cell.live = False
        if delivery.attempt != attempt or delivery not in worker.in_flight:
            return  # abandoned at its deadline: the outcome is recorded already
        if delivery in self._overdue:  # whatever the handler made of its cancellation
            error = because(self._timed_out(delivery), error)
        worker.conclude(delivery, error, result, clock() - started)
        worker.pump()

    def _deadline_passed(self, delivery: Delivery, task: asyncio.Task[Any] | None) -> None:
        runtime = self._worker.runtime
        assert runtime.loop is not None
        assert task is not None
        self._overdue.add(delivery)
        task.cancel()
        runtime.loop.call_later(runtime.grace, self._abandon, delivery, delivery.attempt, task)

    def _abandon(self, delivery: Delivery, attempt: int, task: asyncio.Task[Any]) -> None:
        """The handler ignores its cancellation: record the outcome and go on without it. The task stays referenced."""
        worker = self._worker
        if delivery.attempt != attempt or delivery not in worker.in_flight:
            return
        worker.tally.abandoned += 1
        self._abandoned += 1
        worker.runtime.abandoned.add(task)
        task.add_done_callback(self._returned)
        worker.conclude(delivery, self._timed_out(delivery), None, int((worker.policy.timeout or 0) * 1e9))
        if self._abandoned >= _ABANDONED_CAP:
            worker.is_paused = True
            log.error("subscription paused", extra={"subscription": worker.name, "abandoned": self._abandoned})
        worker.pump()

    def _returned(self, task: asyncio.Task[Any]) -> None:
        self._worker.runtime.abandoned.discard(task)
        self._abandoned -= 1

    def _timed_out(self, delivery: Delivery) -> HandlerTimeout:
        self._overdue.discard(delivery)
        return HandlerTimeout(self._worker.name, self._worker.policy.timeout or 0.0)


class StreamHand:
    """Nobody runs them: the consumer of a stream takes them when it asks for the next."""

    held = (0, 0)
    running = ()
    taken = ()
    sweeps: Literal["no"] = "no"

    def __init__(self, on_arrival: Callable[[], None]) -> None:
        self._on_arrival = on_arrival

    def pump(self) -> None:
        self._on_arrival()

    def recall(self) -> None:
        self._on_arrival()

    def return_waiting(self) -> None:
        """Nothing is taken ahead."""

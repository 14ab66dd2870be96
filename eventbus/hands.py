"""Hands: the ways in which attempts of async handlers get to run.

A handler that never suspends is stepped by the leader, whole batches at a time. As soon as it suspends, its subscription has a
runner of its own; one that asks for a deadline, for concurrency or for isolation has a task per delivery. For sync handlers
see `threads`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from sys import getrefcount
from typing import Any, Literal

from eventbus.context import Cell
from eventbus.delivery import Delivery
from eventbus.errors import HandlerTimeout
from eventbus.runtime import log
from eventbus.worker import Worker, because

_BUDGET = 256  # attempts in a row without giving the loop a turn
_ABANDONED_CAP = 64


class LeaderHand:
    """The dispatcher's own task runs them, in batches once one attempt has shown that the handler does not suspend."""

    held = (0, 0)

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.is_proven = False

    def pump(self) -> None:
        runtime = self._worker.runtime
        if self._worker.mailbox and not self._worker.in_flight and self._worker not in runtime.ready:
            runtime.ready.append(self._worker)
            runtime.wake_leader()

    def recall(self) -> None:
        """Nothing is taken ahead."""

    def take_whole(self, burst: Burst, events: Sequence[Event], indices: Sequence[int]) -> None:
        """Batches are run by the dispatcher itself."""
        raise AssertionError("this hand takes no batches")

    @property
    def sweeps(self) -> Literal["leader", "no"]:
        worker = self._worker
        return "leader" if self.is_proven and worker.is_simple and worker.is_clear and not worker.in_flight else "no"


class RunnerHand:
    """One task runs one delivery after another, for as long as no handler keeps hold of the task.

    A handler may have cancelled it, or left a timer that will; the next delivery must not be hit, so it gets a new task.
    """

    held = (0, 0)
    sweeps: Literal["no"] = "no"

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._runs = False

    def pump(self) -> None:
        if self._worker.mailbox and not self._runs and not self._worker.in_flight:
            self._runs = True
            self._worker.runtime.start(self._run())

    def recall(self) -> None:
        """Nothing is taken ahead."""

    def take_whole(self, burst: Burst, events: Sequence[Event], indices: Sequence[int]) -> None:
        """Batches are run by the dispatcher itself."""
        raise AssertionError("this hand takes no batches")

    async def _run(self) -> None:
        worker, budget = self._worker, _BUDGET
        task = asyncio.current_task()
        assert task is not None
        clean = getrefcount(task)
        try:
            while (delivery := worker.next()) is not None:
                await worker.attempt(delivery)
                if task.cancelling() or getrefcount(task) != clean:
                    break
                budget -= 1
                if not budget:
                    budget = _BUDGET
                    await asyncio.sleep(0)
        finally:
            self._runs = False
            worker.pump()


class TaskHand:
    """A task per delivery, up to the concurrency of the subscription, each under its deadline."""

    held = (0, 0)
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

    def take_whole(self, burst: Burst, events: Sequence[Event], indices: Sequence[int]) -> None:
        """Batches are run by the dispatcher itself."""
        raise AssertionError("this hand takes no batches")

    async def _run(self, delivery: Delivery, cell: Cell) -> None:
        worker, loop, attempt = self._worker, asyncio.get_running_loop(), delivery.attempt
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
        except BaseException as failure:  # noqa: BLE001 - a handler may raise anything, and it is an outcome
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
    sweeps: Literal["no"] = "no"

    def __init__(self, on_arrival: Callable[[], None]) -> None:
        self._on_arrival = on_arrival

    def pump(self) -> None:
        self._on_arrival()

    def recall(self) -> None:
        self._on_arrival()

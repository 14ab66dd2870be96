"""Tasks: a task of its own for each delivery, for subscriptions that ask for `isolation="task"`."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from eventbus.errors import HandlerTimeout
from eventbus.road.context import CURRENT, Cell

if TYPE_CHECKING:
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.part import Delivery, Part
    from eventbus.road.worker import Worker


async def invoke(worker: Worker, delivery: Delivery, cell: Cell, now_ns: int) -> Any:
    """Call the handler with one delivery, marked as the inside of it; whatever awaitable it returns is awaited."""
    mark_inside(cell, delivery, now_ns)
    handler = worker.handler
    result = handler(delivery.event, delivery) if worker.takes_delivery else handler(delivery.event)
    while isawaitable(result):
        result = await result
    return result


def mark_inside(cell: Cell, delivery: Delivery, now_ns: int) -> None:
    """In the context of an attempt that begins: this is the inside of that delivery."""
    cell.enter(delivery.place, now_ns)
    CURRENT.set((cell, delivery.place, delivery.event))
    cell.leave_clean(copy_context())


class Tasks:
    """Runs the attempts of subscriptions that have a task for each."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._attempts: dict[Cell, asyncio.Task[None]] = {}

    def wake(self, worker: Worker, *, first: bool = False) -> None:
        """As many as may run at once; they are started in order, whoever is `first`."""
        while worker.has_slot and not worker.is_suspended:
            delivery = worker.take_one()
            if delivery is None:
                return
            worker.enter()
            cell, task = _Attempt(self._lifetime, worker, delivery).start()
            self._attempts[cell] = task
            task.add_done_callback(partial(self._forget, cell))

    def recall(self, worker: Worker) -> None:
        """Nothing is taken ahead."""

    def part_with(self, worker: Worker, part: Part) -> None:
        """Each delivery is followed by itself from the start."""

    def abort(self, worker: Worker, cell: Cell) -> None:
        """Its task is cancelled."""
        if cell in self._attempts:
            self._attempts[cell].cancel()

    def _forget(self, cell: Cell, _task: asyncio.Task[None]) -> None:
        self._attempts.pop(cell, None)


class _Attempt:
    """One task."""

    def __init__(self, lifetime: Lifetime, worker: Worker, delivery: Delivery) -> None:
        self._lifetime = lifetime
        self._worker = worker
        self._delivery = delivery
        self._task: asyncio.Task[None]
        self._has_begun = self._is_overdue = self._is_abandoned = False

    def start(self) -> tuple[Cell, asyncio.Task[None]]:
        """Begin; gives the inside of it, and its task."""
        worker, delivery, burst = self._worker, self._delivery, self._delivery.part.burst
        cell = Cell(burst.base, burst.hops, worker)
        worker.running.takes(cell, delivery)
        # It is in flight, though its task has no turn yet.
        cell.enter(delivery.place, self._lifetime.clock.monotonic_ns())
        self._task = self._lifetime.crew.start(self._run(cell), burst.base.copy())
        self._task.add_done_callback(lambda _task: self._never_began(cell))
        return cell, self._task

    def _never_began(self, cell: Cell) -> None:
        """A task that is cancelled before it began to run runs nothing of its coroutine."""
        if not self._has_begun:
            cell.close()
            self._worker.running.drops(cell)
            self._worker.endings.fail(self._worker, self._delivery, asyncio.CancelledError(), 0)
            self._worker.leave()

    async def _run(self, cell: Cell) -> None:
        worker, delivery, clock = self._worker, self._delivery, self._lifetime.clock.monotonic_ns
        self._has_begun, started_ns = True, clock()
        if worker.is_suspended:  # meanwhile it was cancelled or paused, or the bus was stopped
            cell.close()
            worker.running.drops(cell)
            worker.not_started(delivery)
            worker.leave()
            return
        cell.enter(delivery.place, started_ns)
        delivery.begin(cell, started_ns, self._lifetime.crew.deadline_in(worker.policy.timeout))
        self._lifetime.dispatch.add(delivery.queued_ns, delivery.attempt == 1)
        result: Any = None
        error: BaseException | None = None
        if worker.deadlines is not None:
            worker.deadlines.watch(cell, self)
        try:
            result = await invoke(worker, delivery, cell, started_ns)
        except BaseException as raised:
            if self._lifetime.crew.is_closing(raised):
                raise
            error = raised
        cell.close()
        if not self._is_abandoned:
            worker.running.drops(cell)
            self._conclude(result, error, clock() - started_ns)
            worker.leave()

    def _conclude(self, result: Any, error: BaseException | None, ran_ns: int) -> None:
        worker, delivery = self._worker, self._delivery
        if self._is_overdue:  # whatever the handler made of its cancellation
            error = HandlerTimeout(worker.name, worker.policy.timeout or 0.0, error)
        if error is None:
            worker.endings.succeed(worker, delivery, result, ran_ns)
        else:
            worker.endings.fail(worker, delivery, error, ran_ns)

    def overdue(self, cell: Cell) -> None:
        """Its time is up."""
        self._is_overdue = True
        self._task.cancel()

    def abandon(self, cell: Cell) -> None:
        """The handler ignores its cancellation: record the outcome and go on without it."""
        worker = self._worker
        worker.running.drops(cell)
        self._is_abandoned = True
        worker.abandons(self._task)
        self._conclude(None, None, self._lifetime.clock.monotonic_ns() - cell.started_ns)
        worker.leave()

"""Single: steps one event through its handlers at once, without the machinery that pays off over many.

It is synchronous. Whoever calls it has the identity of the leader, by being it or by having borrowed it; the first handler that
suspends ends the walk, and its `Suspension` says what the leader stays with. Knows no lane and no mailbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import Context
from inspect import isawaitable
from sys import getrefcount
from typing import Any

from eventbus.burst import Burst
from eventbus.context import Cell, resume
from eventbus.delivery import Delivery
from eventbus.event import Event
from eventbus.outcome import Outcome, Status
from eventbus.worker import Worker


class Suspension:
    """A handler that gave up the task in its first step. Awaiting this runs the rest of it, and gives its outcome to its worker."""

    def __init__(
        self,
        worker: Worker,
        delivery: Delivery,
        coroutine: Coroutine[Any, Any, Any],
        context: Context,
        cell: Cell,
        waiting: Any,
        started_ns: int,
    ) -> None:
        self.worker = worker
        self._delivery = delivery
        self._coroutine = coroutine
        self._context = context
        self._cell = cell
        self._waiting = waiting  # what it yielded: a future, or nothing
        self._started_ns = started_ns

    def __await__(self) -> Generator[Any, Any, None]:
        worker, result, error = self.worker, None, None
        try:
            result = yield from resume(self._coroutine, self._context, self._waiting)
        except BaseException as failure:
            if worker.runtime.is_closing(failure):
                raise
            error = failure
        self._cell.live = False
        worker.conclude(self._delivery, error, result, worker.runtime.clock.monotonic_ns() - self._started_ns)
        worker.pump()


def step(
    burst: Burst, workers: Iterator[Worker], task: asyncio.Task[None], clock: Callable[[], int], started: int
) -> Suspension | None:
    """Run the one event of a burst through `workers` until one suspends, or something must be looked at first.

    `task` is the leader's; one more reference to it than before means that a handler kept it, or that somebody interrupts.
    """
    event, hops, base = burst.events[0], burst.hops, burst.base
    flight = burst.flight(0) if burst.is_watched else None
    untouched = getrefcount(task)
    for worker in workers:
        worker.tally.accepted += 1
        if not worker.is_at_rest:  # cancelled, paused or busy since
            burst.flight(0).is_watched = True
            worker.return_unstarted(burst, (event,), (0,))
            worker.pump()
            continue
        cell = Cell(event, hops, worker.name)
        context = cell.shared_context(base)
        coroutine = _attempt(worker.handler, event)
        try:
            waiting = context.run(coroutine.send, None)
        except StopIteration as end:
            cell.live = False
            ended = clock()
            worker.succeeded_in_batch(1, 0, ended - started)
            if flight is not None:
                queued_s, ran_s = (started - burst.accepted_ns) / 1e9, (ended - started) / 1e9
                flight.outcomes.append(Outcome(worker.name, Status.SUCCEEDED, end.value, None, 1, queued_s, ran_s))
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything, and it is an outcome
            cell.live = False
            ended = clock()
            burst.flight(0).is_watched = True
            worker.conclude(worker.follow(burst, event, 0), error, None, ended - started)
        else:
            burst.flight(0).is_watched = True
            delivery = worker.follow(burst, event, 0)
            return Suspension(worker, delivery, coroutine, context, cell, waiting, started)
        started = ended
        if getrefcount(task) != untouched:
            break
    return None


async def _attempt(handler: Callable[[Event], Any], event: Event) -> Any:
    result = await handler(event)
    if result is not None and isawaitable(result):
        result = await result
    return result

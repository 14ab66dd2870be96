"""Sweep: runs a burst through handlers that do not suspend, without a task, a timer, a lock or an object per event.

It runs inside one copy of the publisher's context and stops, to go on in another, as soon as a handler leaves something behind
there. When a handler suspends after all, the sweep goes no further than that event. Knows no lane and no mailbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from inspect import isawaitable
from itertools import islice
from operator import length_hint
from sys import getrefcount

from eventbus.burst import Burst
from eventbus.context import CURRENT, Cell
from eventbus.delivery import Delivery
from eventbus.event import Event
from eventbus.worker import Worker

_TIMED_TOGETHER = 64  # events per clock reading: handlers this quick are timed by their mean


Part = tuple[Worker, Sequence[Event], Sequence[int]]  # who gets which events, and their places in the burst


class Sweep:
    """One burst, and the workers that get all of it or a part."""

    def __init__(self, burst: Burst, parts: list[Part], clock: Callable[[], int]) -> None:
        self.burst = burst
        self._clock = clock
        self._parts = iter(parts)
        self.worker: Worker | None = None
        self.rest: Iterator[Event] = iter(())
        self.event: Event | None = None  # the one whose handler suspended
        self.cell = Cell(None, burst.hops, "")
        self.error: BaseException | None = None
        self.left_with: tuple[Worker, Delivery] | None = None  # of that event, from then on
        self.is_done = False
        self._indices: Sequence[int] = ()
        self._started = clock()
        self._odd = 0  # of the events since: those that did not simply succeed
        self._entered = 0  # events of the present part that were left when the clock was read last

    def context(self) -> Context:
        """A fresh context to go on in."""
        self.cell.live, self.cell.event = False, None  # what the last one left running is no longer inside a delivery
        self.cell = Cell(None, self.burst.hops, "")
        context = self.burst.base.copy()
        context.run(CURRENT.set, self.cell)
        return context

    async def run(self) -> None:
        """Run events until all are done, or something must be looked at before the next."""
        task, cell, clean = asyncio.current_task(), self.cell, copy_context()
        untouched = getrefcount(task)
        while True:
            worker = self.worker
            if worker is None:
                worker = self._next_part()
                if worker is None:
                    self.is_done = True
                    return
            handler, rest = worker.handler, self.rest
            cell.subscription = worker.name
            while self._entered:
                # So many at a time; the body is the hottest loop of the package.
                for event in islice(rest, _TIMED_TOGETHER):
                    cell.event = event
                    try:
                        result = await handler(event)
                        if result is not None and isawaitable(result):
                            await result
                    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, and it is an outcome
                        if self.event is event:
                            self.error = error
                            return
                        self._failed(worker, event, error)
                    if copy_context() != clean or getrefcount(task) != untouched:
                        self._flush(worker)
                        return
                self._flush(worker)
            self.worker = None

    def _next_part(self) -> Worker | None:
        part = next(self._parts, None)
        if part is None:
            return None
        self.worker, events, self._indices = part
        self.rest, self._entered, self._odd = iter(events), len(events), 0
        self.worker.tally.accepted += len(events)
        return self.worker

    def _flush(self, worker: Worker) -> None:
        """Count what ran since the clock was read last; its reading is where the next stretch begins."""
        left, now = length_hint(self.rest), self._clock()
        worker.succeeded_in_batch(self._entered - left, self._odd, now - self._started)
        self._entered, self._started, self._odd = left, now, 0

    def _index(self) -> int:
        """The place in the burst of the event that was taken last."""
        return self._indices[len(self._indices) - length_hint(self.rest) - 1]

    def _failed(self, worker: Worker, event: Event, error: BaseException) -> None:
        self._odd += 1
        worker.conclude(worker.follow(self.burst, event, self._index()), error, None, 0)
        if worker.retrying:
            worker.runtime.interrupt()  # what follows of the same key has to wait for it

    @property
    def may_go_on(self) -> bool:
        """Is there nothing but a used-up context that stands in the way?"""
        return self.worker is None or self.worker.is_clear

    def suspended(self) -> tuple[Worker, Delivery]:
        """The handler of an event gives up the task: count those before it; this one is followed by itself."""
        worker, event = self.worker, self.cell.event
        assert worker is not None
        assert event is not None
        self.event = event
        self._odd += 1
        self.left_with = worker, worker.follow(self.burst, event, self._index())
        self._flush(worker)
        return self.left_with

    def return_unstarted(self) -> Iterator[Worker]:
        """Give back what did not run, and say to whom."""
        if self.worker is not None:
            unstarted = list(self.rest)
            self.worker.return_unstarted(self.burst, unstarted, self._indices[len(self._indices) - len(unstarted) :])
            yield self.worker
        for worker, events, indices in self._parts:
            worker.tally.accepted += len(events)
            worker.return_unstarted(self.burst, events, indices)
            yield worker

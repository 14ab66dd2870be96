"""Sweep: runs a burst through handlers that do not suspend, without a task, a timer, a lock or an object per event.

It runs inside one copy of the publisher's context and stops, to go on in another, as soon as a handler leaves something behind
there, or somebody: a task, a timer. When a handler suspends after all, the sweep goes no further than that event. Knows no lane
and no mailbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from inspect import isawaitable
from itertools import islice
from operator import length_hint
from sys import getrefcount
from typing import Any

from eventbus.burst import Burst
from eventbus.context import Cell
from eventbus.delivery import Delivery
from eventbus.event import Event
from eventbus.outcome import Outcome, Status
from eventbus.worker import Worker

_TIMED_TOGETHER = 64  # events per clock reading: handlers this quick are timed by their mean
_SLOW_NS = 1_000_000  # a stretch that took longer had a slow one among its events
_TURN_NS = 5_000_000  # then the loop gets a turn

_FAILED: Any = object()  # stands where there is no result

Part = tuple[Worker, Sequence[Event], Sequence[int]]  # who gets which events, and their places in the burst


class Sweep:
    """One burst, and the workers that get all of it or a part. With `is_watched`, somebody waits for each outcome."""

    def __init__(
        self, burst: Burst, parts: list[Part], clock: Callable[[], int], *, is_watched: bool, is_sole: bool
    ) -> None:
        self.burst = burst
        self.is_sole = is_sole  # nobody else gets any of the burst, not even in a mailbox
        self._clock = clock
        self._is_watched = is_watched
        self._parts = iter(parts)
        self.worker: Worker | None = None
        self.rest: Iterator[Event] = iter(())
        self.event: Event | None = None  # the one whose handler suspended
        self.cell = Cell(None, burst.hops, "")
        self.result: Any = None
        self.error: BaseException | None = None
        self.left_with: tuple[Worker, Delivery] | None = None  # of that event, from then on
        self.is_done = False
        self.is_due = False  # the loop should have a turn
        self._context = Context()
        self._indices: Sequence[int] = ()
        self._started = self._turn_began = clock()
        self._odd = 0  # of the events since: those that did not simply succeed
        self._entered = 0  # events of the present part that were left when the clock was read last

    def context(self) -> Context:
        """A fresh context to go on in."""
        self.cell.live = False  # what the last one left running is no longer inside a delivery
        self.cell = Cell(None, self.burst.hops, "")
        self._context = self.cell.shared_context(self.burst.base)
        if self.is_due:
            self.is_due, self._turn_began = False, self._clock()
            self._started = self._turn_began
        return self._context

    async def run(self) -> None:
        """Run events until all are done, or something must be looked at before the next."""
        task, cell, context, clean = asyncio.current_task(), self.cell, self._context, copy_context()
        content = cell.content
        result: Any = None
        together = 1 if self._is_watched else _TIMED_TOGETHER
        untouched, alone = getrefcount(task), getrefcount(content)
        while True:
            worker = self.worker
            if worker is None:
                worker = self._next_part()
                if worker is None:
                    self.is_done = True
                    cell.event = None
                    return
            handler, rest = worker.handler, self.rest
            cell.subscription = worker.name
            while self._entered:
                # So many at a time; the body is the hottest loop of the package.
                for event in islice(rest, together):
                    cell.event = event
                    try:
                        result = await handler(event)
                        if result is not None and isawaitable(result):
                            result = await result
                    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, and it is an outcome
                        if self.event is event:
                            self.error = error
                            return
                        self._failed(worker, event, error)
                        result = _FAILED
                    # A copy of a context shares its content until somebody writes. So it shows what the handler left behind:
                    # a value, when it differs from the copy; a task or a timer, when more than these two share the content.
                    if context != clean or getrefcount(content) != alone or getrefcount(task) != untouched:
                        self._flush(worker, result)
                        return
                self._flush(worker, result)
                if self.is_due:
                    cell.event = None
                    return
            self.worker = None

    def _next_part(self) -> Worker | None:
        for worker, events, indices in self._parts:
            worker.tally.accepted += len(events)
            if worker.is_clear and not worker.in_flight:
                self.worker, self._indices = worker, indices
                self.rest, self._entered, self._odd = iter(events), len(events), 0
                return worker
            worker.return_unstarted(
                self.burst, events, indices
            )  # cancelled, paused or busy since the burst was offered
            worker.pump()
        return None

    def _flush(self, worker: Worker, result: Any) -> None:
        """Count what ran since the clock was read last; its reading is where the next stretch begins.

        The result is of the last one, and the only one when somebody waits for it.
        """
        left, now = length_hint(self.rest), self._clock()
        ran, took = self._entered - left, now - self._started
        if self._is_watched and result is not _FAILED:
            self._landed(worker, result, took)
        if ran > 1 and took > _SLOW_NS:
            # Which of them was slow is not known: one gets it all, for the slow tail is what people look for.
            typical = min(worker.typical_ns, took // ran)
            worker.succeeded_in_batch(ran - 1, self._odd, typical * (ran - 1))
            worker.succeeded_in_batch(1, 0, took - typical * (ran - 1))
        elif ran:
            worker.typical_ns = took // ran
            worker.succeeded_in_batch(ran, self._odd, took)
        self._entered, self._started, self._odd = left, now, 0
        self.is_due = now - self._turn_began > _TURN_NS

    def _landed(self, worker: Worker, result: Any, took_ns: int) -> None:
        """Somebody waits for this outcome."""
        if self.event is not None:
            self.result = result  # it suspended: the delivery it has by now is concluded with this
            return
        queued_s, ran_s = (self._started - self.burst.accepted_ns) / 1e9, took_ns / 1e9
        outcome = Outcome(worker.name, Status.SUCCEEDED, result, None, 1, queued_s, ran_s)
        self.burst.flight(self._index()).outcomes.append(outcome)

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
        self._flush(worker, _FAILED)
        self._entered = 0  # none of the others run in this sweep
        return self.left_with

    def rest_of_part(self) -> tuple[list[Event], Sequence[int]]:
        """Events of the present part that did not start, with their places."""
        unstarted = list(self.rest)
        return unstarted, self._indices[len(self._indices) - len(unstarted) :]

    def return_unstarted(self) -> Iterator[Worker]:
        """Give back what did not run, and say to whom."""
        if self.worker is not None:
            self.worker.return_unstarted(self.burst, *self.rest_of_part())
            yield self.worker
        for worker, events, indices in self._parts:
            worker.tally.accepted += len(events)
            worker.return_unstarted(self.burst, events, indices)
            yield worker

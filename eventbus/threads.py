"""Threads: how sync handlers get to run: in the pool, whole batches per hop, at most `concurrency` threads per subscription.

A batch crosses into a thread once and its results come back together; a slow one reports as it goes. Its first results are
followed one by one; a handler that proves quick gets whole bursts, whose events are settled together. What it returns to be
awaited is awaited on the loop, and is part of the attempt: the batch goes no further before that is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import Context, copy_context
from operator import length_hint
from sys import getrefcount
from typing import Any, Literal

from eventbus.burst import Burst
from eventbus.context import CURRENT, Cell
from eventbus.delivery import Delivery
from eventbus.errors import HandlerTimeout
from eventbus.event import Event
from eventbus.runtime import log
from eventbus.worker import Worker, because

_BATCH = 256
_SHARED_BATCH = 16  # with several threads, so that none hoards what another could run
_QUICK_NS = 100_000  # mean run time up to which a burst is settled as a whole
_REPORT_NS = 1_000_000
_TICK_S = 0.001  # as exact as the timers of a loop are
_STUCK_S = 1.0  # a job that waited so long for a thread gets a spare one
_LOOK_S = _STUCK_S / 64


Part = tuple[Burst, Sequence[Event], Sequence[int]]  # events, and their places in their burst
_Odd = tuple[int, BaseException | None, Any]  # how many events came after it, what it raised, or returned


class ThreadHand:
    """The pool runs them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._is_proven = False  # returned plain values so far
        self._awaits = False  # returned something to await the last time
        self._batches: set[_Batch] = set()
        self._wholes: list[Part] = []

    @property
    def sweeps(self) -> Literal["thread", "no"]:
        worker = self._worker
        quick = self._is_proven and worker.tally.ran.mean_ns < _QUICK_NS
        return "thread" if quick and worker.is_simple and worker.is_open else "no"

    @property
    def held(self) -> tuple[int, int]:
        batches = [batch for batch in self._batches if isinstance(batch, _WholeBatch)]
        unstarted = sum(batch.unstarted for batch in batches)
        waiting = sum(len(events) for _burst, events, _indices in self._wholes)
        return waiting + unstarted, sum(batch.left for batch in batches) - unstarted

    @property
    def taken(self) -> Collection[Delivery]:
        return [delivery for batch in self._batches for delivery in batch.taken]

    @property
    def running(self) -> tuple[Event, ...]:
        cells = [batch.cell for batch in self._batches if isinstance(batch, _WholeBatch)]
        return tuple(cell.event for cell in cells if cell is not None and cell.event is not None)

    def take_whole(self, burst: Burst, events: Sequence[Event], indices: Sequence[int]) -> None:
        """A burst whose events are settled together."""
        burst.out += 1
        self._worker.tally.accepted += len(events)
        self._worker.runtime.open_deliveries += len(events)
        self._wholes.append((burst, events, indices))
        self.pump()

    def pump(self) -> None:
        worker, policy = self._worker, self._worker.policy
        while len(self._batches) < policy.concurrency:
            batch: _Batch
            # A batch makes the keys in it busy, and what waits for one of them would be overtaken: with keys, one at a time.
            is_single = policy.timeout is not None or self._awaits or policy.retry is not None or policy.key is not None
            limit = 1 if is_single else _BATCH
            if policy.concurrency > 1:
                limit = max(1, min(limit, _SHARED_BATCH, len(worker.mailbox) // policy.concurrency))
            deliveries: list[Delivery] = []
            while len(deliveries) < limit and (delivery := worker.next()) is not None:
                deliveries.append(delivery)
                if delivery.max_age is not None:
                    break  # behind others in a batch it could grow too old unseen
            if deliveries:
                batch = _DeliveryBatch(self, worker, deliveries)
            elif self._wholes:  # what is in the mailbox came before the batches
                batch = _WholeBatch(self, worker, self._wholes)
                self._wholes = []
            else:
                return
            self._batches.add(batch)
            batch.submit()

    def recall(self) -> None:
        for batch in tuple(self._batches):
            batch.recall()
        self.return_waiting()

    def return_waiting(self) -> None:
        wholes, self._wholes = self._wholes, []
        for burst, events, indices in wholes:
            self.done_with(burst, events, indices, len(events), was_running=False)

    def done_with(
        self, burst: Burst, unstarted: Sequence[Event], indices: Sequence[int], events: int, *, was_running: bool
    ) -> None:
        """A batch of so many events is done; those that did not start are followed one by one from here on."""
        worker = self._worker
        worker.return_unstarted(burst, unstarted, indices, was_running=was_running)
        worker.runtime.burst_returned(burst)
        worker.runtime.closed(events)

    def returned(self, batch: _Batch) -> None:
        """A thread came back."""
        self._batches.discard(batch)
        batch.cancel_timers()
        self._worker.pump()
        self._worker.check_quiet()

    def proved(self, plain: bool) -> None:
        self._is_proven, self._awaits = plain, not plain


class _Batch:
    """One hop into a thread."""

    def __init__(self, hand: ThreadHand, worker: Worker) -> None:
        self._hand = hand
        self._worker = worker
        self._clock = worker.runtime.clock.monotonic_ns
        self.taken: Collection[Delivery] = ()  # those that have not started
        self._started_ns: int | None = None  # when a thread began with it
        self.is_abandoned = False
        self._awaiting: asyncio.Task[Any] | None = None
        self._is_overdue = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def cancel_timers(self) -> None:
        """They would keep its events until they are due."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def submit(self) -> None:
        self._worker.runtime.pool.submit(self._work)
        self._call_later(_LOOK_S, self._look, _LOOK_S)

    def _call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        loop = self._worker.runtime.loop
        assert loop is not None
        self._timers[call.__name__] = loop.call_later(seconds, call, *arguments)

    def _look(self, waited_s: float) -> None:
        """See how far the thread is, ever less often."""
        runtime = self._worker.runtime
        if runtime.is_ended:
            return
        # All threads hang in handlers of others, or there are none. A spare one may go to another job: the next look will tell.
        is_stuck = self._started_ns is None and waited_s >= _STUCK_S
        if is_stuck and not runtime.pool.replace_stuck() and waited_s < 2 * _STUCK_S:
            log.warning("no thread for a sync handler", extra={"subscription": self._worker.name})
        self._report()
        delay_s = min(waited_s, _STUCK_S)
        self._call_later(delay_s, self._look, waited_s + delay_s)

    def _report(self) -> None:
        """Conclude what has ended so far."""

    def _work(self) -> None:
        raise NotImplementedError

    def recall(self) -> None:
        """Start no other attempt."""
        raise NotImplementedError

    def _post(self, call: Any, *arguments: Any) -> None:
        """Back on the loop, if it still lives."""
        loop = self._worker.runtime.loop
        assert loop is not None
        try:
            loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            return  # the loop is closed: the bus ended without waiting for this handler, and said so in its report

    def _thread_is_back(self) -> None:
        if self._awaiting is None:
            self._hand.returned(self)

    def _await(self, delivery: Delivery, result: Any, ran_ns: int, context: Context) -> None:
        """The handler returned an awaitable: it is part of the attempt."""
        self._hand.proved(plain=False)
        self._awaiting = self._worker.runtime.start(self._await_result(delivery, result, ran_ns), context)

    async def _await_result(self, delivery: Delivery, result: Any, ran_ns: int) -> None:
        worker, cell, attempt = self._worker, CURRENT.get(), delivery.attempt
        clock = worker.runtime.clock.monotonic_ns
        started, error, value = clock(), None, None
        try:
            value = await result
        except BaseException as failure:
            if worker.runtime.is_closing(failure):
                raise
            error = failure
        if cell is not None:
            cell.live = False
        if delivery.attempt != attempt or delivery not in worker.in_flight:
            return  # abandoned at its deadline: the outcome is recorded already
        if self._is_overdue:  # whatever the handler made of its cancellation
            error = because(HandlerTimeout(worker.name, worker.policy.timeout or 0.0), error)
        worker.conclude(delivery, error, value, ran_ns + clock() - started)
        self._hand.returned(self)


_Result = tuple[Delivery, BaseException | None, Any, int, Context]


class _DeliveryBatch(_Batch):
    """Deliveries that are followed one by one. Under a deadline it is a single one."""

    def __init__(self, hand: ThreadHand, worker: Worker, deliveries: list[Delivery]) -> None:
        super().__init__(hand, worker)
        self.taken = self._waiting = deque(deliveries)
        self._first, self._attempt = deliveries[0], deliveries[0].attempt + 1
        self._loop_ahead_s = 0.0  # what the clock of the loop shows more than ours
        self._results: deque[_Result] = deque()  # the thread puts them in, the loop takes them out

    def submit(self) -> None:
        super().submit()
        timeout, loop = self._worker.policy.timeout, self._worker.runtime.loop
        if timeout is not None:
            assert loop is not None
            self._loop_ahead_s = loop.time() - self._clock() / 1e9
            self._call_later(timeout, self._deadline_passed, timeout)

    def recall(self) -> None:
        for delivery in self._unstarted():
            self._worker.not_started(delivery)

    def _unstarted(self) -> Iterator[Delivery]:
        """Take them, one after the other. Thread and loop may both do so: whoever takes one has it alone."""
        with contextlib.suppress(IndexError):
            while True:
                yield self._waiting.popleft()

    def _deadline_passed(self, timeout: float) -> None:
        ran_s = 0.0 if self._started_ns is None else (self._clock() - self._started_ns) / 1e9
        if timeout - ran_s > _TICK_S:  # the clock starts with the handler
            self._call_later(timeout - ran_s, self._deadline_passed, timeout)
        elif self._awaiting is not None:
            self._is_overdue = True
            self._awaiting.cancel()
            self._call_later(self._worker.runtime.grace, self._abandon, timeout)
        else:
            self._worker.runtime.pool.replace_stuck()
            self._abandon(timeout)

    def _abandon(self, timeout: float) -> None:
        """The handler does not come back: record the outcome and go on without it."""
        worker, delivery = self._worker, self._first
        if delivery not in worker.in_flight or delivery.attempt != self._attempt:
            return
        self.is_abandoned = True
        worker.tally.abandoned += 1
        if self._awaiting is not None:
            worker.runtime.abandoned.add(self._awaiting)
            self._awaiting.add_done_callback(worker.runtime.abandoned.discard)
        worker.conclude(delivery, HandlerTimeout(worker.name, timeout), None, int(timeout * 1e9))
        self._hand.returned(self)

    def _work(self) -> None:
        clock = self._clock
        reported = self._started_ns = clock()
        for delivery in self._unstarted():
            result = self._attempt_one(delivery)
            self._results.append(result)
            if inspect.isawaitable(result[2]):
                break
            # After the last of them the end reports, and takes the timers down in the same turn.
            if clock() - reported > _REPORT_NS and self._waiting:
                self._post(self._report)
                reported = clock()
        self._post(self._end)

    def _attempt_one(self, delivery: Delivery) -> _Result:
        worker = self._worker
        context, cell = worker.begin(delivery)
        arguments = (delivery.event, delivery) if worker.takes_delivery else (delivery.event,)
        result: Any = None
        error: BaseException | None = None
        started = self._clock()
        if worker.policy.timeout is not None:
            delivery.deadline = started / 1e9 + self._loop_ahead_s + worker.policy.timeout
        try:
            result = context.run(worker.handler, *arguments)
        except BaseException as failure:  # noqa: BLE001 - inside the thread: StopIteration could not cross into a future
            error = failure
        if not inspect.isawaitable(result):
            cell.live = False
        return delivery, error, result, self._clock() - started, context

    def _report(self) -> None:
        worker = self._worker
        while self._results:
            delivery, error, result, ran_ns, context = self._results.popleft()
            if self.is_abandoned:
                if inspect.iscoroutine(result):
                    result.close()  # nobody awaits it any more
            elif inspect.isawaitable(result):
                self.recall()  # the thread goes no further before that is done
                self._await(delivery, result, ran_ns, context)
            else:
                self._hand.proved(plain=True)
                worker.conclude(delivery, error, result, ran_ns)

    def _end(self) -> None:
        self._report()
        if not self.is_abandoned:
            self._thread_is_back()


class _WholeBatch(_Batch):
    """Bursts whose events are settled together; only what raised, or returned something to await, is followed by itself."""

    def __init__(self, hand: ThreadHand, worker: Worker, wholes: list[Part]) -> None:
        super().__init__(hand, worker)
        self._wholes = wholes
        self._is_recalled = False
        self.left = self._later = sum(len(events) for _burst, events, _indices in wholes)
        self._rest: Iterator[Event] = iter(())  # of the burst in hand; those of the next ones come later
        self.cell: Cell | None = None  # of the event that runs

    @property
    def unstarted(self) -> int:
        """Events that wait for their attempt."""
        return self._later + length_hint(self._rest)

    def recall(self) -> None:
        self._is_recalled = True

    def _work(self) -> None:
        for burst, events, indices in self._wholes:
            started, odd = self._clock(), list[_Odd]()
            self._started_ns = self._started_ns or started
            self._later -= len(events)
            rest = self._rest = iter(events)
            while not self._is_recalled and length_hint(rest):
                self.cell = cell = Cell(None, burst.hops, self._worker.name)
                context = cell.shared_context(burst.base)
                context.run(self._sweep, rest, cell, odd, context)
                cell.live = False
            self._post(self._settle, burst, odd, list(rest), events, indices, self._clock() - started)
        self._post(self._thread_is_back)

    def _sweep(self, rest: Iterator[Event], cell: Cell, odd: list[_Odd], context: Context) -> None:
        """Run events until one leaves something, or somebody, behind in the context, as `Sweep` does."""
        handler, content, clean = self._worker.handler, cell.content, copy_context()
        alone = getrefcount(content)
        for event in rest:
            cell.event = event
            try:
                result = handler(event)
                if result is not None and inspect.isawaitable(result):
                    odd.append((length_hint(rest), None, result))
                    self._is_recalled = True  # the rest waits until that is done
            except BaseException as failure:  # noqa: BLE001 - a handler may raise anything, and it is an outcome
                odd.append((length_hint(rest), failure, None))
            if self._is_recalled or context != clean or getrefcount(content) != alone:
                return
        cell.event = None

    def _settle(
        self,
        burst: Burst,
        odd: list[_Odd],
        unstarted: list[Event],
        events: Sequence[Event],
        indices: Sequence[int],
        ran_ns: int,
    ) -> None:
        worker, total = self._worker, len(events)
        ran = total - len(unstarted)
        self.left -= total
        worker.succeeded_in_batch(ran, len(odd), ran_ns)
        for followed_by, error, result in odd:
            place = total - followed_by - 1
            delivery = worker.follow(burst, events[place], indices[place])
            if error is None:
                context = burst.base.copy()
                context.run(CURRENT.set, Cell(delivery.event, delivery.hops, worker.name))
                self._await(delivery, result, 0, context)
            else:
                worker.conclude(delivery, error, None, ran_ns // max(1, ran))
        self._hand.done_with(burst, unstarted, indices[ran:], total, was_running=True)

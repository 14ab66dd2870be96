"""Stepping: one task runs the handlers of many events, and stays with a delivery that waits.

The task that leads dispatches too. When a handler waits in it another takes the lead, and this one serves that subscription until
nothing is left there, and ends. A task whose handler kept hold of it, or cancelled it, serves nobody else.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from decimal import DefaultContext, setcontext
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from eventbus.errors import HandlerTimeout
from eventbus.failure import without_our_frame
from eventbus.outcome import Status
from eventbus.road.behind import waits_for_key
from eventbus.road.context import CURRENT, DECIMAL, OUTSIDE, Cell
from eventbus.road.pace import QUICK_NS
from eventbus.road.part import Delivery, Part
from eventbus.road.tasks import invoke

if TYPE_CHECKING:
    from eventbus.road.dispatcher import Dispatcher
    from eventbus.road.worker import Worker

_TURN_NS = 5_000_000  # then the loop has its turn


@types.coroutine
def _driven(
    coroutine: Coroutine[Any, Any, Any], context: Context, waits: Callable[[], None], waiting: Any
) -> Generator[Any, Any, Any]:
    """Await a coroutine that waits for something already, in a context of its own, in the task that awaits this.

    `waits` is called each time before it waits.
    """
    run, send = context.run, coroutine.send
    try:
        while True:
            waits()
            try:
                value = yield waiting
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as thrown:  # noqa: BLE001 - whatever the loop throws in belongs to the coroutine
                waiting = run(coroutine.throw, thrown)
            else:
                waiting = run(send, value)
    except StopIteration as end:
        return end.value


class SteppingTask(asyncio.Task[None]):
    """A handler may cancel "its" task: that is meant for the delivery, not for what comes after."""

    stepper: Stepper | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        if self.stepper is not None:
            self.stepper.cancelled()
        return super().cancel(msg)


class Stepper:
    """One task, and what it has in hand."""

    def __init__(self, dispatcher: Dispatcher, loop: asyncio.AbstractEventLoop) -> None:
        self._dispatcher = dispatcher
        self._door = dispatcher.door
        self._lifetime = dispatcher.lifetime
        self._clock = dispatcher.lifetime.clock.monotonic_ns
        self._worker: Worker
        self._part: Part | None = None
        self._began_ns = 0  # the stretch in hand
        self._accepted_ns = 0  # the burst in hand
        self._turn_ns = 0  # when the loop had its turn
        self._waits_in, self._waits_at = OUTSIDE, -1  # where the handler waited last, and for which event
        self._is_overdue = self._is_abandoned = False
        self.is_spent = False  # by a cancellation, whoever asked for it: not fit for another delivery
        self.cell: Cell | None = None
        self.leads = True
        self.is_due = False  # the loop should have its turn
        # Not by the factory of the loop, which may run it at once.
        task = SteppingTask(self._lead(), loop=loop, name=f"{dispatcher.lifetime.name}-stepper")
        task.stepper = self
        self.task = task

    # --- the life of the task --------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Dispatch what comes, and serve whoever it is for, for as long as this task is fit to."""
        dispatcher, door, lifetime, failure = self._dispatcher, self._door, self._lifetime, None
        listed, lane = dispatcher.listed, door.lane
        self._turn_ns = self._clock()
        try:
            while lifetime.is_running:
                if self.is_due:
                    await self._turn()
                if listed and not door.urgent:
                    await self._serve(listed.popitem(last=False)[0])
                    if self.is_spent or not self.leads:
                        return
                elif lane.bursts:
                    self.is_due = dispatcher.dispatch_next()
                else:
                    await dispatcher.arrival()
                    self._turn_ns = self._clock()
        except Exception as error:  # noqa: BLE001 - ours: no handler's failure comes this far
            failure = error
        finally:
            dispatcher.left_by(self, failure)

    async def _turn(self) -> None:
        """Other tasks have their turn."""
        await asyncio.sleep(0)
        self._turn_ns, self.is_due = self._clock(), False

    async def _serve(self, worker: Worker) -> None:
        """Run what waits there, as far as this task may."""
        self._worker = worker
        worker.enter()
        try:
            while not worker.is_suspended:
                delivery, mailbox = None, worker.mailbox
                if worker.takes_delivery:
                    delivery = worker.take_one()
                elif mailbox.freed or mailbox.replaceable:
                    delivery = worker.take_single()
                if delivery is not None:
                    await self._attempt(delivery)
                elif (part := mailbox.next_part()) is not None:
                    await self._run(part)
                    worker = self._worker
                    mailbox = worker.mailbox
                else:
                    break
                if self.is_spent:
                    break
                if self.is_due or self._door.urgent:
                    if self.leads:
                        break
                    await self._turn()
                if not (mailbox.parts or mailbox.freed or mailbox.replaceable):
                    break
        finally:
            worker = self._worker
            del self._worker  # nothing of a subscription is kept by who served it last
            self.cell, self._waits_in = None, OUTSIDE
            if not self._is_abandoned:
                worker.leave()

    # --- many events -----------------------------------------------------------------------------------------------

    async def _run(self, first: Part) -> None:
        """Run a part in a copy of its publisher's context, and what follows of the same publisher."""
        base = first.burst.base
        part: Part | None = self._take_in_hand(first)
        try:
            while part is not None:
                context = base.copy()
                coroutine = self._step(part, context)
                try:
                    waiting = context.run(coroutine.send, None)
                    await _driven(coroutine, context, self._waits, waiting)
                except StopIteration:
                    pass  # no handler had to wait
                part = self._following(base) if self._part is not None else None
        finally:
            if self._part is not None:
                self._let_go()

    def _take_in_hand(self, part: Part) -> Part:
        self._part, cell = part, part.cell
        self.cell, cell.look, self._worker.running[cell] = cell, False, part
        self._accepted_ns = part.burst.accepted_ns
        return part

    def _let_go(self) -> None:
        cell, self._part = self.cell, None
        assert cell is not None
        cell.close()
        self._worker.running.pop(cell, None)

    def _following(self, base: Context) -> Part | None:
        """What comes next without a look at anything else: of the same publisher, here or with who is served next."""
        self._let_go()
        if self.is_due or self.is_spent or self._door.urgent:
            return None
        worker, mailbox, listed = self._worker, self._worker.mailbox, self._dispatcher.listed
        if mailbox.parts or mailbox.freed or mailbox.replaceable:
            part = worker.next_in(base)
            return None if part is None else self._take_in_hand(part)
        if not (listed and self.leads):
            return None
        following = next(iter(listed))
        part = following.next_in(base)
        if part is None:
            return None
        del listed[following]
        worker.leave()
        self._worker = following
        following.enter()
        return self._take_in_hand(part)

    async def _step(self, part: Part | None, context: Context) -> None:  # noqa: PLR0912 - a call an event is too much
        """The hottest loop: so many events at a time, in one context for as long as nobody leaves anything there."""
        clock, set_current, is_closing = self._clock, CURRENT.set, self._lifetime.crew.is_closing
        expires_ns, is_timed, busy_keys, decimals = 0, False, None, False
        result: Any = None
        caught: BaseException | None = None
        while part is not None:
            worker, events, cell, start = self._worker, part.events, part.cell, part.done
            handler, pace, base = worker.handler, worker.pace, cell.base
            is_careful = (
                part.max_age_ns is not None or worker.deadlines is not None or worker.keys or worker.uses_decimal
            )
            if is_careful:
                expires_ns = 0 if part.max_age_ns is None else part.burst.accepted_ns + part.max_age_ns
                is_timed, busy_keys, decimals = worker.deadlines is not None, worker.keys, worker.uses_decimal
            self._began_ns = clock()
            while start < len(events):
                for index, event in enumerate(events[start : start + pace.together], start):
                    if is_careful:
                        if expires_ns or is_timed:
                            cell.started_ns = clock()
                            if expires_ns and cell.started_ns > expires_ns:
                                expired = part.follow(index, is_running=True)
                                worker.endings.finish(worker, expired, Status.EXPIRED)
                                continue
                        if busy_keys and waits_for_key(worker, part, index):
                            continue
                        if decimals:
                            setcontext(DefaultContext)  # which makes a copy
                    cell.at = index
                    set_current((cell, index, event))
                    cell.clean = clean = copy_context()
                    try:
                        result = await handler(event)
                        if result is not None:
                            while isawaitable(result):
                                result = await result
                            if result is not None and part.cell is cell:
                                part.answered(index, result)
                    except BaseException as error:
                        if is_closing(error):
                            raise
                        caught, cell.look = without_our_frame(error), True
                    try:
                        if cell.look or context != clean:
                            break
                    except BaseException:  # noqa: BLE001 - a value that cannot be compared: then it is another one
                        break
                else:
                    start = self._went_on(part, index + 1)
                    if self.is_due:
                        return
                    continue
                self._look_at(part, context, index, result, caught, start)
                return
            part = None if worker.uses_decimal else self._following(base)

    def _went_on(self, part: Part, upto: int) -> int:
        """So far nothing was out of the ordinary."""
        worker, began_ns, now = self._worker, self._began_ns, self._clock()
        went, accepted_ns = upto - part.done, self._accepted_ns
        queued_ns = began_ns - accepted_ns if began_ns > accepted_ns else 0
        self._lifetime.dispatch.add(queued_ns, went)
        worker.passed(part, upto, now - began_ns, queued_ns)
        if went >= worker.pace.together or now - began_ns > QUICK_NS:
            worker.pace.went_well((now - began_ns) // went)
        self._began_ns = now
        self.is_due = now - self._turn_ns > _TURN_NS
        return upto

    def _look_at(
        self, part: Part, context: Context, index: int, result: Any, caught: BaseException | None, start: int
    ) -> None:
        """The attempt that ended last failed, or left something behind, or others went on with its part meanwhile."""
        worker, cell = self._worker, self.cell
        assert cell is not None
        what = worker.running.get(cell)
        if self._is_abandoned:
            return
        if isinstance(what, Delivery):
            self._conclude(what, result, caught, self._clock() - cell.started_ns)
            return
        if self._is_overdue:  # whatever the handler made of its cancellation
            caught = self._timeout(caught)
        if caught is not None:
            delivery = part.follow(index, is_running=True)
            delivery.begin(cell, self._began_ns, None)
            ran_ns = (self._clock() - self._began_ns) // (index + 1 - part.done)
            worker.endings.fail_in_part(worker, delivery, caught, ran_ns)
        self._went_on(part, index + 1)
        worker.pace.was_broken(index + 1 - start)
        if not worker.uses_decimal and DECIMAL in context:
            worker.uses_decimals()

    def flush(self) -> None:
        """Somebody wants to know what has ended."""
        part, cell = self._part, self.cell
        if part is not None and cell is part.cell and cell.at > part.done:
            now = self._clock()
            self._worker.passed(part, cell.at, now - self._began_ns, max(0, self._began_ns - self._accepted_ns))
            self._began_ns = now

    # --- one event that is followed by itself ----------------------------------------------------------------------

    async def _attempt(self, delivery: Delivery) -> None:
        worker, burst = self._worker, delivery.part.burst
        cell = self.cell = Cell(burst.base, burst.hops, worker)
        started_ns = self._clock()
        delivery.begin(cell, started_ns, self._lifetime.crew.deadline_in(worker.policy.timeout))
        self._lifetime.dispatch.add(delivery.queued_ns, delivery.attempt == 1)
        worker.running.takes(cell, delivery)
        result: Any = None
        error: BaseException | None = None
        context, coroutine = burst.base.copy(), invoke(worker, delivery, cell, started_ns)
        try:
            waiting = context.run(coroutine.send, None)
            result = await _driven(coroutine, context, self._waits, waiting)
        except StopIteration as end:
            result = end.value
        except BaseException as raised:
            if self._lifetime.crew.is_closing(raised):
                raise
            error = raised
        cell.close()
        now = self._clock()
        self.is_due = now - self._turn_ns > _TURN_NS
        if not self._is_abandoned:
            worker.running.drops(cell)
            self._conclude(delivery, result, error, now - started_ns)

    def _conclude(self, delivery: Delivery, result: Any, error: BaseException | None, ran_ns: int) -> None:
        worker = self._worker
        if self._is_overdue:  # whatever the handler made of its cancellation
            error = self._timeout(error)
        if error is None:
            worker.endings.succeed(worker, delivery, result, ran_ns)
        else:
            worker.endings.fail(worker, delivery, error, ran_ns)

    def _timeout(self, cause: BaseException | None) -> BaseException:
        return HandlerTimeout(self._worker.name, self._worker.policy.timeout or 0.0, cause)

    # --- a handler waits -------------------------------------------------------------------------------------------

    def _waits(self) -> None:
        """The task is given up to the loop, for the first time in this attempt or once more."""
        cell, worker = self.cell, self._worker
        assert cell is not None
        if self._waits_in is cell and self._waits_at == cell.at:
            return
        self._waits_in, self._waits_at = cell, cell.at
        if self.leads:
            self.leads = False
            self._dispatcher.new_leader()
        part = self._part
        if part is not None:
            if worker.policy.timeout is None:
                cell.started_ns = self._began_ns
            if worker.policy.concurrency > 1 and worker.running.get(cell) is part:
                self.flush()
                worker.detach(part)
            elif part.burst.waiters or self._dispatcher.somebody_waits:  # they look for themselves what has ended
                self.flush()
        if worker.deadlines is not None:
            worker.deadlines.watch(cell, self)
        if worker.has_slot:
            worker.wake_if_work()

    def cancelled(self) -> None:
        """Its task is."""
        self.is_spent = True
        if self.cell is not None:
            self.cell.interrupt()

    def overdue(self, cell: Cell) -> None:
        """The time of the attempt is up."""
        self._is_overdue = True
        self.task.cancel()

    def abandon(self, cell: Cell) -> None:
        """The handler ignores its cancellation: record the outcome and go on without it. The task stays with it."""
        worker, part = self._worker, self._part
        if part is not None and worker.running.get(cell) is part:
            self.flush()
            worker.detach(part)
        what = worker.running.drops(cell)
        assert isinstance(what, Delivery)
        self._is_abandoned = self.is_spent = True
        worker.abandons(self.task)
        self._conclude(what, None, None, self._clock() - cell.started_ns)
        worker.leave()

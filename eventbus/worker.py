"""Worker: empties the mailbox of one subscription and records how each delivery ended: exactly one outcome, whatever happens.

What an attempt came to, whether there is another, what becomes of those that failed: all of it is decided here. Who runs the
attempt is the business of its `Hand`. Knows no route and no other subscription.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Sequence
from contextvars import Context
from typing import Any, Literal, Protocol

from eventbus.burst import Burst
from eventbus.context import CURRENT, Cell, InContext
from eventbus.dead_letter import DeadLetter
from eventbus.delivery import Delivery
from eventbus.errors import HandlerCancelled
from eventbus.event import Event, EventSpec
from eventbus.failure import Failure, describe
from eventbus.mailbox import Mailbox
from eventbus.outcome import Outcome, Status
from eventbus.policy import GiveUp, OnFailure, Overflow, Policy, RetryIn
from eventbus.runtime import Runtime, log
from eventbus.stats import SubscriptionStats, Tally

_INDEX_BITS = 20  # of a delivery's order: its place in the burst


class Hand(Protocol):
    """Who runs the attempts of a worker."""

    def pump(self) -> None:
        """Start what may be started now."""
        ...

    def recall(self) -> None:
        """Start no other attempt of what was taken already."""
        ...

    def return_waiting(self) -> None:
        """Put batches that have not begun into the mailbox, event by event."""
        ...

    @property
    def sweeps(self) -> Literal["leader", "runner", "thread", "no"]:
        """Who may be handed whole batches of events, without a record of each."""
        ...

    @property
    def held(self) -> tuple[int, int]:
        """Events of whole batches in hand: those that wait, those that run."""
        ...

    @property
    def running(self) -> tuple[Event, ...]:
        """Events of whole batches whose attempts run now."""
        ...

    @property
    def taken(self) -> Collection[Delivery]:
        """Deliveries in flight that have not started."""
        ...


class Worker:
    """The movement of one subscription. `Subscription` is the handle on it."""

    def __init__(
        self,
        handler: Callable[..., Any],
        *,
        name: str,
        listens_to: str,
        policy: Policy,
        runtime: Runtime,
        takes_delivery: bool,
    ) -> None:
        self.name = name
        self.listens_to = listens_to
        self.handler = handler
        self.policy = policy
        self.runtime = runtime
        self.takes_delivery = takes_delivery
        self.mailbox = Mailbox(policy.queue_size)
        self.tally = Tally()
        self.typical_ns = 0  # how long an attempt of a batch took last
        self.in_flight: set[Delivery] = set()
        self.retrying: dict[Delivery, asyncio.TimerHandle] = {}
        self.is_paused = False
        self.is_cancelled = False
        # What a bus with a journal hangs in: it learns of each outcome, and has a retry counted before it starts.
        self.on_outcome: Callable[[Delivery, Outcome, DeadLetter | None], None] | None = None
        self.feed: Callable[[Burst, Sequence[int]], None] | None = None  # set: it reads the journal, not the lane
        self.before_retry: Callable[[Delivery], Awaitable[None]] | None = None
        self.expected = 0  # let in at the door for a queue of its own, and not offered yet
        self._vacancies: list[asyncio.Future[None]] = []
        self.hand: Hand  # set by the one who builds it, changed when the handler turns out to need another
        self._is_simple = not takes_delivery and policy == Policy(on_failure=policy.on_failure)
        self._wants_key = policy.key is not None or policy.concurrency > 1 or policy.retry is not None
        self._quiet: list[asyncio.Future[None]] = []

    # --- arrival -------------------------------------------------------------------------------------------------

    @property
    def is_simple(self) -> bool:
        """May its events run in batches, without a record of each?"""
        return self._is_simple and self.feed is None

    @property
    def is_clear(self) -> bool:
        """Nothing waits and nothing is held back: what arrives now may run at once."""
        return not self.mailbox and self.is_open

    @property
    def is_open(self) -> bool:
        """Nothing holds it back: what waits runs in order, and what arrives now after it."""
        return not (self.retrying or self.is_paused or self.is_cancelled)

    @property
    def is_at_rest(self) -> bool:
        """May the leader step it, events of a batch or one alone, and nothing comes before them?"""
        return (
            self._is_simple
            and self.feed is None
            and not (self.mailbox or self.in_flight or self.retrying or self.is_paused or self.is_cancelled)
        )

    @property
    def is_held(self) -> bool:
        """May no attempt start now, not even one that was taken already?"""
        return self.is_paused or self.is_cancelled or not self.runtime.is_running

    @property
    def has_room(self) -> bool:
        """Is there a place in the queue of its own? True without one."""
        size = self.policy.queue_size
        return size is None or self.tally.pending + self.expected < size

    async def vacancy(self) -> None:
        """Wait until there may be a place."""
        waiter = asyncio.get_running_loop().create_future()
        self._vacancies.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._vacancies:
                self._vacancies.remove(waiter)

    def let_in(self) -> None:
        """Those who wait for a place look again."""
        vacancies, self._vacancies = self._vacancies, []
        for waiter in vacancies:
            if not waiter.done():
                waiter.set_result(None)

    def offer(self, burst: Burst, events: Sequence[Event], indices: Sequence[int]) -> None:
        """Events of a burst arrive. A predicate that raises makes a dead letter of its event."""
        policy = self.policy
        if burst.is_urgent:
            self.hand.recall()  # it overtakes what was taken and has not started
        else:
            self.hand.return_waiting()  # what comes one by one goes behind what came before it
        if self.feed is not None:
            self.feed(burst, indices)
            return
        if policy.is_gate:
            self.expected -= len(events)
        seen: EventSpec | None = None
        overflow, max_age = Overflow.BLOCK, None
        for event, index in zip(events, indices, strict=True):
            spec = event.__event__
            if spec is not seen:
                seen, overflow, max_age = spec, policy.overflow_for(spec), policy.max_age_for(spec)
            refused: BaseException | None = None
            if policy.where is not None:
                try:
                    if not policy.where(event):
                        continue
                except BaseException as error:
                    refused = error
            delivery = self.adopt(burst, event, index, is_lossless=not overflow.is_lossy, max_age=max_age)
            if refused is not None:
                self._give_up(delivery, refused, "where= raised")
            elif self.is_cancelled:
                self._finish(delivery, Status.CANCELLED)
            else:
                self.enqueue(delivery, overflow)
        if self._vacancies and self.has_room:
            self.let_in()  # events that the predicate did not want need no place
        self.pump()

    def adopt(
        self, burst: Burst, event: Event, index: int, *, is_lossless: bool = True, max_age: float | None = None
    ) -> Delivery:
        """A delivery of its own for one event of a burst: counted, and followed if it keeps a place at the door."""
        watched = burst.flights.get(index)
        flight = burst.flight(index) if is_lossless else watched
        if flight is not None:
            flight.open += 1
            flight.holding += is_lossless
            if burst.is_closed:  # its owner left it: this delivery alone keeps the place now
                flight.is_routed = flight.is_counted = True
        key, broken = self._key(event) if self._wants_key or not is_lossless else (None, None)
        self.tally.accepted += 1
        self.runtime.open_deliveries += 1
        delivery = Delivery(
            event,
            subscription=self.name,
            context=burst.base,
            hops=burst.hops,
            accepted_ns=burst.accepted_ns,
            flight=flight,
            order=burst.number << _INDEX_BITS | index,
            is_lossless=is_lossless,
            is_urgent=burst.is_urgent,
            key=key,
            max_age=max_age,
            offset=None if burst.offset is None else burst.offset + index,
        )
        delivery.broken = broken
        return delivery

    def _key(self, event: Event) -> tuple[Hashable, BaseException | None]:
        """What orders the event, and what a key function, or a key that cannot be hashed, raised."""
        try:
            key = self.policy.key_of(event)
            hash(key)
        except Exception as error:
            return None, error
        return key, None

    def enqueue(self, delivery: Delivery, overflow: Overflow = Overflow.BLOCK) -> None:
        """Into the mailbox; what had to go for it is dropped and counted. Without a key that works, a dead letter."""
        if delivery.broken is not None:
            self._give_up(delivery, delivery.broken, "key= raised")
            return
        mailbox, tally = self.mailbox, self.tally
        displaced = mailbox.offer(delivery, overflow)
        if displaced is not None:
            tally.conflated, tally.gaps = mailbox.conflated, mailbox.gaps
            self._finish(displaced, Status.DROPPED)

    def pump(self) -> None:
        """Start what may be started now."""
        if not self.is_paused and self.runtime.is_running:
            self.hand.pump()

    def next(self) -> Delivery | None:
        """The next delivery that may run; what is too old expires on the way."""
        while not self.is_paused and self.runtime.is_running:
            delivery = self.mailbox.take()
            if delivery is None:
                return None
            now = self.runtime.clock.monotonic_ns()
            delivery.queued_ns = now - delivery.accepted_ns
            if delivery.max_age is not None and delivery.queued_ns > delivery.max_age * 1e9:
                self.mailbox.release(delivery.key)
                self._finish(delivery, Status.EXPIRED)
                continue
            if delivery.attempt == 0:
                self.runtime.dispatch.add(max(0, delivery.queued_ns))
            self.in_flight.add(delivery)
            return delivery
        return None

    # --- one attempt ---------------------------------------------------------------------------------------------

    def begin(self, delivery: Delivery) -> tuple[Context, Cell]:
        """A context for the next attempt, marked as the inside of this delivery."""
        delivery.attempt += 1
        cell = Cell(delivery.event, delivery.hops, self.name)
        context = delivery.context.copy()
        context.run(CURRENT.set, cell)
        return context, cell

    async def invoke(self, delivery: Delivery) -> Any:
        """Call the handler; whatever awaitable it returns is awaited."""
        result = self.handler(delivery.event, delivery) if self.takes_delivery else self.handler(delivery.event)
        if inspect.isawaitable(result):
            result = await result
        return result

    async def attempt(self, delivery: Delivery, on_suspend: Callable[[], None] | None = None) -> None:
        """Run one attempt in the calling task and conclude it. Never raises what the handler raised."""
        context, cell = self.begin(delivery)
        clock = self.runtime.clock.monotonic_ns
        started = clock()
        result: Any = None
        error: BaseException | None = None
        try:
            result = await InContext(self.invoke(delivery), context, on_suspend)
        except BaseException as failure:
            if self.runtime.is_closing(failure):
                raise
            error = failure
        cell.live = False
        self.conclude(delivery, error, result, clock() - started)

    def conclude(self, delivery: Delivery, error: BaseException | None, result: Any, ran_ns: int) -> None:
        """An attempt ended: settle the delivery, or schedule its next attempt."""
        self.in_flight.discard(delivery)
        self.tally.ran.add(ran_ns)
        if error is None:
            self.mailbox.release(delivery.key)
            self._finish(
                delivery, Status.SUCCEEDED, result if result is not None else delivery.reply_value, ran_ns=ran_ns
            )
            return
        if isinstance(error, asyncio.CancelledError):
            if self.runtime.is_ending:  # the bus itself cancelled what was still running: not a failure of the handler
                self.mailbox.release(delivery.key)
                self._finish(delivery, Status.CANCELLED, error=error, ran_ns=ran_ns)
                return
            error = because(HandlerCancelled(self.name), error)
        self.tally.errors += 1
        decision = self.policy.after(error, attempt=delivery.attempt, rng=self.runtime.rng)
        if delivery.first_failed is None:
            delivery.first_failed = self.runtime.clock.now()
        match decision:
            case RetryIn(seconds) if not self.is_cancelled:
                self._retry_in(delivery, seconds, error)
            case RetryIn():
                self.mailbox.release(delivery.key)
                self._finish(delivery, Status.CANCELLED, error=error, ran_ns=ran_ns)
            case GiveUp(reason):
                self.mailbox.release(delivery.key)
                self._give_up(delivery, error, reason, ran_ns)

    def give_up_unstarted(self, delivery: Delivery, reason: str, error: BaseException | None = None) -> None:
        """A delivery that gets no attempt here. Without an error its attempts ended with an earlier process."""
        self._give_up(delivery, error or HandlerCancelled(self.name), reason)

    # --- events of whole batches, which have no delivery of their own ----------------------------------------------

    def succeeded_in_batch(self, ran: int, odd: int, ran_ns: int) -> None:
        """`ran` attempts took `ran_ns` together; all but `odd` of them succeeded."""
        if ran:
            self.tally.ran.add(ran_ns // ran, ran)
            self.tally.succeeded += ran - odd

    def follow(self, burst: Burst, event: Event, index: int) -> Delivery:
        """An attempt of a batch came out otherwise: from here on the event has a delivery of its own, in flight."""
        self.tally.accepted -= 1  # counted with the batch, and again by adopting it
        delivery = self.adopt(burst, event, index)
        delivery.attempt = 1
        self.in_flight.add(delivery)
        return delivery

    def return_unstarted(
        self, burst: Burst, events: Iterable[Event], indices: Iterable[int], *, was_running: bool = False
    ) -> None:
        """What a batch did not start goes into the mailbox, or is cancelled. What is left of one that ran goes first."""
        for event, index in zip(events, indices, strict=True):
            self.tally.accepted -= 1
            delivery = self.adopt(burst, event, index)
            if self.is_cancelled:
                self._finish(delivery, Status.CANCELLED)
            elif was_running:
                self.mailbox.put_back(delivery)
            else:
                self.enqueue(delivery)

    def not_started(self, delivery: Delivery) -> None:
        """A delivery that was taken and recalled before its attempt began."""
        self.in_flight.discard(delivery)
        if self.is_cancelled:
            self.mailbox.release(delivery.key)
            self._finish(delivery, Status.CANCELLED)
        else:
            self.mailbox.put_back(delivery)

    def _retry_in(self, delivery: Delivery, seconds: float, error: BaseException) -> None:
        self.tally.retried += 1
        log.info(
            "delivery retried",
            extra={
                "type": delivery.event.type,
                "subscription": self.name,
                "attempt": delivery.attempt,
                "delay_s": seconds,
            },
        )
        delivery.error = describe(error)
        keeps_key = self.policy.retry is None or not self.policy.retry.out_of_order
        if not keeps_key:
            self.mailbox.release(delivery.key)
        assert self.runtime.loop is not None
        self.retrying[delivery] = self.runtime.loop.call_later(seconds, self._retry_due, delivery, keeps_key)

    def _retry_due(self, delivery: Delivery, keeps_key: bool) -> None:
        if self.before_retry is not None:
            self.runtime.start(self._retry_counted(self.before_retry, delivery, keeps_key))
        else:
            self._retry(delivery, keeps_key)

    async def _retry_counted(
        self, count: Callable[[Delivery], Awaitable[None]], delivery: Delivery, keeps_key: bool
    ) -> None:
        await count(delivery)
        if delivery in self.retrying:  # not cancelled meanwhile
            self._retry(delivery, keeps_key)

    def _retry(self, delivery: Delivery, keeps_key: bool) -> None:
        del self.retrying[delivery]
        self.mailbox.put_back(delivery, keeps_key=keeps_key)
        self.pump()

    def _give_up(self, delivery: Delivery, error: BaseException, reason: str, ran_ns: int = 0) -> None:
        """No further attempt: keep it as a dead letter, or drop it, as the policy says."""
        if self.policy.on_failure is OnFailure.DROP:
            self._finish(delivery, Status.DROPPED, error=error, ran_ns=ran_ns)
            log.warning(
                "delivery dropped", extra={"subscription": self.name, "type": delivery.event.type, "reason": reason}
            )
            return
        now = self.runtime.clock.now()
        letter = self.runtime.dead_letters.add(
            delivery.event,
            subscription=self.name,
            reason=reason,
            error=Failure.of(error),
            attempts=delivery.attempt,
            first_failed=delivery.first_failed or now,
            last_failed=now,
        )
        if self.tally.dead_lettered == 0 or log.isEnabledFor(10):
            # One line per subscription: the rest is counted and kept, a log line each would cost more than the delivery.
            log.warning(
                "delivery dead-lettered",
                extra={
                    "subscription": self.name,
                    "type": delivery.event.type,
                    "reason": reason,
                    "error": describe(error),
                },
            )
        self._finish(delivery, Status.DEAD_LETTERED, error=error, ran_ns=ran_ns, letter=letter)
        if self.policy.on_failure is OnFailure.HALT:
            self.runtime.halt(f"{self.name} could not handle {delivery.event}: {reason}")

    def _finish(
        self,
        delivery: Delivery,
        status: Status,
        result: Any = None,
        error: BaseException | None = None,
        ran_ns: int = 0,
        letter: DeadLetter | None = None,
    ) -> None:
        """The one place where a delivery gets its terminal outcome."""
        self.tally.ended(status)
        flight = delivery.flight
        if self.on_outcome is not None or (flight is not None and flight.is_watched):
            queued_s, ran_s = delivery.queued_ns / 1e9, ran_ns / 1e9
            outcome = Outcome(self.name, status, result, error, delivery.attempt, queued_s, ran_s)
            if flight is not None and flight.is_watched:
                flight.outcomes.append(outcome)
            if self.on_outcome is not None:
                self.on_outcome(delivery, outcome, letter)
        if flight is not None:
            flight.open -= 1
            if delivery.is_lossless:
                flight.holding -= 1
                if not flight.holding and flight.is_counted:
                    flight.is_counted = False
                    self.runtime.door.settle(1)
            if not flight.open and flight.is_routed:
                flight.landed()
        self.runtime.closed()
        if self._quiet:
            self.check_quiet()
        if self._vacancies and self.has_room:
            self.let_in()

    # --- ends ----------------------------------------------------------------------------------------------------

    def stats(self) -> SubscriptionStats:
        """The counts at this moment."""
        tally, oldest = self.tally, self.mailbox.oldest()
        waiting, running = self.hand.held
        taken = len(self.hand.taken)
        age_ns = 0 if oldest is None else self.runtime.clock.monotonic_ns() - oldest.accepted_ns
        return SubscriptionStats(
            name=self.name,
            selector=self.listens_to,
            accepted=tally.accepted,
            succeeded=tally.succeeded,
            dead_lettered=tally.dead_lettered,
            dropped=tally.dropped,
            conflated=tally.conflated,
            expired=tally.expired,
            cancelled=tally.cancelled,
            pending=tally.pending,
            queued=len(self.mailbox) + waiting + taken,
            in_flight=len(self.in_flight) + running - taken,
            retry_wait=len(self.retrying),
            retried=tally.retried,
            errors=tally.errors,
            gaps=tally.gaps,
            abandoned=tally.abandoned,
            oldest_age_s=age_ns / 1e9,
            ran=tally.ran.copy(),
        )

    def cancel(self) -> None:
        """No attempt starts any more; what waits is settled as cancelled."""
        if self.is_cancelled:
            return
        self.is_cancelled = True
        self.runtime.interrupt()
        self.hand.recall()
        for timer in self.retrying.values():
            timer.cancel()
        waiting = [*self.mailbox.clear(), *self.retrying]
        self.retrying.clear()
        for delivery in waiting:
            self._finish(delivery, Status.CANCELLED)
        self.let_in()  # what comes now does not go here

    def unsettled(self) -> list[Delivery]:
        """Every delivery without an outcome that is followed by itself."""
        return [*(place.heir or place for place in self.mailbox), *self.in_flight, *self.retrying]

    def running(self) -> tuple[Event, ...]:
        """The events whose attempts run."""
        started = self.in_flight.difference(self.hand.taken)
        return (*(delivery.event for delivery in started), *self.hand.running)

    async def quiet(self, grace: float) -> tuple[Event, ...]:
        """Wait up to `grace` seconds until no attempt runs; returns the events of those that still do."""
        if self.in_flight or any(self.hand.held):
            waiter = asyncio.get_running_loop().create_future()
            self._quiet.append(waiter)
            await asyncio.wait([waiter], timeout=grace)
        return self.running()

    def check_quiet(self) -> None:
        """Wake those who wait for the last attempt, if it has ended."""
        if self.in_flight or any(self.hand.held):
            return
        waiters, self._quiet = self._quiet, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def because(error: BaseException, cause: BaseException | None) -> BaseException:
    """`error`, with its cause attached."""
    error.__cause__ = cause
    return error

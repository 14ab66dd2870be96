"""Bus: the protocol every bus keeps, and the one in memory. It wires the stations and governs their lifetime; it does no work.

The walk of an event: publish -> door -> lane -> dispatcher -> mailbox -> worker -> handler.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import random
import threading
import uuid
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextvars import Context, copy_context
from threading import get_ident
from types import TracebackType
from typing import Any, Self, TypeVar

from eventbus.burst import NOBODY, Burst
from eventbus.causality import Explanation, History
from eventbus.clock import Clock, SystemClock
from eventbus.context import CURRENT, inside_delivery, same_context
from eventbus.dead_letter import DeadLetter, DeadLetters
from eventbus.dispatcher import Dispatcher
from eventbus.door import Door
from eventbus.errors import (
    BusNotRunning,
    BusStopped,
    Halted,
    HopLimit,
    NoReply,
    PolicyConflict,
    PublishTimeout,
    QueueFull,
    ReentrantStop,
    WouldDeadlock,
    WrongLoop,
)
from eventbus.event import AdHocEvent, Event, Kind, event_key, stamp
from eventbus.hands import StreamHand
from eventbus.interface import Identify, ShutdownReport
from eventbus.outcome import Outcome, Status
from eventbus.policy import Overflow, Policy
from eventbus.pool import ThreadPool
from eventbus.receipt import Receipt
from eventbus.runtime import Runtime
from eventbus.selector import RouteTable, Selector
from eventbus.stats import BusStats, Tally, TypeStats
from eventbus.stream import Expectation, Stream
from eventbus.subscription import Subscription, title_of

HOP_LIMIT = 32
_PLAIN = frozenset(set(Kind) - {Kind.QUOTE})  # lossless

E = TypeVar("E", bound=Event)
Handler = Callable[..., Any]
Selects = type[Event] | str


class InMemoryEventBus:
    """A typed event bus in one process and one event loop.

    `max_queue_size` bounds the events accepted and not yet settled by every lossless subscription, `max_bytes` what they hold
    in memory together, to the event that reaches it (weighing takes some microseconds an event; None: not weighed);
    `max_workers` the threads for sync handlers; `reserve` what handlers may publish beyond a full door, in bytes as much again
    as there may be outside; `history` the events that `explain` remembers;
    `grace` the seconds a handler has to react to its cancellation. `identify(event, cause, subscription)` gives what a
    handler publishes its id, so that doing it again gives the same ids. Building one needs no running loop.
    """

    capabilities: frozenset[str] = frozenset(
        {"dead_letters", "explain", "expect", "halt", "request", "retain", "stream"}
    )

    def __init__(
        self,
        max_queue_size: int = 10_000,
        max_workers: int = 4,
        *,
        max_bytes: int | None = None,
        reserve: int | None = None,
        history: int = 10_000,
        grace: float = 1.0,
        clock: Clock | None = None,
        pool: ThreadPool | None = None,
        seed: int | None = None,
        name: str = "eventbus",
        identify: Identify | None = None,
    ) -> None:
        bounds = {"max_queue_size": max_queue_size, "max_workers": max_workers, "max_bytes": max_bytes}
        for argument, value in bounds.items():
            if value is not None and value < 1:
                raise PolicyConflict(argument, f"{value!r} is not a positive number")
        self.name = name
        self._identify = identify
        self._clock: Clock = clock or SystemClock()
        self._door = Door(max_queue_size, max_queue_size if reserve is None else reserve, self._clock, max_bytes)
        self._pool = pool or ThreadPool(max_workers, name)
        self._runtime = Runtime(
            door=self._door, pool=self._pool, clock=self._clock, rng=random.Random(seed), grace=grace
        )
        self._runtime.dead_letters = DeadLetters(self._redrive)
        self._runtime.halt = self.halt
        self._dispatcher = Dispatcher(self._runtime)
        self._history = History(history)
        self._dispatcher.on_dispatch = self._dispatching
        self._dispatcher.on_end = self._dispatcher_ended
        self._table: RouteTable[Subscription] = RouteTable()
        self._names: dict[str, Subscription] = {}
        self._ordinary: set[type[Event]] = set()  # classes whose events may join a burst of another
        self._urgent: set[type[Event]] = set()  # those of kind CONTROL, which have bursts of their own
        self._sharing: set[type[Event]] = set()  # classes whose events may join a burst of their own
        self._retained: dict[str, dict[Any, Event]] = {}
        self._gone = Tally()  # counts of subscriptions that ended
        self._leaving: list[Subscription] = []  # cancelled, with an attempt still running
        self._expecting: set[asyncio.Future[Event]] = set()
        self._halt_reason: str | None = None
        self._halt_token = ""
        self._started_ns: int | None = None
        self._ended: asyncio.Future[None] | None = None
        self._main: asyncio.Task[None] | None = None
        self._shutdown: asyncio.Task[ShutdownReport] | None = None
        self._thread = 0
        self._stops = 0  # how often stop() was called

    # --- publish -------------------------------------------------------------------------------------------------

    async def publish(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Receipt:
        """Hand an event to the bus; returns when it is accepted. A type and a payload make an ad-hoc event.

        Waits while the door is full, at most `timeout` seconds; a publish from inside a handler never waits. Raises
        `PublishTimeout`, `WouldDeadlock`, `HopLimit`, `Halted`, `BusStopped`, `WrongLoop`; nothing was accepted then.
        """
        # The open burst says, in one object, all that need not be asked again: same class, context, thread, and room.
        burst = self._door.open
        events = burst.events
        index = len(events)
        try:
            if index < burst.room and get_ident() == burst.thread and copy_context() == burst.context:
                cls = type(event)
                if cls is burst.admits or cls in burst.joins:
                    if cls is not burst.admits:
                        burst.admits, burst.is_mixed = cls, True  # type: ignore[assignment] # joins holds event classes
                    events.append(event)  # type: ignore[arg-type] # as does admits
                    receipt = Receipt()
                    receipt.burst = burst
                    receipt.index = index
                    return receipt
        except Exception:  # noqa: BLE001 - a context value that cannot be compared: then this context is another one
            pass
        del burst, events  # held on to while this waits, it would look as if somebody had a receipt of it
        return await self._publish(self._coerce(event, payload), timeout)

    async def _publish(self, event: Event, timeout: float | None) -> Receipt:
        if self._door.crowded and not inside_delivery():
            await asyncio.sleep(0)  # a publisher that never pauses lets the dispatcher in
        receipt = self._admit(event)
        if receipt is not None:
            return receipt
        patience = asyncio.timeout(timeout)
        try:
            async with patience:
                return await self._wait_to_enter(event)
        except TimeoutError:
            if timeout is None or not patience.expired():
                raise
            raise PublishTimeout(timeout) from None

    async def _wait_to_enter(self, event: Event) -> Receipt:
        """Wait wherever it has to, as often as somebody else was quicker."""
        receipt: Receipt | None = None
        while receipt is None:
            gate = self._full_gate(event)
            if gate is None:
                await self._door.room()
            else:
                await gate.worker.vacancy()
            try:
                receipt = self._admit(event, has_place=gate is None)
            finally:
                if receipt is None:
                    self._door.settle(0)  # the place that this one was woken for is the next one's
        return receipt

    def publish_nowait(self, event: Event | str, payload: Mapping[str, Any] | None = None) -> Receipt:
        """Like `publish`, without waiting. Raises `QueueFull` when the door is full."""
        receipt = self._admit(self._coerce(event, payload))
        if receipt is None:
            raise self._door.refuse_full()
        return receipt

    async def publish_many(self, events: Iterable[Event], *, timeout: float | None = None) -> list[Receipt]:
        """Publish one after the other; returns their receipts. `timeout` is for each."""
        return [await self.publish(event, timeout=timeout) for event in events]

    def publish_threadsafe(
        self, event: Event | str, payload: Mapping[str, Any] | None = None
    ) -> concurrent.futures.Future[Receipt]:
        """Publish from any thread; the future gets the receipt or the exception. Raises `BusNotRunning` before the bus has a loop."""
        loop = self._runtime.loop
        if loop is None or loop.is_closed():
            raise BusNotRunning("publish_threadsafe()")
        fact, accepted = self._coerce(event, payload), concurrent.futures.Future[Receipt]()
        context = copy_context()
        loop.call_soon_threadsafe(self._publish_for_thread, fact, accepted, context=context)
        return accepted

    def _publish_for_thread(self, event: Event, accepted: concurrent.futures.Future[Receipt]) -> None:
        if not accepted.set_running_or_notify_cancel():
            return

        async def publish() -> None:
            try:
                receipt = await self._publish(event, None)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that asked
                accepted.set_exception(error)
            else:
                accepted.set_result(receipt)

        self._runtime.start(publish(), copy_context())

    async def publish_and_wait(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> list[BaseException]:
        """Publish and wait until it is settled; returns the exceptions of deliveries that did not succeed in the end."""
        fact = self._coerce(event, payload)
        burst = self._at_once(fact, is_watched=False)
        if burst is not None and not burst.flights:
            return []  # every handler succeeded
        outcomes = await self._settled("publish_and_wait()", fact, timeout, burst)
        return [outcome.error for outcome in outcomes if outcome.error is not None]

    async def request(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Publish and return what the first subscription in order answered: its handler's return value, or its `reply`.

        Raises what the handler raised, `NoReply` when nobody answered, `TimeoutError` after `timeout` seconds.
        """
        fact = self._coerce(event, payload)
        async with asyncio.timeout(timeout):
            burst = self._at_once(fact, is_watched=True)
            outcomes = await self._settled("request()", fact, None, burst)
        for outcome in outcomes:
            if outcome.status is Status.SUCCEEDED and outcome.result is not None:
                return outcome.result
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        raise NoReply(fact.type, len(outcomes))

    async def _settled(
        self, call: str, event: Event, timeout: float | None, burst: Burst | None
    ) -> tuple[Outcome, ...]:
        """The outcomes of an event; it is published here unless it has its `burst` already."""
        if burst is not None:
            return await burst.flight(0).settled()
        self._must_run(call)
        receipt = await self._publish(event, timeout)
        receipt.burst.flight(receipt.index).is_watched = True
        return await receipt

    def _at_once(self, event: Event, *, is_watched: bool) -> Burst | None:
        """Run an event in its publisher's turn, who waits for the outcomes in any case; None when it cannot be.

        With `is_watched` there is an outcome of each delivery, else only of those that did not succeed there and then.
        """
        if self._dispatcher.is_at_rest and CURRENT.get() is None and self._needs_no_look(event):
            return self._dispatcher.run_at_once(event, self._table, is_watched=is_watched)
        return None

    def _needs_no_look(self, event: Event) -> bool:
        """Was one of its class let in before, and would this one be too, published outside of any handler?"""
        return (
            type(event) in self._sharing
            and self._runtime.loop is _get_running_loop()
            and not (self._door.is_shut or self._door.is_full or self._halt_reason)
        )

    def _coerce(self, event: Event | str, payload: Mapping[str, Any] | None) -> Event:
        if isinstance(event, Event):
            if payload is not None:
                raise TypeError("payload is for an event given by its type; this one has its own")
            return event
        if isinstance(event, str):
            return Event(event, payload=payload)
        raise TypeError(f"publish takes an Event, or a type and a payload, not {type(event).__name__}")

    def _admit(self, event: Event, *, has_place: bool = False) -> Receipt | None:
        """Let an event in, or return None when it has to wait."""
        joined = self._join(event)
        if joined is not None:
            return joined
        spec, door, cell = event.__event__, self._door, CURRENT.get()
        if cell is None and self._needs_no_look(event):
            self._admitting(event)
            return door.enter(event, self._table, joins=self._ordinary if type(event) in self._ordinary else NOBODY)
        inside = cell is not None and cell.live
        if not inside or get_ident() != self._thread:
            self._must_own("publish()")
        if door.is_shut and not (inside and self._runtime.is_running):
            raise BusStopped
        if spec.kind is Kind.EXECUTION and self._halt_reason is not None:
            raise Halted(self._halt_reason)
        hops, base = 0, None
        cause = None if cell is None else cell.event
        if cell is not None and cause is not None:
            hops, base = cell.hops + 1, cell.base_of_effects()
            if hops > HOP_LIMIT:
                raise HopLimit(event.type, HOP_LIMIT)
        is_urgent = spec.kind is Kind.CONTROL
        gate = self._full_gate(event)
        if gate is not None:
            size = gate.policy.queue_size or 0
            if inside:
                raise WouldDeadlock(size)
            if gate.policy.overflow is Overflow.REJECT:
                raise QueueFull(size, f"subscription {gate.name!r}")
            return None
        if not has_place and not door.has_room(inside=inside, is_urgent=is_urgent):
            return None
        if cell is not None and cause is not None:
            stamp(event, cause=cause, event_id=self._identity(event, cause, cell.subscription))
        self._admitting(event)
        return self._enter(event, base=base, cause=cause, hops=hops)

    def _join(self, event: Event) -> Receipt | None:
        """Into the open burst, if it admits the event. `publish` has this written out."""
        burst = self._door.open
        cls, index = type(event), len(burst.events)
        if index >= burst.room or get_ident() != burst.thread or not (cls is burst.admits or cls in burst.joins):
            return None
        if burst.cause is not None:
            cell = CURRENT.get()
            if cell is None or cell.event is not burst.cause or cell.base_of_effects() is not burst.base:
                return None
            stamp(event, cause=burst.cause, event_id=self._identity(event, burst.cause, cell.subscription))
        elif not same_context(copy_context(), burst.context):
            return None
        if cls is not burst.admits:
            burst.admits, burst.is_mixed = cls, True
        burst.events.append(event)
        receipt = Receipt()
        receipt.burst, receipt.index = burst, index
        return receipt

    def _enter(self, event: Event, *, base: Context | None, cause: Event | None, hops: int) -> Receipt:
        """An event that nothing stands against opens a burst. What it may share decides what may join it."""
        spec = event.__event__
        is_urgent = spec.kind is Kind.CONTROL
        is_plain = spec.kind in _PLAIN and spec.max_age is None
        gates = [member for member in self._table.gates if member in self._table.route(event)]
        for member in gates:
            member.worker.expected += 1
        # What needs a look at each event does not share a burst, and CONTROL published in a handler interrupts each time.
        has_gates = bool(self._table.gates) if type(event) is AdHocEvent else bool(gates)  # the next is of another type
        needs_no_look = not (spec.retain or has_gates)
        shares = needs_no_look and (cause is None or (base is not None and not is_urgent))
        joins: AbstractSet[type[Event]] = NOBODY
        if needs_no_look and is_plain:
            if not is_urgent:
                self._sharing.add(type(event))
            if shares:
                alike = self._urgent if is_urgent else self._ordinary
                alike.add(type(event))
                joins = alike
        receipt = self._door.enter(
            event,
            self._table,
            base=base,
            cause=cause,
            hops=hops,
            shares=shares,
            joins=joins,
            is_plain=is_plain,
            is_urgent=is_urgent,
        )
        if is_urgent:
            self._runtime.interrupt()
        return receipt

    def _identity(self, event: Event, cause: Event, subscription: str) -> str | None:
        """The id that an event without one of its own is to have; None for a random one."""
        if self._identify is None or "event_id" in event.model_fields_set or event is cause:
            return None
        return self._identify(event, cause, subscription)

    def _admitting(self, event: Event) -> None:
        """Nothing stands in its way any more. What is raised here still refuses it."""
        self._retain(event)

    def _retain(self, event: Event) -> None:
        spec = event.__event__
        if spec.retain:
            kept, key = self._retained.setdefault(event.type, {}), event_key(event, spec.key)
            kept.pop(key, None)  # the last one is at the end
            kept[key] = event

    def _full_gate(self, event: Event) -> Subscription | None:
        """The first subscription with a full queue of its own that the event would go to. CONTROL waits at none."""
        if not self._table.gates or event.__event__.kind is Kind.CONTROL:
            return None
        route = self._table.route(event)
        return next((member for member in self._table.gates if not member.worker.has_room and member in route), None)

    # --- subscribe -----------------------------------------------------------------------------------------------

    def subscribe(
        self, selector: Selects, handler: Handler, *, name: str | None = None, replay_last: bool = False, **policy: Any
    ) -> Subscription:
        """Listen: to a class and its subclasses, a dotted type, or a wildcard. Policies are the fields of `Policy`.

        The handler takes `(event)` or `(event, delivery)`; sync ones run in the thread pool. Subscribing the same handler twice
        delivers twice. `replay_last` delivers the retained events first. Raises `InvalidSelector` and `PolicyConflict`.
        """
        if not callable(handler):
            raise PolicyConflict("handler", f"{handler!r} cannot be called")
        chosen, rules = Selector(selector), self._policy(policy)
        for cls in chosen.classes():
            rules.check_kind(cls.__event__)
        subscription = Subscription(
            chosen,
            handler,
            name=self._free_name(name, title_of(handler)),
            policy=rules,
            runtime=self._runtime,
            remove=self._remove,
        )
        self._add(subscription)
        if replay_last:
            self._replay_retained(subscription)
        return subscription

    def on(self, selector: Selects, **policy: Any) -> Callable[[Handler], Handler]:
        """`subscribe` as a decorator; the function stays what it was."""

        def decorate(handler: Handler) -> Handler:
            self.subscribe(selector, handler, **policy)
            return handler

        return decorate

    def stream(
        self, selector: Selects, *, name: str | None = None, replay_last: bool = False, **policy: Any
    ) -> Stream[Any]:
        """Events as an async iterator; it listens from the call on. Policies as for `subscribe`."""
        stream = Stream[Any]()
        subscription = self.subscribe(selector, _unused, name=name or "stream", **policy)
        subscription.worker.hand = StreamHand(stream.arrived)
        stream.subscription = subscription
        if replay_last:
            self._replay_retained(subscription)
        return stream

    def expect(
        self, selector: Selects, *, where: Callable[[Any], bool] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Wait for the next event of that kind; it listens from the call on.

        Raises `TimeoutError`, `BusNotRunning`, and `BusStopped` when the bus is shut down before it comes.
        """
        self._must_run("expect()")
        found: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        async def first(event: Event) -> None:
            if not found.done():
                found.set_result(event)

        subscription = self.subscribe(selector, first, name="expect", where=where)

        async def wait() -> Event:
            self._expecting.add(found)
            try:
                if self._runtime.is_ended:
                    raise BusStopped("expect()")
                async with asyncio.timeout(timeout):
                    return await found
            finally:
                self._expecting.discard(found)
                subscription.cancel()

        return Expectation(wait(), subscription)

    def unsubscribe(self, selector: Selects, handler: Handler) -> bool:
        """Cancel the oldest subscription of this handler to this selector; False when there is none."""
        for subscription in self._table.members:
            if subscription.selector.what == selector and subscription.handler == handler:
                subscription.cancel()
                return True
        return False

    def get_handler_count(self, selector: Selects | None = None) -> int:
        """How many subscriptions there are to exactly this selector; without one, in all."""
        if selector is None:
            return len(self._table.members)
        return sum(subscription.selector.what == selector for subscription in self._table.members)

    def clear_handlers(self, selector: Selects | None = None) -> int:
        """Cancel all subscriptions to this selector, or all there are; returns how many."""
        gone = [s for s in self._table.members if selector is None or s.selector.what == selector]
        for subscription in gone:
            subscription.cancel()
        return len(gone)

    def last(self, selector: Selects, key: Any = None) -> Any:
        """The retained event of a class or type: the last one of that key, or the last of all; None when there is none."""
        event_type = selector if isinstance(selector, str) else selector.__event__.type
        kept = self._retained.get(event_type, {})
        if key is not None or not kept:
            return kept.get(key)
        return next(reversed(kept.values()))

    def _policy(self, policy: dict[str, Any]) -> Policy:
        unknown = sorted(set(policy) - set(Policy.__dataclass_fields__))
        if unknown:
            raise PolicyConflict(
                unknown[0], f"is no policy of this bus; there are {', '.join(Policy.__dataclass_fields__)}"
            )
        return Policy(**policy)

    def _free_name(self, name: str | None, title: str) -> str:
        if name is not None and name not in self._names:
            return name
        stem, number = name or title, 1
        while (numbered := stem if number == 1 else f"{stem}#{number}") in self._names:
            number += 1
        return numbered

    def _add(self, subscription: Subscription) -> None:
        self._names[subscription.name] = subscription
        self._set_table(self._table.with_member(subscription))

    def _remove(self, subscription: Subscription) -> None:
        if self._names.pop(subscription.name, None) is not None:
            self._leaving.append(subscription)
            self._set_table(self._table.without(subscription))

    def _set_table(self, table: RouteTable[Subscription]) -> None:
        """What is accepted from now on follows these routes; what was accepted before keeps its own."""
        self._door.seal()
        self._ordinary, self._urgent, self._sharing = set(), set(), set()
        self._table = table

    def _replay_retained(self, subscription: Subscription) -> None:
        for kept in self._retained.values():
            for event in tuple(kept.values()):
                if subscription.selector.matches(type(event), event.type):
                    self._replay_one(subscription, event)

    def _replay_one(self, subscription: Subscription, event: Event) -> None:
        where = subscription.policy.where
        try:
            is_wanted = where is None or where(event)
        except Exception as error:  # noqa: BLE001 - the predicate is the user's
            worker = subscription.worker
            delivery = worker.adopt(self._door.outside(event), event, 0, is_lossless=False)
            worker.give_up_unstarted(delivery, "where= raised", error)
        else:
            if is_wanted:
                self._deliver_alone(subscription, event)

    def _deliver_alone(self, subscription: Subscription, event: Event) -> None:
        """A delivery that no publish made: a retained event, a dead letter redriven."""
        burst = self._door.outside(event)
        worker = subscription.worker
        worker.enqueue(worker.adopt(burst, event, 0, is_lossless=False))
        worker.pump()

    def _redrive(self, letter: DeadLetter) -> bool:
        subscription = self._names.get(letter.subscription)
        if subscription is None:
            return False
        self._deliver_alone(subscription, letter.event)
        return True

    # --- life ----------------------------------------------------------------------------------------------------

    def run_forever(self) -> Coroutine[Any, Any, None]:
        """The dispatcher. Returns after `stop()`, idle or busy; may be called again then. Cancelling it stops the bus too.

        Where the bus runs already, by `connect()` for example, it waits for the same end.
        """
        return self._run(self._stops)

    async def _run(self, stops: int) -> None:
        runtime, loop = self._runtime, asyncio.get_running_loop()
        if self._shutdown is not None:
            raise BusStopped("run_forever()")
        if stops != self._stops:
            return  # stopped before its first step
        if runtime.is_running:
            self._must_own("run_forever()")
            await self._end_of_run()
            return
        if runtime.loop is not None and runtime.loop is not loop and not runtime.loop.is_closed():
            raise WrongLoop("run_forever()")
        runtime.loop, self._thread = loop, threading.get_ident()
        runtime.is_running = True
        if self._started_ns is None:
            self._started_ns = self._clock.monotonic_ns()
        self._ended = loop.create_future()
        self._door.seal()
        self._dispatcher.start()
        for subscription in self._table.members:
            subscription.worker.pump()
        await self._end_of_run()

    async def _end_of_run(self) -> None:
        assert self._ended is not None
        try:
            await asyncio.shield(self._ended)
        finally:
            self._halt_dispatcher()

    def stop(self) -> None:
        """Ask the dispatcher to end after the batch in hand. From anywhere: a handler, another thread, a signal handler."""
        self._stops += 1
        loop = self._runtime.loop
        if loop is None or loop.is_closed():
            return
        if get_ident() == self._thread:
            self._halt_dispatcher()
        else:
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: the bus has ended already
                loop.call_soon_threadsafe(self._halt_dispatcher)

    def _halt_dispatcher(self) -> None:
        if self._runtime.is_running:
            self._runtime.is_running = False
            for subscription in (*self._table.members, *self._leaving):
                subscription.worker.hand.recall()
            self._dispatcher.stop()
            self._dispatcher_ended()
            self._runtime.nobody_works()

    def _dispatcher_ended(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def connect(self) -> Self:
        """Start the dispatcher as a task of the bus, unless it runs already."""
        if self._runtime.is_running:
            self._must_own("connect()")
        elif self._main is None or self._main.done():
            if self._shutdown is not None:
                raise BusStopped("connect()")
            self._main = asyncio.get_running_loop().create_task(self.run_forever(), name=f"{self.name}-dispatcher")
            await asyncio.sleep(0)  # its first step runs up to where it waits for the end
            if self._main.done():
                await self._main
        return self

    async def close(self, timeout: float | None = 10.0) -> ShutdownReport:
        """The same as `shutdown`."""
        return await self.shutdown(timeout)

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    async def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is pending, cascades included. True when drained, False on time-out.

        Raises `BusNotRunning` when something is pending and nobody works on it, or no longer, `ReentrantStop` inside a handler.
        """
        if inside_delivery():
            raise ReentrantStop("drain()")
        runtime = self._runtime
        if runtime.is_idle:
            return True
        self._must_run("drain()")
        if timeout is None:
            await runtime.idle()
            return True
        try:
            async with asyncio.timeout(timeout):
                await runtime.idle()
        except TimeoutError:
            return False
        return True

    async def shutdown(self, timeout: float | None = 10.0) -> ShutdownReport:
        """Stop accepting, drain for at most `timeout` seconds, end everything. Idempotent; goes on if its caller is cancelled.

        Cascades of handlers still enter while it drains. Raises `ReentrantStop` inside a handler: call `stop()` there.
        """
        if inside_delivery():
            raise ReentrantStop("shutdown()")
        if self._shutdown is None:
            self._must_own("shutdown()")
            self._shutdown = asyncio.get_running_loop().create_task(self._end(timeout), name=f"{self.name}-shutdown")
        return await asyncio.shield(self._shutdown)

    async def _end(self, timeout: float | None) -> ShutdownReport:
        runtime, started = self._runtime, self._clock.monotonic_ns()
        self._door.shut()
        for subscription in self._table.gates:
            subscription.worker.let_in()
        drained = runtime.is_idle
        if not drained and runtime.is_running:
            try:
                async with asyncio.timeout(timeout):
                    await runtime.idle()
                drained = True
            except (TimeoutError, BusNotRunning):
                drained = False
        abandoned = tuple(
            f"{subscription.name}: {event}"
            for subscription in (*self._table.members, *self._leaving)
            for event in subscription.worker.running()
        )
        self._halt_dispatcher()
        await self._end_tasks()
        left = sum(s.worker.tally.pending for s in (*self._table.members, *self._leaving)) + self._door.queued
        runtime.is_ended = True
        self._tell_the_waiting()
        for subscription in self._table.members:
            subscription.worker.hand.recall()
        self._pool.close()
        return ShutdownReport(drained, abandoned, left, (self._clock.monotonic_ns() - started) / 1e9)

    def _tell_the_waiting(self) -> None:
        """What is left now is never settled here: whoever waits for that learns it."""
        for subscription in (*self._table.members, *self._leaving):
            for delivery in subscription.worker.unsettled():
                if delivery.flight is not None:
                    delivery.flight.fail(BusStopped("await receipt"))
        while not self._door.lane.empty():
            burst = self._door.lane.get_nowait()
            for index in range(len(burst.events)):
                burst.flight(index).fail(BusStopped("await receipt"))
        for expected in self._expecting:
            if not expected.done():
                expected.set_exception(BusStopped("expect()"))

    async def _end_tasks(self) -> None:
        """Cancel what still runs and give it half the grace of a handler: what ignores that is left to the loop."""
        runtime = self._runtime
        runtime.is_ending = True
        current = asyncio.current_task()
        for _ in range(3):
            tasks = {task for task in (*runtime.tasks, *runtime.abandoned) if task is not current and not task.done()}
            if self._main is not None and not self._main.done():
                tasks.add(self._main)
            if not tasks:
                return
            for task in tasks:
                if task is not self._main:
                    asyncio.Task.cancel(task)
            await asyncio.wait(tasks, timeout=min(0.1, runtime.grace))

    def _must_run(self, call: str) -> None:
        if not self._runtime.is_running:
            raise BusNotRunning(call)
        self._must_own(call)

    def _must_own(self, call: str) -> None:
        loop = self._runtime.loop
        if (
            loop is not None
            and not loop.is_closed()
            and (get_ident() != self._thread or _get_running_loop() not in (loop, None))
        ):
            raise WrongLoop(call)

    # --- halt ----------------------------------------------------------------------------------------------------

    def halt(self, reason: str) -> str:
        """Refuse events of kind EXECUTION until `rearm`; returns the token for it. Halting again keeps the first reason."""
        if self._halt_reason is None:
            self._halt_reason, self._halt_token = reason, uuid.uuid4().hex
            self._door.seal()
            self._ordinary = set()  # what is refused from now on joins nobody
            self._runtime.interrupt()
        return self._halt_token

    @property
    def is_halted(self) -> bool:
        return self._halt_reason is not None

    @property
    def halt_reason(self) -> str | None:
        """Why the bus is halted; None when it is not."""
        return self._halt_reason

    def rearm(self, token: str) -> None:
        """Clear the halt. Raises `PolicyConflict` for a token that `halt` did not give."""
        if self._halt_reason is not None:
            if token != self._halt_token:
                raise PolicyConflict("token", "is not the one that halt() returned")
            self._halt_reason, self._halt_token = None, ""

    # --- look ----------------------------------------------------------------------------------------------------

    @property
    def dead_letters(self) -> DeadLetters:
        return self._runtime.dead_letters

    @property
    def is_running(self) -> bool:
        """Does a dispatcher run?"""
        return self._runtime.is_running

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it runs on; None before it ran."""
        return self._runtime.loop

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The live subscriptions, oldest first."""
        return self._table.members

    def explain(self, event_id: str) -> Explanation:
        """The causal tree of a recent event. Raises `LookupError` when it is not remembered."""
        return self._history.explain(event_id)

    def get_stats(self) -> dict[str, Any]:
        """The statistics of the bus as a plain dict."""
        stats = self.stats()
        return {
            "published": stats.published,
            "dispatched": stats.dispatched,
            "errors": stats.errors,
            "queue_size": stats.queue_size,
            "handler_types": len({subscription.selector.what for subscription in self._table.members}),
            "total_handlers": len(self._table.members),
            "retried": stats.retried,
            "dead_lettered": stats.dead_lettered,
            "dropped": stats.dropped,
            "expired": stats.expired,
            "pending": stats.pending,
            "in_flight": stats.in_flight,
            "dispatch_p50_ms": stats.dispatch_p50_ms,
            "dispatch_p99_ms": stats.dispatch_p99_ms,
            "uptime_s": stats.uptime_s,
        }

    def run_time(self) -> tuple[int, int]:
        """Attempts that ended so far and the nanoseconds they ran, those of cancelled subscriptions left out.

        For who looks often: a hundredth of what `stats()` costs.
        """
        ran = [subscription.worker.tally.ran for subscription in self._table.members]
        return sum(one.count for one in ran), sum(one.total_ns for one in ran)

    def stats(self) -> BusStats:
        """A snapshot of the bus, per type and per subscription."""
        runtime = self._runtime
        for subscription in [s for s in self._leaving if not s.worker.tally.pending]:
            self._leaving.remove(subscription)
            self._gone.add(subscription.worker.tally)
        rows = tuple(subscription.stats() for subscription in (*self._table.members, *self._leaving))
        gone = self._gone
        uptime_ns = 0 if self._started_ns is None else self._clock.monotonic_ns() - self._started_ns
        return BusStats(
            published=self._door.published,
            dispatched=self._dispatcher.dispatched,
            errors=gone.errors + sum(row.errors for row in rows),
            queue_size=self._door.queued,
            pending=self._door.queued + sum(row.pending for row in rows),
            in_flight=sum(row.in_flight for row in rows),
            retried=gone.retried + sum(row.retried for row in rows),
            dead_lettered=gone.dead_lettered + sum(row.dead_lettered for row in rows),
            dropped=gone.dropped + sum(row.dropped for row in rows),
            expired=gone.expired + sum(row.expired for row in rows),
            cancelled=gone.cancelled + sum(row.cancelled for row in rows),
            succeeded=gone.succeeded + sum(row.succeeded for row in rows),
            reserve_used=self._door.reserve_used,
            replaced_threads=self._pool.replaced,
            uptime_s=uptime_ns / 1e9,
            types={name: TypeStats(count) for name, count in sorted(self._dispatcher.by_type.items())},
            subscriptions=rows,
            dispatch=runtime.dispatch.copy(),
        )

    def _dispatching(self, burst: Burst) -> None:
        self._history.remember(burst.events)


async def _unused(_event: Event) -> None:
    """Stands where a stream has no handler."""

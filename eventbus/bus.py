"""Bus: the face: publish, subscribe, expect, request, halt, look. It does no work itself.

The walk of an event: publish -> door -> lane -> dispatcher -> worker -> handler.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from eventbus.bounds import callable_with, patience, seconds, truth
from eventbus.causality import Explanation, Identify
from eventbus.clock import Clock
from eventbus.dead_letter import DeadLetters
from eventbus.durability.memory_store import MemoryStore
from eventbus.durability.reading import play
from eventbus.durability.store import Place, Store
from eventbus.event import Event, Request, event_of
from eventbus.interface import EventBus, Handler, Listening, PolicyOptions, Selects, Stats
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Trimmed
from eventbus.outcome import ShutdownReport
from eventbus.road.house import House
from eventbus.road.pool import ThreadPool
from eventbus.road.receipt import Receipt
from eventbus.road.run import Run
from eventbus.stats import BusStats
from eventbus.stream import Expectation, Stream, Taking, unused
from eventbus.subscription import Subscription
from eventbus.tap import Tap, Tapped

E = TypeVar("E", bound=Event)
Answer = TypeVar("Answer")


class InMemoryEventBus(EventBus):
    """A typed event bus in one process and one event loop.

    `max_queue_size` bounds the events accepted and not yet settled by every lossless subscription, `max_bytes` what they hold
    in memory together, to the event that reaches it (measuring takes some microseconds an event; None: not measured);
    `max_workers` the threads for sync handlers; `reserve` what handlers may publish beyond a full door, in bytes as much again
    as there may be outside; `history` the events that `explain` remembers;
    `grace` the seconds a handler has to react to its cancellation. `identify(event, cause, subscription)` gives what a
    handler publishes its id, so that doing it again gives the same ids. `autostart` runs it with the first call inside a running
    loop that needs it to run. Building one needs no running loop. Raises `PolicyConflict` for what cannot be.
    """

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
        name: str | None = None,
        identify: Identify | None = None,
        autostart: bool = False,
        store: Store | None = None,
    ) -> None:
        truth("autostart", autostart)
        house = House(
            name,
            self.halt,
            store or MemoryStore(),
            max_queue_size=max_queue_size,
            max_workers=max_workers,
            max_bytes=max_bytes,
            reserve=reserve,
            history=history,
            grace=grace,
            clock=clock,
            pool=pool,
            seed=seed,
            identify=identify,
        )
        self.name = house.name
        self.capabilities = _CAPABILITIES | house.store.capabilities
        self._autostarts = autostart
        self._lifetime, self._shutdown = house.lifetime, house.shutdown
        self._door, self._registry, self._taps = house.door, house.registry, house.taps
        self._latch, self._letters, self._store = house.latch, house.letters, house.store
        self._counts, self._history = house.counts, house.history

    # --- publish -------------------------------------------------------------------------------------------------

    async def publish(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> Receipt:
        if timeout is not None:
            patience("timeout", timeout)
        receipt = self._door.join(event) if payload is None and cause is None else None  # type: ignore[arg-type] # a str joins nothing
        if receipt is None:
            receipt = await self._door.admit(self._ready(event, payload), cause, timeout)
        return receipt if receipt.burst.commit is None else await self._store.written(receipt, timeout)

    def publish_nowait(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, cause: Event | None = None
    ) -> Receipt:
        receipt = self._door.join(event) if payload is None and cause is None else None  # type: ignore[arg-type] # the same
        return receipt or self._door.enter_now(self._ready(event, payload), cause)

    def publish_threadsafe(
        self, event: Event | str, payload: Mapping[str, Any] | None = None, *, cause: Event | None = None
    ) -> concurrent.futures.Future[Receipt]:
        fact = event_of(event, payload)
        return self._lifetime.from_thread(lambda: self.publish(fact, cause=cause), "publish_threadsafe()")

    async def publish_many(
        self, events: Iterable[Event], *, timeout: float | None = None, cause: Event | None = None
    ) -> list[Receipt]:
        patience("timeout", timeout)
        rest, receipts, at = list(events), list[Receipt](), 0
        while at < len(rest):
            receipts.append(await self._door.admit(self._ready(rest[at], None), cause, timeout))
            at += 1
            if cause is None:
                at += self._door.join_all(rest, at, receipts)
        known: object = None
        for receipt in receipts:
            if receipt.burst is not known:
                await receipt.written()
                known = receipt.burst
        return receipts

    async def publish_and_wait(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> list[BaseException]:
        fact = self._ready(event, payload)
        self._lifetime.must_run("publish_and_wait()")
        outcomes = await (await self.publish(fact, timeout=timeout, cause=cause))
        return [outcome.error for outcome in outcomes if outcome.error is not None]

    @overload
    async def request(
        self, event: Request[Answer], *, timeout: float | None = None, cause: Event | None = None
    ) -> Answer: ...
    @overload
    async def request(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> object: ...
    async def request(
        self,
        event: Event | str,
        payload: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        cause: Event | None = None,
    ) -> object:
        patience("timeout", timeout)
        fact = self._ready(event, payload)
        self._lifetime.must_run("request()")
        async with asyncio.timeout(timeout):
            return await self._store.ask(fact, lambda asked: self.publish(asked, cause=cause), timeout)

    def _ready(self, event: Event | str, payload: Mapping[str, Any] | None) -> Event:
        """An event, on a bus that runs if it starts by itself."""
        if self._autostarts:
            self._lifetime.autostart(self.run_forever)
        return event_of(event, payload)

    # --- subscribe -----------------------------------------------------------------------------------------------

    @overload
    def subscribe(self, selector: type[E], handler: Handler[E], **policy: Unpack[PolicyOptions]) -> Subscription: ...
    @overload
    def subscribe(self, selector: str, handler: Handler[Any], **policy: Unpack[PolicyOptions]) -> Subscription: ...
    def subscribe(self, selector: Any, handler: Handler[Any], **policy: Unpack[PolicyOptions]) -> Subscription:
        return self._registry.subscribe(selector, handler, **policy)

    @overload
    def on(self, selector: type[E], **policy: Unpack[PolicyOptions]) -> Listening[E]: ...
    @overload
    def on(self, selector: str, **policy: Unpack[PolicyOptions]) -> Listening[Any]: ...
    def on(self, selector: Any, **policy: Unpack[PolicyOptions]) -> Listening[Any]:

        def decorate(handler: Any) -> Any:
            self._registry.subscribe(selector, handler, **policy)
            return handler

        return decorate

    @overload
    def stream(self, selector: type[E], **policy: Unpack[PolicyOptions]) -> Stream[E]: ...
    @overload
    def stream(self, selector: str, **policy: Unpack[PolicyOptions]) -> Stream[Event]: ...
    def stream(self, selector: Any, **policy: Unpack[PolicyOptions]) -> Stream[Any]:
        taking = Taking()
        options: PolicyOptions = {"name": "stream", **policy}
        return Stream[Any](taking.of(self._registry.subscribe(selector, unused, way=taking, **options)))

    @overload
    def expect(
        self, selector: type[E], *, where: Callable[[E], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, E]: ...
    @overload
    def expect(
        self, selector: str, *, where: Callable[[Any], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Event]: ...
    def expect(
        self, selector: Any, *, where: Callable[[Any], object] | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        patience("timeout", timeout)
        if self._autostarts:
            self._lifetime.autostart(self.run_forever)
        self._lifetime.must_run("expect()")
        found: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        async def first(event: Event) -> None:
            if not found.done():
                found.set_result(event)

        subscription = self._registry.subscribe(selector, first, name="expect", where=where)

        async def wait() -> Event:
            try:
                with self._shutdown.expects(found):
                    async with asyncio.timeout(timeout):
                        return await found
            finally:
                subscription.cancel()

        return Expectation(wait(), subscription)

    def tap(self, callback: Tapped) -> Tap:
        return self._taps.add(callable_with("callback", callback, "events and an offset"))

    def unsubscribe(self, selector: Selects, handler: Callable[..., object]) -> bool:
        found = next((one for one in self._registry.of(selector) if one.handler == handler), None)
        if found is not None:
            found.cancel()
        return found is not None

    def get_handler_count(self, selector: Selects | None = None) -> int:
        return len(self._registry.of(selector))

    def clear_handlers(self, selector: Selects | None = None) -> int:
        gone = self._registry.of(selector)
        for subscription in gone:
            subscription.cancel()
        return len(gone)

    @overload
    def last(self, selector: type[E], key: Hashable = None) -> E | None: ...
    @overload
    def last(self, selector: str, key: Hashable = None) -> Event | None: ...
    def last(self, selector: Any, key: Hashable = None) -> Event | None:
        return self._registry.last(selector, key)

    # --- life ----------------------------------------------------------------------------------------------------

    def run_forever(self) -> Coroutine[Any, Any, None]:
        return Run(self._lifetime)

    def stop(self) -> None:
        self._lifetime.stop()

    async def connect(self, wait: float = 0.0) -> Self:
        seconds("wait", wait, zero=True)
        await self._lifetime.connect(self.run_forever, wait)
        return self

    async def drain(self, timeout: float | None = None) -> bool:
        patience("timeout", timeout)
        if self._autostarts:
            self._lifetime.autostart(self.run_forever)
        return await self._lifetime.drain(timeout)

    async def shutdown(self, timeout: float | None = 10.0) -> ShutdownReport:
        patience("timeout", timeout)
        return await self._shutdown.run(timeout)

    async def close(self, timeout: float | None = 10.0) -> ShutdownReport:
        return await self.shutdown(timeout)

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    # --- halt ----------------------------------------------------------------------------------------------------

    def halt(self, reason: str) -> str:
        return self._latch.set(reason)

    async def rearm(self, token: str) -> None:
        await self._latch.clear(token)

    async def halted_everywhere(self, timeout: float = 5.0) -> dict[str, bool | None]:
        seconds("timeout", timeout, zero=True)
        return await self._store.halted_everywhere(timeout)

    @property
    def is_halted(self) -> bool:
        return self._latch.reason is not None

    @property
    def halt_reason(self) -> str | None:
        return self._latch.reason

    # --- look ----------------------------------------------------------------------------------------------------

    @property
    def dead_letters(self) -> DeadLetters:
        return self._letters

    @property
    def is_running(self) -> bool:
        return self._lifetime.is_called

    @property
    def is_shut(self) -> bool:
        """Was it shut down, or is it about to be?"""
        return self._lifetime.is_shut

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self._lifetime.loop

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        return self._registry.members

    def get_stats(self) -> Stats:
        return self._counts.get_stats()

    def stats(self) -> BusStats:
        return self._counts.stats()

    def run_time(self) -> tuple[int, int]:
        """Attempts that ended so far, and the nanoseconds they ran. For who looks often: a hundredth of what `stats()` costs."""
        return self._counts.run_time()

    async def accept_data_loss(self) -> None:
        await self._store.accept_data_loss()

    async def explain(self, event_id: str) -> Explanation:
        self._door.seal()  # what is still being filled is remembered, too
        return await self._store.explain(event_id, self._history)

    # --- journal: without one these raise `PolicyConflict` -----------------------------------------------------------

    @property
    def journal(self) -> Journal:
        return self._store.journal

    def replay(
        self, since: Place = None, until: Place = None, types: str = "*", where: Callable[[Any], object] | None = None
    ) -> AsyncIterator[Event]:
        return self._store.replay(since, until, types, where)

    def replay_to(
        self,
        handler: Callable[..., object],
        since: Place = None,
        until: Place = None,
        types: str = "*",
        where: Callable[[Any], object] | None = None,
        *,
        speed: float = 0,
    ) -> Coroutine[Any, Any, int]:
        return play(handler, self.replay(since, until, types, where), speed)

    def flush(self) -> Coroutine[Any, Any, None]:
        return self._store.flush()

    def trim(
        self, *, before: int | datetime | None = None, max_bytes: int | None = None, force: bool = False
    ) -> Coroutine[Any, Any, Trimmed]:
        return self._store.trim(before=before, max_bytes=max_bytes, force=force)


_CAPABILITIES = frozenset({"dead_letters", "explain", "expect", "groups", "halt", "request", "retain", "stream"})

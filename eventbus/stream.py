"""Stream: a subscription without a handler: events are taken when the consumer asks for the next. Expectation: for one event."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from eventbus.event import Event
from eventbus.road.context import Cell

if TYPE_CHECKING:
    from eventbus.road.part import Delivery, Part
    from eventbus.road.worker import Worker
    from eventbus.subscription import Subscription

E = TypeVar("E", bound=Event)


class Expectation(Coroutine[Any, Any, E]):
    """What `expect` gives: a coroutine that lets go of its subscription however it ends, even before it began to run."""

    def __init__(self, waiting: Coroutine[Any, Any, E], subscription: Subscription) -> None:
        self._waiting = waiting
        self._subscription = subscription

    def send(self, value: Any) -> Any:
        return self._waiting.send(value)

    def throw(self, *error: Any) -> Any:
        self._subscription.cancel()
        return self._waiting.throw(*error)

    def close(self) -> None:
        self._subscription.cancel()
        self._waiting.close()

    def __await__(self) -> Generator[Any, Any, E]:
        return (yield from self._waiting.__await__())


class Taking:
    """How the deliveries of one subscription are taken: one at a time, when somebody asks for the next.

    It is the way of that subscription, which keeps it; it does not know the stream, which is let go of by dropping it.
    """

    subscription: Subscription

    def __init__(self) -> None:
        self._arrival: asyncio.Future[None] | None = None
        self._in_hand: tuple[Cell, Delivery] | None = None

    def of(self, subscription: Subscription) -> Self:
        """It takes the deliveries of that one."""
        self.subscription = subscription
        return self

    # --- the way of its subscription ---------------------------------------------------------------------------------

    def wake(self, worker: Worker, *, first: bool = False) -> None:
        """Something waits to be taken."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def recall(self, worker: Worker) -> None:
        """It was paused or cancelled, or the bus ends: whoever waits looks again."""
        self.wake(worker)

    def part_with(self, worker: Worker, part: Part) -> None:
        """Each delivery is followed by itself from the start."""

    def abort(self, worker: Worker, cell: Cell) -> None:
        """Whoever took it has it: no attempt runs here."""

    # --- the consumer ------------------------------------------------------------------------------------------------

    async def next(self) -> Event:
        """The one before it was handled; wait for the next. Raises `StopAsyncIteration` at the end."""
        self._handled()
        worker = self.subscription.worker
        while (delivery := worker.take_one()) is None:
            if worker.is_cancelled or worker.lifetime.is_ended:
                raise StopAsyncIteration
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        burst, now_ns = delivery.part.burst, worker.lifetime.clock.monotonic_ns()
        cell = Cell(burst.base, burst.hops, worker)
        cell.enter(delivery.place, now_ns)
        delivery.begin(cell, now_ns, None)
        worker.lifetime.dispatch.add(delivery.queued_ns, delivery.attempt == 1)
        worker.enter()
        worker.running.takes(cell, delivery)
        self._in_hand = cell, delivery
        return delivery.event

    def end(self) -> None:
        """Nobody asks for another."""
        self._handled()
        self.subscription.cancel()

    def dropped(self) -> None:
        """The same, told by the collector of garbage, which may run anywhere."""
        lifetime = self.subscription.worker.lifetime
        if lifetime.loop is None:
            self.end()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and all of it gone with that
            lifetime.crew.call_from_thread(self.end)

    def _handled(self) -> None:
        if self._in_hand is None:
            return
        cell, delivery = self._in_hand
        self._in_hand = None
        worker, now_ns = self.subscription.worker, self.subscription.worker.lifetime.clock.monotonic_ns()
        cell.close()
        worker.running.drops(cell)
        worker.endings.succeed(worker, delivery, None, now_ns - cell.started_ns)
        worker.leave()


class Stream(Generic[E]):
    """`async with bus.stream("quote.*") as quotes: async for quote in quotes: ...`. It listens from the call on.

    An event counts as handled when the next one is asked for, or the stream is left; one that nothing refers to is left too.
    """

    def __init__(self, taking: Taking) -> None:
        self._taking = taking
        self._dropped = weakref.finalize(self, taking.dropped)
        self._dropped.atexit = False

    @property
    def subscription(self) -> Subscription:
        """What it listens by."""
        return self._taking.subscription

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dropped.detach()
        self._taking.end()

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        return cast("E", await self._taking.next())


async def unused(_event: Event) -> None:
    """Stands where a stream has no handler."""

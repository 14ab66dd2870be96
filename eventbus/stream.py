"""Stream: a subscription without a handler: events are taken when the consumer asks for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from eventbus.delivery import Delivery
from eventbus.event import Event
from eventbus.subscription import Subscription

E = TypeVar("E", bound=Event)


class Expectation(Coroutine[Any, Any, E]):
    """What `expect` gives: a coroutine that lets go of its subscription however it ends, even before its first step."""

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


class Stream(Generic[E]):
    """`async with bus.stream("quote.*") as quotes: async for quote in quotes: ...`. It listens from the call on.

    An event counts as handled when the next one is asked for, or the stream is left.
    """

    def __init__(self) -> None:
        self.subscription: Subscription
        self._arrival: asyncio.Future[None] | None = None
        self._in_hand: Delivery | None = None

    def arrived(self) -> None:
        """Something waits in the mailbox, or never will."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handled()
        self.subscription.cancel()

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        self._handled()
        worker = self.subscription.worker
        while (delivery := worker.next()) is None:
            if worker.is_cancelled or worker.runtime.is_ended:
                raise StopAsyncIteration
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        delivery.attempt = 1
        self._in_hand = delivery
        return cast("E", delivery.event)

    def _handled(self) -> None:
        delivery, self._in_hand = self._in_hand, None
        if delivery is not None:
            self.subscription.worker.conclude(delivery, None, None, 0)

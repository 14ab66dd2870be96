"""Sides: the queue loop that is the baseline, the bus, and the handlers that witness every delivery and its order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

from benchmarks.compare import Now
from eventbus import Event, InMemoryEventBus

Handler = Callable[[Any], Awaitable[None]]


class Counted(Event, type="bench.counted"):
    """Something was counted."""

    n: int


class Side(StrEnum):
    """Which way a trade goes."""

    BUY = "buy"
    SELL = "sell"


class TradeExecuted(Event, type="bench.trade_executed"):
    """A trade, with six fields."""

    order_id: str
    symbol: str
    side: Side
    size: Decimal
    price: Decimal
    fee: Decimal


def counted(events: int) -> list[Event]:
    """Events made beforehand."""
    return [Counted(n=n) for n in range(events)]


class Witness:
    """A handler that keeps what it got. One append is all it does: it must not hide what delivering costs."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        append = self.seen.append

        async def on_event(event: Any) -> None:
            append(event)

        def on_event_sync(event: Any) -> None:
            append(event)

        self.on_event: Handler = on_event
        self.on_event_sync: Callable[[Any], None] = on_event_sync

    def check(self, events: Iterable[Any]) -> None:
        """Every one of them came, once, in order, and nothing else did."""
        wanted = list(events)
        if len(self.seen) != len(wanted) or any(
            seen is not event for seen, event in zip(self.seen, wanted, strict=True)
        ):
            raise AssertionError(f"{len(self.seen)} deliveries of {len(wanted)} events, or out of order")


async def through_queue(events: Sequence[Any], handlers: Sequence[Handler], now: Now) -> float:
    """Seconds for a producer and a consumer with a bare `asyncio.Queue` between them."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def consume() -> None:
        if len(handlers) == 1:
            (handler,) = handlers
            for _ in range(len(events)):
                await handler(await queue.get())
            return
        for _ in range(len(events)):
            event = await queue.get()
            for handler in handlers:
                await handler(event)

    began = now()
    consumer = asyncio.create_task(consume())
    for event in events:
        await queue.put(event)
    await consumer
    return now() - began


async def through_bus(bus: InMemoryEventBus, events: Iterable[Event], now: Now) -> float:
    """Seconds from the first publish until everything is settled."""
    async with bus:
        began = now()
        for event in events:
            await bus.publish(event)
        await bus.drain()
        return now() - began

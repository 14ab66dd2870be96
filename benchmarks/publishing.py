"""Publishing: many at once, without waiting, typed events made on the way; and events that come on their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

from benchmarks import peers
from benchmarks.rows import Now, Row, Run, at_most, speed, times
from benchmarks.sides import Witness, bus_loop, counted, queue_loop
from eventbus import Event, InMemoryEventBus

MANY = 1_000
PUBLISHERS = 100
BARE = "the same on a bare queue"


class Side(StrEnum):
    """Which way a trade goes."""

    BUY = "buy"
    SELL = "sell"


class TradeExecuted(Event, type="bench.trade.executed"):
    """A trade, with six fields."""

    order_id: str
    symbol: str
    side: Side
    size: Decimal
    price: Decimal
    fee: Decimal


_SIZE, _PRICE, _FEE = Decimal("100"), Decimal("123.45"), Decimal("1.00")


def trade(number: int) -> TradeExecuted:
    return TradeExecuted(order_id=f"o-{number}", symbol="AAPL", side=Side.BUY, size=_SIZE, price=_PRICE, fee=_FEE)


async def in_thousands(bus: InMemoryEventBus, events: Sequence[Event]) -> None:
    for start in range(0, len(events), MANY):
        await bus.publish_many(events[start : start + MANY])
    await bus.drain()


async def without_waiting(bus: InMemoryEventBus, events: Sequence[Event]) -> None:
    for event in events:
        bus.publish_nowait(event)
    await bus.drain()


async def constructed(count: int, now: Now) -> float:
    """Microseconds to make one."""
    began = now()
    made = list(map(trade, range(count)))
    seconds = now() - began
    if made[-1].order_id != f"o-{count - 1}":
        raise AssertionError(f"{made[-1]}")
    return seconds / count * 1e6


async def trades_by_queue(count: int, now: Now) -> float:
    made: list[TradeExecuted] = []
    witness, queue = Witness(), asyncio.Queue[TradeExecuted]()

    async def consume() -> None:
        for _ in range(count):
            await witness.on_event(await queue.get())

    began = now()
    consumer = asyncio.create_task(consume())
    for number in range(count):
        made.append(trade(number))
        await queue.put(made[-1])
    await consumer
    seconds = now() - began
    witness.check(made)
    return seconds / count


async def trades_by_bus(count: int, now: Now) -> float:
    made: list[TradeExecuted] = []
    witness, bus = Witness(), InMemoryEventBus()
    bus.subscribe(TradeExecuted, witness.on_event)
    async with bus:
        began = now()
        for number in range(count):
            made.append(trade(number))
            await bus.publish(made[-1])
        await bus.drain()
        seconds = now() - began
    witness.check(made)
    return seconds / count


Send = Callable[[Any], Awaitable[Any]]
Sending = Callable[[Send, Sequence[Any]], Awaitable[None]]


async def with_a_turn(send: Send, events: Sequence[Any]) -> None:
    """Each on its own: whatever it starts is done before the next."""
    for event in events:
        await send(event)
        await asyncio.sleep(0)


async def a_task_each(send: Send, events: Sequence[Any]) -> None:
    """As a server does that has a task for each request."""
    for start in range(0, len(events), PUBLISHERS):
        await asyncio.gather(*map(send, events[start : start + PUBLISHERS]))


async def by_publishers(send: Send, events: Sequence[Any]) -> None:
    async def publisher(share: Sequence[Any]) -> None:
        for event in share:
            await send(event)

    await asyncio.gather(*(publisher(events[number::PUBLISHERS]) for number in range(PUBLISHERS)))


def sent_to_queue(sending: Sending) -> Run:
    async def run(count: int, now: Now) -> float:
        events, witness, queue = counted(count), Witness(), asyncio.Queue[Any]()

        async def consume() -> None:
            for _ in range(count):
                await witness.on_event(await queue.get())

        began = now()
        consumer = asyncio.create_task(consume())
        await sending(queue.put, events)
        await consumer
        seconds = now() - began
        witness.check(events, is_ordered=False)
        return seconds / count

    return run


def sent_to_bus(sending: Sending) -> Run:
    async def publish(bus: InMemoryEventBus, events: Sequence[Event]) -> None:
        await sending(bus.publish, events)
        await bus.drain()

    return bus_loop(publishing=publish, is_ordered=False)


def _each(name: str, sending: Sending) -> Row:
    return Row(name, times(2.5), sent_to_bus(sending), sent_to_queue(sending), against=BARE, count=4_000)


ROWS = (
    Row("`publish_many` of 1,000", speed(1.1, newer=0.9), bus_loop(publishing=in_thousands), queue_loop()),
    Row(
        "`publish_nowait` in a loop",
        speed(1),
        bus_loop(publishing=without_waiting, max_queue_size=100_000),
        bus_loop(max_queue_size=100_000),
        against="the first row",
    ),
    Row(
        "typed 6-field event constructed, published, delivered",
        speed(0.9),
        trades_by_bus,
        trades_by_queue,
        against="construct + queue",
        count=4_000,
        peers=peers.making(trade),
    ),
    Row("constructing it alone", at_most(3.2, "us"), constructed, count=4_000),
    _each("publish + one turn of the loop", with_a_turn),
    _each("one task per publish", a_task_each),
    _each("100 publishers", by_publishers),
)

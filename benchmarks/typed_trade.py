"""A typed trade event with six fields is constructed, published and delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from benchmarks.compare import Now, Settings, Side, versus
from benchmarks.sides import Side as TradeSide
from benchmarks.sides import TradeExecuted, Witness
from eventbus import InMemoryEventBus

EVENTS = 4_000
SIZE, PRICE, FEE = Decimal("100"), Decimal("123.45"), Decimal("1.00")


def trades(count: int, made: list[TradeExecuted]) -> Iterator[TradeExecuted]:
    """Constructed one by one, as they are asked for; `made` keeps them for the check."""
    for number in range(count):
        trade = TradeExecuted(
            order_id=f"o-{number}", symbol="AAPL", side=TradeSide.BUY, size=SIZE, price=PRICE, fee=FEE
        )
        made.append(trade)
        yield trade


async def queue(count: int, now: Now) -> float:
    made: list[TradeExecuted] = []
    witness, queue = Witness(), asyncio.Queue[TradeExecuted]()

    async def consume() -> None:
        for _ in range(count):
            await witness.on_event(await queue.get())

    began = now()
    consumer = asyncio.create_task(consume())
    for trade in trades(count, made):
        await queue.put(trade)
    await consumer
    seconds = now() - began
    witness.check(made)
    return seconds


async def bus(count: int, now: Now) -> float:
    made: list[TradeExecuted] = []
    witness, bus = Witness(), InMemoryEventBus()
    bus.subscribe(TradeExecuted, witness.on_event)
    async with bus:
        began = now()
        for trade in trades(count, made):
            await bus.publish(trade)
        await bus.drain()
        seconds = now() - began
    witness.check(made)
    return seconds


def run(settings: Settings) -> dict[str, Any]:
    return versus(settings, Side(queue, EVENTS), Side(bus, EVENTS), reach=1.0)

"""Overflow: a lossy queue drops what its policy says, counts it, and holds up no publisher."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Kind,
    Overflow,
    Status,
)
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = pytest.mark.virtual_time


class Priced(Event, type="overflow.priced", kind=Kind.QUOTE, key="symbol"):
    symbol: str
    price: int


@pytest.mark.parametrize(("overflow", "served"), [(Overflow.DROP_OLDEST, [0, 4, 5]), (Overflow.DROP_NEWEST, [0, 1, 2])])
async def test_lossy_queue_drops_and_counts(event_bus: InMemoryEventBus, overflow: Overflow, served: list[int]) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(1))
    subscription = event_bus.subscribe("a.b", slow, queue_size=2, overflow=overflow)
    receipts = []
    for n in range(6):
        receipts.append(await event_bus.publish("a.b", {"n": n}))
        await settle()
    statuses = [(await receipt)[0].status for receipt in receipts]
    assert slow.values("n") == served
    assert [n for n, status in enumerate(statuses) if status is Status.SUCCEEDED] == served
    assert statuses.count(Status.DROPPED) == subscription.stats().dropped == 3
    assert event_bus.get_stats()["dropped"] == 3


async def test_lossy_subscription_holds_no_place_at_the_door(virtual_clock: VirtualClock) -> None:
    bus = InMemoryEventBus(max_queue_size=2, clock=virtual_clock)
    bus.subscribe("a.b", lambda _event: asyncio.Event().wait(), queue_size=1, overflow=Overflow.DROP_OLDEST)
    await bus.connect()
    async with asyncio.timeout(1):
        for _ in range(20):
            await bus.publish("a.b")
    await bus.shutdown(timeout=0)


async def test_quotes_are_conflated_per_key_when_behind(event_bus: InMemoryEventBus) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(1))
    subscription = event_bus.subscribe(Priced, slow)
    for price in range(4):
        for symbol in ("A", "B"):
            await event_bus.publish(Priced(symbol=symbol, price=price))
        await settle()
    assert await event_bus.drain()
    assert [(event["symbol"], event["price"]) for event in slow] == [("A", 0), ("B", 3), ("A", 3)]
    stats = subscription.stats()
    assert (stats.conflated, stats.gaps, stats.dropped, stats.succeeded) == (5, 2, 5, 3)

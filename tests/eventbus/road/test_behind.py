"""Behind: what waits for a busy key is replaced or dropped there as anywhere, and costs nothing of another key."""

from __future__ import annotations

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Kind,
    Overflow,
    Retry,
)
from eventbus.testing import settle

pytestmark = pytest.mark.virtual_time


class Priced(Event, type="behind.priced", kind=Kind.QUOTE, key="symbol"):
    symbol: str
    price: int


@pytest.mark.parametrize(
    ("overflow", "served"),
    [(Overflow.DROP_OLDEST, [8, 9]), (Overflow.DROP_NEWEST, [1, 2]), (Overflow.LATEST_BY_KEY, [9])],
)
@pytest.mark.parametrize("shape", ["stepped", "task", "concurrent", "sync"])
@pytest.mark.parametrize("come", ["together", "apart"])
async def test_what_waits_for_a_busy_key_is_within_the_queue(
    event_bus: InMemoryEventBus, overflow: Overflow, served: list[int], shape: str, come: str
) -> None:
    """A key is busy for as long as its retry takes: what comes meanwhile is replaced or dropped as anywhere."""
    seen: list[int] = []

    def work(event: Event) -> None:
        if event["n"] == 0 and 0 not in seen:
            seen.append(0)
            raise OSError("once")
        seen.append(event["n"])

    async def work_async(event: Event) -> None:
        work(event)

    subscription = event_bus.subscribe(
        "a.b",
        work if shape == "sync" else work_async,
        key="key",
        concurrency=3 if shape == "concurrent" else 1,
        isolation="task" if shape == "task" else "auto",
        retry=Retry(attempts=2, delay=60, jitter=False),
        overflow=overflow,
        queue_size=2,
    )
    await event_bus.publish("a.b", {"n": 0, "key": "one"})
    await settle()
    assert subscription.stats().retry_wait == 1
    for n in range(1, 10):
        await event_bus.publish("a.b", {"n": n, "key": "one"})
        if come == "apart":
            await settle()
            assert subscription.stats().queued <= 2
    assert await event_bus.drain()
    assert seen == [0, 0, *served]
    assert subscription.stats().dropped == 9 - len(served)


async def test_a_busy_key_drops_nothing_of_another(event_bus: InMemoryEventBus) -> None:
    seen: list[tuple[str, int]] = []

    async def work(event: Event) -> None:
        seen.append((event["symbol"], event["price"]))
        if len(seen) == 1:
            raise OSError("once")

    subscription = event_bus.subscribe(Priced, work, retry=Retry(attempts=2, delay=60, jitter=False))
    for price in range(4):
        for symbol in ("A", "B"):
            await event_bus.publish(Priced(symbol=symbol, price=price))
        await settle()
    assert await event_bus.drain()
    assert seen == [("A", 0), *[("B", price) for price in range(4)], ("A", 0), ("A", 3)]
    assert subscription.stats().conflated == 2

"""Terms: how long events may wait is said by their class or by the subscription, and the wall clock makes none older."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Kind,
    Status,
)
from eventbus.testing import Recorder, VirtualClock

pytestmark = pytest.mark.virtual_time


class Decided(Event, type="terms.decided", kind=Kind.SIGNAL, max_age=2.0):
    n: int


@pytest.mark.parametrize("shape", ["async", "task", "sync"])
async def test_signal_that_waited_too_long_expires(shape: str, virtual_clock: VirtualClock) -> None:
    """Each attempt takes 0.9 s: the third starts at 1.8 s, the fourth would at 2.7 s."""
    ran: list[int] = []
    loop: Any = asyncio.get_running_loop()
    pool = loop.pool()
    bus = InMemoryEventBus(clock=virtual_clock, pool=pool)

    async def slow(event: Decided) -> None:
        ran.append(event.n)
        await asyncio.sleep(0.9)

    def slow_sync(event: Decided) -> None:
        ran.append(event.n)
        pool.sleep(0.9)

    subscription = bus.subscribe(
        Decided, slow_sync if shape == "sync" else slow, isolation="task" if shape == "task" else "auto"
    )
    async with bus:
        receipts = [await bus.publish(Decided(n=n)) for n in range(5)]
        statuses = [(await receipt)[0].status for receipt in receipts]
    assert ran == [0, 1, 2]
    assert statuses == [Status.SUCCEEDED] * 3 + [Status.EXPIRED] * 2
    assert subscription.stats().expired == 2


async def test_age_may_stand_on_the_subscription(event_bus: InMemoryEventBus) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(3))
    event_bus.subscribe("a.b", slow, max_age=1.0)
    receipts = [await event_bus.publish("a.b") for _ in range(2)]
    assert [(await receipt)[0].status for receipt in receipts] == [Status.SUCCEEDED, Status.EXPIRED]


async def test_wall_clock_makes_nothing_older(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    heard = Recorder()
    subscription = event_bus.subscribe(Decided, heard)
    subscription.pause()
    await event_bus.publish(Decided(n=1))
    virtual_clock.jump_wall(86_400)
    subscription.resume()
    assert await event_bus.drain()
    assert heard.values("n") == [1]

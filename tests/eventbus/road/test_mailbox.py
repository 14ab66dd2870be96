"""Mailbox: whose turn it is of what waits. CONTROL comes first, then what was held back, then what nobody has looked at."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Kind, Overflow, RetryLater, Subscription
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = pytest.mark.virtual_time


class Noted(Event, type="mailbox.noted"):
    n: int


class Called(Event, type="mailbox.called", kind=Kind.CONTROL):
    n: int


def paused(bus: InMemoryEventBus, heard: Any, **policy: Any) -> Subscription:
    subscription = bus.subscribe("mailbox.*", heard, **policy)
    subscription.pause()
    return subscription


async def publish(bus: InMemoryEventBus, *events: Event) -> None:
    """Each in a burst of its own."""
    for event in events:
        await bus.publish(event)
        await settle()


async def test_urgent_ones_come_first_and_keep_their_order(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    subscription = paused(event_bus, heard)
    await publish(event_bus, Noted(n=0), Called(n=1), Noted(n=2), Called(n=3))
    subscription.resume()
    assert await event_bus.drain()
    assert heard.values("n") == [1, 3, 0, 2]


async def test_urgent_ones_come_before_what_may_be_replaced(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    subscription = paused(event_bus, heard, queue_size=2, overflow=Overflow.DROP_OLDEST)
    await publish(event_bus, Noted(n=0), Noted(n=1), Noted(n=2), Called(n=3))
    subscription.resume()
    assert await event_bus.drain()
    assert heard.values("n") == [3, 1, 2]


async def test_what_was_held_back_comes_before_what_nobody_has_looked_at(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    started: list[int] = []

    async def later_at_first(event: Any) -> None:
        started.append(event.n)
        if started.count(event.n) == 1 and event.n < 2:
            raise RetryLater(after=1)

    subscription = event_bus.subscribe(Noted, later_at_first)
    await publish(event_bus, Noted(n=0), Noted(n=1))
    subscription.pause()
    await publish(event_bus, Noted(n=2))
    await virtual_clock.advance(2)
    subscription.resume()
    assert await event_bus.drain()
    assert started == [0, 1, 0, 1, 2]

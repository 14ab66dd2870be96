"""Gate: publishers wait for a place in the queue that a subscription has of its own, or are refused."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Kind,
    Overflow,
    PublishTimeout,
    QueueFull,
)
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = pytest.mark.virtual_time


class Alarmed(Event, type="gate.alarmed", kind=Kind.CONTROL):
    pass


async def test_publisher_waits_for_a_place_in_the_queue(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    slow = Recorder(lambda _event: asyncio.sleep(1))
    event_bus.subscribe("a.b", slow, queue_size=2)
    for n in range(5):
        await event_bus.publish("a.b", {"n": n})
    assert virtual_clock.time() == pytest.approx(3)
    assert await event_bus.drain()
    assert slow.values("n") == list(range(5))


async def test_publish_gives_up_in_time_and_nothing_was_accepted(event_bus: InMemoryEventBus) -> None:
    other = Recorder()
    event_bus.subscribe("a.b", lambda _event: asyncio.Event().wait(), queue_size=1)
    event_bus.subscribe("a.b", other)
    await event_bus.publish("a.b", {"n": 0})
    with pytest.raises(PublishTimeout):
        await event_bus.publish("a.b", {"n": 1}, timeout=0.5)
    await settle()
    assert other.values("n") == [0]


@pytest.mark.event_bus(max_queue_size=1)
@pytest.mark.parametrize("queue_size", [None, 1])
async def test_one_deadline_bounds_a_publish_however_often_others_are_quicker(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, queue_size: int | None
) -> None:
    event_bus.subscribe("a.b", Recorder(lambda _event: asyncio.sleep(0.4)), queue_size=queue_size)
    others = [asyncio.create_task(event_bus.publish("a.b", {"n": n})) for n in range(6)]
    await settle()
    with pytest.raises(PublishTimeout, match="within 1 s"):
        await event_bus.publish("a.b", {"n": 6}, timeout=1.0)
    assert virtual_clock.time() == pytest.approx(1.0)
    await asyncio.wait(others)
    assert await event_bus.drain()
    assert event_bus.get_stats()["published"] == 6


async def test_reject_refuses_at_once_and_names_the_subscription(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe(
        "a.b", lambda _event: asyncio.Event().wait(), queue_size=2, overflow=Overflow.REJECT, name="ledger"
    )
    for _ in range(2):
        await event_bus.publish("a.b")
    with pytest.raises(QueueFull, match="ledger"):
        await event_bus.publish("a.b")
    await event_bus.publish("other.type")  # goes to nobody who is full
    assert event_bus.get_stats()["dropped"] == 0


async def test_unwanted_events_free_their_places(event_bus: InMemoryEventBus) -> None:
    """What the predicate refuses needs no place: a publisher that waited for it goes on."""
    heard = Recorder()
    event_bus.subscribe("a.b", heard, queue_size=1, where=lambda event: event["n"] % 2 == 1)
    async with asyncio.timeout(5):
        for n in range(6):
            await event_bus.publish("a.b", {"n": n})
    assert await event_bus.drain()
    assert heard.values("n") == [1, 3, 5]


class Counted(Event, type="gate.counted"):
    n: int


async def test_unwanted_events_free_their_places_beside_one_that_is_wanted(event_bus: InMemoryEventBus) -> None:
    """Both came in one burst, and the wanted one stays: who waits for the place of the other is let in all the same."""
    ends = asyncio.Event()
    heard = Recorder(lambda _event: ends.wait())
    event_bus.subscribe(Counted, heard, queue_size=2, where=lambda event: event.n % 2 == 1)
    for n in (1, 2):
        event_bus.publish_nowait(Counted(n=n))
    await event_bus.publish(Counted(n=3), timeout=5)
    with pytest.raises(PublishTimeout):  # the places are no more than they were
        await event_bus.publish(Counted(n=5), timeout=5)
    ends.set()
    assert await event_bus.drain()
    assert heard.values("n") == [1, 3]


async def test_cancelled_subscription_keeps_no_publisher_waiting(event_bus: InMemoryEventBus) -> None:
    full = event_bus.subscribe("a.b", lambda _event: asyncio.Event().wait(), queue_size=1)
    await event_bus.publish("a.b")
    waiting = asyncio.create_task(event_bus.publish("a.b"))
    await settle()
    assert not waiting.done()
    full.cancel()
    await settle()
    assert waiting.done()


async def test_control_enters_a_full_queue(event_bus: InMemoryEventBus) -> None:
    heard = Recorder(lambda event: asyncio.sleep(1))
    event_bus.subscribe("*", heard, queue_size=1)
    await event_bus.publish("a.b")
    await settle()
    await event_bus.publish(Alarmed(), timeout=0.1)
    assert await event_bus.drain()
    assert heard.types == ["a.b", "gate.alarmed"]

"""Door: it bounds what was accepted and is not settled, and is the only place where anybody waits: in order of arrival, never a
handler, and CONTROL hardly ever.
"""

from __future__ import annotations

import asyncio

import pytest

from eventbus import (
    BusStopped,
    Event,
    HopLimit,
    InMemoryEventBus,
    Kind,
    PublishTimeout,
    QueueFull,
    WouldDeadlock,
)
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = [pytest.mark.virtual_time, pytest.mark.event_bus(max_queue_size=3, reserve=2)]


class Alarmed(Event, type="door.alarmed", kind=Kind.CONTROL):
    n: int = 0


async def fill(bus: InMemoryEventBus) -> asyncio.Event:
    """Three events whose handler waits."""
    release = asyncio.Event()
    bus.subscribe("door.filled", lambda _event: release.wait(), concurrency=3)
    for _ in range(3):
        await bus.publish("door.filled")
    await settle()
    return release


async def test_publishers_wait_and_enter_in_order_of_arrival(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    event_bus.subscribe("door.late", heard)
    release = await fill(event_bus)
    waiting = [asyncio.create_task(event_bus.publish("door.late", {"n": n})) for n in range(6)]
    await settle()
    assert not any(task.done() for task in waiting)
    assert event_bus.get_stats()["published"] == 3
    release.set()
    await asyncio.gather(*waiting)
    await event_bus.drain()
    assert heard.values("n") == list(range(6))


async def test_of_many_those_before_the_one_that_cannot_enter_are_accepted(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    event_bus.subscribe("door.late", heard)
    late = [Event("door.late", payload={"n": n}) for n in range(4)]
    with pytest.raises(PublishTimeout):
        await (await filled_but_one(event_bus)).publish_many(late, timeout=1)
    assert event_bus.get_stats()["published"] == 3
    await settle()
    assert heard.values("n") == [0]


async def filled_but_one(bus: InMemoryEventBus) -> InMemoryEventBus:
    """One place is left, and whoever has it stays."""
    bus.subscribe("door.*", lambda _event: asyncio.Event().wait(), concurrency=3)
    await bus.publish_many([Event("door.filled"), Event("door.filled")])
    await settle()
    return bus


async def test_who_will_not_wait_is_refused_and_nothing_of_it_is_accepted(event_bus: InMemoryEventBus) -> None:
    release = await fill(event_bus)
    with pytest.raises(QueueFull):
        event_bus.publish_nowait("door.late")
    with pytest.raises(PublishTimeout):
        await event_bus.publish("door.late", timeout=1)
    assert event_bus.get_stats()["published"] == 3
    release.set()
    assert await event_bus.drain()
    event_bus.publish_nowait("door.late")


async def test_one_that_stops_waiting_gives_its_turn_to_the_next(event_bus: InMemoryEventBus) -> None:
    release = await fill(event_bus)
    waiting = [asyncio.create_task(event_bus.publish("door.late")) for _ in range(4)]
    await settle()
    release.set()
    waiting[0].cancel()
    await asyncio.wait(waiting)
    assert [task.cancelled() for task in waiting] == [True, False, False, False]
    assert await event_bus.drain()
    assert event_bus.get_stats()["published"] == 6


async def test_a_handler_enters_on_the_reserve_and_is_refused_beyond(event_bus: InMemoryEventBus) -> None:
    """It never waits: whoever is to make room may be itself."""
    entered: list[int] = []
    refused: list[BaseException] = []

    async def multiply(_event: Event) -> None:
        try:
            for n in range(10):
                await event_bus.publish("door.effect")
                entered.append(n)
        except WouldDeadlock as error:
            refused.append(error)

    event_bus.subscribe("door.cause", multiply)
    await event_bus.publish("door.cause")
    assert await event_bus.drain()
    assert (len(entered), len(refused)) == (4, 1)  # of three places and two in reserve one is the cause's
    assert event_bus.stats().reserve_used == 2


async def test_control_enters_a_full_bus_and_comes_out_first(event_bus: InMemoryEventBus) -> None:
    order: list[str] = []
    event_bus.tap(lambda events, _offset: order.extend(event.type for event in events))
    for _ in range(3):
        event_bus.publish_nowait("door.filled")
    event_bus.publish_nowait(Alarmed())
    assert await event_bus.drain()
    assert order == ["door.alarmed", *["door.filled"] * 3]


async def test_a_chain_of_causes_has_an_end(event_bus: InMemoryEventBus) -> None:
    refused: list[HopLimit] = []

    async def again(event: Event) -> None:
        try:
            await event_bus.publish("door.again", {"n": event["n"] + 1})
        except HopLimit as error:
            refused.append(error)

    event_bus.subscribe("door.again", again)
    await event_bus.publish("door.again", {"n": 0})
    assert await event_bus.drain()
    assert len(refused) == 1
    assert event_bus.get_stats()["published"] == 33  # the root and 32 hops


async def test_who_waits_when_the_door_is_shut_is_told(event_bus: InMemoryEventBus) -> None:
    await fill(event_bus)
    waiting = asyncio.create_task(event_bus.publish("door.late"))
    await settle()
    await event_bus.shutdown(timeout=0)
    with pytest.raises(BusStopped):
        await waiting
    with pytest.raises(BusStopped):
        await event_bus.publish("door.late")


async def test_places_are_given_back_event_by_event(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    """Of a burst that several subscriptions get, too, as soon as somebody waits."""

    async def slow(_event: Event) -> None:
        await asyncio.sleep(1)

    event_bus.subscribe("door.filled", slow)
    event_bus.subscribe("door.filled", Recorder())
    for _ in range(4):
        await event_bus.publish("door.filled")
    assert virtual_clock.time() == pytest.approx(1)
    assert await event_bus.drain()


async def test_what_is_published_together_goes_on_by_its_own_kind() -> None:
    """However many may join a burst: the one that overtakes is not among them."""
    bus = InMemoryEventBus()
    heard = Recorder()
    bus.subscribe("door.*", heard)
    async with bus:
        filled = [Event("door.filled") for _ in range(3)]
        receipts = await bus.publish_many([*filled[:2], Alarmed(), filled[2]])
        assert [receipt.event.type for receipt in receipts] == [
            "door.filled",
            "door.filled",
            "door.alarmed",
            "door.filled",
        ]
        await bus.drain()
    assert [event.type for event in heard.events] == ["door.alarmed", "door.filled", "door.filled", "door.filled"]

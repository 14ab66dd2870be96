"""Dispatcher: everybody whom an event goes to gets it, in order of acceptance over all types, and waits for nobody else."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import Event, InMemoryEventBus, Kind
from eventbus.testing import Recorder, settle

pytestmark = pytest.mark.virtual_time


class Made(Event, type="dispatch.made"):
    n: int


class Sold(Event, type="dispatch.sold"):
    n: int


class Alarmed(Event, type="dispatch.alarmed", kind=Kind.CONTROL):
    n: int


async def test_each_gets_what_it_listens_to_in_order_of_acceptance(event_bus: InMemoryEventBus) -> None:
    everything, some, by_class, none = Recorder(), Recorder(), Recorder(), Recorder()
    event_bus.subscribe("*", everything)
    event_bus.subscribe("dispatch.s*", some)
    event_bus.subscribe(Made, by_class)
    event_bus.subscribe("other.*", none)
    events: list[Event] = [(Made if n % 3 else Sold)(n=n) for n in range(20)]
    receipts = await event_bus.publish_many(events)
    await event_bus.drain()
    assert everything.events == events
    assert some.events == [event for event in events if isinstance(event, Sold)]
    assert by_class.events == [event for event in events if isinstance(event, Made)]
    assert len(none) == 0
    assert [len(await receipt) for receipt in receipts] == [2] * 20
    stats = event_bus.stats()
    assert (stats.published, stats.dispatched, stats.succeeded) == (20, 20, 40)
    assert {name: row.dispatched for name, row in stats.types.items()} == {"dispatch.made": 13, "dispatch.sold": 7}


async def test_events_without_a_class_go_where_their_types_say(event_bus: InMemoryEventBus) -> None:
    everything, some, none = Recorder(), Recorder(), Recorder()
    event_bus.subscribe("*", everything)
    event_bus.subscribe("dispatch.s*", some)
    event_bus.subscribe("other.*", none)
    events = [Event("dispatch.said" if n % 3 else "dispatch.told", payload={"n": n}) for n in range(20)]
    receipts = await event_bus.publish_many(events)
    await event_bus.drain()
    assert everything.events == events
    assert some.events == [event for event in events if event.type == "dispatch.said"]
    assert len(none) == 0
    assert [len(await receipt) for receipt in receipts] == [2 if n % 3 else 1 for n in range(20)]


async def test_one_subscribed_later_gets_only_what_is_accepted_later(event_bus: InMemoryEventBus) -> None:
    late = Recorder()
    event_bus.publish_nowait(Made(n=1))
    subscription = event_bus.subscribe(Made, late)
    event_bus.publish_nowait(Made(n=2))
    subscription.cancel()
    event_bus.publish_nowait(Made(n=3))
    await event_bus.drain()
    assert late.values("n") in ([], [2])
    assert subscription.stats().accepted == 1


async def test_a_handler_that_waits_holds_up_its_own_subscription_alone(event_bus: InMemoryEventBus) -> None:
    release, other = asyncio.Event(), Recorder()
    stuck = event_bus.subscribe(Made, lambda _event: release.wait())
    waits = event_bus.subscribe(Made, Recorder(lambda _event: release.wait()))
    event_bus.subscribe("dispatch.*", other)
    await event_bus.publish_many([Made(n=1), Sold(n=2), Made(n=3)])
    await settle()
    assert other.values("n") == [1, 2, 3]
    assert (stuck.stats().pending, waits.stats().pending) == (2, 2)
    release.set()
    assert await event_bus.drain()


async def test_control_comes_before_the_next_attempt(event_bus: InMemoryEventBus) -> None:
    order: list[int] = []

    async def work(event: Made) -> None:
        order.append(event.n)
        if event.n == 2:
            await event_bus.publish(Alarmed(n=100))

    async def obey(event: Alarmed) -> None:
        order.append(event.n)

    event_bus.subscribe(Made, work)
    event_bus.subscribe(Alarmed, obey)
    await event_bus.publish_many(Made(n=n) for n in range(1, 5))
    await event_bus.drain()
    assert order == [1, 2, 100, 3, 4]


async def test_a_cascade_without_end_leaves_the_loop_its_turns(event_bus: InMemoryEventBus) -> None:
    turns = 0

    async def beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def again(event: Made) -> None:
        if event.n % 30:
            await event_bus.publish(Made(n=event.n + 1))

    event_bus.subscribe(Made, again)
    task = asyncio.create_task(beside())
    for _ in range(100):
        event_bus.publish_nowait(Made(n=1))
        await event_bus.drain()
    task.cancel()
    assert event_bus.get_stats()["published"] == 3_000
    assert turns >= 100


async def test_types_from_outside_are_not_counted_one_by_one_for_ever(event_bus: InMemoryEventBus) -> None:
    for first in range(0, 10_100, 100):
        await event_bus.publish_many(Event(f"dispatch.t{n}") for n in range(first, first + 100))
    await event_bus.drain()
    types = event_bus.stats().types
    assert len(types) == 10_001
    assert types["other"].dispatched == 100

"""Footprint: a bus that bounds its bytes is full when large events are few, and has room for many small ones."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Kind, PolicyConflict, PublishTimeout, QueueFull, WouldDeadlock
from eventbus.footprint import footprint
from eventbus.testing import VirtualClock, VirtualLoop, settle

pytestmark = pytest.mark.virtual_time

LARGE = 100_000


class Framed(Event, type="footprint.framed"):
    body: str
    parts: tuple[dict[str, str], ...] = ()


class Ordered(Event, type="footprint.ordered", kind=Kind.CONTROL):
    body: str


def large(n: int) -> Framed:
    return Framed(body=str(n) + "x" * LARGE)


@pytest.mark.parametrize("way", ["text", "nested", "ad hoc"])
def test_the_footprint_of_an_event_is_what_it_takes(way: str) -> None:
    def make(n: int) -> Event:
        if way == "text":
            return large(n)
        parts = tuple({f"{n}-{m}": f"{m}" + "y" * 1_000} for m in range(50))
        return Framed(body="", parts=parts) if way == "nested" else Event("footprint.loose", payload={"parts": parts})

    make(0)
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        event = make(1)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert footprint(event) == pytest.approx(taken, rel=0.5 if way != "text" else 0.05)


@pytest.fixture
async def bus(virtual_clock: VirtualClock) -> Any:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with InMemoryEventBus(max_bytes=5 * LARGE, clock=virtual_clock, pool=loop.pool(1)) as bus:
        yield bus


async def room_left(bus: InMemoryEventBus) -> int:
    """How many more large events it takes."""
    for n in range(100):
        try:
            bus.publish_nowait(large(n))
        except QueueFull:
            return n
    raise AssertionError("there is no end to it")


async def test_a_bus_is_full_at_its_bytes_and_says_so(bus: InMemoryEventBus) -> None:
    sleeping = bus.subscribe(Framed, lambda _event: asyncio.sleep(1))
    assert await room_left(bus) == 5
    with pytest.raises(QueueFull, match="full at 500000 bytes"):
        bus.publish_nowait(large(6))
    with pytest.raises(PublishTimeout):
        await bus.publish(large(6), timeout=0.5)
    bus.publish_nowait(Ordered(body=""))  # has a reserve of its own
    assert await bus.drain()
    assert sleeping.stats().succeeded == 5
    assert await room_left(bus) == 5  # nothing of the first ones is left in the budget


async def test_publishers_go_on_as_soon_as_there_are_bytes_enough(bus: InMemoryEventBus) -> None:
    most = 0

    async def handle(_event: Event) -> None:
        nonlocal most
        most = max(most, bus.get_stats()["pending"])
        await asyncio.sleep(0.1)

    bus.subscribe(Framed, handle)
    publishers = [asyncio.create_task(bus.publish(large(n))) for n in range(40)]
    await asyncio.gather(*publishers)
    assert await bus.drain()
    assert most <= 6
    assert bus.get_stats()["published"] == 40


async def test_small_events_are_bounded_by_their_number_alone(
    bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    bus.subscribe(Framed, lambda _event: asyncio.sleep(1))
    await bus.publish_many(Framed(body="") for _ in range(300))
    assert virtual_clock.time() == 0


async def test_a_handler_has_as_many_bytes_again(bus: InMemoryEventBus) -> None:
    errors: list[BaseException] = []

    async def multiply(_event: Ordered) -> None:
        try:
            for n in range(100):
                bus.publish_nowait(large(n))
        except WouldDeadlock as error:
            errors.append(error)

    bus.subscribe(Ordered, multiply)
    bus.subscribe(Framed, lambda _event: asyncio.sleep(1))
    await bus.publish(Ordered(body=""))
    await settle()
    assert len(errors) == 1
    assert bus.get_stats()["published"] == 1 + 10


async def test_waited_for_and_batched_in_a_thread_it_leaves_nothing_in_the_budget(bus: InMemoryEventBus) -> None:
    bus.subscribe(Framed, lambda _event: None)
    for n in range(3):
        assert await bus.publish_and_wait(large(n)) == []
        await bus.publish_many([large(n) for n in range(5)])
        await bus.drain()
    assert await room_left(bus) == 5


def test_bytes_must_be_positive() -> None:
    with pytest.raises(PolicyConflict, match="max_bytes"):
        InMemoryEventBus(max_bytes=0)

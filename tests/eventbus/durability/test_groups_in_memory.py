"""Durable handlers on a bus in memory: as over a journal, as long as the process lives and up to a bound."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import Delivery, Event, InMemoryEventBus, PolicyConflict, Retry, Status
from eventbus.durability import groups_in_memory
from eventbus.testing import Recorder, VirtualClock, settle


def event(number: int) -> Event:
    return Event("t.x", payload={"n": number})


async def test_what_is_accepted_between_subscribing_and_running_is_for_the_group(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    bus, seen = InMemoryEventBus(clock=virtual_clock), Recorder()
    await bus.publish(event(1))
    bus.subscribe("t.*", seen, group="books")
    receipt = await bus.publish(event(2))
    async with bus:
        assert [outcome.status for outcome in await receipt] == [Status.SUCCEEDED]
        assert await bus.drain(60)
    assert seen.values("n") == [2]


async def test_attempts_are_counted_over_a_cancel(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    attempts: list[int] = []

    async def fail(_event: Event, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise OSError

    policy = Retry(attempts=3, delay=10, jitter=False)
    first = event_bus.subscribe("t.*", fail, group="books", retry=policy)
    await event_bus.publish(event(1))
    await settle()
    await first.cancel()
    event_bus.subscribe("t.*", fail, group="books", retry=policy)
    await virtual_clock.advance(60)
    assert await event_bus.drain(60)
    assert attempts == [1, 2, 3]
    assert [letter.attempts for letter in event_bus.dead_letters] == [3]


async def test_a_paused_group_holds_no_publisher(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    bus, seen = InMemoryEventBus(10, clock=virtual_clock), Recorder()
    paused = bus.subscribe("t.*", seen, group="books")
    async with bus:
        paused.pause()
        for n in range(100):
            await bus.publish(event(n), timeout=5)
        paused.resume()
        assert await bus.drain(60)
    assert seen.values("n") == list(range(100))


async def test_what_lies_beyond_the_bound_is_lost_counted_and_told(
    event_bus: InMemoryEventBus,
    virtual_clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(groups_in_memory, "MOST_EVENTS", 10)
    seen, n = Recorder(), 0
    (await event_bus.subscribe("t.*", seen, group="books")).cancel()
    for n in range(100):
        await event_bus.publish(event(n))
        await settle()
    event_bus.subscribe("t.*", seen, group="books")
    assert await event_bus.drain(60)
    handled = seen.values("n")
    assert handled == list(range(handled[0], 100))
    assert 10 <= len(handled) <= 20
    (told,) = [record for record in caplog.records if "overtaken" in record.getMessage()]
    assert told.__dict__["records"] == 100 - len(handled)


async def test_two_groups_of_which_one_is_gone_keep_the_events_of_both(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    gone, there = Recorder(), Recorder()
    (await event_bus.subscribe("t.*", gone, group="gone")).cancel()
    event_bus.subscribe("t.*", there, group="there")
    await event_bus.publish_many([event(n) for n in range(5)])
    assert await event_bus.drain(60)
    event_bus.subscribe("t.*", gone, group="gone")
    assert await event_bus.drain(60)
    assert gone.values("n") == there.values("n") == list(range(5))


@pytest.mark.parametrize("start", ["beginning", 0, 7])
def test_it_begins_at_the_end_and_nowhere_else(start: int) -> None:
    with pytest.raises(PolicyConflict, match="journal"):
        InMemoryEventBus().subscribe("t.*", Recorder(), group="books", start=start)


async def test_a_handler_that_publishes_to_its_own_group_is_heard(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    seen: list[int] = []

    async def count_down(handled: Event) -> None:
        seen.append(handled["n"])
        await asyncio.sleep(1)
        if handled["n"]:
            await event_bus.publish(event(handled["n"] - 1))

    event_bus.subscribe("t.*", count_down, group="books")
    await event_bus.publish(event(3))
    assert await event_bus.drain(60)
    assert seen == [3, 2, 1, 0]

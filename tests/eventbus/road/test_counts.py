"""Counts: what was counted adds up at any moment, in the short form and the long one, and looking changes nothing."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import Event, InMemoryEventBus, Overflow, Retry
from eventbus.testing import VirtualClock, settle

pytestmark = pytest.mark.virtual_time


def agree(bus: InMemoryEventBus) -> None:
    """The two forms, and the sum of the rows."""
    short, long = bus.get_stats(), bus.stats()
    for name in (
        *("published", "dispatched", "errors", "queue_size", "retried", "dead_lettered", "dropped", "expired"),
        *("pending", "in_flight"),
    ):
        assert short[name] == getattr(long, name), name
    ended = ("succeeded", "dead_lettered", "dropped", "expired", "cancelled")
    for row in long.subscriptions:
        assert row.accepted == row.pending + sum(getattr(row, name) for name in ended)
        assert row.pending == row.queued + row.in_flight + row.retry_wait
    for name in (*ended, "retried", "errors"):
        assert getattr(long, name) >= sum(getattr(row, name) for row in long.subscriptions), name
    assert long.pending == long.queue_size + sum(row.pending for row in long.subscriptions)


async def test_they_add_up_at_every_moment(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    async def odd(event: Event) -> None:
        await asyncio.sleep(event["n"] % 3)
        if event["n"] % 4 == 0:
            raise OSError("down")

    def quick(_event: Event) -> None:
        """Nothing to do."""

    event_bus.subscribe("counts.*", odd, retry=Retry(attempts=2, delay=2, jitter=False), concurrency=2)
    event_bus.subscribe("counts.*", odd, queue_size=2, overflow=Overflow.DROP_OLDEST)
    event_bus.subscribe("counts.*", odd, max_age=3)
    cancelled = event_bus.subscribe("counts.*", odd)
    event_bus.subscribe("counts.*", quick)
    for n in range(12):
        await event_bus.publish("counts.made", {"n": n})
        agree(event_bus)
    for second in range(10):
        await virtual_clock.advance(1)
        agree(event_bus)
        if second == 4:
            cancelled.cancel()
    assert await event_bus.drain()
    agree(event_bus)
    stats = event_bus.stats()
    assert (stats.published, stats.dispatched, stats.pending) == (12, 12, 0)
    assert min(stats.dead_lettered, stats.dropped, stats.expired, stats.cancelled, stats.retried) > 0
    assert stats.succeeded + stats.dead_lettered + stats.dropped + stats.expired + stats.cancelled == 12 * 5
    assert stats.uptime_s == pytest.approx(virtual_clock.time())


async def test_a_burst_in_hand_is_counted_as_far_as_it_got(event_bus: InMemoryEventBus) -> None:
    seen: list[tuple[int, int]] = []

    async def look(event: Event) -> None:
        stats = event_bus.get_stats()
        seen.append((event["n"], stats["pending"]))

    subscription = event_bus.subscribe("counts.*", look)
    await event_bus.publish_many(Event("counts.made", payload={"n": n}) for n in range(5))
    await event_bus.drain()
    assert seen == [(n, 5 - n) for n in range(5)]
    assert subscription.stats().succeeded == 5


async def test_attempts_and_their_time_are_totals_of_all_that_ever_subscribed(event_bus: InMemoryEventBus) -> None:
    async def slow(_event: Event) -> None:
        await asyncio.sleep(2)

    for _ in range(3):
        subscription = event_bus.subscribe("counts.*", slow)
        await event_bus.publish_and_wait("counts.made")
        subscription.cancel()
    await settle()
    attempts, nanoseconds = event_bus.run_time()
    assert attempts == 3
    assert nanoseconds / 1e9 == pytest.approx(6)

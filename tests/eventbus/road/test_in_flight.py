"""In flight: which attempts run, and the end of the last one, for whoever cancelled the subscription and waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.testing import VirtualClock, settle

pytestmark = pytest.mark.virtual_time


async def test_only_what_has_started_is_in_flight(event_bus: InMemoryEventBus) -> None:
    go_on = asyncio.Event()

    async def wait(_event: Event) -> None:
        await go_on.wait()

    subscription = event_bus.subscribe("flight.*", wait, concurrency=2)
    await event_bus.publish_many(Event("flight.begun", payload={"n": n}) for n in range(5))
    await settle()
    stats = subscription.stats()
    assert (stats.in_flight, stats.queued) == (2, 3)
    go_on.set()
    assert await event_bus.drain()
    assert subscription.stats().in_flight == 0


@pytest.mark.parametrize("isolation", ["auto", "task"])
async def test_who_cancels_may_wait_for_the_last_attempt(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, isolation: Any
) -> None:
    async def work(event: Event) -> None:
        await asyncio.sleep(event["s"])

    subscription = event_bus.subscribe("flight.*", work, concurrency=2, isolation=isolation)
    await event_bus.publish_many(Event("flight.begun", payload={"s": seconds}) for seconds in (1, 3))
    await settle()
    began = virtual_clock.monotonic_ns()
    assert await subscription.cancel(grace=10) == ()
    assert (virtual_clock.monotonic_ns() - began) / 1e9 == pytest.approx(3)


async def test_who_waited_in_vain_is_told_what_still_runs(event_bus: InMemoryEventBus) -> None:
    async def work(_event: Event) -> None:
        await asyncio.sleep(5)

    subscription = event_bus.subscribe("flight.*", work)
    receipt = await event_bus.publish("flight.begun")
    await settle()
    assert await subscription.cancel(grace=1) == (receipt.event_id,)

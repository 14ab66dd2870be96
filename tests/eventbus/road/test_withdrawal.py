"""What is another process's by now is taken out, wherever it waits or runs, and nothing else is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Retry, RetryLater
from eventbus.road.withdrawal import withdraw
from eventbus.testing import VirtualLoop, settle

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize("policy", [{}, {"concurrency": 3}, {"isolation": "task"}, {"key": "k", "concurrency": 3}])
async def test_what_runs_is_cancelled_and_what_waits_never_starts(policy: dict[str, Any]) -> None:
    loop, began, ended = asyncio.get_running_loop(), list[int](), list[int]()
    assert isinstance(loop, VirtualLoop)

    async def handle(event: Event) -> None:
        began.append(event["n"])
        await asyncio.sleep(10)
        ended.append(event["n"])

    async with InMemoryEventBus(clock=loop.clock) as bus:
        subscription = bus.subscribe("t.*", handle, **policy)
        for n in range(6):
            await bus.publish("t.x", {"n": n, "k": n % 2})
        await asyncio.sleep(1)
        running = [*began]
        withdraw(subscription.worker, lambda burst: True)
        await settle()
        assert ended == []
        assert began == running
        await bus.publish("t.x", {"n": 9, "k": 0})
        assert await bus.drain(60)
        stats = subscription.stats()
    assert ended == [9]
    assert (stats.accepted, stats.succeeded, stats.pending) == (7, 1, 0)


async def test_what_waits_for_a_retry_or_a_key_is_taken_out(virtual_clock: Any) -> None:
    attempts = list[int]()

    async def handle(event: Event) -> None:
        attempts.append(event["n"])
        raise RetryLater(after=5)

    async with InMemoryEventBus(clock=virtual_clock) as bus:
        subscription = bus.subscribe("t.*", handle, key="k", retry=Retry(attempts=5))
        for n in range(3):
            await bus.publish("t.x", {"n": n, "k": 1})
        await asyncio.sleep(1)
        withdraw(subscription.worker, lambda burst: True)
        await asyncio.sleep(60)
        stats = subscription.stats()
    assert attempts == [0]
    assert (stats.cancelled, stats.pending, stats.retry_wait) == (3, 0, 0)

"""Retries: another attempt comes when it is due by a clock that only goes forward, unless it is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Retry,
    RetryLater,
    Status,
)
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = pytest.mark.virtual_time


def _raise(error: BaseException) -> None:
    raise error


async def test_retries_wait_longer_each_time(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    at: list[float] = []

    async def fail(_event: Event) -> None:
        at.append(virtual_clock.time())
        raise OSError("down")

    event_bus.subscribe("a.b", fail, retry=Retry(attempts=4, delay=1, factor=2, jitter=False, max_delay=3))
    (outcome,) = await (await event_bus.publish("a.b"))
    assert at == pytest.approx([0, 1, 3, 6])
    assert (outcome.status, outcome.attempts) == (Status.DEAD_LETTERED, 4)


async def test_retry_ignores_the_wall_clock(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    at: list[float] = []

    async def fail(_event: Event) -> None:
        at.append(virtual_clock.time())
        virtual_clock.jump_wall(-3600 if len(at) % 2 else 86_400)
        raise OSError("down")

    event_bus.subscribe("a.b", fail, retry=Retry(attempts=3, delay=1, factor=1, jitter=False))
    await (await event_bus.publish("a.b"))
    assert at == pytest.approx([0, 1, 2])


async def test_retry_later_waits_as_long_as_it_asks(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    at: list[float] = []

    async def later(_event: Event) -> str:
        at.append(virtual_clock.time())
        if len(at) < 3:
            raise RetryLater(after=7)
        return "done"

    event_bus.subscribe("a.b", later)
    (outcome,) = await (await event_bus.publish("a.b"))
    assert at == pytest.approx([0, 7, 14])
    assert (outcome.status, outcome.result, outcome.attempts) == (Status.SUCCEEDED, "done", 3)


async def test_cancelling_ends_retries(event_bus: InMemoryEventBus) -> None:
    fail = Recorder(lambda _event: _raise(OSError("down")))
    subscription = event_bus.subscribe("a.b", fail, retry=Retry(attempts=9, delay=5, jitter=False))
    receipt = await event_bus.publish("a.b")
    await settle()
    assert subscription.stats().retry_wait == 1
    subscription.cancel()
    assert [outcome.status for outcome in await receipt] == [Status.CANCELLED]
    await asyncio.sleep(100)
    assert len(fail) == 1

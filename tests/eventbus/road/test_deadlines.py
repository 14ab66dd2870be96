"""Deadlines: an attempt that waits is cancelled when its time, counted from its start, is up, and abandoned if it ignores that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import Event, HandlerTimeout, InMemoryEventBus, Status
from eventbus.testing import VirtualClock, settle

pytestmark = pytest.mark.virtual_time


class Job(Event, type="deadlines.job"):
    n: int = 0
    takes: float = 0.0


@pytest.fixture(params=["stepped", "task"])
def policy(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"timeout": 2, "isolation": "task" if request.param == "task" else "auto"}


async def sleep(event: Job) -> None:
    await asyncio.sleep(event.takes)


async def test_what_ends_in_time_succeeds_and_what_does_not_is_cancelled_then(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
) -> None:
    event_bus.subscribe(Job, sleep, **policy)
    (outcome,) = await (await event_bus.publish(Job(takes=1.9)))
    assert outcome.status is Status.SUCCEEDED
    before = virtual_clock.time()
    (outcome,) = await (await event_bus.publish(Job(takes=60)))
    assert isinstance(outcome.error, HandlerTimeout)
    assert virtual_clock.time() - before == pytest.approx(2)


async def test_each_of_many_at_once_has_its_own(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
) -> None:
    """One alarm rings for all of them."""
    event_bus.subscribe(Job, sleep, concurrency=10, **policy)
    receipts = []
    for n in range(5):
        receipts.append(await event_bus.publish(Job(n=n, takes=60 if n % 2 else 1)))
        await virtual_clock.advance(0.5)
    ended = [(await receipt)[0] for receipt in receipts]
    assert [isinstance(outcome.error, HandlerTimeout) for outcome in ended] == [False, True, False, True, False]
    assert [outcome.ran_s for outcome in ended] == pytest.approx([1, 2, 1, 2, 1])


async def test_its_time_counts_from_the_start_though_it_is_looked_at_where_it_first_waits(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
) -> None:
    async def block_then_wait(event: Job) -> None:
        virtual_clock.move(event.takes)
        await asyncio.sleep(1)

    event_bus.subscribe(Job, block_then_wait, **policy)
    (outcome,) = await (await event_bus.publish(Job(takes=0.5)))
    assert outcome.status is Status.SUCCEEDED
    before = virtual_clock.time()
    (outcome,) = await (await event_bus.publish(Job(takes=1.5)))
    assert isinstance(outcome.error, HandlerTimeout)
    assert virtual_clock.time() - before == pytest.approx(2)


@pytest.mark.event_bus(grace=3.0)
async def test_one_that_ignores_its_cancellation_is_abandoned_after_the_grace(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, policy: dict[str, Any]
) -> None:
    release = asyncio.Event()

    async def stubborn(event: Job) -> None:
        while event.n == 0 and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    subscription = event_bus.subscribe(Job, stubborn, **policy)
    receipts = await event_bus.publish_many([Job(n=0), Job(n=1)])
    assert isinstance((await receipts[0])[0].error, HandlerTimeout)
    assert virtual_clock.time() == pytest.approx(2 + 3)
    assert (await receipts[1])[0].status is Status.SUCCEEDED
    assert subscription.stats().abandoned == 1
    release.set()
    await settle()

"""R8: what ended is let go of by itself: nobody has to look at the statistics for it. So is who gave up waiting."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Receipt, Retry, Subscription
from eventbus.testing import settle

pytestmark = pytest.mark.virtual_time


class OrderPlaced(Event, type="found.freed.order"):
    n: int = 0


class Handler:
    """A handler, or a predicate, whose end can be seen."""

    async def __call__(self, _event: Event) -> None:
        """Handled."""


class Slow(Handler):
    async def __call__(self, _event: Event) -> None:
        await asyncio.sleep(1)


class Failing(Handler):
    async def __call__(self, _event: Event) -> None:
        raise OSError("no")


class Wanted:
    def __call__(self, _event: Event) -> bool:
        return True


Leaving = Callable[[InMemoryEventBus, Any], Awaitable[None]]


async def cancelled(bus: InMemoryEventBus, handler: Any) -> None:
    bus.subscribe("found.*", handler).cancel()


async def cancelled_and_awaited(bus: InMemoryEventBus, handler: Any) -> None:
    await bus.subscribe(OrderPlaced, handler).cancel()


async def unsubscribed(bus: InMemoryEventBus, handler: Any) -> None:
    bus.subscribe(OrderPlaced, handler)
    bus.unsubscribe(OrderPlaced, handler)


async def cleared(bus: InMemoryEventBus, handler: Any) -> None:
    bus.subscribe(OrderPlaced, handler)
    bus.clear_handlers()


async def after_use(bus: InMemoryEventBus, handler: Any) -> None:
    subscription = bus.subscribe(OrderPlaced, handler)
    await bus.publish_and_wait(OrderPlaced())
    subscription.cancel()


async def paused_with_a_backlog(bus: InMemoryEventBus, handler: Any) -> None:
    subscription = bus.subscribe(OrderPlaced, handler)
    subscription.pause()
    for n in range(3):
        await bus.publish(OrderPlaced(n=n))
    await settle()
    subscription.cancel()


async def while_an_attempt_ran(bus: InMemoryEventBus, handler: Any) -> None:
    class Proxy(Slow):
        held = handler

    subscription = bus.subscribe(OrderPlaced, Proxy())
    await bus.publish(OrderPlaced())
    await settle()
    subscription.cancel()
    await asyncio.sleep(2)


async def while_a_retry_waited(bus: InMemoryEventBus, handler: Any) -> None:
    class Proxy(Failing):
        held = handler

    subscription = bus.subscribe(OrderPlaced, Proxy(), retry=Retry(attempts=3, delay=1))
    await bus.publish(OrderPlaced())
    await settle()
    subscription.cancel()
    await asyncio.sleep(2)


async def expected_in_time(bus: InMemoryEventBus, predicate: Any) -> None:
    coming = bus.expect(OrderPlaced, where=predicate, timeout=5)
    await bus.publish(OrderPlaced())
    await coming


async def expected_in_vain(bus: InMemoryEventBus, predicate: Any) -> None:
    with pytest.raises(TimeoutError):
        await bus.expect(OrderPlaced, where=predicate, timeout=5)


async def expected_by_somebody_cancelled(bus: InMemoryEventBus, predicate: Any) -> None:
    expecting = asyncio.ensure_future(bus.expect(OrderPlaced, where=predicate))
    await settle()
    expecting.cancel()
    await asyncio.wait([expecting])


async def stream_left(bus: InMemoryEventBus, predicate: Any) -> None:
    async with bus.stream(OrderPlaced, where=predicate) as orders:
        await bus.publish(OrderPlaced())
        async for _order in orders:
            break


async def stream_never_read(bus: InMemoryEventBus, predicate: Any) -> None:
    async with bus.stream(OrderPlaced, where=predicate):
        await bus.publish(OrderPlaced())
        await settle()


LEFT: list[tuple[Leaving, type[Any]]] = [
    (cancelled, Handler),
    (cancelled_and_awaited, Handler),
    (unsubscribed, Handler),
    (cleared, Handler),
    (after_use, Handler),
    (paused_with_a_backlog, Handler),
    (while_an_attempt_ran, Handler),
    (while_a_retry_waited, Handler),
    (expected_in_time, Wanted),
    (expected_in_vain, Wanted),
    (expected_by_somebody_cancelled, Wanted),
    (stream_left, Wanted),
    (stream_never_read, Wanted),
]


@pytest.mark.parametrize(("leave", "made"), LEFT, ids=lambda value: value.__name__)
async def test_what_ended_is_freed_though_nobody_looks(
    event_bus: InMemoryEventBus, leave: Leaving, made: type[Any]
) -> None:
    mine = made()
    kept = weakref.ref(mine)
    await leave(event_bus, mine)
    del mine
    await event_bus.drain()
    await settle()
    gc.collect()
    assert kept() is None


async def test_a_stream_that_was_dropped_is_freed(event_bus: InMemoryEventBus) -> None:
    """Without `async with` nobody says that it ended: that nothing refers to it does."""
    wanted = Wanted()
    kept = weakref.ref(wanted)
    stream = event_bus.stream(OrderPlaced, where=wanted)
    await event_bus.publish(OrderPlaced())
    async for _order in stream:
        break
    del wanted, stream
    gc.collect()
    await settle()
    gc.collect()
    assert event_bus.subscriptions == ()
    assert kept() is None


def test_what_was_subscribed_and_cancelled_before_the_bus_ran_is_freed() -> None:
    bus, handler = InMemoryEventBus(), Handler()
    kept = weakref.ref(handler)
    for _ in range(100):
        bus.subscribe("found.*", handler).cancel()
    del handler
    gc.collect()
    assert kept() is None


async def test_what_ended_is_still_counted(event_bus: InMemoryEventBus) -> None:
    subscription = event_bus.subscribe(OrderPlaced, Handler())
    for n in range(3):
        await event_bus.publish(OrderPlaced(n=n))
    await event_bus.drain()
    before = event_bus.stats()
    subscription.cancel()
    gc.collect()
    after = event_bus.stats()
    assert (before.succeeded, after.succeeded) == (3, 3)
    assert [row.name for row in after.subscriptions] == []


async def test_looking_changes_nothing_that_is_seen(event_bus: InMemoryEventBus) -> None:
    subscription = event_bus.subscribe(OrderPlaced, Slow())
    await event_bus.publish(OrderPlaced())
    await settle()
    subscription.cancel()
    looks = [event_bus.stats() for _ in range(3)]
    assert [look.pending for look in looks] == [1, 1, 1]
    await asyncio.sleep(2)
    looks = [event_bus.stats() for _ in range(3)]
    assert [(look.pending, look.succeeded) for look in looks] == [(0, 1)] * 3


Waiting = Callable[[InMemoryEventBus, Receipt, Subscription], Awaitable[object]]


async def for_an_outcome(_bus: InMemoryEventBus, receipt: Receipt, _hanging: Subscription) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await receipt


async def for_the_end_of_everything(bus: InMemoryEventBus, _receipt: Receipt, _hanging: Subscription) -> None:
    assert not await bus.drain(timeout=0.01)


async def for_the_end_of_an_attempt(_bus: InMemoryEventBus, _receipt: Receipt, hanging: Subscription) -> None:
    assert await hanging.cancel(grace=0.01)


async def for_what_a_group_is_to_read(bus: InMemoryEventBus, _receipt: Receipt, _hanging: Subscription) -> None:
    reading = bus.subscribe("found.never", Handler(), group="left")
    await settle()
    await reading.cancel()


@pytest.mark.parametrize(
    "wait",
    [for_an_outcome, for_the_end_of_everything, for_the_end_of_an_attempt, for_what_a_group_is_to_read],
    ids=lambda value: value.__name__,
)
async def test_who_gave_up_waiting_leaves_nothing_behind(event_bus: InMemoryEventBus, wait: Waiting) -> None:
    """What it waited for may never come."""
    go_on = asyncio.Event()

    async def hang(_event: Event) -> None:
        await go_on.wait()

    hanging = event_bus.subscribe(OrderPlaced, hang)
    receipt = await event_bus.publish(OrderPlaced())
    await settle()
    counts = list[int]()
    for _ in range(2):
        for _ in range(20):
            await wait(event_bus, receipt, hanging)
        await settle()
        gc.collect()
        counts.append(futures())
    assert counts[1] - counts[0] < 10
    go_on.set()


def futures() -> int:
    return sum(type(each) is asyncio.Future for each in gc.get_objects())

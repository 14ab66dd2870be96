"""Threads: what the bus says of a batch in a thread, and when the deadline of a sync attempt begins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from eventbus import Delivery, Event, HandlerTimeout, InMemoryEventBus, Kind, Retry
from eventbus.testing import Gate, VirtualClock, VirtualLoop, VirtualPool, settle

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def pool() -> VirtualPool:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.pool(max_workers=1)


@pytest.fixture
async def bus(pool: VirtualPool, virtual_clock: VirtualClock) -> Any:
    bus = InMemoryEventBus(pool=pool, clock=virtual_clock, max_queue_size=10)
    async with bus:
        yield bus


@pytest.fixture
def gate(pool: VirtualPool) -> Iterator[Gate]:
    with pool.gate() as gate:
        yield gate


class Ordered(Event, type="threads.ordered", kind=Kind.CONTROL):
    n: int


class Signalled(Event, type="threads.signalled", kind=Kind.SIGNAL, max_age=60):
    n: int


class Filled(Event, type="threads.filled", kind=Kind.EXECUTION):
    n: int


class Noted(Event, type="threads.noted"):
    n: int


def asked(events: int) -> list[Event]:
    return [Event("job.asked", payload={"n": n}) for n in range(events)]


async def test_what_may_expire_keeps_its_turn_among_what_may_not(bus: InMemoryEventBus) -> None:
    seen: list[Any] = []
    subscription = bus.subscribe(Event, lambda event: seen.append(event["n"]))
    subscription.pause()
    for event in (Event("job.asked", payload={"n": 0}), Signalled(n=1), Event("job.asked", payload={"n": 2})):
        await bus.publish(event)
    await settle()
    subscription.resume()
    await bus.drain()
    assert seen == [0, 1, 2]


async def test_control_before_it_does_not_let_a_later_one_overtake(bus: InMemoryEventBus) -> None:
    seen: list[int] = []
    subscription = bus.subscribe(
        "threads.*", lambda event: seen.append(event["n"]), overflow="drop_oldest", queue_size=3
    )
    subscription.pause()
    for event in (Filled(n=0), Noted(n=1), Ordered(n=2)):
        await bus.publish(event)
        await settle()
    subscription.resume()
    await bus.drain()
    assert seen == [2, 0, 1]


async def test_what_is_taken_back_from_a_thread_takes_all_back_that_comes_after_it(
    bus: InMemoryEventBus, gate: Gate
) -> None:
    seen: list[int] = []
    bus.subscribe("job.*", lambda _event: gate.wait())
    bus.subscribe("threads.*", lambda event: seen.append(event["n"]), overflow="drop_oldest", queue_size=3)
    await bus.publish_many([Noted(n=-2), Filled(n=-1)])  # both are known from now on, and share a burst
    await bus.drain()
    seen.clear()
    await bus.publish_many(asked(1))
    await settle()  # the only thread is taken
    await bus.publish_many([Noted(n=0), Filled(n=1)])
    await settle()
    await bus.publish(Noted(n=2))  # now there is something newer, and what may be dropped waits apart
    await settle()
    gate.lift()
    await bus.drain()
    assert seen == [0, 1, 2]


# --- what was taken and has not started ----------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [0, 3], ids=["followed", "whole"])
async def test_only_the_attempt_that_runs_is_in_flight_and_abandoned(
    bus: InMemoryEventBus, gate: Gate, virtual_clock: VirtualClock, warm: int
) -> None:
    hung = bus.subscribe("job.*", lambda event: gate.wait() if event["n"] == 2 else None, name="hung")
    for _ in range(warm):
        await bus.publish("job.done", {"n": 0})
        await bus.drain()
    events = asked(8)
    await bus.publish_many(events)
    await virtual_clock.advance(0.1)
    stats = hung.stats()
    assert (stats.in_flight, stats.queued) == (1, 5)
    report = await bus.shutdown(timeout=1)
    assert report.abandoned == (f"hung: {events[2]}",)
    assert report.left == 6


async def test_control_keeps_its_order_when_newer_control_recalls_it(
    bus: InMemoryEventBus, pool: VirtualPool, gate: Gate
) -> None:
    order: list[int] = []

    def obey(event: Ordered) -> None:
        order.append(event.n)
        if event.n == 0:
            gate.wait()

    bus.subscribe(Ordered, obey)
    await bus.publish_many(Ordered(n=n) for n in range(4))
    await settle()
    await bus.publish_many(Ordered(n=n) for n in range(4, 6))
    await settle()
    gate.lift()
    await bus.drain()
    assert order == list(range(6))


async def test_a_receipt_does_not_wait_for_a_later_event_of_its_batch(
    bus: InMemoryEventBus, gate: Gate, virtual_clock: VirtualClock
) -> None:
    bus.subscribe("job.asked", lambda event: gate.wait() if event["n"] else "done")
    receipt, *_others = await bus.publish_many(asked(3))
    (outcome,) = await receipt
    assert outcome.result == "done"
    assert virtual_clock.time() < 0.1


async def test_what_a_cancelled_batch_did_not_start_gives_its_places_back(bus: InMemoryEventBus, gate: Gate) -> None:
    hung = bus.subscribe("job.asked", lambda _event: gate.wait(), name="hung")
    await bus.publish_many(asked(10))
    await settle()
    hung.cancel()
    assert (hung.stats().cancelled, hung.stats().pending) == (9, 1)
    async with asyncio.timeout(1):
        for _ in range(9):
            await bus.publish("job.told")


async def test_a_failure_that_is_tried_again_comes_before_what_waits_behind_its_key(bus: InMemoryEventBus) -> None:
    """The thread leaves what it has taken: whether the rest may go on is decided on the loop."""
    ran: list[int] = []

    def fail_once(event: Event) -> None:
        ran.append(event["n"])
        if ran == [0]:
            raise OSError("once")

    retry = Retry(attempts=2, delay=1, jitter=False)
    bus.subscribe("job.asked", fail_once, key=lambda event: event["n"] // 2, retry=retry)
    await bus.publish_many(asked(4))
    await bus.drain()
    assert ran == [0, 2, 3, 0, 1]


# --- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waits_s", [0.1, 0.9, 1.5, 2.9])
async def test_the_deadline_counts_from_where_the_handler_starts(
    bus: InMemoryEventBus,
    pool: VirtualPool,
    gate: Gate,
    virtual_clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    waits_s: float,
) -> None:
    """However long it waited for a thread: no earlier, and no later."""
    started: list[float] = []

    def hang(_event: Event, delivery: Delivery) -> None:
        started.append(virtual_clock.time())
        assert delivery.deadline == pytest.approx(virtual_clock.time() + 1)
        gate.wait()

    before = pool.gate()
    pool.submit(before.wait)  # somebody else has the only thread
    subscription = bus.subscribe("job.asked", hang, timeout=1.0)
    monkeypatch.setattr(pool, "replace_stuck", lambda: False)  # and there are no spare ones
    asyncio.get_running_loop().call_later(waits_s, before.lift)
    (outcome,) = await (await bus.publish("job.asked"))
    assert isinstance(outcome.error, HandlerTimeout)
    assert started == pytest.approx([waits_s])
    assert virtual_clock.time() == pytest.approx(waits_s + 1.0)
    assert subscription.stats().abandoned == 1

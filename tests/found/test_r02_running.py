"""R2: a bus runs from the call of `run_forever()` on, whether or not its task has had a turn."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventbus import BusNotRunning, Event, InMemoryEventBus
from eventbus.testing import Recorder, VirtualLoop, settle

pytestmark = pytest.mark.virtual_time


class OrderPlaced(Event, type="found.running.order"):
    n: int = 0


def runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=VirtualLoop)


@pytest.fixture
def heard(idle_bus: InMemoryEventBus) -> Recorder:
    heard = Recorder(lambda event: f"served {event.n}")
    idle_bus.subscribe(OrderPlaced, heard)
    return heard


async def drain(bus: InMemoryEventBus) -> Any:
    await bus.publish(OrderPlaced())
    return await bus.drain(timeout=60)


async def publish_and_wait(bus: InMemoryEventBus) -> Any:
    return await bus.publish_and_wait(OrderPlaced()) == []


async def request(bus: InMemoryEventBus) -> Any:
    return await bus.request(OrderPlaced(), timeout=60) == "served 0"


async def await_receipt(bus: InMemoryEventBus) -> Any:
    receipt = await bus.publish(OrderPlaced())
    return [outcome.result for outcome in await receipt] == ["served 0"]


async def shutdown(bus: InMemoryEventBus) -> Any:
    await bus.publish(OrderPlaced())
    report = await bus.shutdown(timeout=60)
    return report.drained and report.left == 0


async def expect(bus: InMemoryEventBus) -> Any:
    coming = bus.expect(OrderPlaced, timeout=60)
    await bus.publish(OrderPlaced())
    return isinstance(await coming, OrderPlaced)


WAITING: list[Any] = [drain, publish_and_wait, request, shutdown, expect, await_receipt]


@pytest.mark.parametrize("wait", WAITING)
async def test_what_waits_may_be_called_before_the_first_turn(
    idle_bus: InMemoryEventBus, heard: Recorder, wait: Callable[[InMemoryEventBus], Awaitable[Any]]
) -> None:
    running = asyncio.create_task(idle_bus.run_forever())
    try:
        async with asyncio.timeout(3600):
            assert await wait(idle_bus)
    finally:
        idle_bus.stop()
        (ended,) = await asyncio.gather(running, return_exceptions=True)
    assert heard.values("n") == [0]
    assert ended is None


async def test_shutdown_before_the_first_turn_leaves_nothing_and_ends_the_run_in_peace(
    idle_bus: InMemoryEventBus, heard: Recorder
) -> None:
    running = asyncio.create_task(idle_bus.run_forever())
    for n in range(3):
        await idle_bus.publish(OrderPlaced(n=n))
    report = await idle_bus.shutdown(timeout=60)
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    assert (report.drained, report.left, ended) == (True, 0, None)
    assert heard.values("n") == [0, 1, 2]


async def test_shutdown_without_events_before_the_first_turn_ends_the_run_in_peace(idle_bus: InMemoryEventBus) -> None:
    running = asyncio.create_task(idle_bus.run_forever())
    report = await idle_bus.shutdown(timeout=60)
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    assert report.drained
    assert ended is None


def test_it_binds_to_the_loop_of_its_first_step() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe(OrderPlaced, heard)

    async def call() -> Any:
        return bus.run_forever()

    async def step(run: Any) -> bool:
        running = asyncio.create_task(run)
        await settle()
        await bus.publish(OrderPlaced(n=1))
        assert await bus.drain(timeout=60)
        bus.stop()
        await running
        return bus.loop is asyncio.get_running_loop()

    with runner() as first, runner() as second:
        run = first.run(call())
        assert second.run(step(run))
    assert heard.values("n") == [1]


def test_it_may_be_called_where_no_loop_runs() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe(OrderPlaced, heard)
    run = bus.run_forever()

    async def step() -> None:
        running = asyncio.create_task(run)
        await bus.publish(OrderPlaced(n=1))
        assert await bus.drain(timeout=60)
        bus.stop()
        await running

    with runner() as loop:
        loop.run(step())
    assert heard.values("n") == [1]


async def test_who_drains_waits_for_the_first_step_and_is_told_when_it_will_never_come(
    idle_bus: InMemoryEventBus, heard: Recorder
) -> None:
    run = idle_bus.run_forever()
    await idle_bus.publish(OrderPlaced())
    draining = asyncio.create_task(idle_bus.drain(timeout=3600))
    await settle()
    still_waiting = not draining.done()
    run.close()
    (told,) = await asyncio.gather(draining, return_exceptions=True)
    assert still_waiting
    assert isinstance(told, BusNotRunning)
    assert heard.values("n") == []


async def test_a_run_that_was_closed_unstarted_no_longer_counts(idle_bus: InMemoryEventBus) -> None:
    idle_bus.run_forever().close()
    await idle_bus.publish(OrderPlaced())
    with pytest.raises(BusNotRunning):
        await idle_bus.drain(timeout=60)


async def test_a_run_that_was_collected_unstarted_no_longer_counts(idle_bus: InMemoryEventBus) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a coroutine that was never awaited says so
        idle_bus.run_forever()  # type: ignore[unused-coroutine]  # dropping it is the point
        gc.collect()
    await idle_bus.publish(OrderPlaced())
    with pytest.raises(BusNotRunning):
        await idle_bus.drain(timeout=60)


async def test_a_run_whose_task_was_cancelled_before_its_first_step_no_longer_counts(
    idle_bus: InMemoryEventBus,
) -> None:
    running = asyncio.create_task(idle_bus.run_forever())
    running.cancel()
    await asyncio.wait([running])
    await idle_bus.publish(OrderPlaced())
    with pytest.raises(BusNotRunning):
        await idle_bus.drain(timeout=60)


async def test_one_of_two_runs_that_was_closed_does_not_end_the_other(
    idle_bus: InMemoryEventBus, heard: Recorder
) -> None:
    unused, running = idle_bus.run_forever(), asyncio.create_task(idle_bus.run_forever())
    await settle()
    unused.close()
    await idle_bus.publish(OrderPlaced(n=1))
    assert await idle_bus.drain(timeout=60)
    assert heard.values("n") == [1]
    idle_bus.stop()
    await running


async def test_stop_before_the_first_step_makes_it_return_at_once(idle_bus: InMemoryEventBus, heard: Recorder) -> None:
    await idle_bus.publish(OrderPlaced())
    run = idle_bus.run_forever()
    idle_bus.stop()
    async with asyncio.timeout(60):
        await run
    assert heard.values("n") == []
    assert not idle_bus.is_running


async def test_a_call_while_the_bus_runs_waits_for_the_same_end(idle_bus: InMemoryEventBus) -> None:
    runs = [asyncio.create_task(idle_bus.run_forever()) for _ in range(3)]
    await settle()
    assert not any(run.done() for run in runs)
    idle_bus.stop()
    async with asyncio.timeout(60):
        assert await asyncio.gather(*runs) == [None, None, None]


async def test_it_may_be_called_again_after_it_returned(idle_bus: InMemoryEventBus, heard: Recorder) -> None:
    for n in range(3):
        running = asyncio.create_task(idle_bus.run_forever())
        await settle()
        await idle_bus.publish(OrderPlaced(n=n))
        assert await idle_bus.drain(timeout=60)
        idle_bus.stop()
        await running
    assert heard.values("n") == [0, 1, 2]


async def test_a_second_run_counts_from_its_call_on_as_the_first_did(
    idle_bus: InMemoryEventBus, heard: Recorder
) -> None:
    first = asyncio.create_task(idle_bus.run_forever())
    await settle()
    idle_bus.stop()
    await first
    second = asyncio.create_task(idle_bus.run_forever())
    await idle_bus.publish(OrderPlaced(n=1))
    assert await idle_bus.drain(timeout=60)
    assert heard.values("n") == [1]
    idle_bus.stop()
    await second

"""Run: it counts before it begins to run, and no longer once it was closed, thrown into or dropped unstarted."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import BusNotRunning, InMemoryEventBus

pytestmark = pytest.mark.virtual_time


async def test_it_counts_from_the_call_and_no_longer_once_it_is_closed() -> None:
    bus = InMemoryEventBus()
    run = bus.run_forever()
    assert bus.is_running
    run.close()
    assert not bus.is_running


async def test_what_is_thrown_into_it_before_its_first_step_ends_it() -> None:
    bus = InMemoryEventBus()
    run = bus.run_forever()
    with pytest.raises(KeyError):
        run.throw(KeyError("thrown"))
    assert not bus.is_running


async def test_dropped_unstarted_it_never_was() -> None:
    bus = InMemoryEventBus()
    bus.run_forever()  # type: ignore[unused-coroutine] # dropping it is the point
    assert not bus.is_running


async def test_it_is_awaited_or_made_a_task_of_and_stop_ends_both() -> None:
    bus = InMemoryEventBus()
    task = asyncio.create_task(bus.run_forever())
    asyncio.get_running_loop().call_later(1, bus.stop)
    await bus.run_forever()
    await task
    assert not bus.is_running


async def test_who_relied_on_a_run_that_never_began_is_told() -> None:
    bus = InMemoryEventBus()
    run = bus.run_forever()
    await bus.publish("life.event")
    draining = asyncio.create_task(bus.drain())
    await asyncio.sleep(0)
    run.close()
    with pytest.raises(BusNotRunning):
        await draining

"""Shutdown: once for all who ask; it ends in time, with nothing of the bus running, and names what it left."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import BusStopped, Event, InMemoryEventBus
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = pytest.mark.virtual_time


async def test_shutdown_drains_once_for_all_who_ask_and_nobody_enters_any_more(event_bus: InMemoryEventBus) -> None:
    heard = Recorder(lambda _event: asyncio.sleep(1))
    event_bus.subscribe("life.*", heard)
    await event_bus.publish_many(Event("life.event") for _ in range(3))
    asked = [asyncio.create_task(event_bus.shutdown(timeout=10)) for _ in range(2)]
    await settle()
    asked[0].cancel()
    with pytest.raises(BusStopped):
        await event_bus.publish("life.event")
    report = await asked[1]
    assert (report.drained, report.abandoned, report.left, len(heard)) == (True, (), 0, 3)
    assert await event_bus.shutdown() is report
    assert not event_bus.is_running
    with pytest.raises(BusStopped):
        await event_bus.connect()


async def test_shutdown_ends_in_time_and_names_what_it_left(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    cancelled: list[bool] = []

    async def hang(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    event_bus.subscribe("life.*", hang, name="hung")
    events = [Event("life.event", payload={"n": n}) for n in range(3)]
    await event_bus.publish_many(events)
    await settle()
    report = await event_bus.shutdown(timeout=2)
    assert (report.drained, report.abandoned, report.left) == (False, (f"hung: {events[0]}",), 2)
    assert cancelled == [True]
    assert virtual_clock.time() == pytest.approx(2, abs=0.5)


async def test_no_task_of_it_is_left(event_bus: InMemoryEventBus) -> None:
    before = asyncio.all_tasks()
    async with InMemoryEventBus() as bus:
        bus.subscribe("life.*", Recorder(lambda _event: asyncio.sleep(1)))
        bus.subscribe("life.*", Recorder(lambda _event: asyncio.sleep(1)), isolation="task")
        await bus.publish_many(Event("life.event") for _ in range(3))
        await settle()
        assert asyncio.all_tasks() > before
    await settle()
    assert asyncio.all_tasks() == before


async def test_who_waits_for_an_event_learns_that_none_comes(event_bus: InMemoryEventBus) -> None:
    waiting = asyncio.create_task(event_bus.expect("life.*"))
    await settle()
    await event_bus.shutdown()
    with pytest.raises(BusStopped):
        await waiting


async def test_what_a_stopped_bus_has_pending_is_drained(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    event_bus.subscribe("life.*", heard)
    event_bus.stop()
    await settle()
    await event_bus.publish("life.event")
    assert len(heard) == 0
    assert (await event_bus.shutdown()).drained
    assert len(heard) == 1


async def test_what_is_left_by_a_bus_that_never_ran_is_told(caplog: pytest.LogCaptureFixture) -> None:
    bus = InMemoryEventBus()
    bus.subscribe("life.*", Recorder())
    await bus.publish("life.event")
    assert (await bus.shutdown()).left == 1
    assert "1 left: 1 not dispatched, by subscription: none; it was never started" in caplog.text

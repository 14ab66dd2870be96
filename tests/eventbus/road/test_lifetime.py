"""Lifetime: run, stop and drain; a bus belongs to the loop it runs on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import BusNotRunning, Event, InMemoryEventBus, ReentrantStop, WouldDeadlock, WrongLoop
from eventbus.testing import Recorder, VirtualClock, settle

pytestmark = pytest.mark.virtual_time


async def test_it_runs_from_the_call_until_it_is_stopped_and_may_run_again() -> None:
    bus, heard = InMemoryEventBus(), Recorder()
    bus.subscribe("life.*", heard)
    for n in range(3):
        assert not bus.is_running
        await bus.publish("life.event", {"n": n})
        run = asyncio.create_task(bus.run_forever())
        await bus.drain()
        assert bus.is_running
        bus.stop()
        await run
    assert heard.values("n") == [0, 1, 2]


async def test_drain_waits_for_cascades_and_retries_and_gives_up_in_time(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock
) -> None:
    async def cascade(event: Event) -> None:
        await asyncio.sleep(1)
        if event["n"]:
            await event_bus.publish("life.event", {"n": event["n"] - 1})

    event_bus.subscribe("life.*", cascade)
    await event_bus.publish("life.event", {"n": 4})
    assert not await event_bus.drain(timeout=2.5)
    assert virtual_clock.time() == pytest.approx(2.5)
    assert await event_bus.drain(timeout=10)
    assert virtual_clock.time() == pytest.approx(5)


async def test_who_drains_a_bus_that_stops_is_told(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("life.*", lambda _event: asyncio.sleep(10))
    await event_bus.publish("life.event")
    draining = asyncio.create_task(event_bus.drain())
    await settle()
    event_bus.stop()
    with pytest.raises(BusNotRunning):
        await draining


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda bus: bus.shutdown(), ReentrantStop),
        (lambda bus: bus.drain(), WouldDeadlock),
    ],
    ids=["shutdown", "drain"],
)
async def test_a_handler_cannot_wait_for_its_own_end(
    event_bus: InMemoryEventBus, call: Callable[[Any], Any], error: type[Exception]
) -> None:
    async def handler(_event: Event) -> None:
        await call(event_bus)

    event_bus.subscribe("life.*", handler)
    (raised,) = await event_bus.publish_and_wait("life.event")
    assert isinstance(raised, error)


async def test_another_thread_is_refused_where_a_thread_has_its_own_call(event_bus: InMemoryEventBus) -> None:
    heard = Recorder()
    event_bus.subscribe("life.*", heard)

    def elsewhere() -> None:
        with pytest.raises(WrongLoop):
            event_bus.publish_nowait("life.event")
        event_bus.publish_threadsafe("life.event")

    await asyncio.to_thread(elsewhere)
    await heard.wait(1)
    assert await event_bus.drain()
    assert len(heard) == 1


FORGOTTEN = """
import asyncio
import subprocess
import sys
from eventbus import InMemoryEventBus

async def main(bus):
    bus.subscribe("price.*", print, name="printer")
    for n in range(3):
        await bus.publish("price.told", {"n": n})

bus = InMemoryEventBus(name="forgotten")
asyncio.run(main(bus))
"""


def test_a_program_that_ends_without_having_started_its_bus_is_told_so() -> None:
    ended = subprocess.run([sys.executable, "-c", FORGOTTEN], capture_output=True, text=True, check=True)
    assert ended.stderr.count("bus forgotten holds 3 events, for printer, and was never started") == 1
    started = FORGOTTEN.replace(
        "asyncio.run(main(bus))", "async def all():\n    async with bus: await main(bus)\nasyncio.run(all())"
    )
    assert (
        "never started"
        not in subprocess.run([sys.executable, "-c", started], capture_output=True, text=True, check=True).stderr
    )

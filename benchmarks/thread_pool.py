"""A sync handler in the thread pool, against one executor hop per event."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.compare import Now, Settings, Side, versus
from benchmarks.sides import Counted, Witness, counted, through_bus
from eventbus import InMemoryEventBus

HOPS, EVENTS = 400, 40_000


async def queue(count: int, now: Now) -> float:
    events, witness, queue = counted(count), Witness(), asyncio.Queue[Any]()
    loop = asyncio.get_running_loop()

    async def consume() -> None:
        for _ in range(count):
            await loop.run_in_executor(None, witness.on_event_sync, await queue.get())

    began = now()
    consumer = asyncio.create_task(consume())
    for event in events:
        await queue.put(event)
    await consumer
    seconds = now() - began
    witness.check(events)
    return seconds


async def bus(count: int, now: Now) -> float:
    events, witness, bus = counted(count), Witness(), InMemoryEventBus()
    bus.subscribe(Counted, witness.on_event_sync)
    seconds = await through_bus(bus, events, now)
    witness.check(events)
    return seconds


def run(settings: Settings) -> dict[str, Any]:
    return versus(settings, Side(queue, HOPS), Side(bus, EVENTS), reach=100.0)

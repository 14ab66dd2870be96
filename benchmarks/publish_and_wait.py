"""publish_and_wait, one event at a time, against a queue with a future that comes back."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.compare import Now, Settings, Side, versus
from benchmarks.sides import Counted, Witness, counted
from eventbus import InMemoryEventBus

EVENTS = 4_000


async def queue(count: int, now: Now) -> float:
    events, witness = counted(count), Witness()
    queue: asyncio.Queue[tuple[Any, asyncio.Future[None]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def consume() -> None:
        for _ in range(count):
            event, done = await queue.get()
            await witness.on_event(event)
            done.set_result(None)

    began = now()
    consumer = asyncio.create_task(consume())
    for event in events:
        done = loop.create_future()
        await queue.put((event, done))
        await done
    await consumer
    seconds = now() - began
    witness.check(events)
    return seconds


async def bus(count: int, now: Now) -> float:
    events, witness, bus = counted(count), Witness(), InMemoryEventBus()
    bus.subscribe(Counted, witness.on_event)
    async with bus:
        began = now()
        for event in events:
            if await bus.publish_and_wait(event):
                raise AssertionError("nothing was to fail")
        seconds = now() - began
    witness.check(events)
    return seconds


def run(settings: Settings) -> dict[str, Any]:
    return versus(settings, Side(queue, EVENTS), Side(bus, EVENTS), reach=1.0)

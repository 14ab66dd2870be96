"""A handler that suspends once: it gives the loop a turn before it is done."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.compare import Now, Settings, Side, versus
from benchmarks.sides import Counted, Handler, Witness, counted, through_bus, through_queue
from eventbus import InMemoryEventBus

EVENTS = 4_000


def suspending(witness: Witness) -> Handler:
    async def on_event(event: Any) -> None:
        await asyncio.sleep(0)
        witness.on_event_sync(event)

    return on_event


async def queue(count: int, now: Now) -> float:
    events, witness = counted(count), Witness()
    seconds = await through_queue(events, [suspending(witness)], now)
    witness.check(events)
    return seconds


async def bus(count: int, now: Now) -> float:
    events, witness, bus = counted(count), Witness(), InMemoryEventBus()
    bus.subscribe(Counted, suspending(witness))
    seconds = await through_bus(bus, events, now)
    witness.check(events)
    return seconds


def run(settings: Settings) -> dict[str, Any]:
    return versus(settings, Side(queue, EVENTS), Side(bus, EVENTS), reach=1.2)

"""One event to ten handlers."""

from __future__ import annotations

from typing import Any

from benchmarks.compare import Now, Settings, Side, versus
from benchmarks.sides import Counted, Witness, counted, through_bus, through_queue
from eventbus import InMemoryEventBus

EVENTS = 4_000
HANDLERS = 10


async def queue(count: int, now: Now) -> float:
    events, witnesses = counted(count), [Witness() for _ in range(HANDLERS)]
    seconds = await through_queue(events, [witness.on_event for witness in witnesses], now)
    for witness in witnesses:
        witness.check(events)
    return seconds


async def bus(count: int, now: Now) -> float:
    events, witnesses, bus = counted(count), [Witness() for _ in range(HANDLERS)], InMemoryEventBus()
    for witness in witnesses:
        bus.subscribe(Counted, witness.on_event)
    seconds = await through_bus(bus, events, now)
    for witness in witnesses:
        witness.check(events)
    return seconds


def run(settings: Settings) -> dict[str, Any]:
    return versus(settings, Side(queue, EVENTS), Side(bus, EVENTS), reach=0.7)

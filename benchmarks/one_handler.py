"""One type, one async handler; peers on the same work."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks import peers
from benchmarks.compare import BASELINE, SUBJECT, Now, Settings, Side, in_turns, summary
from benchmarks.sides import Counted, Witness, counted, through_bus, through_queue
from eventbus import InMemoryEventBus

EVENTS = 20_000


async def queue(count: int, now: Now) -> float:
    events, witness = counted(count), Witness()
    seconds = await through_queue(events, [witness.on_event], now)
    witness.check(events)
    return seconds


async def bus(count: int, now: Now) -> float:
    events, witness, bus = counted(count), Witness(), InMemoryEventBus()
    bus.subscribe(Counted, witness.on_event)
    seconds = await through_bus(bus, events, now)
    witness.check(events)
    return seconds


def run(settings: Settings) -> dict[str, Any]:
    sides = {BASELINE: Side(queue, EVENTS), SUBJECT: Side(bus, EVENTS)}
    others = peers.installed() if settings.with_peers else {}
    taken = in_turns(settings, sides | others)
    figures = summary(taken, reach=1.3)
    if others:
        figures["peers_ns"] = {name: statistics.median(taken[name]) for name in others}
    return figures

"""A hundred types round robin, a subscription each; and fifty wildcards over a thousand topics. The baseline routes nothing."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

from benchmarks.compare import Now, Settings, Side, versus
from benchmarks.sides import Witness, through_bus, through_queue
from eventbus import Event, InMemoryEventBus

EVENTS = 20_000
DESKS, BOOKS = 50, 20

TYPES: list[type[Event]] = [
    types.new_class(f"Kind{number}", (Event,), {"type": f"bench.kind{number}"}) for number in range(100)
]


def of_all_types(count: int) -> list[Event]:
    return [cls() for cls in islice(cycle(TYPES), count)]


def of_all_topics(count: int) -> list[Event]:
    topics = [
        Event(f"desk{desk:02}.book{book:02}", payload={"n": book}) for book in range(BOOKS) for desk in range(DESKS)
    ]
    return list(islice(cycle(topics), count))


async def queue(events: Sequence[Event], now: Now) -> float:
    witness = Witness()
    seconds = await through_queue(events, [witness.on_event], now)
    witness.check(events)
    return seconds


async def bus(events: Sequence[Event], selectors: Mapping[str, type[Event] | str], now: Now) -> float:
    """`selectors` by the beginning of the types that they select."""
    bus, witnesses = InMemoryEventBus(), {start: Witness() for start in selectors}
    for start, selector in selectors.items():
        bus.subscribe(selector, witnesses[start].on_event)
    seconds = await through_bus(bus, events, now)
    for start, witness in witnesses.items():
        witness.check(event for event in events if event.type == start or event.type.startswith(f"{start}."))
    return seconds


async def queue_of_types(count: int, now: Now) -> float:
    return await queue(of_all_types(count), now)


async def bus_of_types(count: int, now: Now) -> float:
    return await bus(of_all_types(count), {cls.type: cls for cls in TYPES}, now)


async def queue_of_topics(count: int, now: Now) -> float:
    return await queue(of_all_topics(count), now)


async def bus_of_topics(count: int, now: Now) -> float:
    return await bus(of_all_topics(count), {f"desk{desk:02}": f"desk{desk:02}.*" for desk in range(DESKS)}, now)


def run(settings: Settings) -> dict[str, Any]:
    return {
        "100 types": versus(settings, Side(queue_of_types, EVENTS), Side(bus_of_types, EVENTS), reach=1.0),
        "50 wildcards, 1,000 topics": versus(
            settings, Side(queue_of_topics, EVENTS), Side(bus_of_topics, EVENTS), reach=1.0
        ),
    }

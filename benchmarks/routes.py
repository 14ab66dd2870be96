"""Routes: one event to many handlers, many types in turn, wildcards over many topics.

A loop over a bare queue that serves many types has to look its handler up: the baseline does so in a dict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

from benchmarks import peers
from benchmarks.rows import Now, Row, Run, speed
from benchmarks.sides import Counted, Handler, Witness, counted, numbered, timed
from eventbus import Event, InMemoryEventBus

HANDLERS = 10
TYPES = 100
DESKS, BOOKS = 50, 20

Making = Callable[[int], Sequence[Event]]
Naming = Callable[[Event], str]


async def fan_of_loop(count: int, now: Now) -> float:
    events, witnesses, queue = counted(count), [Witness() for _ in range(HANDLERS)], asyncio.Queue[Event]()
    handlers: list[Handler] = [witness.on_event for witness in witnesses]

    async def consume() -> None:
        for _ in range(count):
            event = await queue.get()
            for handler in handlers:
                await handler(event)

    began = now()
    consumer = asyncio.create_task(consume())
    for event in events:
        await queue.put(event)
    await consumer
    seconds = now() - began
    for witness in witnesses:
        witness.check(events)
    return seconds / count


async def fan_of_bus(count: int, now: Now) -> float:
    events, witnesses, bus = counted(count), [Witness() for _ in range(HANDLERS)], InMemoryEventBus()
    for witness in witnesses:
        bus.subscribe(Counted, witness.on_event)
    seconds = await timed(bus, events, now)
    for witness in witnesses:
        witness.check(events)
    return seconds / count


def of_all_types(count: int) -> list[Event]:
    return [cls() for cls in islice(cycle(_types()), count)]


def _types() -> list[type[Event]]:
    return list(map(numbered, range(TYPES)))


def of_all_topics(count: int) -> list[Event]:
    """A thousand topics: a desk's books one after the other."""
    names = [f"desk{desk:02}.book{book:02}" for book in range(BOOKS) for desk in range(DESKS)]
    return [Event(name) for name in islice(cycle(names), count)]


def _desk(event: Event) -> str:
    return event.type.split(".", maxsplit=1)[0]


def looked_up(making: Making, naming: Naming) -> Run:
    """A handler for each name that events have, found by the type of the event."""

    async def run(count: int, now: Now) -> float:
        events, queue = making(count), asyncio.Queue[Event]()
        witnesses = {naming(event): Witness() for event in events}
        handlers = {event.type: witnesses[naming(event)].on_event for event in events}

        async def consume() -> None:
            for _ in range(count):
                event = await queue.get()
                await handlers[event.type](event)

        began = now()
        consumer = asyncio.create_task(consume())
        for event in events:
            await queue.put(event)
        await consumer
        seconds = now() - began
        _check(witnesses, events, naming)
        return seconds / count

    return run


def routed(making: Making, naming: Naming, selectors: Mapping[str, type[Event] | str]) -> Run:
    """A subscription for each name, with its selector."""

    async def run(count: int, now: Now) -> float:
        events, bus = making(count), InMemoryEventBus()
        witnesses = {name: Witness() for name in selectors}
        for name, selector in selectors.items():
            bus.subscribe(selector, witnesses[name].on_event)
        seconds = await timed(bus, events, now)
        _check(witnesses, events, naming)
        return seconds / count

    return run


def _check(witnesses: Mapping[str, Witness], events: Sequence[Event], naming: Naming) -> None:
    wanted: dict[str, list[Event]] = {name: [] for name in witnesses}
    for event in events:
        wanted[naming(event)].append(event)
    for name, witness in witnesses.items():
        witness.check(wanted[name])


def _type(event: Event) -> str:
    return event.type


ROWS = (
    Row(
        "fan-out to 10",
        speed(0.4, newer=0.3),
        fan_of_bus,
        fan_of_loop,
        against="the loop awaiting 10",
        count=4_000,
        peers=peers.fan_out(HANDLERS),
    ),
    Row(
        "100 types in turn",
        speed(0.55, newer=0.4),
        routed(of_all_types, _type, {cls.type: cls for cls in _types()}),
        looked_up(of_all_types, _type),
        against="queue + lookup",
        peers=peers.types_in_turn(TYPES),
    ),
    Row(
        "50 wildcards over 1,000 topics",
        speed(0.45, newer=0.37),
        routed(of_all_topics, _desk, {f"desk{desk:02}": f"desk{desk:02}.*" for desk in range(DESKS)}),
        looked_up(of_all_topics, _desk),
        against="queue + lookup",
    ),
)

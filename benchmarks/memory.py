"""Memory: what an event and a subscription take, and what must not grow. Each row has a process of its own."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.machine import MIB, resident_bytes
from benchmarks.rows import Now, Row, Run, at_most
from benchmarks.sides import Counted, counted
from eventbus import Event, InMemoryEventBus, Receipt

TENTHS = 10
SETTLING = 100  # turns of the loop until what was published lies in its mailbox

Step = Callable[[int], Awaitable[object]]
"""One more of what is repeated; gets its number."""


async def at_the_door(count: int, _now: Now) -> float:
    """Nobody runs the bus yet."""
    events, bus = counted(count), _bus(count)
    with _Traced() as traced:
        for event in events:
            await bus.publish(event)
        taken = traced.bytes()
    await bus.shutdown()
    return taken / count


async def with_receipt(count: int, _now: Now) -> float:
    events, bus = counted(count), _bus(count)
    receipts: list[Receipt | None] = [None] * count
    with _Traced() as traced:
        for number, event in enumerate(events):
            receipts[number] = await bus.publish(event)
        taken = traced.bytes()
    await bus.shutdown()
    return taken / count


async def in_mailbox(count: int, _now: Now) -> float:
    events, bus = counted(count), _bus(count)
    subscription = bus.subscribe(Counted, _unused)
    subscription.pause()
    async with bus:
        with _Traced() as traced:
            for event in events:
                await bus.publish(event)
            for _ in range(SETTLING):
                await asyncio.sleep(0)
            taken = traced.bytes()
        if subscription.stats().queued != count:
            raise AssertionError(f"{subscription.stats().queued} of {count} events are in the mailbox")
        subscription.cancel()
    return taken / count


async def of_a_subscription(count: int, _now: Now) -> float:
    """In KB."""
    bus = InMemoryEventBus()
    with _Traced() as traced:
        for _ in range(count):
            bus.subscribe(Counted, _unused)
        return traced.bytes() / count / 1_024


class _Traced:
    """What is allocated inside and not freed again."""

    def __enter__(self) -> _Traced:
        gc.collect()
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def bytes(self) -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - self._before

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()


async def _unused(_event: Any) -> None:
    raise AssertionError("nothing is delivered here")


def _bus(count: int) -> InMemoryEventBus:
    return InMemoryEventBus(max_queue_size=count + 1)


def growth(stepping: Callable[[InMemoryEventBus], Step]) -> Run:
    """MiB that the process has grown by after the first tenth, at most; nothing is left to the collector."""

    async def run(count: int, _now: Now) -> float:
        bus = InMemoryEventBus()
        step = stepping(bus)
        readings: list[int] = []
        gc.disable()
        try:
            async with bus:
                for number in range(count):
                    await step(number)
                    if (number + 1) % (count // TENTHS) == 0:
                        await bus.drain()
                        readings.append(resident_bytes())
        finally:
            gc.enable()
        first, *later = readings
        return (max(later) - first) / MIB

    return run


def counting(bus: InMemoryEventBus) -> Step:
    """Each is delivered once, in order."""
    expected = 0

    async def on_event(event: Counted) -> None:
        nonlocal expected
        if event.n != expected:
            raise AssertionError(f"event {event.n} came in place of {expected}")
        expected += 1

    bus.subscribe(Counted, on_event)
    return lambda number: bus.publish(Counted(n=number))


def ad_hoc_types(bus: InMemoryEventBus) -> Step:
    async def on_event(_event: Event) -> None:
        return

    bus.subscribe("adhoc.*", on_event)
    return lambda number: bus.publish(f"adhoc.type{number}", {})


def subscribe_and_cancel(bus: InMemoryEventBus) -> Step:
    async def step(_number: int) -> None:
        bus.subscribe(Counted, _unused).cancel()

    return step


def expecting(bus: InMemoryEventBus) -> Step:
    async def step(number: int) -> None:
        expected = bus.expect(Counted)
        await bus.publish(Counted(n=number))
        event = await expected
        if event.n != number:
            raise AssertionError(f"event {event.n} came in place of {number}")

    return step


def _bytes(name: str, aim: float, run: Run) -> Row:
    return Row(name, at_most(aim, "B"), run, count=100_000, is_alone=True)


def _flat(name: str, count: int, stepping: Callable[[InMemoryEventBus], Step]) -> Row:
    return Row(f"RSS over {name}, gc off", at_most(2, "MiB"), growth(stepping), count=count, is_alone=True)


ROWS = (
    _bytes("bytes an event queued at the door", 64, at_the_door),
    _bytes("bytes an event with its receipt kept", 100, with_receipt),
    _bytes("bytes an event in a paused mailbox", 200, in_mailbox),
    Row("a subscription", at_most(3, "KB"), of_a_subscription, count=1_000, is_alone=True),
    _flat("1 M events", 1_000_000, counting),
    _flat("200,000 ad-hoc types", 200_000, ad_hoc_types),
    _flat("100,000 subscribe + cancel", 100_000, subscribe_and_cancel),
    _flat("100,000 `expect`", 100_000, expecting),
)

"""Sides: the queue loop that is the baseline, the bus, and the handlers that witness every delivery and its order."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Unpack

from benchmarks.rows import Now, Run
from eventbus import Event, InMemoryEventBus, Kind, PolicyOptions

Handler = Callable[[Any], Awaitable[Any]]


class Counted(Event, type="bench.counted"):
    """Something was counted."""

    n: int


class Quoted(Event, type="bench.quoted", kind=Kind.QUOTE, key="n"):
    """A price, of a key that comes once."""

    n: int


@functools.cache
def numbered(number: int) -> type[Event]:
    """A type of its own for each number."""
    return types.new_class(f"Numbered{number}", (Event,), {"type": f"bench.numbered{number}"})


def counted(count: int, cls: type[Event] = Counted) -> list[Event]:
    """Events made beforehand."""
    return [cls(n=n) for n in range(count)]


class Witness:
    """A handler that keeps what it got. One append is all it does: it must not hide what delivering costs."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        append = self.append = self.seen.append

        async def on_event(event: Any) -> None:
            append(event)

        self.on_event: Handler = on_event

    def check(self, events: Iterable[Any], *, is_ordered: bool = True) -> None:
        """Every one of them came, once, in order where there is one, and nothing else did."""
        wanted, seen = [*map(id, events)], [*map(id, self.seen)]
        if not is_ordered:
            wanted, seen = sorted(wanted), sorted(seen)
        if seen != wanted:
            raise AssertionError(f"{len(seen)} deliveries of {len(wanted)} events, or out of order")


Handling = Callable[[Witness], Handler]
Publishing = Callable[[InMemoryEventBus, Sequence[Event]], Awaitable[None]]


def plainly(witness: Witness) -> Handler:
    """The handler is called and done."""
    return witness.on_event


def suspending(witness: Witness) -> Handler:
    """It gives the loop a turn before it is done."""

    async def on_event(event: Any) -> None:
        await asyncio.sleep(0)
        witness.append(event)

    return on_event


async def one_by_one(bus: InMemoryEventBus, events: Sequence[Event]) -> None:
    for event in events:
        await bus.publish(event)
    await bus.drain()


def queue_loop(handling: Handling = plainly, cls: type[Event] = Counted) -> Run:
    """A producer and a consumer with a bare `asyncio.Queue` between them: put, get, await handler."""

    async def run(count: int, now: Now) -> float:
        events, witness = counted(count, cls), Witness()
        handler = handling(witness)
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def consume() -> None:
            for _ in range(count):
                await handler(await queue.get())

        began = now()
        consumer = asyncio.create_task(consume())
        for event in events:
            await queue.put(event)
        await consumer
        seconds = now() - began
        witness.check(events)
        return seconds / count

    return run


def bus_loop(
    handling: Handling = plainly,
    cls: type[Event] = Counted,
    *,
    publishing: Publishing = one_by_one,
    is_ordered: bool = True,
    max_queue_size: int = 10_000,
    **policy: Unpack[PolicyOptions],
) -> Run:
    """One subscription with these policies, from the first publish until everything is settled."""

    async def run(count: int, now: Now) -> float:
        events, witness = counted(count, cls), Witness()
        bus = InMemoryEventBus(max_queue_size=max_queue_size)
        bus.subscribe(cls, handling(witness), **policy)
        seconds = await timed(bus, events, now, publishing)
        witness.check(events, is_ordered=is_ordered)
        return seconds / count

    return run


async def timed(bus: InMemoryEventBus, events: Sequence[Event], now: Now, publishing: Publishing = one_by_one) -> float:
    """Seconds for publishing in that way on a running bus."""
    async with bus:
        began = now()
        await publishing(bus, events)
        return now() - began

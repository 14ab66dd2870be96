"""Context: a handler sees its publisher's, changes it for nobody else, and what it leaves running is caused by its own event,
wherever the bus has got to meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from decimal import Decimal, getcontext
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.testing import Recorder, settle

COLOUR: ContextVar[str] = ContextVar("context_colour", default="none")


class Asked(Event, type="context.asked"):
    n: int


class Told(Event, type="context.told"):
    n: int


NOTE: ContextVar[int] = ContextVar("note", default=0)


def tell(bus: InMemoryEventBus, n: int) -> None:
    bus.publish_nowait(Told(n=n))


async def tell_later(bus: InMemoryEventBus, n: int) -> None:
    await asyncio.sleep(0)
    tell(bus, n)


def in_a_task(bus: InMemoryEventBus, n: int, tasks: list[Any]) -> None:
    tasks.append(asyncio.create_task(tell_later(bus, n)))


def in_a_task_then_note(bus: InMemoryEventBus, n: int, tasks: list[Any]) -> None:
    in_a_task(bus, n, tasks)
    assert NOTE.get() == 0
    NOTE.set(n)


def by_a_callback(bus: InMemoryEventBus, n: int, tasks: list[Any]) -> None:
    asyncio.get_running_loop().call_soon(tell, bus, n)


def by_a_timer(bus: InMemoryEventBus, n: int, tasks: list[Any]) -> None:
    asyncio.get_running_loop().call_later(0.001, tell, bus, n)


def in_a_thread(bus: InMemoryEventBus, n: int, tasks: list[Any]) -> None:
    tasks.append(asyncio.ensure_future(asyncio.to_thread(bus.publish_threadsafe, Told(n=n))))


WAYS = [in_a_task, in_a_task_then_note, by_a_callback, by_a_timer, in_a_thread]


async def told_and_asked(bus: InMemoryEventBus, handler: Callable[..., Any], *, watched: bool) -> None:
    told = Recorder()
    bus.subscribe(Asked, handler)
    bus.subscribe(Told, told)
    asked = [Asked(n=n) for n in range(200)]
    receipts = [await bus.publish(event) for event in asked]
    if not watched:
        del receipts
    async with asyncio.timeout(60):
        await told.wait(len(asked))
    for event in told.of(Told):
        assert event.causation_id == asked[event.n].event_id
        assert event.correlation_id == asked[event.n].correlation_id


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_a_handler_leaves_running_is_caused_by_its_own_event(
    event_bus: InMemoryEventBus, way: Callable[..., None], watched: bool
) -> None:
    tasks: list[Any] = []

    async def leave_running(event: Asked) -> None:
        way(event_bus, event.n, tasks)

    await told_and_asked(event_bus, leave_running, watched=watched)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
async def test_what_a_sync_handler_publishes_is_caused_by_its_own_event(
    event_bus: InMemoryEventBus, watched: bool
) -> None:
    """In a thread, the publish takes place on the loop, when the batch has gone on."""
    event_bus.subscribe(Asked, lambda _event: None, name="warm")
    await event_bus.publish_and_wait(Asked(n=-1))
    event_bus.clear_handlers()
    known = threading.Event()

    def answer(event: Asked) -> None:
        known.set()
        if event.n >= 0:
            event_bus.publish_threadsafe(Told(n=event.n))

    event_bus.subscribe(Asked, answer)
    await event_bus.publish_many([Asked(n=-1), Asked(n=-1)])
    await event_bus.drain()
    told = Recorder()
    event_bus.subscribe(Told, told)
    asked = [Asked(n=n) for n in range(200)]
    receipts = [await event_bus.publish(event) for event in asked]
    if not watched:
        del receipts
    async with asyncio.timeout(60):
        await told.wait(len(asked))
    assert [asked[event.n].event_id for event in told.of(Told)] == [event.causation_id for event in told.of(Told)]


async def test_what_was_left_running_is_outside_when_a_later_handler_of_the_batch_suspends(
    event_bus: InMemoryEventBus,
) -> None:
    released, told, drained = asyncio.Event(), Recorder(), list[bool]()

    async def child() -> None:
        await asyncio.sleep(0)  # where tasks begin at once, too, it outlives its handler
        await event_bus.publish(Told(n=0))
        drained.append(await event_bus.drain(timeout=0))
        released.set()

    async def handle(event: Asked) -> None:
        if event.n == 0:
            children.append(asyncio.create_task(child()))
        if event.n == 2:
            await released.wait()

    children: list[asyncio.Task[None]] = []
    event_bus.subscribe(Asked, handle)
    event_bus.subscribe(Told, told)
    asked = [Asked(n=n) for n in range(4)]
    await event_bus.publish_many(asked)
    async with asyncio.timeout(60):
        await released.wait()
        await told.wait(1)
    assert told.of(Told)[0].causation_id == asked[0].event_id
    assert drained == [False]


async def test_effects_of_a_handler_see_the_context_of_the_publisher_and_what_the_handler_set(
    event_bus: InMemoryEventBus,
) -> None:
    seen: list[tuple[int, int]] = []

    async def ask(event: Asked) -> None:
        if event.n % 2:
            NOTE.set(event.n)
        tell(event_bus, event.n)

    async def hear(event: Told) -> None:
        seen.append((event.n, NOTE.get()))

    event_bus.subscribe(Asked, ask)
    event_bus.subscribe(Told, hear)
    NOTE.set(1_000)
    await event_bus.publish_many([Asked(n=n) for n in range(6)])
    await event_bus.drain()
    await settle()
    assert seen == [(n, n if n % 2 else 1_000) for n in range(6)]


async def test_what_a_handler_publishes_in_a_row_goes_together_and_keeps_its_cause(
    event_bus: InMemoryEventBus,
) -> None:
    """Each has its cause, whatever the handler does to its context in between, and their order is that of publishing."""
    got: list[tuple[Any, Any, Any]] = []

    async def cause(event: Event) -> None:
        for n in range(4):
            if n == 2:
                COLOUR.set(f"of {event['n']}")
            await event_bus.publish(Event("row.effect", payload={"n": n}))

    async def effect(event: Event) -> None:
        got.append((event.causation_id, event["n"], COLOUR.get()))

    event_bus.subscribe("row.cause", cause)
    event_bus.subscribe("row.effect", effect)
    causes = [Event("row.cause", payload={"n": n}) for n in range(3)]
    await event_bus.publish_many(causes)
    await event_bus.drain()
    colours = ["none", "none", "of {}", "of {}"]
    assert got == [
        (causes[n].event_id, effect_n, colours[effect_n].format(n)) for n in range(3) for effect_n in range(4)
    ]


async def test_what_a_handler_sets_is_seen_by_no_other(event_bus: InMemoryEventBus) -> None:
    seen: list[int] = []

    async def notes(event: Asked) -> None:
        seen.append(NOTE.get())
        NOTE.set(event.n)

    event_bus.subscribe(Asked, notes, name="one")
    event_bus.subscribe(Asked, notes, name="other")
    NOTE.set(7)
    await event_bus.publish_many([Asked(n=n) for n in range(100, 104)])
    await event_bus.drain()
    assert seen == [7] * 8
    assert NOTE.get() == 7


async def test_a_precision_that_a_handler_sets_rounds_nobody_elses_money(event_bus: InMemoryEventBus) -> None:
    """The decimal context is mutable, and every copy of a context would share it."""
    third = Decimal(1) / Decimal(3)
    got: list[Decimal] = []

    async def careless(_event: Asked) -> None:
        getcontext().prec = 3

    async def exact(_event: Asked) -> None:
        got.append(Decimal(1) / Decimal(3))

    event_bus.subscribe(Asked, careless)
    event_bus.subscribe(Asked, exact)
    await event_bus.publish_many([Asked(n=n) for n in range(3)])
    await event_bus.drain()
    assert got == [third] * 3
    assert Decimal(1) / Decimal(3) == third


async def test_what_a_handler_left_running_is_outside_once_it_returned(event_bus: InMemoryEventBus) -> None:
    """And may wait for what no handler may wait for."""
    drained: list[bool] = []

    async def child() -> None:
        await settle()
        drained.append(await event_bus.drain(timeout=60))

    async def leave_running(_event: Asked) -> None:
        children.append(asyncio.create_task(child()))

    children: list[asyncio.Task[None]] = []
    event_bus.subscribe(Asked, leave_running)
    await event_bus.publish(Asked(n=0))
    await event_bus.drain()
    await asyncio.gather(*children)
    assert drained == [True]

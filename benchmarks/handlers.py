"""Handlers: one type, one handler; what a policy costs that does not act, and what it costs when it does."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, Unpack

from benchmarks import peers
from benchmarks.rows import Now, Row, Run, speed, times
from benchmarks.sides import (
    Counted,
    Handler,
    Handling,
    Publishing,
    Quoted,
    Witness,
    bus_loop,
    counted,
    one_by_one,
    queue_loop,
    suspending,
    timed,
)
from eventbus import Event, InMemoryEventBus, PolicyOptions, Retry, Status

FIRST = "the first row"
PRICE, SIZE = Decimal("28.19"), Decimal("100.5")
NUMBER: ContextVar[int] = ContextVar("number")
RETRY = Retry(attempts=3, delay=0.005)
ONE_IN = 100


class Effect(Event, type="bench.effect"):
    """What the handler of a counted event publishes."""

    n: int


async def kept(bus: InMemoryEventBus, events: Any) -> None:
    """Receipts are kept and awaited when all is done."""
    receipts = [await bus.publish(event) for event in events]
    await bus.drain()
    for receipt in receipts:
        (outcome,) = await receipt
        if outcome.status is not Status.SUCCEEDED:
            raise AssertionError(f"{outcome}")


def multiplying(witness: Witness) -> Handler:
    """Arithmetic that leaves a decimal context in the handler's context."""

    async def on_event(event: Any) -> None:
        PRICE * SIZE
        witness.append(event)

    return on_event


def setting(witness: Witness) -> Handler:
    async def on_event(event: Any) -> None:
        NUMBER.set(event.n)
        witness.append(event)

    return on_event


def failing(witness: Witness) -> Handler:
    """One in a hundred fails for good."""

    async def on_event(event: Any) -> None:
        witness.append(event)
        if event.n % ONE_IN == 0:
            raise ValueError(event.n)

    return on_event


def failing_once(witness: Witness) -> Handler:
    """One in a hundred fails the first time."""
    failed: set[int] = set()

    async def on_event(event: Any) -> None:
        if event.n % ONE_IN == 0 and event.n not in failed:
            failed.add(event.n)
            raise ValueError(event.n)
        witness.append(event)

    return on_event


def never_failing(witness: Witness) -> Handler:
    """It looks at each event as those do that fail."""

    async def on_event(event: Any) -> None:
        witness.append(event)
        if event.n % ONE_IN == ONE_IN:
            raise AssertionError("no remainder is that large")

    return on_event


async def quietly(bus: InMemoryEventBus, events: Any) -> None:
    """What fails here is expected to: nothing is printed."""
    log = logging.getLogger("eventbus")
    usual = log.level
    log.setLevel(logging.CRITICAL)
    try:
        await one_by_one(bus, events)
    finally:
        log.setLevel(usual)


async def with_dead_letters(bus: InMemoryEventBus, events: Any) -> None:
    await quietly(bus, events)
    if len(bus.dead_letters) != len(range(0, len(events), ONE_IN)):
        raise AssertionError(f"{len(bus.dead_letters)} dead letters")


async def cascade_of_queues(count: int, now: Now) -> float:
    """Two queues and two consumers; the handler of the first puts into the second."""
    events, effects, witness = counted(count), counted(count, Effect), Witness()
    first, second = asyncio.Queue[Any](), asyncio.Queue[Any]()

    async def on_event(event: Any) -> None:
        await second.put(effects[event.n])

    async def consume(queue: asyncio.Queue[Any], handler: Handler) -> None:
        for _ in range(count):
            await handler(await queue.get())

    began = now()
    consumers = [asyncio.create_task(consume(first, on_event)), asyncio.create_task(consume(second, witness.on_event))]
    for event in events:
        await first.put(event)
    await asyncio.gather(*consumers)
    seconds = now() - began
    witness.check(effects)
    return seconds / count


async def cascade(count: int, now: Now) -> float:
    events, effects, witness, bus = counted(count), counted(count, Effect), Witness(), InMemoryEventBus()

    async def on_event(event: Any) -> None:
        await bus.publish(effects[event.n])

    bus.subscribe(Counted, on_event)
    bus.subscribe(Effect, witness.on_event)
    seconds = await timed(bus, events, now)
    witness.check(effects)
    if [effect.causation_id for effect in effects] != [event.event_id for event in events]:
        raise AssertionError("an effect does not name its cause")
    return seconds / count


async def hops(count: int, now: Now) -> float:
    """One executor hop each: fewer of them are enough to know their price."""
    events, witness, loop = counted(max(1, count // 40)), Witness(), asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        began = now()
        for event in events:
            await loop.run_in_executor(pool, witness.append, event)
        seconds = now() - began
    witness.check(events)
    return seconds / len(events)


def in_threads(publishing: Publishing) -> Run:
    """A sync handler."""

    async def run(count: int, now: Now) -> float:
        events, witness, bus = counted(count), Witness(), InMemoryEventBus()

        def on_event(event: Counted) -> None:
            witness.append(event)

        bus.subscribe(Counted, on_event)
        seconds = await timed(bus, events, now, publishing)
        witness.check(events)
        return seconds / count

    return run


def _alike(words: str, share: float, *, is_ordered: bool = True, **policy: Unpack[PolicyOptions]) -> Row:
    """A policy that does not act, against none."""
    return Row(words, speed(share), bus_loop(is_ordered=is_ordered, **policy), bus_loop(), against=FIRST)


def _against_queue(
    words: str, handling: Handling, share: float, newer: float | None = None, **policy: Unpack[PolicyOptions]
) -> Row:
    is_ordered = "concurrency" not in policy
    bus = bus_loop(handling, is_ordered=is_ordered, **policy)
    return Row(words, speed(share, newer=newer), bus, queue_loop(handling), count=4_000)


ROWS = (
    Row("one handler, receipts dropped", speed(0.85, newer=0.65), bus_loop(), queue_loop(), peers=peers.plain()),
    Row(
        "the same, receipts kept, awaited after the drain",
        speed(0.5, newer=0.4),
        bus_loop(publishing=kept),
        queue_loop(),
    ),
    _alike("`retry=`, not acting", 0.9, retry=RETRY),
    _alike("`key=`, not acting", 0.9, key="n"),
    _alike("`queue_size=`, not acting", 0.9, queue_size=100_000),
    _alike("`timeout=`, handler does not suspend", 0.85, timeout=300),
    _alike("`concurrency=4`, handler does not suspend", 0.85, concurrency=4, is_ordered=False),
    _against_queue("`timeout=`, handler suspends once", suspending, 0.55, timeout=300.0),
    _against_queue("`concurrency=4`, handler suspends once", suspending, 0.35, concurrency=4),
    Row("`where=`", speed(0.7, newer=0.55), bus_loop(where=lambda _event: True), queue_loop()),
    Row("`max_age=` (a clock reading an event)", speed(0.7, newer=0.55), bus_loop(max_age=300.0), queue_loop()),
    Row("QUOTE not behind", speed(0.7, newer=0.55), bus_loop(cls=Quoted), queue_loop(cls=Quoted)),
    _against_queue("handler multiplies two Decimals", multiplying, 0.5, 0.42),
    Row(
        "handler publishes one event (a cascade of two)",
        speed(0.5, newer=0.45),
        cascade,
        cascade_of_queues,
        count=4_000,
    ),
    _against_queue("handler sets a context variable", setting, 0.17),
    Row(
        "1 % fail into dead letters",
        times(1.35),
        bus_loop(failing, publishing=with_dead_letters),
        bus_loop(never_failing),
        against="none fails",
    ),
    Row(
        "1 % retried after 5 ms",
        times(2),
        bus_loop(failing_once, publishing=quietly, is_ordered=False, retry=RETRY),
        bus_loop(never_failing),
        against="none fails",
    ),
    Row(
        "handler that suspends once",
        speed(0.75, uvloop=0.65),
        bus_loop(suspending),
        queue_loop(suspending),
        count=4_000,
        peers=peers.suspending(),
    ),
    Row("sync handler, receipts dropped", speed(45), in_threads(one_by_one), hops, against="a hop each"),
    Row("sync handler, receipts kept", speed(23), in_threads(kept), hops, against="a hop each"),
)

"""Waiting: for what became of one event, one at a time on an idle bus; and how long an event is on its way at a steady rate."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from benchmarks import peers
from benchmarks.publishing import BARE
from benchmarks.rows import Now, Row, Run, speed, times
from benchmarks.sides import Counted, Witness, counted
from eventbus import InMemoryEventBus

RATE = 2_000  # events a second
WARM_UP = 50  # events
Send = Callable[[Any], Awaitable[Any]]
Asking = Callable[[InMemoryEventBus, Any], Awaitable[None]]


async def queue_and_future(count: int, now: Now) -> float:
    """The future comes back when the handler has run."""
    events, witness = counted(count), Witness()
    queue: asyncio.Queue[tuple[Any, asyncio.Future[int]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def consume() -> None:
        for _ in range(count):
            event, done = await queue.get()
            await witness.on_event(event)
            done.set_result(1)

    began = now()
    consumer = asyncio.create_task(consume())
    for event in events:
        done = loop.create_future()
        await queue.put((event, done))
        await done
    await consumer
    seconds = now() - began
    witness.check(events)
    return seconds / count


def one_at_a_time(asking: Asking) -> Run:
    async def run(count: int, now: Now) -> float:
        events, witness, bus = counted(count), Witness(), InMemoryEventBus()

        async def on_event(event: Counted) -> int:
            witness.append(event)
            return 1

        bus.subscribe(Counted, on_event)
        async with bus:
            began = now()
            for event in events:
                await asking(bus, event)
            seconds = now() - began
        witness.check(events)
        return seconds / count

    return run


async def publish_and_wait(bus: InMemoryEventBus, event: Any) -> None:
    if await bus.publish_and_wait(event):
        raise AssertionError("nothing was to fail")


async def request(bus: InMemoryEventBus, event: Any) -> None:
    if await bus.request(event) != 1:
        raise AssertionError("another answer")


async def receipt(bus: InMemoryEventBus, event: Any) -> None:
    if len(await (await bus.publish(event))) != 1:
        raise AssertionError("one delivery, one outcome")


def queue_latency(percent: int) -> Run:
    async def run(count: int, _now: Now) -> float:
        handled: list[int] = []
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def on_event(_event: Any) -> None:
            handled.append(time.perf_counter_ns())

        async def consume() -> None:
            while True:
                await on_event(await queue.get())

        consumer = asyncio.create_task(consume())
        taken = await _on_time(queue.put, count, handled)
        consumer.cancel()
        with suppress(asyncio.CancelledError):
            await consumer
        return _at(taken, percent)

    return run


def bus_latency(percent: int) -> Run:
    async def run(count: int, _now: Now) -> float:
        handled: list[int] = []

        async def on_event(_event: Any) -> None:
            handled.append(time.perf_counter_ns())

        bus = InMemoryEventBus()
        bus.subscribe(Counted, on_event)
        async with bus:
            return _at(await _on_time(bus.publish, count, handled), percent)

    return run


async def _on_time(send: Send, count: int, handled: list[int]) -> list[int]:
    """Nanoseconds from send to handler. Sent on time, whether or not the last has arrived: a stall counts for all that it delays."""
    sent: list[int] = []
    began = time.perf_counter()
    for number, event in enumerate(counted(WARM_UP + count)):
        await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        sent.append(time.perf_counter_ns())
        await send(event)
    while len(handled) < len(sent):  # noqa: ASYNC110 - waiting for what is measured must not add to it
        await asyncio.sleep(0)
    return [arrived - left for left, arrived in zip(sent, handled, strict=True)][WARM_UP:]


def _at(taken: Sequence[int], percent: int) -> float:
    return statistics.quantiles(taken, n=100)[percent - 1] / 1e9


def _latency(percent: int, aim: float) -> Row:
    name = f"latency at {RATE:,} events/s, p{percent}"
    return Row(name, times(aim), bus_latency(percent), queue_latency(percent), clock="wall", count=500)


ROWS = (
    Row(
        "`publish_and_wait`, one at a time, idle bus",
        speed(0.32, uvloop=0.22),
        one_at_a_time(publish_and_wait),
        queue_and_future,
        against="queue + future",
        count=4_000,
        peers=peers.awaited(),
    ),
    Row(
        "`request`, one at a time, idle bus",
        speed(0.32, uvloop=0.22),
        one_at_a_time(request),
        queue_and_future,
        against="queue + future",
        count=4_000,
    ),
    Row("`await (await publish(e))`", times(2.5), one_at_a_time(receipt), queue_and_future, against=BARE, count=4_000),
    _latency(50, 2.8),
    _latency(99, 3.3),
)

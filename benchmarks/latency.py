"""Latency at 2,000 events a second, from publish to handler; queue and bus take turns of a quarter second in one loop."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.compare import LOOPS, Settings
from benchmarks.sides import Counted, counted
from eventbus import InMemoryEventBus

RATE = 2_000
TURN = 500  # events
TURNS = 2  # of each side, per round
Send = Callable[[Any], Awaitable[Any]]


def run(settings: Settings) -> dict[str, Any]:
    with asyncio.Runner(loop_factory=LOOPS[settings.loop]) as runner:
        queue_ns, bus_ns = runner.run(_measure(TURNS * settings.rounds, settings.events(TURN)))
    figures: dict[str, Any] = {}
    for name, share in (("p50", 50), ("p99", 99)):
        queue_at, bus_at = ([_at(turn, share) for turn in turns] for turns in (queue_ns, bus_ns))
        figures[f"queue_{name}_us"] = statistics.median(queue_at) / 1e3
        figures[f"eventbus_{name}_us"] = statistics.median(bus_at) / 1e3
        figures[f"{name}_ratio"] = statistics.median(bus / queue for bus, queue in zip(bus_at, queue_at, strict=True))
    return figures | {"reach": {"p50_ratio": 1.8, "p99_ratio": 1.6}}


def _at(times: list[int], percent: int) -> float:
    return statistics.quantiles(times, n=100)[percent - 1]


async def _measure(turns: int, events: int) -> tuple[list[list[int]], list[list[int]]]:
    """Nanoseconds of each event, by turn, through the queue and through the bus."""
    handled: list[int] = []

    async def on_event(_event: Any) -> None:
        handled.append(time.perf_counter_ns())

    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def consume() -> None:
        while True:
            await on_event(await queue.get())

    bus = InMemoryEventBus()
    bus.subscribe(Counted, on_event)
    consumer = asyncio.create_task(consume())
    async with bus:
        through_queue: list[list[int]] = []
        through_bus: list[list[int]] = []
        await _turn(queue.put, handled, events), await _turn(bus.publish, handled, events)  # warm-up
        for _ in range(turns):
            through_queue.append(await _turn(queue.put, handled, events))
            through_bus.append(await _turn(bus.publish, handled, events))
    consumer.cancel()
    return through_queue, through_bus


async def _turn(send: Send, handled: list[int], events: int) -> list[int]:
    """Send on time, whether or not the last has arrived: a stall counts for all that it delays."""
    sent: list[int] = []
    handled.clear()
    began = time.perf_counter()
    for number, event in enumerate(counted(events)):
        pause = began + number / RATE - time.perf_counter()
        await asyncio.sleep(max(0.0, pause))
        sent.append(time.perf_counter_ns())
        await send(event)
    while len(handled) < events:  # noqa: ASYNC110 - waiting for what is measured must not add to it
        await asyncio.sleep(0)
    return [arrived - left for left, arrived in zip(sent, handled, strict=True)]

"""A million events through the bus: none lost, order kept per symbol, memory flat. Give another number if you like.

Run it: python examples/high_volume.py [events]
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections import Counter

from eventbus import Event, InMemoryEventBus, SystemClock

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
MEGABYTE = 1024  # ru_maxrss is in kilobytes


class TickEvent(Event, type="tick", key="symbol"):
    """A number on a line."""

    symbol: str
    number: int


async def main(events: int) -> None:
    bus = InMemoryEventBus(max_queue_size=10_000)
    last: dict[str, int] = {}
    counts: Counter[str] = Counter()
    out_of_order = 0

    @bus.on(TickEvent, name="order keeper")
    async def keep_order(event: TickEvent) -> None:
        nonlocal out_of_order
        out_of_order += event.number <= last.get(event.symbol, -1)
        last[event.symbol] = event.number

    @bus.on("tick", name="counter")
    async def count(event: TickEvent) -> None:
        counts[event.symbol] += 1

    clock = SystemClock()
    started = clock.monotonic_ns()
    peak_early = 0
    async with bus:
        for number in range(events):
            await bus.publish(TickEvent(symbol=SYMBOLS[number % len(SYMBOLS)], number=number))
            if number == events // 10:
                peak_early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await bus.drain()
        stats = bus.get_stats()
    seconds = (clock.monotonic_ns() - started) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    print(f"{events:,} events, {2 * events:,} deliveries in {seconds:.1f} s: {2 * events / seconds:,.0f} deliveries/s")
    print(f"queue at the end {stats['queue_size']}, errors {stats['errors']}, dropped {stats['dropped']}")
    print(f"p50 {stats['dispatch_p50_ms']:.3f} ms, p99 {stats['dispatch_p99_ms']:.3f} ms")
    print(f"peak memory {peak / MEGABYTE:.0f} MB, after a tenth of it {peak_early / MEGABYTE:.0f} MB")

    assert counts.total() == events, "an event was lost"
    assert out_of_order == 0, "an event overtook another of its symbol"
    assert (stats["published"], stats["dispatched"], stats["dropped"]) == (events, events, 0)
    assert peak - peak_early < 50 * MEGABYTE, "memory grows with the number of events"


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))

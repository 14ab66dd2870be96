"""The same run three times, once beside two slow onlookers: one digest of everything that was decided."""

from __future__ import annotations

import asyncio
import random

from eventbus import Event, InMemoryEventBus
from quantum_trader.app import build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import RunCompletedEvent
from quantum_trader.market.dataset import Dataset

CONFIG = load_config(environ={}, overrides={"universe": {"end": "2001-06-30"}, "strategies": {"all_live": True}})


async def run(feed: Dataset, *, watched: bool) -> RunCompletedEvent:
    bus = InMemoryEventBus(max_queue_size=100_000)
    system = build(bus, CONFIG, feed)
    dice = random.Random(1)
    seen = 0

    async def dawdle(event: Event) -> None:
        for _ in range(dice.randrange(5)):
            await asyncio.sleep(0)

    def count(event: Event) -> None:  # in a thread, whenever it pleases
        nonlocal seen
        seen += 1

    if watched:
        bus.subscribe("*", dawdle, name="slow dashboard")
        bus.subscribe("market.*", count, name="archive")
    async with bus:
        completed = await system.run()
    system.close()
    assert bool(seen) is watched
    return completed


async def main() -> None:
    feed = load_feed(CONFIG)
    runs = [await run(feed, watched=watched) for watched in (False, False, True)]
    for completed in runs:
        print(f"{completed.det_events:,} decision events, digest {completed.digest}")
    assert len({completed.digest for completed in runs}) == 1


if __name__ == "__main__":
    asyncio.run(main())

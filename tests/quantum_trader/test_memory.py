"""Memory: what a run keeps depends on its windows, not on how long it has been going."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.app import build
from quantum_trader.config import load_config
from quantum_trader.market.synthetic import SyntheticFeed

SYMBOLS = ("AAA", "BBB")
WARM = 2_400  # sessions: the longest window is that of the bars kept for candidates, 1,300, and trials keep up to 1,600
MORE = 1_600  # trials forget half of that at once, so the same number of sessions later they hold as much


async def blocks_held(overrides: dict[str, Any]) -> list[int]:
    """Blocks of memory that Python holds when the windows are full, and `MORE` sessions later."""
    readings: list[int] = []

    async def read(session: int) -> None:
        if session in {WARM, WARM + MORE}:
            bus.stats()  # sorts the run times noted, up to 256 of a subscription, into their buckets
            gc.collect()
            readings.append(sys.getallocatedblocks())

    # What the bus remembers of its last events is bounded, and as large as those happen to be.
    bus = InMemoryEventBus(max_queue_size=100_000, history=0)
    system = build(bus, load_config(environ={}, overrides=overrides), SyntheticFeed(SYMBOLS, WARM + MORE + 1, seed=1))
    async with bus:
        await system.begin()
        await system.play(on_session=read)
    system.close()
    assert len(bus.dead_letters) == 0
    return readings


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "most"),  # blocks a bar, windows that are not full yet included
    # Where strategies trade, a line a fill stays for the report, and its ids so that a duplicate is known.
    [pytest.param({}, 4.0, id="bred"), pytest.param({"strategies": {"all_live": True}}, 4.0, id="all live")],
)
def test_a_bar_more_takes_no_memory_once_the_windows_are_full(overrides: dict[str, Any], most: float) -> None:
    """An event that somebody keeps is ten blocks or more, a figure one. The benchmark `full_graph` tells the bytes."""
    before, after = asyncio.run(blocks_held(overrides))
    assert (after - before) / (MORE * len(SYMBOLS)) < most

"""The shipped bars through the trading system: one strategy alone, the whole graph in memory, and as `qt demo` runs it, durable.

Bars per second over thirteen years of five symbols. The whole graph publishes six events per bar, each heard by four or five.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.compare import Now, Settings, Side, in_turns
from quantum_trader.app import load_feed, replay
from quantum_trader.cli.throughput import strategy_only
from quantum_trader.config import load_config
from quantum_trader.events import RunCompletedEvent
from quantum_trader.market.dataset import Dataset
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder

BARS = 12_154
ROUNDS = 3  # one takes half a minute
CONFIG = load_config(profile="demo", environ={})
FEED = load_feed(CONFIG)


async def strategy(count: int, now: Now) -> float:
    with _long_lived():
        began = now()
        await strategy_only(count, _first(count))
        return now() - began


async def whole(count: int, now: Now) -> float:
    feed = _first(count)
    with _long_lived():
        began = now()
        _check(feed, (await replay(CONFIG, feed))[1])
        return now() - began


async def durable(count: int, now: Now) -> float:
    feed = _first(count)
    with _long_lived(), tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        folder.begin(CONFIG)
        began = now()
        async with DurableRun(folder, CONFIG, feed) as run:
            _check(feed, await run.run())
        return now() - began


def run(settings: Settings) -> dict[str, Any]:
    sides = {"strategy": Side(strategy, BARS), "whole": Side(whole, BARS), "durable": Side(durable, BARS)}
    taken = in_turns(replace(settings, rounds=min(settings.rounds, ROUNDS)), sides)
    figures = {f"{name}_bars_per_s": 1e9 / statistics.median(each) for name, each in taken.items()}
    return figures | {"reach": {"strategy_bars_per_s": 25_000, "durable_bars_per_s": 5_000}}


def _first(count: int) -> Dataset:
    """Sessions from the beginning until they hold `count` bars."""
    bars, sessions = 0, 0
    for group in FEED.sessions:
        if bars >= count:
            break
        bars, sessions = bars + len(group.bars), sessions + 1
    return Dataset(FEED.name, FEED.file, FEED.sha256, FEED.symbols, FEED.sessions[:sessions])


def _check(feed: Dataset, completed: RunCompletedEvent | None) -> None:
    if completed is None or completed.sessions != len(feed):
        raise AssertionError(f"the run did not reach its end: {completed}")


@contextmanager
def _long_lived() -> Iterator[None]:
    """Collect garbage as the commands do: what is imported is never looked at."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()

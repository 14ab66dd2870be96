"""Trading: bars through the trading system: one strategy alone, the whole graph in memory, and as `qt demo` runs it, durable.

The whole graph publishes six events per bar, each heard by four or five.
"""

from __future__ import annotations

import functools
import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import MIB, resident_bytes
from benchmarks.rows import Now, Row, at_least, at_most, times
from eventbus import InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, build, load_feed, replay
from quantum_trader.cli.throughput import strategy_only
from quantum_trader.config import Config, load_config
from quantum_trader.events import RunCompletedEvent
from quantum_trader.market.dataset import Dataset
from quantum_trader.market.synthetic import SyntheticFeed
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder

BARS = 12_154  # thirteen years of five symbols
SYNTHETIC = 1_000_000
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
ROUNDS = 3  # at most: one takes half a minute


async def strategy(count: int, now: Now) -> float:
    """Bars a second."""
    feed = _first(count)
    with _long_lived():
        began = now()
        await strategy_only(count, feed)
        return count / (now() - began)


async def in_memory(count: int, now: Now) -> float:
    feed = _first(count)
    with _long_lived():
        began = now()
        _, completed = await replay(_config(), feed)
        taken = now() - began
    _check(feed, completed)
    return taken / count


async def durable(count: int, now: Now) -> float:
    feed = _first(count)
    with _long_lived(), tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path, "run"))
        folder.begin(_config())
        began = now()
        async with DurableRun(folder, _config(), feed) as run:
            completed = await run.run()
        taken = now() - began
    _check(feed, completed)
    return taken / count


async def durable_bars(count: int, now: Now) -> float:
    """Bars a second."""
    return 1 / await durable(count, now)


async def most_resident(count: int, _now: Now) -> float:
    """MiB, read after each tenth of so many synthetic bars."""
    sessions = count // len(SYMBOLS)
    readings: list[int] = []
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE)
    system = build(bus, load_config(environ={}), SyntheticFeed(SYMBOLS, sessions, seed=1))

    async def read(session: int) -> None:
        if (session + 1) % max(1, sessions // 10) == 0:
            readings.append(resident_bytes())

    async with bus:
        await system.begin()
        await system.finish(await system.play(on_session=read))
    system.close()
    if len(bus.dead_letters):
        raise AssertionError(f"{len(bus.dead_letters)} dead letters")
    return max(readings) / MIB


@functools.cache
def _config() -> Config:
    return load_config(profile="demo", environ={})


@functools.cache
def _feed() -> Dataset:
    return load_feed(_config())


def _first(count: int) -> Dataset:
    """Sessions from the beginning until they hold `count` bars."""
    feed = _feed()
    bars, sessions = 0, 0
    for group in feed.sessions:
        if bars >= count:
            break
        bars, sessions = bars + len(group.bars), sessions + 1
    return Dataset(feed.name, feed.file, feed.sha256, feed.symbols, feed.sessions[:sessions])


def _check(feed: Dataset, completed: RunCompletedEvent | None) -> None:
    if completed is None or completed.sessions != len(feed):
        raise AssertionError(f"the run did not reach its end: {completed}")


@contextmanager
def _long_lived() -> Iterator[None]:
    """Collect garbage as the commands do: seldom."""
    usual = gc.get_threshold()
    gc.set_threshold(10_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


ROWS = (
    Row(
        "strategy-only graph, three drained barriers a session",
        at_least(25_000, "bars/s"),
        strategy,
        count=BARS,
        rounds=ROUNDS,
    ),
    Row("the whole demo, durable", at_least(5_000, "bars/s"), durable_bars, count=BARS, rounds=ROUNDS),
    Row(
        "the whole demo, durable, against the demo in memory",
        times(2),
        durable,
        in_memory,
        against="in memory",
        count=BARS,
        rounds=ROUNDS,
    ),
    Row(
        "a million synthetic bars through the whole graph, RSS",
        at_most(300, "MiB"),
        most_resident,
        count=SYNTHETIC,
        is_alone=True,
    ),
)

"""Sweeping: what a worker of a sweep does with a point: the run of it, from the beginning or from where it was."""

from __future__ import annotations

import asyncio
import signal
from functools import lru_cache
from typing import Any

from quantum_trader.app import load_feed
from quantum_trader.brought import own_strategy
from quantum_trader.config import Config, UniverseConfig
from quantum_trader.events import RunCompletedEvent
from quantum_trader.market.dataset import Dataset
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.ending import conclude
from quantum_trader.runs.sweep import Point


def work(point: Point) -> None:
    """Do the run of `point`. Ends the process when it is told to stop before the run's end; it can be continued."""
    own_strategy(point.config.own, point.config.app.seed)
    feed = _feed(point.config.universe, point.config.app.data_directory)
    if not point.folder.is_unfinished or point.folder.config() != point.config:
        point.folder.begin(point.config)
    run, completed = _loop(_done(point, feed))
    if completed is None:
        raise SystemExit
    conclude(point.folder, run.system.record, completed)


async def _done(point: Point, feed: Dataset) -> tuple[DurableRun, RunCompletedEvent | None]:
    async with DurableRun(point.folder, point.config, feed) as run:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, run.stop)
        try:
            return run, await run.run()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)


@lru_cache(maxsize=1)
def _feed(universe: UniverseConfig, data_directory: str) -> Dataset:
    """The bars, read once by each worker."""
    config = Config(universe=universe)
    return load_feed(
        config.model_copy(update={"app": config.app.model_copy(update={"data_directory": data_directory})})
    )


def _loop(main: Any) -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)

"""The whole demo over a journal in a folder of its own, with checkpoints and a record of it, against the demo in memory."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.compare import CLOCKS, LOOPS, Now, Settings, ratios
from quantum_trader.app import load_feed, replay
from quantum_trader.config import Config, load_config
from quantum_trader.market.dataset import Dataset
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder

ROUNDS = 3  # of several seconds each
REACH = 2.0  # times the time in memory

Demo = Callable[[Config, Dataset, Now], Awaitable[tuple[float, str]]]


def run(settings: Settings) -> dict[str, Any]:
    """Seconds of both, in turns, and how many times as long the journal takes."""
    config = load_config(profile="demo", environ={})
    whole = load_feed(config)
    feed = Dataset(
        whole.name, whole.file, whole.sha256, whole.symbols, whole.sessions[: settings.events(len(whole.sessions))]
    )
    taken: dict[Demo, list[float]] = {_in_memory: [], _with_journal: []}
    digests = set()
    for _ in range(min(settings.rounds, ROUNDS)):
        for demo, seconds in taken.items():
            gc.collect()
            with asyncio.Runner(loop_factory=LOOPS[settings.loop]) as runner:
                took, digest = runner.run(_coroutine(demo(config, feed, CLOCKS[settings.clock])))
            seconds.append(took)
            digests.add(digest)
    assert len(digests) == 1, "the journal changed what was decided"
    memory, journal = taken.values()
    return {
        "memory_s": statistics.median(memory),
        "journal_s": statistics.median(journal),
        "times": statistics.median(ratios(journal, memory)),
        "reach": {"times": REACH},
    }


async def _in_memory(config: Config, feed: Dataset, now: Now) -> tuple[float, str]:
    began = now()
    _, completed = await replay(config, feed)
    return now() - began, completed.digest


async def _with_journal(config: Config, feed: Dataset, now: Now) -> tuple[float, str]:
    with TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "run")
        folder.begin(config)
        began = now()
        async with DurableRun(folder, config, feed) as durable:
            completed = await durable.run()
        assert completed is not None
        return now() - began, completed.digest


async def _coroutine(demo: Awaitable[tuple[float, str]]) -> tuple[float, str]:
    return await demo

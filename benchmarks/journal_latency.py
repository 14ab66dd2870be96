"""How long an acknowledgement takes at 1,000 events a second, FULL: the journal against raw SQLite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.journal_raw import RawWriter, record
from eventbus.journal.sqlite import SqliteJournal

RATE = 1_000
EVENTS = 5_000
ROUNDS = 2


def run() -> dict[str, Any]:
    """Milliseconds at the median and the 99th percentile, and the ratios that are wanted at most."""
    return asyncio.run(_compare())


async def _compare() -> dict[str, Any]:
    raw: list[float] = []
    ours: list[float] = []
    items = list(map(record, range(EVENTS)))
    for _ in range(ROUNDS):
        with TemporaryDirectory() as folder:
            writer = RawWriter(Path(folder, "raw.db"))
            raw += await measure(writer.append, [[(item.event_id, item.body)] for item in items])
            writer.close()
        with TemporaryDirectory() as folder:
            async with SqliteJournal(Path(folder, "run.db")) as journal:
                ours += await measure(journal.append, [[item] for item in items])
    return compared(ours, raw)


def compared(ours: list[float], raw: list[float]) -> dict[str, Any]:
    """Milliseconds at the median and the 99th percentile of both sides, their ratios, and what is to be reached."""
    p50, p99, raw_p50, raw_p99 = (_at(times, share) for times in (ours, raw) for share in (0.5, 0.99))
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "raw_p50_ms": raw_p50,
        "raw_p99_ms": raw_p99,
        "p50_ratio": p50 / raw_p50,
        "p99_ratio": p99 / raw_p99,
        "reach": {"p50_ratio": 1.5, "p99_ratio": 2.0},
    }


async def measure(append: Callable[[Any], Awaitable[Any]], batches: Sequence[Any]) -> list[float]:
    """Milliseconds from each call to its answer, the calls being made at their times whatever the answers do."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int) -> float:
        await asyncio.sleep(began + number / RATE - loop.time())
        start = time.perf_counter()
        await append(batches[number])
        return (time.perf_counter() - start) * 1_000

    return list(await asyncio.gather(*map(one, range(len(batches)))))


def _at(times: list[float], share: float) -> float:
    return sorted(times)[int(share * (len(times) - 1))]

"""Durable appends against raw SQLite: one publisher, a hundred, batches of a thousand; FULL, same bytes, same machine."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.journal_raw import RawWriter, record
from eventbus.journal.sqlite import SqliteJournal

ROUNDS = 5  # each side in turn; the median of the pairs counts, so that a disturbance hits one pair


class Workload(NamedTuple):
    """So many publishers, each awaiting so many batches of such a size; and the ratio that is wanted."""

    publishers: int
    batches: int
    size: int
    reach: float


WORKLOADS = {
    "one publisher awaiting each": Workload(1, 2_000, 1, 0.8),
    "100 concurrent publishers": Workload(100, 200, 1, 0.5),
    "batches of 1,000": Workload(1, 60, 1_000, 0.4),
}


def run() -> dict[str, Any]:
    """Events per second of the journal and of raw SQLite, and their ratio, by workload."""
    return {name: asyncio.run(_compare(workload)) for name, workload in WORKLOADS.items()}


async def _compare(workload: Workload) -> dict[str, float]:
    pairs = [(await _ours(workload), await _raw(workload)) for _ in range(ROUNDS)]
    ours, raw = sorted(pairs, key=lambda pair: pair[0] / pair[1])[ROUNDS // 2]
    return {"events_per_s": ours, "raw_events_per_s": raw, "ratio": ours / raw, "reach": workload.reach}


async def _raw(workload: Workload) -> float:
    total = workload.publishers * workload.batches * workload.size
    rows = [(item.event_id, item.body) for item in map(record, range(total))]
    with TemporaryDirectory() as folder:
        writer = RawWriter(Path(folder, "raw.db"))
        rate = await _drive(workload, rows, writer.append)
        writer.close()
    return rate


async def _ours(workload: Workload) -> float:
    total = workload.publishers * workload.batches * workload.size
    items = [record(number) for number in range(total)]
    with TemporaryDirectory() as folder:
        async with SqliteJournal(Path(folder, "run.db")) as journal:
            return await _drive(workload, items, journal.append)


async def _drive(workload: Workload, items: Sequence[Any], append: Callable[[Any], Awaitable[Any]]) -> float:
    size = workload.size

    async def publisher(number: int) -> None:
        # Publishers take turns through the items: ids ascend with time, as ids that hold a time do.
        for at in range(number * size, len(items), workload.publishers * size):
            await append(items[at : at + size])

    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*map(publisher, range(workload.publishers)))
    return len(items) / (time.perf_counter() - began)

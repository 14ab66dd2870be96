"""Reading back on the bus: a replay of typed events, and the first delivery after a restart with 100,000 pending."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic_core import from_json

from benchmarks.compare import CLOCKS, LOOPS, Now, Settings, summary
from benchmarks.durable_publish import DurableTradeEvent, trade
from eventbus import Event, JournaledEventBus
from eventbus.journal.sqlite import SqliteJournal

PENDING = 100_000
ROUNDS = 5


def run(settings: Settings) -> dict[str, Any]:
    """Nanoseconds per event of a bare cursor loop with JSON decode and of a replay; seconds until work goes on."""
    with TemporaryDirectory() as folder, asyncio.Runner(loop_factory=LOOPS[settings.loop]) as runner:
        return runner.run(_measure(Path(folder, "run.db"), CLOCKS[settings.clock]))


async def _measure(path: Path, now: Now) -> dict[str, Any]:
    bus = JournaledEventBus(SqliteJournal(path), max_queue_size=2 * PENDING)
    bus.subscribe(DurableTradeEvent, _never, group="ledger")
    for first in range(0, PENDING, 5_000):
        await bus.publish_many([trade(number) for number in range(first, first + 5_000)])
    await bus.shutdown(timeout=0)
    began = time.perf_counter()
    bus = JournaledEventBus(SqliteJournal(path))
    first_came = asyncio.get_running_loop().create_future()

    async def handle(_event: Event) -> None:
        if not first_came.done():
            first_came.set_result(time.perf_counter() - began)

    bus.subscribe(DurableTradeEvent, handle, group="ledger")
    async with bus:
        first_delivery = await first_came
        await bus.drain()
        drained = time.perf_counter() - began
        taken: dict[str, list[float]] = {"bare": [], "eventbus": []}
        for _ in range(ROUNDS):
            taken["bare"].append(_bare(path, now) / PENDING * 1e9)
            start = now()
            count = 0
            async for _event in bus.replay():
                count += 1
            taken["eventbus"].append((now() - start) / count * 1e9)
    return {
        "replay": summary(taken, "bare", reach=0.5),
        "recovery": {
            "first_delivery_s": first_delivery,
            "all_delivered_s": drained,
            "reach": {"first_delivery_s": 2.0},
        },
    }


def _bare(path: Path, now: Now) -> float:
    db = sqlite3.connect(path)
    began = now()
    for (body,) in db.execute("SELECT body FROM records ORDER BY offset"):
        from_json(body)
    elapsed = now() - began
    db.close()
    return elapsed


async def _never(_event: Event) -> None:
    raise AssertionError("this bus does not run")

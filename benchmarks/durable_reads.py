"""Reading back on the bus: a replay of typed events, and the first delivery after a restart with 100,000 pending."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic_core import from_json

from benchmarks.durable_publish import DurableTradeEvent, trade
from eventbus import Event, JournaledEventBus
from eventbus.journal.sqlite import SqliteJournal

PENDING = 100_000
ROUNDS = 3


def run() -> dict[str, Any]:
    """Events per second of a replay beside a bare cursor loop with JSON decode; seconds until work goes on."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder, "run.db")))


async def _measure(path: Path) -> dict[str, Any]:
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
        ours = bare = 0.0
        for _ in range(ROUNDS):
            bare = max(bare, PENDING / _bare(path))
            start = time.perf_counter()
            count = 0
            async for _event in bus.replay():
                count += 1
            ours = max(ours, count / (time.perf_counter() - start))
    return {
        "replay": {"events_per_s": ours, "bare_per_s": bare, "ratio": ours / bare, "reach": 0.5},
        "recovery": {
            "first_delivery_s": first_delivery,
            "all_delivered_s": drained,
            "reach": {"first_delivery_s": 2.0},
        },
    }


def _bare(path: Path) -> float:
    db = sqlite3.connect(path)
    began = time.perf_counter()
    for (body,) in db.execute("SELECT body FROM records ORDER BY offset"):
        from_json(body)
    elapsed = time.perf_counter() - began
    db.close()
    return elapsed


async def _never(_event: Event) -> None:
    raise AssertionError("this bus does not run")

"""How long an acknowledgement of the bus takes at 1,000 events a second, FULL, against raw SQLite in one writer thread."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.durable_publish import trade
from benchmarks.journal_latency import compared, measure
from benchmarks.journal_raw import RawWriter
from eventbus import JournaledEventBus
from eventbus.codec import encode
from eventbus.journal.sqlite import SqliteJournal

EVENTS = 3_000
ROUNDS = 2


def run() -> dict[str, Any]:
    """Milliseconds at the median and the 99th percentile, and the ratios that are wanted at most."""
    return asyncio.run(_compare())


async def _compare() -> dict[str, Any]:
    raw: list[float] = []
    ours: list[float] = []
    for _ in range(ROUNDS):
        events = [trade(number) for number in range(EVENTS)]
        with TemporaryDirectory() as folder:
            writer = RawWriter(Path(folder, "raw.db"))
            raw += await measure(writer.append, [[(event.event_id, encode(event))] for event in events])
            writer.close()
        with TemporaryDirectory() as folder:
            async with JournaledEventBus(SqliteJournal(Path(folder, "run.db"))) as bus:
                ours += await measure(bus.publish, events)
    return compared(ours, raw)

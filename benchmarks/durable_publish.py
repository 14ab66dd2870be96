"""Durable publishing on the bus against raw SQLite in one writer thread: typed events in, bytes on disk, FULL, receipts out."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.journal_raw import RawWriter, Row
from eventbus import Event, JournaledEventBus, Kind
from eventbus.codec import encode
from eventbus.journal.sqlite import SqliteJournal

ROUNDS = 3  # the best of each counts, taken in turns, so that a disturbance does not hit one side alone


class DurableTradeEvent(Event, type="bench.durable.trade", kind=Kind.EVENT):
    """A fill."""

    order_id: str
    symbol: str
    size: Decimal
    price: Decimal


class Workload(NamedTuple):
    """So many publishers, each awaiting so many batches of such a size; and the ratio that is wanted."""

    publishers: int
    batches: int
    size: int
    reach: float


WORKLOADS = {
    "one publisher awaiting each": Workload(1, 1_000, 1, 0.8),
    "100 concurrent publishers": Workload(100, 100, 1, 0.5),
    "publish_many of 1,000": Workload(1, 30, 1_000, 0.4),
}


def run() -> dict[str, Any]:
    """Events per second of the bus and of raw SQLite, and their ratio, by workload."""
    return {name: asyncio.run(_compare(workload)) for name, workload in WORKLOADS.items()}


def trade(number: int) -> DurableTradeEvent:
    """One event, made ahead of the measurement."""
    return DurableTradeEvent(order_id=f"o-{number}", symbol="AAPL", size=Decimal(100), price=Decimal("187.2500"))


async def _compare(workload: Workload) -> dict[str, float]:
    ours = raw = 0.0
    for _ in range(ROUNDS):
        events = [trade(number) for number in range(workload.publishers * workload.batches * workload.size)]
        raw = max(raw, await _raw(workload, [(event.event_id, encode(event)) for event in events]))
        ours = max(ours, await _ours(workload, events))
    return {"events_per_s": ours, "raw_events_per_s": raw, "ratio": ours / raw, "reach": workload.reach}


async def _raw(workload: Workload, rows: Sequence[Row]) -> float:
    with TemporaryDirectory() as folder:
        writer = RawWriter(Path(folder, "raw.db"))

        async def publisher(number: int) -> None:
            for at in range(number * workload.size, len(rows), workload.publishers * workload.size):
                await writer.append(rows[at : at + workload.size])

        rate = await _drive(workload, publisher, len(rows))
        writer.close()
    return rate


async def _ours(workload: Workload, events: Sequence[DurableTradeEvent]) -> float:
    with TemporaryDirectory() as folder:
        async with JournaledEventBus(SqliteJournal(Path(folder, "run.db"))) as bus:

            async def publisher(number: int) -> None:
                for at in range(number * workload.size, len(events), workload.publishers * workload.size):
                    if workload.size == 1:
                        await bus.publish(events[at])
                    else:
                        await bus.publish_many(events[at : at + workload.size])

            return await _drive(workload, publisher, len(events))


async def _drive(workload: Workload, publisher: Any, total: int) -> float:
    gc.collect()
    began = time.perf_counter()
    await asyncio.gather(*map(publisher, range(workload.publishers)))
    return total / (time.perf_counter() - began)

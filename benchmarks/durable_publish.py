"""Durable publishing on the bus against raw SQLite in one writer thread: typed events in, bytes on disk, FULL, receipts out."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.compare import Now, Settings, Side, in_turns, summary
from benchmarks.journal_raw import RawWriter, Row
from eventbus import Event, JournaledEventBus, Kind
from eventbus.codec import encode
from eventbus.journal.sqlite import SqliteJournal

ROUNDS = 5  # at most: a disk has no use for more


class DurableTradeEvent(Event, type="bench.durable.trade", kind=Kind.EVENT):
    """A fill."""

    order_id: str
    symbol: str
    size: Decimal
    price: Decimal


class Workload(NamedTuple):
    """So many publishers, each awaiting batches of such a size, so many events in all; and the ratio that is wanted."""

    publishers: int
    size: int
    events: int
    reach: float


WORKLOADS = {
    "one publisher awaiting each": Workload(1, 1, 1_000, 0.8),
    "100 concurrent publishers": Workload(100, 1, 10_000, 0.5),
    "publish_many of 1,000": Workload(1, 1_000, 30_000, 0.4),
}


def run(settings: Settings) -> dict[str, Any]:
    """Nanoseconds per event of raw SQLite and of the bus, and the ratio of their speeds, by workload."""
    settings = replace(settings, rounds=min(settings.rounds, ROUNDS))
    return {name: _compare(settings, workload) for name, workload in WORKLOADS.items()}


def trade(number: int) -> DurableTradeEvent:
    """One event, made ahead of the measurement."""
    return DurableTradeEvent(order_id=f"o-{number}", symbol="AAPL", size=Decimal(100), price=Decimal("187.2500"))


def _compare(settings: Settings, workload: Workload) -> dict[str, Any]:
    async def raw(count: int, now: Now) -> float:
        return await _raw(workload, [(event.event_id, encode(event)) for event in map(trade, range(count))], now)

    async def ours(count: int, now: Now) -> float:
        return await _ours(workload, list(map(trade, range(count))), now)

    sides = {"raw": Side(raw, workload.events), "eventbus": Side(ours, workload.events)}
    return summary(in_turns(settings, sides), "raw", reach=workload.reach)


async def _raw(workload: Workload, rows: Sequence[Row], now: Now) -> float:
    with TemporaryDirectory() as folder:
        writer = RawWriter(Path(folder, "raw.db"))

        async def publisher(number: int) -> None:
            for at in range(number * workload.size, len(rows), workload.publishers * workload.size):
                await writer.append(rows[at : at + workload.size])

        taken = await _drive(workload, publisher, now)
        writer.close()
    return taken


async def _ours(workload: Workload, events: Sequence[DurableTradeEvent], now: Now) -> float:
    with TemporaryDirectory() as folder:
        async with JournaledEventBus(SqliteJournal(Path(folder, "run.db"))) as bus:

            async def publisher(number: int) -> None:
                for at in range(number * workload.size, len(events), workload.publishers * workload.size):
                    if workload.size == 1:
                        await bus.publish(events[at])
                    else:
                        await bus.publish_many(events[at : at + workload.size])

            return await _drive(workload, publisher, now)


async def _drive(workload: Workload, publisher: Any, now: Now) -> float:
    gc.collect()
    began = now()
    await asyncio.gather(*map(publisher, range(workload.publishers)))
    return now() - began

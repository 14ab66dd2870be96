"""Journal: a bus over SQLite (`synchronous=FULL`) against raw SQLite in a writer thread that keeps the same bytes.

The raw side has no checksums, no idempotence, no groups: it is the floor under any durable journal in SQLite.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pydantic_core import from_json

from benchmarks.rows import Now, Row, Run, at_most, speed, times
from eventbus import Event, Kind, create_event_bus

RAW = "raw SQLite"
ROUNDS = 5  # at most: a disk has no use for more
RATE = 1_000  # events a second
CHUNK = 5_000

Record = tuple[str, bytes]
_Job = tuple["asyncio.Future[None]", Sequence[Record]]


class DurableTrade(Event, type="bench.durable.trade", kind=Kind.EVENT):
    """A fill."""

    order_id: str
    symbol: str
    size: Decimal
    price: Decimal


def trades(count: int) -> list[DurableTrade]:
    """Made ahead of the measurement."""
    size, price = Decimal(100), Decimal("187.2500")
    return [DurableTrade(order_id=f"o-{number}", symbol="AAPL", size=size, price=price) for number in range(count)]


def records(count: int) -> list[Record]:
    return [(event.event_id, event.model_dump_json().encode()) for event in trades(count)]


class RawWriter:
    """One writer thread that commits whatever waits and answers the loop once per commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def append(self, rows: Sequence[Record]) -> asyncio.Future[None]:
        """Answered after the commit."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((future, rows))
        return future

    def close(self) -> None:
        """Commit what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE events (offset INTEGER PRIMARY KEY, id TEXT, body BLOB)")
        going = True
        while going:
            jobs: list[_Job] = []
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
            going = job is not None
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO events (id, body) VALUES (?, ?)", [row for _, rows in jobs for row in rows])
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._answer, [future for future, _ in jobs])
        db.close()

    @staticmethod
    def _answer(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            future.set_result(None)


class Publishers(NamedTuple):
    """So many at once, each awaiting batches of such a size."""

    number: int
    size: int

    async def seconds(self, items: Sequence[Any], send: Callable[[Sequence[Any]], Awaitable[Any]], now: Now) -> float:
        """They take turns through the items: ids ascend with time."""
        stride = self.number * self.size

        async def publisher(first: int) -> None:
            for at in range(first * self.size, len(items), stride):
                await send(items[at : at + self.size])

        began = now()
        await asyncio.gather(*map(publisher, range(self.number)))
        return now() - began

    async def on_raw(self, count: int, now: Now) -> float:
        rows = records(count)
        with TemporaryDirectory() as folder:
            writer = RawWriter(Path(folder, "raw.db"))
            taken = await self.seconds(rows, writer.append, now)
            writer.close()
        return taken / count

    async def on_bus(self, count: int, now: Now) -> float:
        events = trades(count)
        with TemporaryDirectory() as folder:
            async with _bus(folder) as bus:
                if self.size == 1:
                    return await self.seconds(events, lambda one: bus.publish(*one), now) / count
                return await self.seconds(events, bus.publish_many, now) / count


def _bus(folder: str, **settings: Any) -> Any:
    return create_event_bus(f"sqlite:///{Path(folder, 'run.db')}", **settings)


async def replay_of_raw(count: int, now: Now) -> float:
    """A bare cursor over the bodies, and their JSON read."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "raw.db")
        writer = RawWriter(path)
        await writer.append(records(count))
        writer.close()
        db = sqlite3.connect(path)
        began = now()
        for (body,) in db.execute("SELECT body FROM events ORDER BY offset"):
            from_json(body)
        taken = now() - began
        db.close()
    return taken / count


async def replay_of_bus(count: int, now: Now) -> float:
    """Every event typed, as it was."""
    events = trades(count)
    with TemporaryDirectory() as folder:
        async with _bus(folder) as bus:
            for start in range(0, count, CHUNK):
                await bus.publish_many(events[start : start + CHUNK])
            began = now()
            found = [event async for event in bus.replay()]
            taken = now() - began
    if found != events:
        raise AssertionError(f"{len(found)} of {count} events were read, or other ones")
    return taken / count


def raw_latency(percent: int) -> Run:
    async def run(count: int, _now: Now) -> float:
        with TemporaryDirectory() as folder:
            writer = RawWriter(Path(folder, "raw.db"))
            taken = await _on_time(writer.append, [[record] for record in records(count)])
            writer.close()
        return _at(taken, percent)

    return run


def bus_latency(percent: int) -> Run:
    async def run(count: int, _now: Now) -> float:
        with TemporaryDirectory() as folder:
            async with _bus(folder) as bus:
                return _at(await _on_time(bus.publish, trades(count)), percent)

    return run


async def _on_time(send: Callable[[Any], Awaitable[Any]], items: Sequence[Any]) -> list[float]:
    """Seconds from each call to its answer, the calls being made at their times whatever the answers do."""
    began = time.perf_counter()

    async def one(number: int) -> float:
        await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        start = time.perf_counter()
        await send(items[number])
        return time.perf_counter() - start

    return await asyncio.gather(*map(one, range(len(items))))


def _at(taken: Sequence[float], percent: int) -> float:
    return statistics.quantiles(taken, n=100)[percent - 1]


async def first_delivery(count: int, now: Now) -> float:
    """Seconds from opening a journal in which so much is pending until its group goes on."""
    came: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handle(_event: Event) -> None:
        if not came.done():
            came.set_result(now() - began)

    with TemporaryDirectory() as folder:
        bus = _bus(folder, max_queue_size=2 * count)
        bus.subscribe(DurableTrade, _unused, group="ledger")
        for start in range(0, count, CHUNK):
            await bus.publish_many(trades(min(CHUNK, count - start)))
        await bus.shutdown(timeout=0)
        began = now()
        bus = _bus(folder)
        bus.subscribe(DurableTrade, handle, group="ledger")
        async with bus:
            taken = await came
            await bus.drain()
    return taken


async def _unused(_event: Event) -> None:
    raise AssertionError("this bus does not run")


def _both(name: str, aim: float, bus: Run, raw: Run, count: int) -> list[Row]:
    """By processor time, and as long as it takes."""
    return [
        Row(f"journal: {name}, {clock}", speed(aim), bus, raw, against=RAW, clock=clock, rounds=ROUNDS, count=count)
        for clock in ("cpu", "wall")
    ]


def _publishing(name: str, aim: float, publishers: Publishers, count: int) -> list[Row]:
    return _both(name, aim, publishers.on_bus, publishers.on_raw, count)


def _latency(percent: int, aim: float) -> Row:
    name = f"journal: acknowledgement at {RATE:,} events/s, p{percent}"
    bus, raw = bus_latency(percent), raw_latency(percent)
    return Row(name, times(aim), bus, raw, against=RAW, clock="wall", rounds=ROUNDS, count=RATE)


ROWS = (
    *_publishing("one publisher", 0.8, Publishers(1, 1), 1_000),
    *_publishing("100 publishers", 0.5, Publishers(100, 1), 10_000),
    *_publishing("`publish_many` of 1,000", 0.4, Publishers(1, 1_000), 20_000),
    *_both("replay decoded", 0.4, replay_of_bus, replay_of_raw, 20_000),
    _latency(50, 1.5),
    _latency(99, 2),
    Row(
        "journal: first delivery with 100,000 pending",
        at_most(2, "s"),
        first_delivery,
        clock="wall",
        rounds=1,
        count=100_000,
    ),
)

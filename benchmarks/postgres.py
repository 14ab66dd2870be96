"""PostgreSQL: a bus over a server against a bare asyncpg client that does the same durable work, on the same private server.

The client's table has an offset, a unique id and the body; no checksums, no labels, no groups. Each turn has a schema of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import asyncpg
from pydantic_core import from_json

from benchmarks.journal import DurableTrade, Publishers, Record, records, trades
from benchmarks.rows import Aim, Now, Row, Run, speed, times
from eventbus import create_event_bus
from eventbus.testing.servers import PostgresServer

RAW = "asyncpg"
ROUNDS = 5
BULK = 1_000
PARTS = 16
WORK_S = 0.001


@cache
def server() -> PostgresServer:
    """One for the whole run; it ends with the process."""
    started = PostgresServer()
    started.start()
    return started


def fresh_url() -> str:
    return f"{server().url}?name=bench_{secrets.token_hex(6)}"


@asynccontextmanager
async def client() -> AsyncIterator[Any]:
    """A connection, and a table that nobody else uses."""
    connection = await asyncpg.connect(server().url)
    await connection.execute("SET synchronous_commit = on")
    await connection.execute("DROP TABLE IF EXISTS raw")
    await connection.execute(
        'CREATE TABLE raw ("offset" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text UNIQUE, body bytea)'
    )
    try:
        yield connection
    finally:
        await connection.close()


async def insert(connection: Any, rows: Sequence[Record]) -> None:
    """One statement, one commit."""
    ids, bodies = zip(*rows, strict=True)
    await connection.execute("INSERT INTO raw (id, body) SELECT * FROM unnest($1::text[], $2::bytea[])", ids, bodies)


def raw_publishing(publishers: Publishers) -> Run:
    """A client inserts as many at a time as there are publishers, or as one publishes at once."""

    async def run(count: int, now: Now) -> float:
        rows, size = records(count), max(publishers.number, publishers.size)
        async with client() as connection:
            began = now()
            for at in range(0, count, size):
                await insert(connection, rows[at : at + size])
            return (now() - began) / count

    return run


def bus_publishing(publishers: Publishers) -> Run:
    async def run(count: int, now: Now) -> float:
        events = trades(count)
        async with create_event_bus(fresh_url()) as bus:
            if publishers.size == 1:
                return await publishers.seconds(events, lambda one: bus.publish(*one), now) / count
            return await publishers.seconds(events, bus.publish_many, now) / count

    return run


async def raw_reading(count: int, now: Now) -> float:
    """A page at a time, and the JSON read."""
    async with client() as connection:
        await insert(connection, records(count))
        began, at, read = now(), 0, 0
        while page := await connection.fetch(
            'SELECT "offset", body FROM raw WHERE "offset" > $1 ORDER BY "offset" LIMIT $2', at, BULK
        ):
            for at, body in page:  # noqa: B007 - the last one is where the next page begins
                from_json(body)
            read += len(page)
        taken = now() - began
    if read != count:
        raise AssertionError(f"{read} of {count} were read")
    return taken / count


async def bus_draining(count: int, now: Now) -> float:
    """A group of one process handles what was there before, and commits it."""
    url, handled, done = fresh_url(), 0, asyncio.Event()

    async def handle(_event: DurableTrade) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    async with create_event_bus(url) as bus:
        await bus.subscribe(DurableTrade, handle, group="ledger")
    async with create_event_bus(url) as bus:
        for at in range(0, count, BULK):
            await bus.publish_many(trades(min(BULK, count - at)))
    bus = create_event_bus(url)
    bus.subscribe(DurableTrade, handle, group="ledger")
    async with bus:
        began = now()
        await done.wait()
        await bus.drain()
        taken = now() - began
    if handled != count:
        raise AssertionError(f"{handled} of {count} were handled")
    return taken / count


async def raw_round_trip(count: int, now: Now) -> float:
    """The median of an insert of one."""
    async with client() as connection:
        taken = []
        for row in records(count):
            began = now()
            await insert(connection, [row])
            taken.append(now() - began)
    return statistics.median(taken)


async def bus_end_to_end(count: int, now: Now) -> float:
    """The median from publishing one event to its handler, of a subscription without a group."""
    taken: list[float] = []
    came = asyncio.Event()

    async def handle(_event: DurableTrade) -> None:
        taken.append(now() - began)
        came.set()

    async with create_event_bus(fresh_url()) as bus:
        bus.subscribe(DurableTrade, handle)
        for event in trades(count):
            came.clear()
            began = now()
            await bus.publish(event)
            await came.wait()
    return statistics.median(taken)


def sharing(processes: int) -> Run:
    """So many processes share a group of 16 parts whose handler awaits 1 ms: from the publishing to the last commit."""

    async def run(count: int, now: Now) -> float:
        url = fresh_url()
        name = url.partition("name=")[2]
        shares = f"SELECT count(*) AS n FROM {name}.eventbus_groups GROUP BY owner"
        fair = f"SELECT array_agg(n) = $1::bigint[] FROM ({shares}) AS shares"
        watcher = await asyncpg.connect(server().url)
        async with create_event_bus(url) as bus:
            workers = [await _worker(url) for _ in range(processes)]
            await _until(watcher, fair, [PARTS // processes] * processes)
            began = now()
            for at in range(0, count, BULK):
                await bus.publish_many(trades(min(BULK, count - at)))
            await _until(watcher, f"SELECT count(*) = $1 FROM {name}.outcomes", count)
            taken = now() - began
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.close()
            await worker.wait()
        await watcher.close()
        return taken / count

    return run


async def _worker(url: str) -> asyncio.subprocess.Process:
    """A process of its own that is subscribed; the end of its input is its end."""
    command = (sys.executable, "-m", __name__, url)
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert worker.stdout is not None
    await worker.stdout.readline()
    return worker


async def _until(connection: Any, question: str, *arguments: object) -> None:
    while not await connection.fetchval(question, *arguments):  # noqa: ASYNC110 - other processes make it so
        await asyncio.sleep(0.005)


async def work(url: str) -> None:
    """What such a process does."""

    async def handle(_event: DurableTrade) -> None:
        await asyncio.sleep(WORK_S)

    async with create_event_bus(url) as bus:
        await bus.subscribe(DurableTrade, handle, group="ledger", concurrency=PARTS, key="order_id")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


def _row(name: str, aim: Aim, bus: Run, raw: Run, count: int, against: str = RAW) -> Row:
    return Row(f"postgres: {name}", aim, bus, raw, against=against, clock="wall", rounds=ROUNDS, count=count)


def _publishing(name: str, publishers: Publishers, count: int) -> Row:
    return _row(name, speed(0.8), bus_publishing(publishers), raw_publishing(publishers), count)


ROWS = (
    _publishing("one publisher", Publishers(1, 1), 200),
    _publishing("100 publishers", Publishers(100, 1), 5_000),
    _publishing("`publish_many` of 1,000", Publishers(1, 1_000), 20_000),
    _row("a group drained by one process", speed(0.5), bus_draining, raw_reading, 10_000),
    _row("one event from publishing to its handler, p50", times(2), bus_end_to_end, raw_round_trip, 200),
    _row("two processes, 16 parts, handlers that await 1 ms", speed(1.6), sharing(2), sharing(1), 5_000, "one process"),
)

if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))

"""PostgreSQL: the rows of every server, against asyncpg, and one against Procrastinate. The client's table has an offset, a unique id
and the body."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

import asyncpg

from benchmarks.journal import Record, trades
from benchmarks.remote import BULK, PUBLISHERS, Client, Subject
from benchmarks.rows import Now
from eventbus.testing.servers import PostgresServer

_AT_ONCE = 20  # connections of Procrastinate, and jobs that it runs


@cache
def server() -> PostgresServer:
    """One for the whole run; it ends with the process."""
    started = PostgresServer()
    started.start()
    return started


class AsyncpgClient:
    """A table that nobody else uses."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def append(self, rows: Sequence[Record]) -> None:
        """One statement, one commit."""
        ids, bodies = zip(*rows, strict=True)
        sql = "INSERT INTO raw (id, body) SELECT * FROM unnest($1::text[], $2::bytea[])"
        await self._connection.execute(sql, ids, bodies)

    async def pages(self) -> AsyncIterator[list[bytes]]:
        at = 0
        sql = 'SELECT "offset", body FROM raw WHERE "offset" > $1 ORDER BY "offset" LIMIT $2'
        while page := await self._connection.fetch(sql, at, BULK):
            at = page[-1][0]
            yield [row[1] for row in page]


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    """On one connection."""
    connection = await asyncpg.connect(server().url)
    await connection.execute("SET synchronous_commit = on")
    await connection.execute("DROP TABLE IF EXISTS raw")
    await connection.execute(
        'CREATE TABLE raw ("offset" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text UNIQUE, body bytea)'
    )
    try:
        yield AsyncpgClient(connection)
    finally:
        await connection.close()


async def through_procrastinate(count: int, now: Now) -> float:
    """As the bus does it: a queue in a schema of its own, the event as JSON, a job for each, committed before it is acknowledged."""
    procrastinate: Any = import_module("procrastinate")  # only who measures has it
    schema, handled, done = f"raw_{secrets.token_hex(6)}", 0, asyncio.Event()
    connection = await asyncpg.connect(server().url)
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.close()
    there = {"options": f"-c search_path={schema} -c synchronous_commit=on"}
    pool = {"conninfo": server().url, "kwargs": there, "min_size": _AT_ONCE, "max_size": _AT_ONCE}
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(**pool))

    @app.task(queue="ledger", name="ledger")  # type: ignore[untyped-decorator] # it is imported by name
    async def handle(event: dict[str, Any]) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    bodies = [event.model_dump(mode="json") for event in trades(count)]
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        how = {"queues": ["ledger"], "concurrency": _AT_ONCE, "install_signal_handlers": False}
        worker = asyncio.create_task(app.run_worker_async(**how))
        began = now()
        await PUBLISHERS.seconds(bodies, lambda one: handle.defer_async(event=one[0]), now)
        await done.wait()
        taken = now() - began
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
    return taken / count


SUBJECT = Subject("postgres", server, "asyncpg", client)
ROWS = (
    *SUBJECT.rows(),
    SUBJECT.against_framework("Procrastinate", through_procrastinate),
)

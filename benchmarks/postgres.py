"""PostgreSQL: the rows of every server, against asyncpg. The client's table has an offset, a unique id and the body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import asyncpg

from benchmarks.journal import Record
from benchmarks.remote import BULK, Client, Subject
from eventbus.testing.servers import PostgresServer


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


ROWS = Subject("postgres", server, "asyncpg", client).rows()

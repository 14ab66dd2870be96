"""Writes: the changes of a bus in a schema, each one statement or one transaction. They are as `Journal`, `Sharing` and `Storage` say."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

import asyncpg

from eventbus.errors import LeaseLost, ValueChanged
from eventbus.journal.parts import group_of
from eventbus.journal.postgres.reads import Reads
from eventbus.journal.postgres.rows import (
    CURSOR,
    ITEM,
    LEASE,
    LETTER,
    NEW_RECORD,
    OUTCOME,
    OUTCOMES,
    RETAINED,
    Columns,
    as_rows,
    given,
    names,
    storable,
    table_of,
    turned,
)
from eventbus.journal.progress import floor_of
from eventbus.journal.remote.appends import told_apart
from eventbus.journal.remote.cursors import Row, Verdict, Write
from eventbus.journal.remote.link import Bus, Connection, Server, change
from eventbus.journal.shared import Lease
from eventbus.journal.values import Append, Appended, NewDeadLetter, NewQuarantined, NewRecords, Start

_TRIMMED = 5_000  # records removed in one transaction
_OVERHEAD = 100  # bytes that a record takes besides its body, roughly
_PUT = "ON CONFLICT (space, name) DO UPDATE SET value = excluded.value, version = v.version + 1"


class Writes(Reads):
    """The changes of the bus in a schema. `level` is the `synchronous_commit` of each transaction."""

    def __init__(self, server: Server, bus: Bus, level: str) -> None:
        super().__init__(server, bus)
        self._level = level
        self._at_level = f"set_config('synchronous_commit', '{level}', true)"
        self._limit = f"set_config('idle_in_transaction_session_timeout', '{int(server.timeout_s * 1000)}', true)"

    # --- records ---------------------------------------------------------------------------------------------------

    @change("appending")
    async def append(self, db: Connection, batch: Sequence[Append]) -> NewRecords | None:
        try:
            return await self._append(db, batch)
        except asyncpg.UniqueViolationError:
            return None

    @change("appending")
    async def append_carefully(self, db: Connection, batch: Sequence[Append]) -> list[Appended]:
        async with db.transaction():
            await self._begin(db)
            last = await db.fetchval(f"SELECT last FROM {self._schema}.head FOR UPDATE")
            sql = f'SELECT event_id, "offset", type, body FROM {self._schema}.events WHERE event_id = ANY($1)'
            rows = await db.fetch(sql, [storable(item.event_id) for item in batch])
            known = {given(id_): (offset, given(type_), body) for id_, offset, type_, body in rows}
            answers, fresh = told_apart(batch, known, last)
            if fresh:
                await self._append(db, fresh)
        return answers

    async def _append(self, db: Connection, batch: Sequence[Append]) -> NewRecords:
        """Whoever has the row of the head appends; its records can be seen when the next one has it."""
        retained = {item.retain: item.body for item in batch if item.retain is not None}
        size = sum(len(item.body) + _OVERHEAD for item in batch)
        arguments = [
            self._level,
            len(batch),
            size,
            *turned([*retained.items()], RETAINED),
            *turned(as_rows(batch), NEW_RECORD),
        ]
        places = ", ".join(f"${place}" for place in range(1, len(arguments) + 1))
        base = await db.fetchval(f"SELECT {self._schema}.appended({places})", *arguments)
        return NewRecords(range(base + 1, base + 1 + len(batch)))

    @change("tending")
    async def trim(self, db: Connection, cut: int, force: bool) -> tuple[int, int]:
        async with db.transaction():
            await self._begin(db)
            first = await db.fetchval(f"SELECT first FROM {self._schema}.base FOR UPDATE")
            floor = None if force else await db.fetchval(f"SELECT min(floor) FROM {self._schema}.cursors")
            upto = min(cut, first - 1 + _TRIMMED, cut if floor is None else floor)
            if upto < first:
                return 0, first
            sql = f"""WITH gone AS (DELETE FROM {self._schema}.events WHERE "offset" <= $1 RETURNING body)
                SELECT sum(octet_length(body) + {_OVERHEAD}) FROM gone"""
            size = await db.fetchval(sql, upto)
            await db.execute(f'DELETE FROM {self._schema}.outcomes WHERE "offset" <= $1', upto)
            await db.execute(f"UPDATE {self._schema}.base SET first = $1, bytes = bytes + $2", upto + 1, size)
        return upto + 1 - first, upto + 1

    async def _compact(self, db: Connection) -> int:
        """Nobody waits meanwhile: what was removed is free for new records, and the end of the file is given back."""
        for table in ("events", "outcomes", "cursors", "head"):
            await db.execute(f"VACUUM {self._schema}.{table}")
        return int(await db.fetchval(f"SELECT pg_total_relation_size('{self._schema}.events')"))

    # --- leases ----------------------------------------------------------------------------------------------------

    @change("tending")
    async def join(self, db: Connection, process: str, ttl: float) -> None:
        await self._durably(db, f"SELECT {self._schema}.joined($1, $2)", process, ttl)

    @change("tending")
    async def leave(self, db: Connection, process: str) -> None:
        await self._durably(db, f"SELECT {self._schema}.departed($1)", process)

    @change("tending")
    async def acquire(self, db: Connection, names_: Sequence[str], process: str, ttl: float) -> Mapping[str, Lease]:
        sql = f"SELECT name, token FROM {self._schema}.acquired($1, $2, $3)"
        rows = await self._durably(db, sql, [*map(storable, {*names_})], process, ttl)
        return {given(name): Lease(given(name), token, ttl) for name, token in rows}

    @change("tending")
    async def renew(self, db: Connection, leases: Sequence[Lease], process: str, ttl: float) -> list[Lease]:
        """One that ran out and that nobody took is kept."""
        sql = f"SELECT name, token FROM {self._schema}.renewed($1, $2, $3, $4)"
        rows = await self._durably(db, sql, *turned([lease[:2] for lease in leases], LEASE), process, ttl)
        held = {(given(name), token) for name, token in rows}
        return [lease._replace(ttl=ttl) for lease in leases if lease[:2] in held]

    @change("tending")
    async def release(self, db: Connection, leases: Sequence[Lease], process: str) -> None:
        sql = f"SELECT {self._schema}.released($1, $2, $3)"
        await self._durably(db, sql, *turned([lease[:2] for lease in leases], LEASE), process)

    # --- cursors ---------------------------------------------------------------------------------------------------

    @change("tending")
    async def open_cursor(self, db: Connection, name: str, start: Start, token: int) -> Row:
        async with db.transaction():
            await self._begin(db)
            if token:
                sql = f"""SELECT 1 FROM {self._schema}.leases WHERE name = $1 AND token = $2 AND owner IS NOT NULL
                    AND expires > clock_timestamp() FOR SHARE"""
                if await db.fetchval(sql, storable(name), token) is None:
                    raise LeaseLost(name, token)
            if not (rows := await self._rows(db, [name])):
                first = await db.fetchval(f"SELECT first FROM {self._schema}.base FOR SHARE")
                last = await db.fetchval(f"SELECT last FROM {self._schema}.head")
                sql = f"INSERT INTO {self._schema}.cursors VALUES ($1, 1, $2, '', '', '') ON CONFLICT DO NOTHING"
                await db.execute(sql, storable(name), floor_of(start, first, last))
                rows = await self._rows(db, [name])
        return rows[0]

    @change("tending")
    async def drop_group(self, db: Connection, group: str) -> bool:
        mine = [row.name for row in await self._rows(db, None) if group in (row.name, group_of(row.name))]
        sql = f"DELETE FROM {self._schema}.cursors WHERE name = ANY($1) RETURNING name"
        return bool(await self._durably(db, sql, [*map(storable, mine)]))

    @change("settling")
    async def write(self, db: Connection, writes: Sequence[Write]) -> list[Verdict]:
        """One statement, so that each is whole or not at all, and a lease is held until it is made."""
        new = CURSOR | {"token": "bigint"}
        of_cursor = {"cursor": "text"}
        outcomes = [
            (write.row.name, group_of(write.row.name), " ".join(str(each[0]) for each in alike), *said)
            for write in writes
            for said, alike in groupby(write.outcomes, lambda settled: settled[1:])  # those of a row were handled alike
        ]
        rows = await db.fetch(
            f"""WITH new AS (SELECT * FROM {table_of(new, 1, "n")}), held AS (
                SELECT l.name FROM {self._schema}.leases l JOIN new USING (name, token)
                WHERE l.owner IS NOT NULL AND l.expires > clock_timestamp() ORDER BY l.name FOR UPDATE OF l
            ), written AS (
                UPDATE {self._schema}.cursors c SET revision = c.revision + 1, floor = new.floor, settled = new.settled,
                    attempts = new.attempts, totals = new.totals
                FROM new LEFT JOIN held USING (name)
                WHERE c.name = new.name AND c.revision = new.revision AND (new.token = 0 OR held.name IS NOT NULL)
                RETURNING c.name, {self._at_level}
            ), ended AS (
                INSERT INTO {self._schema}.outcomes ({names(OUTCOME)})
                SELECT DISTINCT ON (d.name, o.place) d.name, o.place, d.status, d.attempts, d.queued_ns, d.ran_ns
                FROM {table_of(of_cursor | OUTCOMES, 8, "d")} JOIN written ON written.name = d.cursor
                CROSS JOIN unnest(string_to_array(d.offsets, ' ')::bigint[]) AS o(place)
                ON CONFLICT ("offset", name) DO UPDATE SET status = excluded.status, attempts = excluded.attempts,
                    queued_ns = excluded.queued_ns, ran_ns = excluded.ran_ns
            ), dead AS (
                INSERT INTO {self._schema}.dead_letters ({names(LETTER)}) SELECT {names(LETTER, "d")}
                FROM {table_of(of_cursor | LETTER, 15, "d")} JOIN written ON written.name = d.cursor
            ), quarantined AS (
                INSERT INTO {self._schema}.quarantine ({names(ITEM)}) SELECT {names(ITEM, "d")}
                FROM {table_of(of_cursor | ITEM, 26, "d")} JOIN written ON written.name = d.cursor
            )
            SELECT new.name, held.name IS NOT NULL OR new.token = 0, written.name IS NOT NULL
            FROM new LEFT JOIN held USING (name) LEFT JOIN written USING (name)""",
            *turned([(*write.row, write.token) for write in writes], new),
            *turned(outcomes, of_cursor | OUTCOMES),
            *turned([(w.row.name, *each) for w in writes for each in w.dead], of_cursor | LETTER),
            *turned([(w.row.name, *each) for w in writes for each in w.quarantined], of_cursor | ITEM),
        )
        found = {given(name): (is_held, is_written) for name, is_held, is_written in rows}
        return [_VERDICTS[found[write.row.name]] for write in writes]

    # --- what is kept beside ---------------------------------------------------------------------------------------

    @change("tending")
    async def add_dead_letters(self, db: Connection, letters: Sequence[NewDeadLetter]) -> list[int]:
        return await self._add(db, "dead_letters", LETTER, letters)

    @change("tending")
    async def add_quarantined(self, db: Connection, items: Sequence[NewQuarantined]) -> list[int]:
        return await self._add(db, "quarantine", ITEM, items)

    @change("tending")
    async def mark_redriven(self, db: Connection, ids: Sequence[int]) -> int:
        sql = f"UPDATE {self._schema}.dead_letters SET redriven = true WHERE id = ANY($1) AND NOT redriven RETURNING id"
        return len(await self._durably(db, sql, [*ids]))

    @change("tending")
    async def purge_dead_letters(self, db: Connection, ids: Sequence[int] | None) -> int:
        sql = f"DELETE FROM {self._schema}.dead_letters WHERE $1::bigint[] IS NULL OR id = ANY($1) RETURNING id"
        return len(await self._durably(db, sql, None if ids is None else [*ids]))

    @change("tending")
    async def set_values(self, db: Connection, space: str, values: Mapping[str, bytes | None]) -> None:
        sql = f"""INSERT INTO {self._schema}.small_values AS v SELECT $3, r.name, r.value, 1
            FROM {table_of(RETAINED, 1, "r")} ORDER BY r.name {_PUT}"""
        await self._durably(db, sql, *turned([*values.items()], RETAINED), storable(space))

    @change("tending")
    async def put_if(self, db: Connection, space: str, name: str, value: bytes | None, version: int) -> int:
        sql = f"SELECT is_put, version, value FROM {self._schema}.put_if($1, $2, $3, $4)"
        ((is_put, found, there),) = await self._durably(db, sql, storable(space), storable(name), value, version)
        if not is_put:
            raise ValueChanged(space, name, version, found, there)
        return int(found)

    # --- within a call -----------------------------------------------------------------------------------------------

    async def _begin(self, db: Connection) -> None:
        """What holds for this transaction alone, for the connection may be lent to others by a proxy."""
        await db.execute(f"SELECT {self._at_level}, {self._limit}")

    async def _durably(self, db: Connection, sql: str, *arguments: Any) -> Sequence[Any]:
        """A statement in a transaction of its own, as durable as the records."""
        async with db.transaction():
            await self._begin(db)
            rows: Sequence[Any] = await db.fetch(sql, *arguments)
        return rows

    async def _add(self, db: Connection, table: str, columns: Columns, rows: Collection[Sequence[Any]]) -> list[int]:
        sql = f"""INSERT INTO {self._schema}.{table} ({names(columns)}) SELECT {names(columns, "d")}
            FROM {table_of(columns, 1, "d", with_place=True)} ORDER BY d.place RETURNING id"""
        return sorted(row[0] for row in await self._durably(db, sql, *turned(rows, columns)))


_VERDICTS = {
    (True, True): Verdict.WRITTEN,
    (True, False): Verdict.OUTDATED,
    (False, False): Verdict.LOST,
}

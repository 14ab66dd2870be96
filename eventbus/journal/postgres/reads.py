"""Reads: the questions to a bus in a schema. Each is as the method of that name of `Journal`; changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from eventbus.errors import OffsetGone
from eventbus.journal.postgres.rows import (
    CURSOR,
    LETTER,
    OUTCOME,
    RECORD,
    as_record,
    given,
    names,
    storable,
)
from eventbus.journal.remote.cursors import Row
from eventbus.journal.remote.integrity import checksum, damaged
from eventbus.journal.remote.link import Bus, Connection, Linked, Server, question
from eventbus.journal.remote.wildcards import as_regex, is_pattern
from eventbus.journal.values import DeadLetterRecord, Quarantined, Record, SettledDelivery

_NEVER = 2**63 - 1


class Reads(Linked):
    """The questions to the bus in a schema."""

    def __init__(self, server: Server, bus: Bus) -> None:
        super().__init__(server, bus)
        self._schema = bus.name

    @question
    async def read(
        self, db: Connection, after: int, limit: int, types: Iterable[str] | None, until: int | None
    ) -> list[Record]:
        arguments: list[Any] = [after, _NEVER if until is None else until, limit]
        where = ""
        if types is not None:
            of_types = [*map(storable, types)]
            arguments.append([name for name in of_types if not is_pattern(name or "")])
            arguments.append([as_regex(name or "") for name in of_types if is_pattern(name or "")])
            where = "AND (type = ANY($4::text[]) OR type ~ ANY($5::text[]))"
        rows = await db.fetch(
            f"""SELECT {names(RECORD)} FROM {self._schema}.events
            WHERE "offset" > $1 AND "offset" <= $2 {where} ORDER BY "offset" LIMIT $3""",
            *arguments,
        )
        await self._refuse_gone(db, rows, after, until)
        return await self._sound(db, rows)

    @question
    async def bodies(self, db: Connection, after: int, limit: int, until: int | None) -> list[tuple[int, bytes]]:
        rows = await db.fetch(
            f"""SELECT "offset", body FROM {self._schema}.events
            WHERE "offset" > $1 AND "offset" <= $2 ORDER BY "offset" LIMIT $3""",
            *(after, _NEVER if until is None else until, limit),
        )
        await self._refuse_gone(db, rows, after, until)
        return [*map(tuple, rows)]

    @question
    async def find(self, db: Connection, event_id: str) -> Record | None:
        sql = f"SELECT {names(RECORD)} FROM {self._schema}.events WHERE event_id = $1"
        return next(iter(await self._sound(db, await db.fetch(sql, storable(event_id)))), None)

    @question
    async def related(self, db: Connection, correlation_id: str, limit: int) -> list[Record]:
        sql = f"""SELECT {names(RECORD)} FROM {self._schema}.events
            WHERE (correlation_id = $1 AND correlation_id <> event_id) OR event_id = $1 ORDER BY "offset" LIMIT $2"""
        return await self._sound(db, await db.fetch(sql, storable(correlation_id), limit))

    @question
    async def seek(self, db: Connection, time_ns: int) -> int:
        """Wall-clock labels need not ascend, so this looks at each."""
        sql = f"""SELECT coalesce(
            (SELECT "offset" - 1 FROM {self._schema}.events WHERE time_ns >= $1 ORDER BY "offset" LIMIT 1),
            (SELECT last FROM {self._schema}.head))"""
        return int(await db.fetchval(sql, time_ns))

    @question
    async def outcomes(self, db: Connection, offsets: Sequence[int]) -> list[SettledDelivery]:
        sql = f'SELECT {names(OUTCOME)} FROM {self._schema}.outcomes WHERE "offset" = ANY($1) ORDER BY "offset", name'
        return [SettledDelivery(*map(given, row)) for row in await db.fetch(sql, [*offsets])]

    @question
    async def dead_letters(
        self, db: Connection, after: int, limit: int, subscription: str | None, redriven: bool
    ) -> list[DeadLetterRecord]:
        sql = f"""SELECT id, {names(LETTER)}, redriven FROM {self._schema}.dead_letters
            WHERE id > $1 AND ($3::text IS NULL OR subscription = $3) AND redriven <= $4 ORDER BY id LIMIT $2"""
        rows = await db.fetch(sql, after, limit, storable(subscription), redriven)
        return [DeadLetterRecord(*map(given, row)) for row in rows]

    @question
    async def count_dead_letters(self, db: Connection, subscription: str | None, redriven: bool) -> int:
        sql = f"""SELECT count(*) FROM {self._schema}.dead_letters
            WHERE ($1::text IS NULL OR subscription = $1) AND redriven <= $2"""
        return int(await db.fetchval(sql, storable(subscription), redriven))

    @question
    async def quarantined(self, db: Connection, after: int, limit: int) -> list[Quarantined]:
        sql = f'SELECT id, "offset", reason, time_ns, raw FROM {self._schema}.quarantine WHERE id > $1 ORDER BY id LIMIT $2'
        return [Quarantined(*map(given, row)) for row in await db.fetch(sql, after, limit)]

    @question
    async def count_quarantined(self, db: Connection) -> int:
        return int(await db.fetchval(f"SELECT count(*) FROM {self._schema}.quarantine"))

    @question
    async def values(self, db: Connection, space: str) -> dict[str, bytes]:
        sql = (
            f"SELECT name, value FROM {self._schema}.small_values WHERE space = $1 AND value IS NOT NULL ORDER BY name"
        )
        return {given(name): value for name, value in await db.fetch(sql, storable(space))}

    @question
    async def members(self, db: Connection) -> Mapping[str, float]:
        sql = f"""SELECT process, extract(epoch FROM clock_timestamp() - seen)::float8
            FROM {self._schema}.members ORDER BY process"""
        return dict(map(tuple, await db.fetch(sql)))

    @question
    async def fetch(self, db: Connection, names: Collection[str] | None) -> list[Row]:
        return await self._rows(db, names)

    # --- within a call -----------------------------------------------------------------------------------------------

    async def _stand(self, db: Connection) -> tuple[str, int, int, int]:
        """Epoch, the oldest offset, the newest, and the bytes of the records between."""
        row = await db.fetchrow(
            f"""SELECT m.value, b.first, h.last, h.bytes - b.bytes
            FROM {self._schema}.head h, {self._schema}.base b, {self._schema}.meta m WHERE m.name = 'epoch'"""
        )
        return row[0], row[1], row[2], row[3]

    async def _rows(self, db: Connection, names_: Collection[str] | None) -> list[Row]:
        sql = f"""SELECT {names(CURSOR)} FROM {self._schema}.cursors
            WHERE $1::text[] IS NULL OR name = ANY($1) ORDER BY name"""
        found = await db.fetch(sql, None if names_ is None else [*map(storable, names_)])
        return [Row(*map(given, row)) for row in found]

    async def _sound(self, db: Connection, rows: Sequence[Any]) -> list[Record]:
        """The records of rows, each as it was appended."""
        records = [*map(as_record, rows)]
        if altered := [record.offset for record, row in zip(records, rows, strict=True) if checksum(record) != row[-1]]:
            raise damaged(self.server.place, altered[0], (await self._stand(db))[2], "a record is altered")
        return records

    async def _refuse_gone(self, db: Connection, rows: Sequence[Any], after: int, until: int | None) -> None:
        if rows and rows[0][0] == after + 1:
            return
        _, first, last, _ = await self._stand(db)
        if after + 1 < first and after < last and (until is None or until > after):
            raise OffsetGone(after + 1, first)

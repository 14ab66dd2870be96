"""Storage: one bus in one schema of a PostgreSQL server: opened after a look at the server, watched, told of.

Knows what the server must be like, and how hints come. The rest is `writes` and `reads`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

from eventbus.errors import JournalUnavailable
from eventbus.journal.postgres.rows import given, storable
from eventbus.journal.postgres.writes import Writes
from eventbus.journal.remote.link import Bus, Connection, Link, came, change
from eventbus.journal.values import Durability
from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.journal.postgres.server import PostgresServer

FORMAT = "2"
_OLDEST = (14, 0)
_BLIND_POLL_S = 0.25  # while hints do not come
_PROBE_S = 1.0
_SLOW_S = 3_600.0
_TOLD_S = 60  # how long what was told is kept


class PostgresStorage(Writes):
    """A `Storage` of PostgreSQL."""

    backend = "postgres"

    def __init__(self, server: PostgresServer, bus: Bus, level: str) -> None:
        super().__init__(server, bus, level)
        self._server = server
        self._hears = asyncio.Event()
        self._is_hinted = True
        self._channels = f"eventbus_{bus.name}", f"eventbus_{bus.name}_told"
        self._me = secrets.token_hex(8)  # by which our own hints are told: we know what we appended

    @property
    def durability(self) -> Durability:
        return Durability.PROCESS_CRASH if self._level == "off" else Durability.POWER_LOSS

    # --- opening ---------------------------------------------------------------------------------------------------

    async def _greet(self, db: Connection) -> None:
        """Of the first connection; the others look at the log."""
        version = db.get_server_version()
        if version < _OLDEST:
            raise self._unsafe(f"server {version.major} is too old", "use PostgreSQL 14 or newer")
        if await db.fetchval("SHOW fsync") == "off":
            raise self._unsafe("fsync is off, so a power cut damages the log", "set fsync = on and reload it")
        async with db.transaction():
            await db.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"eventbus {self._schema}")
            await self._make(db)
        await self._look(db)
        self._server.greet_with(self._look)

    async def _make(self, db: Connection) -> None:
        if await db.fetchval("SELECT to_regclass($1)", f"{self._schema}.meta") is not None:
            found = await db.fetchval(f"SELECT value FROM {self._schema}.meta WHERE name = 'format'")
            if found != FORMAT:
                raise self._other_format(f"schema {self._schema}", found)
            return
        others = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1"
        if await db.fetchval(others, self._schema):
            raise self._unsafe(f"schema {self._schema} holds other tables")
        if not self.bus.creates:
            raise self._no_bus()
        if await db.fetchval("SELECT pg_is_in_recovery()"):
            raise JournalUnavailable(self.server.place, "it is a standby, which cannot be written: use the primary")
        sql = files("eventbus.journal.postgres").joinpath("schema.sql").read_text()
        await db.execute(sql.format(schema=self._schema, format=FORMAT, epoch=secrets.token_hex(8)))

    async def _look(self, db: Connection) -> None:
        asked_at = self._arrivals.last
        try:
            self._arrivals.stands(asked_at, *await self._stand(db))
        except asyncpg.UndefinedTableError:
            self._arrivals.stands(asked_at, "", 1, 0, 0)

    # --- hints -----------------------------------------------------------------------------------------------------

    async def _listen(self, db: Connection, channels: Collection[str], told: Callable[[str, bytes], None]) -> None:
        self._hears.clear()
        for channel in self._channels:
            await db.add_listener(channel, self._heard)
        seen = await db.fetchval(f"SELECT coalesce(max(id), 0) FROM {self._schema}.told")
        await self._probe()
        while True:
            async with asyncio.timeout(2 * self.bus.poll_s):
                await self._look(db)
                sql = f"SELECT id, channel, body FROM {self._schema}.told WHERE id > $1 ORDER BY id"
                for id_, channel, body in await db.fetch(sql, seen):
                    seen = id_
                    if given(channel) in channels:
                        told(given(channel), body)
            await came(self._hears, self.bus.poll_s if self._is_hinted else min(self.bus.poll_s, _BLIND_POLL_S))

    def _heard(self, _db: object, _pid: int, _channel: str, whose: str) -> None:
        if whose != self._me:
            self._hears.set()

    async def _probe(self) -> None:
        """Does what we tell ourselves come back? Behind a proxy that lends the server's processes by the transaction it does not."""
        await self._notify("")
        was_hinted, self._is_hinted = self._is_hinted, await came(self._hears, _PROBE_S)
        if not self._is_hinted:
            self._server.behind_a_pooler()
            if was_hinted:
                place = self.server.place
                log.warning("no notifications from %s: the log is polled", place, extra={"server": place})

    async def hint(self) -> None:
        await self._notify(self._me)

    @change("tending")
    async def _notify(self, db: Connection, whose: str) -> None:
        """Without waiting for the server's disk, which others want."""
        sql = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"
        await db.execute(sql, self._channels[0], whose)

    @change("tending")
    async def tell(self, db: Connection, channel: str, body: bytes) -> None:
        """Whoever holds the lock tells, so that the ids become visible in their order."""
        sql = f"""WITH mine AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtext('{self._channels[1]}')),
                pg_notify('{self._channels[1]}', ''), set_config('synchronous_commit', 'off', true)
            ), old AS (
                DELETE FROM {self._schema}.told WHERE at < clock_timestamp() - interval '{_TOLD_S} seconds'
            ) INSERT INTO {self._schema}.told (channel, body) SELECT $1, $2 FROM mine"""
        await db.execute(sql, storable(channel), body)

    # --- upkeep ----------------------------------------------------------------------------------------------------

    async def compact(self) -> int:
        """On a connection of its own: it may take a while, and nobody should wait behind it."""
        link = Link(self.server)
        try:
            return await link.run(self._compact, timeout_s=_SLOW_S)
        finally:
            await link.close()

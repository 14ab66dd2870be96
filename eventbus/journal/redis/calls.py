"""Calls: the questions to a bus in a database, and the changes of it: each of these one call of `bus.lua`, which is whole or not at all.

They are as `Journal`, `Sharing` and `Storage` say.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha1
from importlib.resources import files
from itertools import chain
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from eventbus.errors import IdConflict, LeaseLost, OffsetGone, OutcomeUnknown, ValueChanged
from eventbus.journal.progress import floor_of
from eventbus.journal.redis import fields
from eventbus.journal.remote.cursors import Row, Verdict, Write
from eventbus.journal.remote.integrity import damaged
from eventbus.journal.remote.link import Bus, Connection, Linked, Server, change, question
from eventbus.journal.shared import Lease
from eventbus.journal.values import (
    Append,
    Appended,
    DeadLetterRecord,
    NewDeadLetter,
    NewQuarantined,
    NewRecords,
    Quarantined,
    Record,
    SettledDelivery,
    Start,
)

FORMAT = "1"
_SCRIPT = files("eventbus.journal.redis").joinpath("bus.lua").read_text()
_SHA = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # by which the server knows it
_PAGE = 1_000
_VERDICTS = {b"written": Verdict.WRITTEN, b"lost": Verdict.LOST, b"outdated": Verdict.OUTDATED}


class Calls(Linked):
    """What may be asked of a bus, and be done to it. `replicas` have to have a record before it is acknowledged."""

    backend = "redis"

    def __init__(self, server: Server, bus: Bus, dedupe_s: float, replicas: int) -> None:
        super().__init__(server, bus)
        self.prefix = f"{{{bus.name}}}:"
        self._meta, self._log = f"{self.prefix}meta", f"{self.prefix}log"
        self._dedupe_ms = int(dedupe_s * 1000)
        self._replicas = replicas

    async def _do(self, db: Connection, call: str, *arguments: Any) -> Any:
        """A call of the script. Raises `BackendDataLoss` where the log is not the one that this process knows."""
        asked_at, words = self._arrivals.last, (1, self._meta, call, self._arrivals.epoch, *arguments)
        try:
            return await db.call("EVALSHA", _SHA, *words)
        except NoScriptError:
            return await db.call("EVAL", _SCRIPT, *words)
        except ResponseError as error:
            word, _, epoch = str(error).partition(" ")
            if word == "ANOTHERLOG":
                self._arrivals.stands(asked_at, epoch, 1, 0, 0)
            raise

    async def _look(self, db: Connection) -> None:
        asked_at, fresh = self._arrivals.last, ""
        if self.bus.creates and not self._arrivals.epoch:
            fresh = secrets.token_hex(8)
        try:
            what, *found = await self._do(db, "stand", FORMAT, fresh)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            what, found = b"foreign", [f"{self.prefix}meta".encode()]
        self._stands(asked_at, what, found)

    def _stands(self, asked_at: int, what: bytes, found: list[Any]) -> None:
        if what == b"stands":
            epoch, first, last, size = found
            self._arrivals.stands(asked_at, epoch.decode(), first, last, size)
        elif self._arrivals.epoch:
            self._arrivals.stands(asked_at, "", 1, 0, 0)
        elif what == b"none":
            raise self._no_bus()
        elif what == b"foreign":
            raise self._unsafe(f"{found[0].decode()} is somebody else's")
        else:
            raise self._other_format(f"{self.prefix}*", found[0].decode())

    # --- records ---------------------------------------------------------------------------------------------------

    @change("appending")
    async def append(self, db: Connection, batch: Sequence[Append]) -> NewRecords | None:
        if len({item.event_id for item in batch}) < len(batch):
            return None
        first = await self._append(db, batch, "new")
        return None if first is None else NewRecords(range(first, first + len(batch)))

    @change("appending")
    async def append_carefully(self, db: Connection, batch: Sequence[Append]) -> list[Appended]:
        answers = await self._append(db, batch, "care")
        if answers[0] == b"conflict":
            raise IdConflict(answers[1].decode())
        return [Appended(abs(answer), duplicate=answer < 0) for answer in answers]

    async def _append(self, db: Connection, batch: Sequence[Append], how: str) -> Any:
        """Where replicas have to have it, they may have it later than we wait: the same records again tell."""
        words = chain.from_iterable(map(fields.words_of, batch))
        answer = await self._do(db, "append", how, self._dedupe_ms, len(batch), *words)
        if self._replicas:
            patience_ms = int(self.server.timeout_s * 800)
            have = await db.call("WAIT", self._replicas, patience_ms)
            if have < self._replicas:
                raise OutcomeUnknown("", f"{have} of {self._replicas} replicas have it after {patience_ms} ms")
        return answer

    async def read(self, after: int, limit: int, types: Iterable[str] | None, until: int | None) -> list[Record]:
        """The server cannot choose by type, so everything is fetched, a page in each call."""
        if types is None:
            return await self._read(after, limit, until)
        wanted, found = tuple(types), list[Record]()
        while len(found) < limit and (page := await self._read(after, max(limit, _PAGE), until)):
            found += [record for record in page if any(fnmatchcase(record.type, name) for name in wanted)]
            after = page[-1].offset
        return found[:limit]

    @question
    async def _read(self, db: Connection, after: int, limit: int, until: int | None) -> list[Record]:
        return await self._sound(db, await self._entries(db, after, limit, until))

    @question
    async def bodies(self, db: Connection, after: int, limit: int, until: int | None) -> list[tuple[int, bytes]]:
        return [
            (fields.offset_of(entry), fields.body_of(entry)) for entry in await self._entries(db, after, limit, until)
        ]

    async def find(self, event_id: str) -> Record | None:
        """By its id while that is remembered, `dedupe_s` at least; after that by a look at each record."""
        if offset := await self._where(event_id):
            return next(iter(await self._read(offset - 1, 1, offset)), None)
        found, _ = await self._search(lambda record: record.event_id == event_id, 1)
        return next(iter(found), None)

    @question
    async def _where(self, db: Connection, event_id: str) -> int:
        return int(await self._do(db, "where", event_id))

    async def related(self, correlation_id: str, limit: int) -> list[Record]:
        """By a look at each record."""
        found, _ = await self._search(lambda record: correlation_id in (record.correlation_id, record.event_id), limit)
        return found

    async def seek(self, time_ns: int) -> int:
        """Wall-clock labels need not ascend, so this looks at each."""
        found, last = await self._search(lambda record: record.time_ns >= time_ns, 1)
        # Not the last there is by now: nobody looked at what came meanwhile.
        return found[0].offset - 1 if found else last

    async def _search(self, is_wanted: Callable[[Record], bool], most: int) -> tuple[list[Record], int]:
        """Look at each record, a question for each page: at most so many that are wanted, and the offset that was looked at last."""
        found, after = list[Record](), self._arrivals.first - 1
        while len(found) < most and (page := await self._read(after, _PAGE, None)):
            found += filter(is_wanted, page)
            after = page[-1].offset
        return found[:most], after

    async def _entries(self, db: Connection, after: int, limit: int, until: int | None) -> list[Any]:
        end = "+" if until is None else f"{max(until, 0)}-0"
        entries: list[Any] = await db.call("XRANGE", self._log, f"{after + 1}-0", end, "COUNT", limit)
        if not entries or fields.offset_of(entries[0]) != after + 1:
            await self._look(db)
            first, last = self._arrivals.first, self._arrivals.last
            if after + 1 < first and after < last and (until is None or until > after):
                raise OffsetGone(after + 1, first)
        return entries

    async def _sound(self, db: Connection, entries: Sequence[Any]) -> list[Record]:
        """The records of entries, each as it was appended."""
        records: list[Record] = []
        for entry in entries:
            if (record := fields.as_record(entry)) is None:
                raise damaged(self.server.place, fields.offset_of(entry), self._arrivals.last, "a record is altered")
            records.append(record)
        return records

    @change("tending")
    async def trim(self, db: Connection, cut: int, force: bool) -> tuple[int, int]:
        removed, first = await self._do(db, "trim", cut, "force" if force else "")
        return removed, first

    # --- cursors ---------------------------------------------------------------------------------------------------

    @question
    async def fetch(self, db: Connection, names: Collection[str] | None) -> list[Row]:
        key = f"{self.prefix}cursors"
        if names is None:
            return sorted(fields.as_row(name.decode(), text) for name, text in _pairs(await db.call("HGETALL", key)))
        rows = await db.call("HMGET", key, *names) if names else []
        return [fields.as_row(name, text) for name, text in zip(names, rows, strict=True) if text is not None]

    @change("tending")
    async def open_cursor(self, db: Connection, name: str, start: Start, token: int) -> Row:
        what, *found = await self._do(db, "open", name, token, start)
        if what == b"lost":
            raise LeaseLost(name, token)
        if what == b"outside":
            floor_of(start, *found)  # says why
        return fields.as_row(name, found[0])

    @change("tending")
    async def drop_group(self, db: Connection, group: str) -> bool:
        return bool(await self._do(db, "drop", group))

    @change("settling")
    async def write(self, db: Connection, writes: Sequence[Write]) -> list[Verdict]:
        words = chain.from_iterable(map(fields.words_of_write, writes))
        return [_VERDICTS[verdict] for verdict in await self._do(db, "write", len(writes), *words)]

    @question
    async def outcomes(self, db: Connection, offsets: Sequence[int]) -> list[SettledDelivery]:
        return [fields.as_outcome(found) for found in await self._do(db, "outcomes", *sorted({*offsets}))]

    # --- what is kept beside ---------------------------------------------------------------------------------------

    @change("tending")
    async def add_dead_letters(self, db: Connection, letters: Sequence[NewDeadLetter]) -> list[int]:
        return await self._add(db, "dead-letters", letters)

    @change("tending")
    async def add_quarantined(self, db: Connection, items: Sequence[NewQuarantined]) -> list[int]:
        return await self._add(db, "quarantine", items)

    async def _add(
        self, db: Connection, stream: str, items: Sequence[NewDeadLetter] | Sequence[NewQuarantined]
    ) -> list[int]:
        words = chain.from_iterable(map(fields.words_of_item, items))
        ids: list[int] = await self._do(db, "add", stream, len(items), *words)
        return ids

    @question
    async def dead_letters(
        self, db: Connection, after: int, limit: int, subscription: str | None, redriven: bool
    ) -> list[DeadLetterRecord]:
        asked = after, max(limit, 1), fields.maybe(subscription), "redriven" if redriven else ""
        return [fields.as_letter(*found) for found in await self._do(db, "letters", *asked)][:limit]

    @question
    async def count_dead_letters(self, db: Connection, subscription: str | None, redriven: bool) -> int:
        return int(await self._do(db, "letters", 0, 0, fields.maybe(subscription), "redriven" if redriven else ""))

    @change("tending")
    async def mark_redriven(self, db: Connection, ids: Sequence[int]) -> int:
        return int(await self._do(db, "redriven", *ids))

    @change("tending")
    async def purge_dead_letters(self, db: Connection, ids: Sequence[int] | None) -> int:
        return int(await (self._do(db, "purge_all") if ids is None else self._do(db, "purge", *ids)))

    @question
    async def quarantined(self, db: Connection, after: int, limit: int) -> list[Quarantined]:
        entries = await db.call("XRANGE", f"{self.prefix}quarantine", f"({after}-0", "+", "COUNT", limit)
        return [fields.as_quarantined(entry) for entry in entries]

    @question
    async def count_quarantined(self, db: Connection) -> int:
        return int(await db.call("XLEN", f"{self.prefix}quarantine"))

    @question
    async def values(self, db: Connection, space: str) -> dict[str, bytes]:
        found = _pairs(await db.call("HGETALL", f"{self.prefix}values:{space}"))
        return {name.decode(): value for name, value in sorted(found)}

    @change("tending")
    async def set_values(self, db: Connection, space: str, values: Mapping[str, bytes | None]) -> None:
        words = chain.from_iterable((name, fields.maybe(value)) for name, value in values.items())
        await self._do(db, "set", space, len(values), *words)

    @change("tending")
    async def put_if(self, db: Connection, space: str, name: str, value: bytes | None, version: int) -> int:
        what, found, *there = await self._do(db, "put_if", space, name, fields.maybe(value), version)
        if what == b"changed":
            raise ValueChanged(space, name, version, found, there[0] if there else None)
        return int(found)

    # --- leases ----------------------------------------------------------------------------------------------------

    @change("tending")
    async def join(self, db: Connection, process: str, ttl: float) -> None:
        await self._do(db, "join", process, int(ttl * 1000))

    @change("tending")
    async def leave(self, db: Connection, process: str) -> None:
        await self._do(db, "leave", process)

    @question
    async def members(self, db: Connection) -> Mapping[str, float]:
        found = _pairs(await self._do(db, "members"))
        return {process.decode(): ms / 1000 for process, ms in sorted(found)}

    @change("tending")
    async def acquire(self, db: Connection, names: Sequence[str], process: str, ttl: float) -> Mapping[str, Lease]:
        found = await self._do(db, "acquire", process, int(ttl * 1000), *sorted({*names}))
        return {name.decode(): Lease(name.decode(), token, ttl) for name, token in found}

    @change("tending")
    async def renew(self, db: Connection, leases: Sequence[Lease], process: str, ttl: float) -> list[Lease]:
        """One that ran out and that nobody took is kept."""
        words = chain.from_iterable(lease[:2] for lease in leases)
        renewed = await self._do(db, "renew", process, int(ttl * 1000), len(leases), *words)
        return [leases[place - 1]._replace(ttl=ttl) for place in renewed]

    @change("tending")
    async def release(self, db: Connection, leases: Sequence[Lease], process: str) -> None:
        words = chain.from_iterable(lease[:2] for lease in leases)
        await self._do(db, "release", process, len(leases), *words)


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)

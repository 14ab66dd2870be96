"""The journal on a server, as the bus sees it: one face over any `Storage`. Gathers appends, keeps cursors, hears what others append.

Knows no server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from eventbus.errors import (
    JournalError,
    JournalUnavailable,
    LeaseLost,
    WrongLoop,
    WrongProcess,
)
from eventbus.journal.hearing import Hearing
from eventbus.journal.remote.appends import Appends
from eventbus.journal.remote.arrivals import Arrivals
from eventbus.journal.remote.cursors import Attempts, Commit, Cursors
from eventbus.journal.remote.integrity import verified
from eventbus.journal.values import (
    Append,
    Appended,
    Cursor,
    DeadLetterRecord,
    Durability,
    JournalStats,
    NewDeadLetter,
    NewQuarantined,
    Quarantined,
    Record,
    Settled,
    SettledDelivery,
    Start,
    Trimmed,
    Verified,
)

if TYPE_CHECKING:
    from eventbus.journal.remote.storage import Storage
    from eventbus.journal.shared import Lease, Part


class RemoteJournal:
    """A `SharedJournal` over a storage. See `protocol.Journal` and `shared.Sharing` for what each method promises."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._arrivals = Arrivals()
        self._appends = Appends(storage, self._arrivals)
        self._cursors = Cursors(storage.shelf, lambda: self._arrivals.last)
        self._hearing: dict[str, list[Hearing]] = {}
        self._pid = os.getpid()  # whose it is, from its opening on
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching: asyncio.Task[None] | None = None
        self._member: tuple[str, float] | None = None

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[str]:
        return self._storage.capabilities

    @property
    def durability(self) -> Durability:
        return self._storage.durability

    @property
    def epoch(self) -> str:
        return self._arrivals.epoch

    @property
    def first(self) -> int:
        return self._arrivals.first

    @property
    def last(self) -> int:
        return self._arrivals.last

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        if self._loop is not None:
            return
        self._pid = os.getpid()
        self._arrivals.begin()
        await self._storage.open(self._arrivals)
        self._loop = loop = asyncio.get_running_loop()
        try:
            await self._look_for_loss()
        except BaseException:
            self._loop = None
            await self._storage.close()
            raise
        self._watching = loop.create_task(self._storage.watch(self._hearing.keys(), self._told))

    async def close(self) -> None:
        if self._loop is None:
            return
        self._check_caller("close")
        self._loop = None
        self._arrivals.over()
        for hearing in chain.from_iterable(self._hearing.values()):
            hearing.end()
        self._hearing.clear()
        await self._appends.done()
        await self._cursors.done()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        if self._member is not None and self._storage.server.failure is None:
            try:
                await self._storage.leave(self._member[0])
            except JournalError:
                pass  # its leases run out
        await self._storage.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def accept_data_loss(self) -> None:
        self._check_caller("accept_data_loss()")
        self._arrivals.begin()
        await self._storage.look()
        await self._cursors.clamp(self.last)

    # --- records ----------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Append]) -> Awaitable[Sequence[Appended]]:
        self._ask("append()")
        return self._appends.submit(batch)

    async def look(self) -> None:
        """Know `first` and `last` as they are now."""
        await self._ask("look()").look()

    async def read(
        self, after: int, limit: int = 1000, *, types: Iterable[str] | None = None, until: int | None = None
    ) -> list[Record]:
        records = await self._ask("read()").read(after, limit, None if types is None else tuple(types), until)
        if records:
            self._arrivals.heard(records[-1].offset)
        return records

    async def bodies(self, after: int, limit: int = 1000, *, until: int | None = None) -> list[tuple[int, bytes]]:
        return await self._ask("bodies()").bodies(after, limit, until)

    async def find(self, event_id: str) -> Record | None:
        return await self._ask("find()").find(event_id)

    async def related(self, correlation_id: str, limit: int = 10_000) -> list[Record]:
        return await self._ask("related()").related(correlation_id, limit)

    async def seek(self, time_ns: int) -> int:
        return await self._ask("seek()").seek(time_ns)

    async def wait(self, after: int, timeout: float | None = None) -> bool:
        if self._loop is not None:
            self._check_caller("wait()")
        return await self._arrivals.beyond(after, timeout)

    # --- groups -----------------------------------------------------------------------------------------------------

    async def open_group(self, group: str, start: Start = "end") -> Cursor:
        return await self._open_cursor(group, start, 0)

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        return await self._open_cursor(lease.name, start, lease.token)

    async def _open_cursor(self, name: str, start: Start, token: int) -> Cursor:
        row = await self._ask("open_group()").open_cursor(name, start, token)
        self._cursors.forget(name)
        return row.progress().cursor()

    async def committed(self, group: str) -> Cursor | None:
        rows = await self._ask("committed()").shelf.fetch([group])
        return rows[0].progress().cursor() if rows else None

    async def cursors(self) -> list[Cursor]:
        """The cursor of every group, and of every part of one."""
        return [row.progress().cursor() for row in await self._ask("cursors()").shelf.fetch(None)]

    async def drop_group(self, group: str) -> bool:
        dropped = await self._ask("drop_group()").drop_group(group)
        self._cursors.forget()
        return dropped

    async def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        self._ask("record_attempts()")
        counts: Mapping[int, int] = await self._cursors.submit(Attempts(group, 0, offsets))
        return counts

    async def record_part_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        job = Attempts(lease.name, lease.token, offsets)
        self._ask("record_part_attempts()")
        counts: Mapping[int, int] = await self._cursors.submit(job)
        return counts

    async def commit(
        self,
        group: str,
        settled: Sequence[Settled] = (),
        *,
        skip: Sequence[tuple[int, int]] = (),
        dead: Sequence[NewDeadLetter] = (),
        quarantined: Sequence[NewQuarantined] = (),
    ) -> int:
        job = Commit(group, 0, settled, skip, dead, quarantined)
        self._ask("commit()")
        floor: int = await self._cursors.submit(job)
        return floor

    async def commit_parts(self, parts: Sequence[Part]) -> Sequence[int | LeaseLost]:
        self._ask("commit_parts()")
        jobs = [self._cursors.submit(Commit(part.lease.name, part.lease.token, *part[1:])) for part in parts]
        answers: list[Any] = await asyncio.gather(*jobs, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, LeaseLost):
                raise answer
        return answers

    async def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        return await self._ask("outcomes()").outcomes(offsets)

    # --- who does what ----------------------------------------------------------------------------------------------

    async def join(self, process: str, ttl: float) -> None:
        await self._ask("join()").join(process, ttl)
        self._member = process, ttl

    async def members(self) -> Mapping[str, float]:
        return await self._ask("members()").members()

    async def acquire(self, names: Sequence[str]) -> Mapping[str, Lease]:
        return await self._ask("acquire()").acquire(names, *self._as_member())

    async def renew(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return await self._ask("renew()").renew(leases, *self._as_member())

    async def release(self, leases: Sequence[Lease]) -> None:
        await self._ask("release()").release(leases, self._as_member()[0])

    def _as_member(self) -> tuple[str, float]:
        if self._member is None:
            raise JournalUnavailable(self._storage.server.place, "join() comes before leases")
        return self._member

    # --- what is kept beside the records ----------------------------------------------------------------------------

    async def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> list[int]:
        return await self._ask("add_dead_letters()").add_dead_letters([letter.capped() for letter in letters])

    async def dead_letters(
        self, after: int = 0, limit: int = 100, *, subscription: str | None = None, redriven: bool = False
    ) -> list[DeadLetterRecord]:
        return await self._ask("dead_letters()").dead_letters(after, limit, subscription, redriven)

    async def count_dead_letters(self, *, subscription: str | None = None, redriven: bool = False) -> int:
        return await self._ask("count_dead_letters()").count_dead_letters(subscription, redriven)

    async def mark_redriven(self, ids: Sequence[int]) -> int:
        return await self._ask("mark_redriven()").mark_redriven(ids)

    async def purge_dead_letters(self, ids: Sequence[int] | None = None) -> int:
        return await self._ask("purge_dead_letters()").purge_dead_letters(ids)

    async def add_quarantined(self, items: Sequence[NewQuarantined]) -> list[int]:
        return await self._ask("add_quarantined()").add_quarantined([item.capped() for item in items])

    async def quarantined(self, after: int = 0, limit: int = 100) -> list[Quarantined]:
        return await self._ask("quarantined()").quarantined(after, limit)

    async def count_quarantined(self) -> int:
        """How many items are quarantined."""
        return await self._ask("count_quarantined()").count_quarantined()

    async def set_values(self, space: str, values: Mapping[str, bytes | None]) -> None:
        await self._ask("set_values()").set_values(space, values)

    async def values(self, space: str) -> dict[str, bytes]:
        return await self._ask("values()").values(space)

    async def put_if(self, space: str, name: str, value: bytes | None, version: int) -> int:
        return await self._ask("put_if()").put_if(space, name, value, version)

    # --- hints ------------------------------------------------------------------------------------------------------

    def listen(self, channel: str) -> AsyncIterator[bytes]:
        hearing = Hearing()
        self._ask("listen()")
        self._hearing.setdefault(channel, []).append(hearing)
        return hearing

    async def tell(self, channel: str, body: bytes) -> None:
        await self._ask("tell()").tell(channel, body)

    def _told(self, channel: str, body: bytes) -> None:
        for hearing in self._hearing.get(channel, ()):
            hearing.hear(body)

    # --- upkeep -----------------------------------------------------------------------------------------------------

    async def trim(
        self,
        *,
        before_ns: int | None = None,
        max_bytes: int | None = None,
        before: int | None = None,
        force: bool = False,
    ) -> Trimmed:
        storage = self._ask("trim()")
        await storage.look()
        first, last, size = self.first, self.last, self._arrivals.bytes
        cut = first - 1
        if before is not None:
            cut = max(cut, before - 1)
        if before_ns is not None:
            cut = max(cut, await storage.seek(before_ns))
        if max_bytes is not None and last >= first:
            cut = max(cut, last - int(max_bytes / (size / (last - first + 1))))
        removed = count = 0
        while True:
            count, first = await storage.trim(min(cut, last), force)
            if not count:
                break
            removed += count
        self._arrivals.heard(last, first)
        overtaken = sorted(row.name for row in await storage.shelf.fetch(None) if row.floor < first - 1)
        return Trimmed(removed, first, tuple(overtaken))

    async def verify(self) -> Verified:
        storage = self._ask("verify()")
        await storage.look()
        return await verified(storage, self.first, self.last)

    async def compact(self) -> int:
        return await self._ask("compact()").compact()

    def stats(self) -> JournalStats:
        if self._loop is None:
            raise JournalUnavailable(self._storage.server.place, "it is not open")
        return JournalStats(
            first=self.first,
            last=self.last,
            appended=self._appends.records,
            duplicates=self._appends.duplicates,
            commits=self._appends.commits,
            largest_commit=self._appends.largest,
            checkpoints=0,
            blocked_checkpoints=0,
            stale_acks=self._cursors.stale,
            file_bytes=self._arrivals.bytes,
            log_bytes=0,
            failure=self._storage.server.failure,
        )

    # --- helpers ----------------------------------------------------------------------------------------------------

    async def _look_for_loss(self) -> None:
        """A cursor beyond the end of the log tells a fresh process that there was more. The end may have moved since it was looked at."""
        floor = max((row.floor for row in await self._storage.shelf.fetch(None)), default=0)
        if floor > self.last:
            await self._storage.look()
        if floor > self.last:
            self._arrivals.lost(f"offset {floor}", f"offset {self.last}")

    def _ask(self, call: str) -> Storage:
        """The storage, if the journal is open, is called where it lives, and lost nothing."""
        self._check_caller(call)
        self._arrivals.check()
        return self._storage

    def _check_caller(self, call: str) -> None:
        if os.getpid() != self._pid:
            raise WrongProcess(call, self._pid, "journal")
        if self._loop is None:
            raise JournalUnavailable(self._storage.server.place, "it is not open")
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop(call)

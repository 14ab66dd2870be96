"""The journal in one SQLite file: the face that the bus sees, on its loop.

Each call becomes a job of the writer thread and a future on the loop. Knows nothing of SQL; `store` does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from eventbus.bounds import callable_with, truth
from eventbus.errors import JournalDamaged, JournalError, JournalInUse, JournalUnavailable, PolicyConflict, WrongLoop
from eventbus.journal.sqlite.check import check_file
from eventbus.journal.sqlite.file import JournalFile, Settings
from eventbus.journal.sqlite.guard import read_mark
from eventbus.journal.sqlite.place import log_file, real_path, size_of
from eventbus.journal.sqlite.schema import Connect, Probe, Synchronous, connect, no_probe
from eventbus.journal.sqlite.store import Store
from eventbus.journal.sqlite.writer import Answer, Writer
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
from eventbus.wording import shown

CAPABILITIES = frozenset(
    {"append", "dead_letters", "durable", "groups", "quarantine", "replay", "retention", "values", "verify", "wait"}
)

_P = ParamSpec("_P")
_T = TypeVar("_T")


class SqliteJournal:
    """A `Journal` in one file, with one writer. See `protocol.Journal` for what each method promises.

    `synchronous` FULL survives a power cut; NORMAL and OFF only the end of the process. `keep_outcomes` keeps one row
    per settled delivery, so that it can be told later how long it waited and ran. `allow_damaged` opens a damaged file
    with what can be saved, after a copy of it was made; `accept_end` opens one whose end alone is missing or in doubt, with
    what is there. `damage` then says what was wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous | str = Synchronous.FULL,
        allow_damaged: bool = False,
        accept_end: bool = False,
        keep_outcomes: bool = True,
        connect: Connect = connect,
        probe: Probe = no_probe,
    ) -> None:
        self._settings = Settings(
            real_path(path),
            _level(synchronous),
            truth("allow_damaged", allow_damaged),
            truth("accept_end", accept_end),
            truth("keep_outcomes", keep_outcomes),
            connect=callable_with("connect", connect, "a path, and whether it is for reading only"),
            probe=callable_with("probe", probe, "the name of a point"),
        )
        self._path = self._settings.path
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._file: JournalFile | None = None
        self._writer: Writer | None = None
        self._closed: asyncio.Future[None] | None = None
        self._closing = False
        self._last = 0
        self._waiters: dict[asyncio.Future[bool], int] = {}

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[str]:
        return CAPABILITIES

    @property
    def durability(self) -> Durability:
        return self._settings.synchronous.durability

    @property
    def first(self) -> int:
        return self._file.first if self._file else 1

    @property
    def last(self) -> int:
        return self._last

    @property
    def damage(self) -> JournalDamaged | None:
        """What was wrong with the file when it was opened with `allow_damaged` or `accept_end`; None if nothing was."""
        return self._file.damage if self._file else None

    @property
    def failure(self) -> JournalError | None:
        """Why the journal cannot be written now; None while it can. Known at most a second after the fact."""
        return self._file.failure if self._file else None

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        if self._writer is not None and not self._closing:
            return
        self._loop = loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._closed = loop.create_future()
        self._closing = False
        self._file = JournalFile(self._settings)
        self._writer = Writer(self._file, loop, self._deliver)
        try:
            self._writer.start(opened, self._closed)
            await opened
        except asyncio.CancelledError:
            await self.close()
            raise
        except BaseException:
            self._writer = None
            raise

    async def close(self) -> None:
        if self._writer is None or self._closed is None:
            return
        self._check_caller("close")
        if not self._closing:
            self._closing = True
            for waiter in self._waiters:
                _give_up(waiter)
            self._writer.end()
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- records ----------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Append]) -> Awaitable[Sequence[Appended]]:
        return self._ask(Store.append, batch)

    async def read(
        self, after: int, limit: int = 1000, *, types: Iterable[str] | None = None, until: int | None = None
    ) -> list[Record]:
        return await self._ask(Store.read, after, limit, None if types is None else tuple(types), until)

    async def bodies(self, after: int, limit: int = 1000, *, until: int | None = None) -> list[tuple[int, bytes]]:
        return await self._ask(Store.bodies, after, limit, until)

    async def find(self, event_id: str) -> Record | None:
        return await self._ask(Store.find, event_id)

    async def related(self, correlation_id: str, limit: int = 10_000) -> list[Record]:
        return await self._ask(Store.related, correlation_id, limit)

    async def seek(self, time_ns: int) -> int:
        return await self._ask(Store.seek, time_ns)

    async def wait(self, after: int, timeout: float | None = None) -> bool:
        if self._last > after:
            return True
        if self._closing:
            return False
        loop = self._check_caller("wait")
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters[waiter] = after
        timer = None if timeout is None else loop.call_later(timeout, _give_up, waiter)
        try:
            return await waiter
        finally:
            del self._waiters[waiter]
            if timer is not None:
                timer.cancel()

    # --- groups -----------------------------------------------------------------------------------------------------

    async def open_group(self, group: str, start: Start = "end") -> Cursor:
        return await self._ask(Store.open_group, group, start)

    async def committed(self, group: str) -> Cursor | None:
        return await self._ask(Store.committed, group)

    async def drop_group(self, group: str) -> bool:
        return await self._ask(Store.drop_group, group)

    async def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        return await self._ask(Store.record_attempts, group, offsets)

    async def commit(
        self,
        group: str,
        settled: Sequence[Settled] = (),
        *,
        skip: Sequence[tuple[int, int]] = (),
        dead: Sequence[NewDeadLetter] = (),
        quarantined: Sequence[NewQuarantined] = (),
    ) -> int:
        return await self._ask(Store.commit, group, settled, skip, dead, quarantined)

    async def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        return await self._ask(Store.outcomes, offsets)

    # --- what is kept beside the records ----------------------------------------------------------------------------

    async def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> list[int]:
        return await self._ask(Store.add_dead_letters, letters)

    async def dead_letters(
        self, after: int = 0, limit: int = 100, *, subscription: str | None = None, redriven: bool = False
    ) -> list[DeadLetterRecord]:
        return await self._ask(Store.dead_letters, after, limit, subscription, redriven)

    async def count_dead_letters(self, *, subscription: str | None = None, redriven: bool = False) -> int:
        return await self._ask(Store.count_dead_letters, subscription, redriven)

    async def mark_redriven(self, ids: Sequence[int]) -> int:
        return await self._ask(Store.mark_redriven, ids)

    async def purge_dead_letters(self, ids: Sequence[int] | None = None) -> int:
        return await self._ask(Store.purge_dead_letters, ids)

    async def add_quarantined(self, items: Sequence[NewQuarantined]) -> list[int]:
        return await self._ask(Store.add_quarantined, items)

    async def quarantined(self, after: int = 0, limit: int = 100) -> list[Quarantined]:
        return await self._ask(Store.quarantined, after, limit)

    async def set_values(self, space: str, values: Mapping[str, bytes | None]) -> None:
        await self._ask(Store.set_values, space, values)

    async def values(self, space: str) -> dict[str, bytes]:
        return await self._ask(Store.values, space)

    # --- upkeep -----------------------------------------------------------------------------------------------------

    async def trim(
        self,
        *,
        before_ns: int | None = None,
        max_bytes: int | None = None,
        before: int | None = None,
        force: bool = False,
    ) -> Trimmed:
        cut = await self._ask(Store.plan_trim, before_ns, max_bytes, before, force)
        removed = 0
        while count := await self._ask(Store.trim_chunk, cut, force):
            removed += count
        return Trimmed(removed, self.first, await self._ask(Store.overtaken))

    async def verify(self) -> Verified:
        # A snapshot on a connection of its own: it may take a while, and nobody should wait behind it.
        mark = read_mark(self._path)
        return await asyncio.to_thread(check_file, self._path, self._settings.connect, mark)

    async def compact(self) -> int:
        return await self._ask(Store.compact)

    def stats(self) -> JournalStats:
        file = self._file
        if file is None:
            raise JournalUnavailable(str(self._path), "it is not open")
        counters = file.counters
        return JournalStats(
            first=file.first,
            last=self._last,
            appended=counters.appended,
            duplicates=counters.duplicates,
            commits=counters.commits,
            largest_commit=counters.largest_commit,
            checkpoints=counters.checkpoints,
            blocked_checkpoints=counters.blocked_checkpoints,
            stale_acks=counters.stale_acks,
            file_bytes=size_of(self._path),
            log_bytes=size_of(log_file(self._path)),
            failure=str(file.failure) if file.failure else None,
        )

    # --- between the loop and the thread ----------------------------------------------------------------------------

    def _ask(self, call: Callable[_P, _T], *arguments: Any) -> asyncio.Future[_T]:
        """Queue a job. Its future may be abandoned by a cancelled caller; the job is done all the same."""
        if self._writer is None or self._closing:
            raise JournalUnavailable(str(self._path), "it is not open")
        loop = self._check_caller("the journal")
        future: asyncio.Future[_T] = loop.create_future()
        self._writer.submit((future, call, arguments))
        return future

    def _check_caller(self, call: str) -> asyncio.AbstractEventLoop:
        if os.getpid() != self._pid:
            raise JournalInUse(str(self._path), f"process {self._pid}, from which this one was forked")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise WrongLoop(call)
        return loop

    def _deliver(self, answers: list[Answer]) -> None:
        """On the loop, once per commit: answer everybody, then wake those who wait for more."""
        file = self._file
        if file is not None and file.head is not None:
            self._last = file.head.last
        for future, result, error in answers:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        for waiter, after in self._waiters.items():
            if self._last > after and not waiter.done():
                waiter.set_result(True)


def _level(value: Synchronous | str) -> Synchronous:
    try:
        return Synchronous(value.lower())  # SQLite writes them in capitals
    except (ValueError, AttributeError) as error:
        raise PolicyConflict("synchronous", f"{shown(value)} is none of {', '.join(Synchronous)}") from error


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)

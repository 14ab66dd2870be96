"""Shared memory: a journal that several buses in one process share as processes share a server, on a clock of the test.

    log = SharedMemoryLog(loop.clock)
    first, second = (InMemoryEventBus(store=Shared(SharedMemoryJournal(log))) for _ in range(2))

Each `SharedMemoryJournal` is what one process has of it, and can be cut off as a process that is paused, or whose server is away.
Nothing survives the process. `SharedJournalContract` holds for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from eventbus.errors import BackendDataLoss, JournalUnavailable, LeaseLost
from eventbus.journal.hearing import Hearing
from eventbus.journal.shared import Lease, Part
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
from eventbus.testing.shared_log import SharedMemoryLog

T = TypeVar("T")


class SharedMemoryJournal:
    """What one process has of a `SharedMemoryLog`. A call takes `latency` seconds, and ends within `timeout_s`.

    `cut_off()` lets nothing through until `mend()`: its calls wait for that, as those of a process that is stopped, or fail in the end.
    """

    capabilities = frozenset({"shared", "groups", "types", "durable", "replay"})
    durability = Durability.MEMORY

    def __init__(
        self, log: SharedMemoryLog, *, poll: float = 1.0, timeout_s: float = 5.0, latency: float = 0.0
    ) -> None:
        self.log = log
        self._poll = poll
        self._timeout_s = timeout_s
        self._latency = latency
        self._process = ""
        self._ttl = 0.0
        self._is_open = False
        self._known = 0
        self._loss: tuple[str, str] | None = None  # that nobody has accepted
        self._epoch = log.epoch
        self._mended: asyncio.Event | None = None  # it is cut off
        self._hearings: list[tuple[str, Hearing]] = []
        self._appended = self._duplicates = self._stale = 0

    # --- the way there ---------------------------------------------------------------------------------------------

    def cut_off(self) -> None:
        """Nothing goes through."""
        self._mended = asyncio.Event()

    def mend(self) -> None:
        """Everything does again."""
        if self._mended is not None:
            self._mended.set()
        self._mended = None

    async def _ask(self, what: Callable[[], T]) -> T:
        """Go there, do it, come back."""
        self._must_be_open()
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.sleep(self._latency)
                while self._mended is not None:
                    await self._mended.wait()
        except TimeoutError:
            raise JournalUnavailable("in shared memory", f"no answer within {self._timeout_s:g} s") from None
        self._must_be_open()
        if self.log.is_down:
            raise JournalUnavailable("in shared memory", "the server is down")
        self._look_for_loss()
        return what()

    def _look_for_loss(self) -> None:
        log = self.log
        floors = max((cursor.floor for cursor in log.cursors()), default=0)
        if log.epoch != self._epoch:
            self._loss = f"log {self._epoch}", f"log {log.epoch}"
        elif log.last < max(self._known, floors):
            self._loss = f"offset {max(self._known, floors)}", f"offset {log.last}"
        if self._loss is not None:  # whatever was written since
            raise BackendDataLoss(*self._loss)

    async def accept_data_loss(self) -> None:
        self._loss = None
        self._epoch, self._known = self.log.epoch, self.log.last
        self.log.clamp()

    def _must_be_open(self) -> None:
        if not self._is_open:
            raise JournalUnavailable("in shared memory", "it is not open")

    # --- life ------------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def first(self) -> int:
        return self.log.first

    @property
    def last(self) -> int:
        return self._known

    async def open(self) -> None:
        if self._is_open:
            return
        self._is_open, self._epoch, self._known = True, self.log.epoch, 0
        try:
            self._known = await self._ask(lambda: self.log.last)
        except BaseException:
            self._is_open = False
            raise

    async def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._mended is None:
            self.log.leave(self._process)
        for channel, hearing in self._hearings:
            hearing.end()
            self.log.hearings[channel].remove(hearing)
        self._hearings.clear()
        for waiter in [*self.log.waiters]:
            if not waiter.done():
                waiter.set_result(False)  # those of others look again
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- records ---------------------------------------------------------------------------------------------------

    async def append(self, batch: Sequence[Append]) -> Sequence[Appended]:
        answers = await self._ask(lambda: self._append(batch))
        self.log.wake()
        return answers

    def _append(self, batch: Sequence[Append]) -> Sequence[Appended]:
        answers = self.log.append(batch)
        new = sum(not answer.duplicate for answer in answers)
        self._appended += new
        self._duplicates += len(answers) - new
        self._knows(max((answer.offset for answer in answers), default=0))
        return answers

    async def read(
        self, after: int, limit: int = 1000, *, types: Iterable[str] | None = None, until: int | None = None
    ) -> list[Record]:
        names = None if types is None else tuple(types)
        found = await self._ask(lambda: self.log.read(after, limit, names, until))
        self._knows(found[-1].offset if found else 0)
        return found

    async def bodies(self, after: int, limit: int = 1000, *, until: int | None = None) -> list[tuple[int, bytes]]:
        return [(record.offset, record.body) for record in await self.read(after, limit, until=until)]

    async def find(self, event_id: str) -> Record | None:
        return await self._ask(lambda: self.log.find(event_id))

    async def related(self, correlation_id: str, limit: int = 10_000) -> list[Record]:
        return await self._ask(lambda: self.log.related(correlation_id)[:limit])

    async def seek(self, time_ns: int) -> int:
        return await self._ask(lambda: self.log.seek(time_ns))

    async def wait(self, after: int, timeout: float | None = None) -> bool:
        until = math.inf if timeout is None else asyncio.get_running_loop().time() + timeout
        while self._is_open:
            if self._known > after:
                return True
            left = min(self._poll, until - asyncio.get_running_loop().time())
            if left <= 0:
                return False
            waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self.log.waiters[waiter] = after
            try:
                await asyncio.wait([waiter], timeout=left)
            finally:
                del self.log.waiters[waiter]
            if self._mended is None and not self.log.is_down:
                self._knows(self.log.last)
        return False

    def _knows(self, offset: int) -> None:
        self._known = max(self._known, offset)

    # --- groups ----------------------------------------------------------------------------------------------------

    async def open_group(self, group: str, start: Start = "end") -> Cursor:
        return await self._ask(lambda: self.log.open_group(group, start))

    async def committed(self, group: str) -> Cursor | None:
        return await self._ask(lambda: self.log.committed(group))

    async def drop_group(self, group: str) -> bool:
        return await self._ask(lambda: self.log.drop_group(group))

    async def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        return await self._ask(lambda: self.log.record_attempts(group, offsets))

    async def commit(
        self,
        group: str,
        settled: Sequence[Settled] = (),
        *,
        skip: Sequence[tuple[int, int]] = (),
        dead: Sequence[NewDeadLetter] = (),
        quarantined: Sequence[NewQuarantined] = (),
    ) -> int:
        return await self._ask(lambda: self._commit(group, settled, skip, dead, quarantined))

    def _commit(
        self,
        group: str,
        settled: Sequence[Settled],
        skip: Sequence[tuple[int, int]],
        dead: Sequence[NewDeadLetter],
        quarantined: Sequence[NewQuarantined],
    ) -> int:
        floor, fresh = self.log.commit(group, settled, skip, dead, quarantined)
        self._stale += len(settled) - fresh
        return floor

    async def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        return await self._ask(lambda: self.log.outcomes_of(offsets))

    # --- who does what ---------------------------------------------------------------------------------------------

    async def join(self, process: str, ttl: float) -> None:
        await self._ask(lambda: self._join(process, ttl))

    def _join(self, process: str, ttl: float) -> None:
        self._process, self._ttl = process, ttl
        self.log.heard_from(process)

    async def members(self) -> Mapping[str, float]:
        return await self._ask(lambda: {name: self.log.now - beat for name, beat in self.log.heartbeats.items()})

    async def acquire(self, names: Sequence[str]) -> Mapping[str, Lease]:
        def do() -> dict[str, Lease]:
            taken = {name: self.log.take(name, self._process, self._ttl) for name in names}
            return {name: lease for name, lease in taken.items() if lease is not None}

        return await self._ask(do)

    async def renew(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        def do() -> list[Lease]:
            self.log.heard_from(self._process)
            renewed = [lease for lease in leases if self.log.holds(lease)]
            for lease in renewed:
                self.log.prolong(lease)
            return renewed

        return await self._ask(do)

    async def release(self, leases: Sequence[Lease]) -> None:
        def do() -> None:
            for lease in leases:
                self.log.free(lease)

        await self._ask(do)

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        return await self._ask(lambda: self.log.open_group(self._fenced(lease), start))

    async def record_part_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        return await self._ask(lambda: self.log.record_attempts(self._fenced(lease), offsets))

    async def commit_parts(self, parts: Sequence[Part]) -> Sequence[int | LeaseLost]:
        return await self._ask(lambda: [self._commit_part(part) for part in parts])

    def _commit_part(self, part: Part) -> int | LeaseLost:
        try:
            name = self._fenced(part.lease)
        except LeaseLost as lost:
            self._stale += 1
            return lost
        return self._commit(name, part.settled, part.skip, part.dead, part.quarantined)

    def _fenced(self, lease: Lease) -> str:
        if not self.log.holds(lease):
            raise LeaseLost(lease.name, lease.token)
        return lease.name

    async def put_if(self, space: str, name: str, value: bytes | None, version: int) -> int:
        return await self._ask(lambda: self.log.put_if(space, name, value, version))

    def listen(self, channel: str) -> AsyncIterator[bytes]:
        hearing = Hearing()
        self._hearings.append((channel, hearing))
        self.log.hearings.setdefault(channel, []).append(hearing)
        return hearing

    async def tell(self, channel: str, body: bytes) -> None:
        await self._ask(lambda: self.log.spread(channel, body))

    # --- what is kept beside the records ---------------------------------------------------------------------------

    async def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> list[int]:
        return await self._ask(lambda: self.log.add_dead_letters(letters))

    async def dead_letters(
        self, after: int = 0, limit: int = 100, *, subscription: str | None = None, redriven: bool = False
    ) -> list[DeadLetterRecord]:
        return await self._ask(lambda: self.log.letters_after(after, subscription, redriven)[:limit])

    async def count_dead_letters(self, *, subscription: str | None = None, redriven: bool = False) -> int:
        return await self._ask(lambda: len(self.log.letters_after(0, subscription, redriven)))

    async def mark_redriven(self, ids: Sequence[int]) -> int:
        return await self._ask(lambda: self.log.mark_redriven(ids))

    async def purge_dead_letters(self, ids: Sequence[int] | None = None) -> int:
        return await self._ask(lambda: self.log.purge(ids))

    async def add_quarantined(self, items: Sequence[NewQuarantined]) -> list[int]:
        return await self._ask(lambda: self.log.add_quarantined(items))

    async def quarantined(self, after: int = 0, limit: int = 100) -> list[Quarantined]:
        return await self._ask(lambda: [item for item in self.log.aside if item.id > after][:limit])

    async def set_values(self, space: str, values: Mapping[str, bytes | None]) -> None:
        await self._ask(lambda: self.log.set_values(space, values))

    async def values(self, space: str) -> dict[str, bytes]:
        return await self._ask(lambda: self.log.values_of(space))

    # --- upkeep ----------------------------------------------------------------------------------------------------

    async def trim(
        self,
        *,
        before_ns: int | None = None,
        max_bytes: int | None = None,
        before: int | None = None,
        force: bool = False,
    ) -> Trimmed:
        return await self._ask(lambda: self.log.trim(before_ns, max_bytes, before, force=force))

    async def compact(self) -> int:
        return await self._ask(lambda: self.log.size)

    async def verify(self) -> Verified:
        return await self._ask(self.log.verify)

    def stats(self) -> JournalStats:
        return JournalStats(
            self.first,
            self.last,
            self._appended,
            self._duplicates,
            0,
            0,
            0,
            0,
            self._stale,
            self.log.size,
            self.log.size,
            None if self._is_open else "it is not open",
        )

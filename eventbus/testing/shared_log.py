"""Shared log: the server in memory: records, cursors, dead letters, values in plain lists; leases, and who listens."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from eventbus.clock import Clock, SystemClock
from eventbus.errors import IdConflict, OffsetGone, ValueChanged
from eventbus.journal.hearing import Hearing
from eventbus.journal.parts import group_of
from eventbus.journal.progress import GroupProgress
from eventbus.journal.shared import Lease
from eventbus.journal.values import (
    RETAINED,
    TEXT_CAP,
    Append,
    Appended,
    Cursor,
    DeadLetterRecord,
    NewDeadLetter,
    NewQuarantined,
    Quarantined,
    Record,
    Settled,
    SettledDelivery,
    Start,
    Status,
    Trimmed,
    Verified,
)


class LogState:
    """What it holds now."""

    def __init__(self) -> None:
        self.first = 1
        self.aside: list[Quarantined] = []
        self._records: list[Record] = []
        self._by_id: dict[str, Record] = {}
        self._progress: dict[str, GroupProgress] = {}
        self._outcomes: dict[tuple[int, str], SettledDelivery] = {}
        self._letters: list[DeadLetterRecord] = []
        self._values: dict[str, dict[str, bytes]] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._ids = 0

    # --- records ---------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        return self.first + len(self._records) - 1

    @property
    def size(self) -> int:
        """Bytes, more or less."""
        return sum(len(record.body) + 100 for record in self._records) or 1

    def append(self, batch: Sequence[Append]) -> list[Appended]:
        """All of it, or nothing."""
        seen: dict[str, tuple[Append | Record, int]] = {}
        answers, new = list[Appended](), list[Append]()
        for each in batch:
            known = self._by_id.get(each.event_id)
            if known is not None:
                seen.setdefault(each.event_id, (known, known.offset))
            if each.event_id in seen:
                other, offset = seen[each.event_id]
                if (other.body, other.type) != (each.body, each.type):
                    raise IdConflict(each.event_id)
                answers.append(Appended(offset, duplicate=True))
                continue
            offset = self.last + len(new) + 1
            seen[each.event_id] = each, offset
            new.append(each)
            answers.append(Appended(offset))
        for each in new:
            record = Record(self.last + 1, *each[:-1])
            self._records.append(record)
            self._by_id[record.event_id] = record
            if each.retain is not None:
                self._values.setdefault(RETAINED, {})[each.retain] = each.body
        return answers

    def read(self, after: int, limit: int, types: Iterable[str] | None, until: int | None) -> list[Record]:
        """What follows. Raises `OffsetGone`."""
        if after + 1 < self.first:
            raise OffsetGone(after + 1, self.first)
        end = len(self._records) if until is None else max(0, until - self.first + 1)
        found = self._records[after + 1 - self.first : end]
        if types is not None:
            found = [record for record in found if any(fnmatchcase(record.type, name) for name in types)]
        return found[:limit]

    def find(self, event_id: str) -> Record | None:
        return self._by_id.get(event_id)

    def related(self, correlation_id: str) -> list[Record]:
        """The root, and what follows from it."""
        return [record for record in self._records if correlation_id in (record.event_id, record.correlation_id)]

    def seek(self, time_ns: int) -> int:
        """The offset to read after."""
        return next((record.offset - 1 for record in self._records if record.time_ns >= time_ns), self.last)

    def lose_after(self, upto: int) -> None:
        """What came later was never there."""
        for record in self._records[max(0, upto + 1 - self.first) :]:
            del self._by_id[record.event_id]
        del self._records[max(0, upto + 1 - self.first) :]

    # --- groups ----------------------------------------------------------------------------------------------------

    def open_group(self, group: str, start: Start) -> Cursor:
        """The cursor, made if it is new."""
        if group not in self._progress:
            floor = {"beginning": self.first - 1, "end": self.last}.get(start) if isinstance(start, str) else start
            if floor is None or not 0 <= floor <= self.last:
                raise ValueError(f"start {start!r} is not in this journal")
            if floor + 1 < self.first:
                raise OffsetGone(floor + 1, self.first)
            self._progress[group] = GroupProgress(group, floor)
        return self._progress[group].cursor()

    def committed(self, group: str) -> Cursor | None:
        return self._progress[group].cursor() if group in self._progress else None

    def cursors(self) -> list[Cursor]:
        """Of all groups and parts."""
        return [progress.cursor() for progress in self._progress.values()]

    def clamp(self) -> None:
        """Cursors beyond the end go back to it."""
        for name, progress in [*self._progress.items()]:
            if progress.floor > self.last or any(last > self.last for _first, last in progress.cursor().settled):
                self._progress[name] = GroupProgress(name, min(progress.floor, self.last))

    def drop_group(self, group: str) -> bool:
        """It, or all its parts."""
        names = [name for name in self._progress if group in (name, group_of(name))]
        for name in names:
            del self._progress[name]
        self._outcomes = {key: outcome for key, outcome in self._outcomes.items() if key[1] not in names}
        return bool(names)

    def record_attempts(self, group: str, offsets: Sequence[int]) -> dict[int, int]:
        self._must_be_there(offsets)
        return self._of(group).begin(offsets)

    def commit(
        self,
        group: str,
        settled: Sequence[Settled],
        skip: Sequence[tuple[int, int]],
        dead: Sequence[NewDeadLetter],
        quarantined: Sequence[NewQuarantined],
    ) -> tuple[int, int]:
        """All of it, or nothing; gives the floor, and how many were not settled before."""
        progress = self._of(group)
        self._must_be_there([each.offset for each in settled])
        self._must_be_there([last for _first, last in skip])
        for each in settled:
            if each.status not in set(Status):
                raise ValueError(f"status {each.status!r} is none of {', '.join(Status)}")
        fresh = progress.settle(settled)
        progress.skip(skip)
        done = {each.offset for each in fresh}
        for each in fresh:
            self._outcomes[each.offset, group] = SettledDelivery(group_of(group), *each)
        self.add_dead_letters([letter for letter in dead if letter.offset is None or letter.offset in done])
        self.add_quarantined([item for item in quarantined if item.offset is None or item.offset in done])
        return progress.floor, len(fresh)

    def outcomes_of(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        return [outcome for (offset, _group), outcome in sorted(self._outcomes.items()) if offset in offsets]

    def _of(self, group: str) -> GroupProgress:
        if group not in self._progress:
            raise LookupError(f"there is no group {group!r}")
        return self._progress[group]

    def _must_be_there(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            if not 0 < offset <= self.last:
                raise ValueError(f"offset {offset} is not in this journal")

    # --- beside the records ----------------------------------------------------------------------------------------

    def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> list[int]:
        added = []
        for letter in letters:
            self._ids += 1
            cut = letter._replace(reason=_capped(letter.reason), error=_capped(letter.error))
            self._letters.append(DeadLetterRecord(self._ids, *cut, redriven=False))
            added.append(self._ids)
        return added

    def letters_after(self, after: int, subscription: str | None, redriven: bool) -> list[DeadLetterRecord]:
        return [
            letter
            for letter in self._letters
            if letter.id > after and subscription in (None, letter.subscription) and (redriven or not letter.redriven)
        ]

    def mark_redriven(self, ids: Sequence[int]) -> int:
        """Gives how many were not marked before."""
        fresh = {letter.id for letter in self._letters if letter.id in ids and not letter.redriven}
        self._letters = [letter._replace(redriven=True) if letter.id in fresh else letter for letter in self._letters]
        return len(fresh)

    def purge(self, ids: Sequence[int] | None) -> int:
        """Gives how many there were."""
        left = [] if ids is None else [letter for letter in self._letters if letter.id not in ids]
        gone, self._letters = len(self._letters) - len(left), left
        return gone

    def add_quarantined(self, items: Sequence[NewQuarantined]) -> list[int]:
        added = []
        for item in items:
            self._ids += 1
            self.aside.append(Quarantined(self._ids, *item))
            added.append(self._ids)
        return added

    def set_values(self, space: str, values: Mapping[str, bytes | None]) -> None:
        for name, value in values.items():
            self._put(space, name, value)

    def values_of(self, space: str) -> dict[str, bytes]:
        return dict(self._values.get(space, {}))

    def put_if(self, space: str, name: str, value: bytes | None, version: int) -> int:
        """If it still has that version."""
        known = self._versions.get((space, name), 0)
        if version != known:
            raise ValueChanged(space, name, version, known, self._values.get(space, {}).get(name))
        self._put(space, name, value)
        return known + 1

    def _put(self, space: str, name: str, value: bytes | None) -> None:
        values = self._values.setdefault(space, {})
        if value is None:
            values.pop(name, None)
        else:
            values[name] = value
        self._versions[space, name] = self._versions.get((space, name), 0) + 1

    # --- upkeep ----------------------------------------------------------------------------------------------------

    def trim(self, before_ns: int | None, max_bytes: int | None, before: int | None, *, force: bool) -> Trimmed:
        """The oldest, below the slowest group unless forced."""
        upto = self.first if before is None else min(before, self.last + 1)
        if before_ns is not None:
            upto = max(upto, next((one.offset for one in self._records if one.time_ns >= before_ns), self.last + 1))
        if max_bytes is not None:
            size = self.size
            for record in self._records:
                if size <= max_bytes:
                    break
                size -= len(record.body) + 100
                upto = max(upto, record.offset + 1)
        if not force:
            upto = min(upto, *(each.floor + 1 for each in self._progress.values()), upto)
        removed = max(0, upto - self.first)
        overtaken = tuple(sorted(name for name, each in self._progress.items() if each.floor + 1 < upto))
        for record in self._records[:removed]:
            del self._by_id[record.event_id]
        del self._records[:removed]
        self.first += removed
        return Trimmed(removed, self.first, overtaken if removed else ())

    def verify(self) -> Verified:
        digest = hashlib.sha256()
        for record in self._records:
            digest.update(repr(record).encode())
        return Verified(self.first, self.last, len(self._records), digest.hexdigest())


class SharedMemoryLog(LogState):
    """What is shared: the log, cursors, leases, values, and who listens. `clock` is that of the server.

    `is_down` makes it unreachable for everybody, `hints` False lets everything be lost that `tell` and appends only hint at.
    """

    def __init__(self, clock: Clock | None = None, *, epoch: str = "memory-1") -> None:
        super().__init__()
        self.clock = clock or SystemClock()
        self.epoch = epoch
        self.is_down = False
        self.hints = True
        self.heartbeats: dict[str, float] = {}
        self.leases: dict[str, tuple[str, int, float]] = {}  # owner, token, until
        self.hearings: dict[str, list[Hearing]] = {}
        self.waiters: dict[asyncio.Future[bool], int] = {}
        self._token = 0

    @property
    def now(self) -> float:
        """Seconds, by the clock of the server."""
        return self.clock.monotonic_ns() / 1e9

    def heard_from(self, process: str) -> None:
        """A heartbeat."""
        self.heartbeats[process] = self.now

    def holds(self, lease: Lease) -> bool:
        """Is it held under this token, and has it not run out?"""
        held = self.leases.get(lease.name)
        return held is not None and held[1] == lease.token and held[2] > self.now

    def take(self, name: str, process: str, ttl: float) -> Lease | None:
        """Give a lease that is free, has run out, or is this process's already."""
        owner, token, until = self.leases.get(name, ("", 0, -math.inf))
        if owner and owner != process and until > self.now:
            return None
        if owner != process or until <= self.now:
            self._token += 1
            token = self._token
        self.leases[name] = process, token, self.now + ttl
        return Lease(name, token, ttl)

    def prolong(self, lease: Lease) -> None:
        """For another while."""
        owner, token, _until = self.leases[lease.name]
        self.leases[lease.name] = owner, token, self.now + lease.ttl

    def leave(self, process: str) -> None:
        """It ends in order: nothing of it is left."""
        self.heartbeats.pop(process, None)
        for name, (owner, token, _until) in [*self.leases.items()]:
            if owner == process:
                self.leases[name] = "", token, -math.inf

    def free(self, lease: Lease) -> None:
        """Nobody has it."""
        if self.holds(lease):
            self.leases[lease.name] = "", lease.token, -math.inf

    def wake(self) -> None:
        """There is more to read."""
        if self.hints:
            for waiter, after in [*self.waiters.items()]:
                if self.last > after and not waiter.done():
                    waiter.set_result(True)

    def spread(self, channel: str, body: bytes) -> None:
        """Tell everybody who listens."""
        if self.hints:
            for hearing in self.hearings.get(channel, ()):
                hearing.hear(body)

    def go_back(self, upto: int, epoch: str | None = None) -> None:
        """The server is put back to an older copy: what came after that offset is lost, with or without a new `epoch`."""
        self.lose_after(upto)
        self.epoch = epoch or self.epoch


def _capped(text: str) -> str:
    return text.encode()[:TEXT_CAP].decode(errors="ignore")

"""Changing a journal file: records, cursors and retention, in transactions that end in a new seal.

Plain synchronous code on one connection; the writer thread calls it. Knows nothing of threads, loops or locks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eventbus.errors import IdConflict, JournalInUse
from eventbus.journal.progress import GroupProgress, floor_of
from eventbus.journal.sqlite.integrity import Seal, pack
from eventbus.journal.sqlite.reads import TYPE
from eventbus.journal.sqlite.tables import SmallTables
from eventbus.journal.values import (
    RETAINED,
    Append,
    Appended,
    Cursor,
    NewDeadLetter,
    NewQuarantined,
    NewRecords,
    Settled,
    Start,
    Status,
)

if TYPE_CHECKING:
    from eventbus.journal.sqlite.schema import Database

TRIM_CHUNK = 5_000  # records removed per transaction, so that nobody waits long behind it
_ID_CHUNK = 500

_STATUSES = frozenset(Status)


@dataclass(slots=True)
class Counters:
    """What happened since the journal was opened. The loop reads it too: a number a moment old does no harm there."""

    appended: int = 0
    bytes: int = 0
    duplicates: int = 0
    stale_acks: int = 0
    commits: int = 0
    largest_commit: int = 0
    checkpoints: int = 0
    blocked_checkpoints: int = 0

    def committed(self, records: int) -> None:
        """So many were made true together."""
        self.commits += 1
        self.appended += records
        self.largest_commit = max(self.largest_commit, records)

    def packed(self, size: int) -> None:
        """So many bytes of records went in."""
        self.bytes += size

    def repeated(self, items: int) -> None:
        """So many were in it before."""
        self.duplicates += items

    def acknowledged_again(self, deliveries: int) -> None:
        """So many had their outcome before."""
        self.stale_acks += deliveries

    def checkpointed(self) -> None:
        """The log went into the file."""
        self.checkpoints += 1

    def blocked(self, is_blocked: bool) -> None:
        """A look at the log: does a reader keep it from the file?"""
        self.blocked_checkpoints += is_blocked


class Store(SmallTables):
    """One open journal file: `begin()`, any changes, `write()`, then `commit_written()`; or `abandon()`."""

    def __init__(self, db: Database, path: Path, token: str, counters: Counters, *, keep_outcomes: bool = True) -> None:
        super().__init__(db, path)
        self._token = token
        self._counters = counters
        self._keep_outcomes = keep_outcomes
        self.is_claimed = False
        self.reload()

    def reload(self) -> None:
        """Take the state from the file: after opening, and after a transaction that failed."""
        self.head = self.seal()
        self.first = self.base() + 1
        self._last = self.head.last
        self._digest = self.head.digest
        self._ledger = self.head.ledger
        self.progress = self.groups()
        self._waiting: list[Append] = []
        self._touched: set[str] = set()
        self._changed = False

    # --- transactions -----------------------------------------------------------------------------------------------

    def claim(self, process: str) -> None:
        """Name this writer in the file. A second one, whatever became of the lock, is then noticed by `begin()`."""
        self._db.execute("INSERT OR REPLACE INTO owner VALUES (1, ?, ?)", (self._token, process))
        self.is_claimed = True

    def begin(self) -> None:
        """Begin a transaction. Raises `JournalInUse` if another writer took the file, whatever became of the lock."""
        self._db.execute("BEGIN IMMEDIATE")
        token, process = self._one("SELECT token, process FROM owner")
        if token != self._token:
            self.abandon()
            raise JournalInUse(str(self._path), process)

    def write(self) -> bool:
        """Write what waits, and the seal over it. False if nothing changed, so that there is nothing to commit."""
        self.flush()
        if not self._changed:
            return False
        self._written = self._seal()
        return True

    def _seal(self) -> Seal:
        """Seal the records that are in the file by now."""
        seal = Seal(self._last, self.head.commits + 1, self._digest, self._ledger)
        self._db.execute("INSERT OR REPLACE INTO seals VALUES (?, ?, ?, ?, ?)", (*seal, seal.crc))
        return seal

    def commit_written(self) -> Seal:
        """Make it true; gives the new seal."""
        self._db.execute("COMMIT")
        self._counters.committed(self._written.last - self.head.last)
        self.head = self._written
        self._changed = False
        return self.head

    def abandon(self) -> None:
        """Undo the transaction, as far as SQLite has not done so itself."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def savepoint(self) -> None:
        """Remember where one of several jobs of a transaction began."""
        self.flush()
        self._db.execute("SAVEPOINT job")
        self._saved = self.first, self._last, self._digest, self._ledger, self._changed

    def rollback_to_savepoint(self) -> None:
        """Undo that job alone."""
        self._db.execute("ROLLBACK TO job")
        self._waiting.clear()
        self._touched.clear()
        self.first, self._last, self._digest, self._ledger, self._changed = self._saved
        self.progress = self.groups()

    def release_savepoint(self) -> None:
        """Go on to the next job."""
        self._db.execute("RELEASE job")

    def flush(self) -> None:
        """Bring to the file what was collected for it: appended records, cursors."""
        if self._waiting:
            if self._last > self.head.last:
                self._seal()  # not the first records of this transaction: the digest is chained from seal to seal
            batch, self._waiting = self._waiting, []
            packed = pack(batch, self._last + 1, self._digest)
            self._insert("records", 6, packed.parameters)
            self._last += len(batch)
            self._digest = packed.digest
            self._counters.packed(packed.size)
            self._changed = True
            retained = {item.retain: item.body for item in batch if item.retain is not None}
            if retained:
                self.set_values(RETAINED, retained)
        for name in self._touched:
            self._put("groups", (name, *self.progress[name].fields()), "name = ?", (name,))
        self._touched.clear()

    # --- records ----------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Append]) -> NewRecords:
        """Append without looking for duplicates: `flush()` fails if there is one, then `append_carefully()` is next."""
        first = self._last + len(self._waiting) + 1
        self._waiting += batch
        return NewRecords(range(first, first + len(batch)))

    def append_carefully(self, batch: Sequence[Append]) -> list[Appended]:
        """Append what is not there yet. Raises `IdConflict` before anything is changed."""
        self.flush()
        known = self._known(batch)
        fresh: list[Append] = []
        answers: list[Appended] = []
        for item in batch:
            offset, type_, body = known.get(item.event_id, (0, "", b""))
            if not offset:
                fresh.append(item)
                offset = self._last + len(fresh)
                known[item.event_id] = offset, item.type, item.body
                answers.append(Appended(offset))
            elif (type_, body) == (item.type, item.body):
                answers.append(Appended(offset, duplicate=True))
            else:
                raise IdConflict(item.event_id)
        self._counters.repeated(len(batch) - len(fresh))
        self._waiting += fresh
        self.flush()
        return answers

    def _known(self, batch: Sequence[Append]) -> dict[str, tuple[int, str, bytes]]:
        ids = [item.event_id for item in batch]
        known = {}
        for at in range(0, len(ids), _ID_CHUNK):
            chunk = ids[at : at + _ID_CHUNK]
            places = ", ".join("?" * len(chunk))
            for event_id, *rest in self._all(
                f"SELECT event_id, offset, {TYPE}, body FROM records WHERE event_id IN ({places})", chunk
            ):
                known[event_id] = (rest[0], rest[1], rest[2])
        return known

    def overtaken(self) -> tuple[str, ...]:
        """Groups that have not read what retention removed."""
        return tuple(sorted(name for name, progress in self.progress.items() if progress.floor < self.first - 1))

    def compact(self) -> int:
        """See `SqliteJournal.compact`. Not within a transaction."""
        self._db.execute("VACUUM").fetchall()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self.file_bytes()

    def plan_trim(self, before_ns: int | None, max_bytes: int | None, before: int | None, force: bool) -> int:
        """The newest offset that retention may remove; below `first` if none."""
        cut = self.first - 1
        if before is not None:
            cut = max(cut, before - 1)
        if before_ns is not None:
            cut = max(cut, self.seek(before_ns))
        if max_bytes is not None and self._last >= self.first:
            each = self.file_bytes() / (self._last - self.first + 1)
            cut = max(cut, self._last - int(max_bytes / each))
        return self._free_to_trim(min(cut, self._last), force)

    def _free_to_trim(self, cut: int, force: bool) -> int:
        return cut if force else min([cut, *(progress.floor for progress in self.progress.values())])

    def trim_chunk(self, cut: int, force: bool) -> int:
        """Remove the oldest records up to `cut`, one chunk of them. Gives how many.

        Seals are where the digest can be taken up again, so the removal ends at one of them: the newest within the
        chunk, or the first beyond it when a single transaction was larger than a chunk.
        """
        base = self.first - 1
        cut = self._free_to_trim(cut, force)  # a group may have come since the cut was planned
        newest = self._one("SELECT max(last) FROM seals WHERE last <= ?", (min(cut, base + TRIM_CHUNK),))[0]
        if newest is None or newest <= base:
            newest = self._one("SELECT min(last) FROM seals WHERE last > ? AND last <= ?", (base, cut))[0]
        if newest is None:
            return 0
        for table, column in (("records", "offset"), ("outcomes", "offset")):
            self._db.execute(f"DELETE FROM {table} WHERE {column} <= ?", (newest,))
        self._db.execute("DELETE FROM seals WHERE last < ?", (newest,))
        self.first = newest + 1
        self._changed = True
        return int(newest - base)

    # --- groups -----------------------------------------------------------------------------------------------------

    def open_group(self, group: str, start: Start) -> Cursor:
        """See `Journal.open_group`."""
        self.flush()
        if group not in self.progress:
            floor = floor_of(start, self.first, self._last)
            self.progress[group] = GroupProgress(group, floor)
            self._touch(group)
        return self.progress[group].cursor()

    def committed(self, group: str) -> Cursor | None:
        """See `Journal.committed`."""
        progress = self.progress.get(group)
        return progress.cursor() if progress else None

    def drop_group(self, group: str) -> bool:
        """See `Journal.drop_group`."""
        self.flush()
        if self.progress.pop(group, None) is None:
            return False
        self._remove("groups", "name = ?", (group,))
        return True

    def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        """See `Journal.record_attempts`."""
        progress = self._group(group)
        if not offsets:
            return {}
        self._expect_offsets(min(offsets), max(offsets))
        self._touch(group)
        return progress.begin(offsets)

    def commit(
        self,
        group: str,
        settled: Sequence[Settled],
        skip: Sequence[tuple[int, int]],
        dead: Sequence[NewDeadLetter],
        quarantined: Sequence[NewQuarantined],
    ) -> int:
        """See `Journal.commit`. A delivery that was settled before brings no second dead letter."""
        progress = self._group(group)
        if settled:
            offsets = [delivery.offset for delivery in settled]
            self._expect_offsets(min(offsets), max(offsets))
        for first, last in skip:
            self._expect_offsets(first, last)
        if strange := {delivery.status for delivery in settled} - _STATUSES:
            raise ValueError(f"status {strange.pop()!r} is none of {', '.join(Status)}")
        self._touch(group)
        fresh = progress.settle(settled)
        progress.skip(skip)
        self._counters.acknowledged_again(len(settled) - len(fresh))
        if self._keep_outcomes and fresh:
            self._insert("outcomes", 6, [column for item in fresh for column in (item[0], group, *item[1:])])
        if dead or quarantined:
            settled_now = {None, *(delivery.offset for delivery in fresh)}
            self.add_dead_letters([letter for letter in dead if letter.offset in settled_now])
            self.add_quarantined([item for item in quarantined if item.offset in settled_now])
        return progress.floor

    def _group(self, group: str) -> GroupProgress:
        try:
            return self.progress[group]
        except KeyError:
            raise LookupError(f"group {group!r} is not known to this journal: open_group() makes it") from None

    def _expect_offsets(self, first: int, last: int) -> None:
        newest = self._last + len(self._waiting)
        if first < 0 or last < first or last > newest:
            raise ValueError(f"offsets {first} to {last} are not in this journal, which ends at {newest}")

    def _touch(self, group: str) -> None:
        self._touched.add(group)
        self._changed = True

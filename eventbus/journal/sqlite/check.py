"""Checking a journal file: every record against its CRC, the chain of seals, the ledger, the pages, the mark beside it.

Reads one snapshot on a read-only connection, so it may run beside a writer and leaves a damaged file as it was found.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from eventbus.errors import JournalDamaged
from eventbus.journal.sqlite.integrity import GENESIS, Seal, chain, row_crc, sound_parts
from eventbus.journal.sqlite.place import log_file, size_of
from eventbus.journal.sqlite.reads import RECORD_COLUMNS, Reads, contiguous
from eventbus.journal.sqlite.schema import SMALL_TABLES, Connect, at_rest, is_damage, version_of
from eventbus.journal.values import Verified

if TYPE_CHECKING:
    from eventbus.journal.sqlite.guard import Mark

_CHUNK = 5_000  # records in memory at a time
_SEALS = "SELECT last, digest FROM seals"


def check_file(path: Path, connect: Connect, mark: Mark | None) -> Verified:
    """Check the file at `path`; one that is not there yet is sound, unless log or mark know better.

    `mark` is None where there is none: that is evidence too, unless there is no journal either.
    """
    missing = JournalDamaged(
        str(path),
        first_bad=1,
        last_good=0,
        expected=mark.last if mark else 0,
        reason="what stands beside it says more",
    )
    known = bool(mark and mark.commits)
    if not path.exists() or path.stat().st_size == 0:
        # Nothing is opened: SQLite would remove the log of an empty file, and with it what might be saved.
        if known or size_of(log_file(path)):
            raise missing
        return Verified(1, 0, 0, GENESIS.hex())
    if path.with_name(path.name + "-journal").exists():
        # The process died while the file was made, before there was a log. Only a writer may undo what it began.
        db = connect(path, False)
        try:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        finally:
            db.close()
    rest = at_rest(path)
    db = connect(path, True)
    try:
        db.execute("BEGIN").fetchall()
        if version_of(db, path) == 0:
            if known:
                raise missing
            return Verified(1, 0, 0, GENESIS.hex())
        verified = Check(db, path).run(mark)
    except JournalDamaged:
        if rest is None or at_rest(path) == rest:
            raise
        return check_file(path, connect, mark)  # a writer came meanwhile, and what was seen is of no moment
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        expected = mark.last if mark else 0
        raise JournalDamaged(
            str(path), first_bad=1, last_good=0, expected=expected, reason=f"SQLite cannot read it: {error}"
        ) from error
    finally:
        db.close()
    return verified


class Check(Reads):
    """One look at everything, within the read transaction of its connection."""

    def run(self, mark: Mark | None) -> Verified:
        """Raises `JournalDamaged` at the first thing that is not as it was written."""
        expected = mark.last if mark else 0
        try:
            head = self.seal()
            expected = max(expected, head.last)
            self._check_mark(head, mark)
            verified = self._check_records(head)
            self._check_small_tables(head)
            self._check_pages(head)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            raise self._unreadable(error, expected) from error
        return verified

    def _check_mark(self, head: Seal, mark: Mark | None) -> None:
        if mark is None:
            raise self._bad_end(
                "cannot tell whether the end is complete: its mark is gone or says nothing", head, head.last
            )
        if head.commits < mark.commits or head.last < mark.last:
            raise self._bad_end("its end is missing", head, mark.last)
        row = self._one("SELECT digest FROM seals WHERE last = ?", (mark.last,))
        if row is not None and row[0] != mark.digest:
            raise self.damaged("its records are not those of its mark", first_bad=None, last_good=0, expected=mark.last)

    def _bad_end(self, reason: str, head: Seal, expected: int) -> JournalDamaged:
        bad = head.last + 1 if head.last < expected else None
        return JournalDamaged(
            str(self._path), first_bad=bad, last_good=head.last, expected=expected, reason=reason, is_end=True
        )

    def _check_records(self, head: Seal) -> Verified:
        base, digest = self._one(f"{_SEALS} ORDER BY last LIMIT 1")
        if base == 0 and digest != GENESIS:
            raise self.damaged("the first seal is altered", first_bad=1, last_good=0, expected=head.last)
        at = sealed_at = base
        unsealed: list[bytes] = []  # what came since the last seal
        while at < head.last:
            span = at, min(at + _CHUNK, head.last)
            rows = self._all(f"SELECT {RECORD_COLUMNS} FROM records WHERE offset > ? AND offset <= ?", span)
            parts = sound_parts(rows)
            sound = min(contiguous(rows, at), len(parts) // 2)
            if at + sound < span[1]:
                raise self.bad_record(at + sound, head)
            taken = 0
            for seal, expected in self._all(f"{_SEALS} WHERE last > ? AND last <= ? ORDER BY last", span):
                upto = 2 * (seal - at)
                digest = chain(digest, unsealed + parts[taken:upto])
                if digest != expected:
                    raise self.bad_record(sealed_at, head)
                sealed_at, taken, unsealed = seal, upto, []
            unsealed += parts[taken:]
            at = span[1]
        if digest != head.digest or sealed_at != head.last:
            raise self.bad_record(sealed_at, head)
        if self._one("SELECT 1 FROM records WHERE offset > ? OR offset <= ?", (head.last, base)):
            raise self.bad_record(at, head)
        return Verified(base + 1, at, at - base, digest.hex())

    def _check_small_tables(self, head: Seal) -> None:
        ledger = 0
        for table in SMALL_TABLES:
            for *columns, crc in self._all(f"SELECT * FROM {table}"):
                if row_crc(table, columns) != crc:
                    raise self.small_damage(table)
                ledger ^= crc
        if ledger != head.ledger:
            raise self.small_damage("the tables beside the records")
        self.groups()

    def _check_pages(self, head: Seal) -> None:
        """SQLite's own check: trees, free pages, and that every record is found by its id."""
        verdict: str = self._one("PRAGMA integrity_check(1)")[0]
        if verdict != "ok":
            raise self.damaged(verdict, first_bad=None, last_good=head.last, expected=head.last)

    def _unreadable(self, error: sqlite3.Error, expected: int) -> JournalDamaged:
        """SQLite gave up: go record by record to name the first that cannot be read."""
        good = 0
        try:
            good = self.base()
            while rows := self._all(f"SELECT {RECORD_COLUMNS} FROM records WHERE offset = ?", (good + 1,)):
                if not sound_parts(rows):
                    break
                good += 1
        except sqlite3.Error:
            pass
        bad = good + 1 if good < expected else None
        return self.damaged(str(error), first_bad=bad, last_good=good, expected=max(expected, good))

"""Saving what can be saved of a damaged journal file, on explicit request.

A copy of everything is kept first. What is sound moves into a new file under its old offsets; each record that is lost
leaves a tombstone at its offset, so that readers meet the loss where it happened and never take it for silence.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventbus.errors import JournalUnavailable
from eventbus.journal.sqlite.integrity import GENESIS, Seal, row_crc, sound_parts, unpack
from eventbus.journal.sqlite.place import index_file, log_file, mark_file
from eventbus.journal.sqlite.reads import RECORD_COLUMNS
from eventbus.journal.sqlite.schema import SMALL_TABLES, Connect, Database, Synchronous, migrate, prepare
from eventbus.journal.sqlite.store import Counters, Store
from eventbus.journal.values import Append, Record

if TYPE_CHECKING:
    from eventbus.journal.sqlite.guard import Mark

LOST_TYPE = "journal.lost"
"""Type of a tombstone. Its body is empty, which no event's is."""

_CHUNK = 2_000


def repair(path: Path, connect: Connect, mark: Mark) -> Path:
    """Replace a damaged file by a sound one with all that could be read; gives the copy that was kept.

    The new file ends no earlier than the mark, so that no offset is given twice.
    """
    copy = _set_copy_aside(path)
    fresh = path.with_name(path.name + ".repairing")
    _remove(fresh)
    try:
        path.touch()
        old = connect(path, True)  # never the copy: even a reader makes SQLite tidy up after a crash
        try:
            with suppress(sqlite3.Error):  # then the definition of one table that is damaged hides no other
                old.execute("PRAGMA writable_schema = ON")
            records = list(_sound_records(old, mark.last))
            base = _base(old, records, mark.last)
            rows = [(table, row) for table in SMALL_TABLES for row in _sound_rows(old, table)]
        finally:
            old.close()
        _build(fresh, connect, Seal(base, mark.commits + 1, GENESIS, 0), _with_tombstones(records, base, mark), rows)
        _remove(path)
        os.replace(fresh, path)
    except OSError as error:
        raise JournalUnavailable(str(path), f"it could not be repaired ({error})") from error
    return copy


def _set_copy_aside(path: Path) -> Path:
    number = 1
    while (copy := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    copy.touch()
    for source, target in ((path, copy), (log_file(path), log_file(copy)), (mark_file(path), mark_file(copy))):
        with suppress(FileNotFoundError):
            shutil.copyfile(source, target)
    return copy


def _sound_records(db: Database, newest: int) -> Iterator[Record]:
    """Every record that is as it was written. Where a page cannot be read, each offset is tried on its own."""
    at = 0
    while True:
        try:
            rows = _query(db, "offset > ? ORDER BY offset LIMIT ?", at, _CHUNK)
            top = rows[-1][0] if rows else None
        except sqlite3.Error:
            rows = [row for offset in range(at + 1, at + _CHUNK + 1) for row in _single(db, offset)]
            top = at + _CHUNK if at + _CHUNK < newest else None
        yield from (unpack(row) for row in rows if sound_parts([row]))
        if top is None:
            return
        at = top


def _single(db: Database, offset: int) -> list[Any]:
    try:
        return _query(db, "offset = ? LIMIT ?", offset, 1)
    except sqlite3.Error:
        return []


def _query(db: Database, where: str, *parameters: int) -> list[Any]:
    return db.execute(f"SELECT {RECORD_COLUMNS} FROM records WHERE {where}", parameters).fetchall()


def _sound_rows(db: Database, table: str) -> Iterator[list[Any]]:
    try:
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
    except sqlite3.Error:
        return
    yield from (list(columns) for *columns, crc in rows if row_crc(table, columns) == crc)


def _base(db: Database, records: list[Record], newest: int) -> int:
    """The offset before the oldest record that the journal had: what retention removed was not lost."""
    with suppress(sqlite3.Error, TypeError):
        last, *rest, crc = db.execute("SELECT last, commits, digest, ledger, crc FROM seals ORDER BY last").fetchone()
        if Seal(last, *rest).crc == crc:
            return int(last)
    return records[0].offset - 1 if records else newest


def _with_tombstones(records: list[Record], base: int, mark: Mark) -> Iterator[Append]:
    at = base
    for record in records:
        yield from map(_tombstone, range(at + 1, record.offset))
        yield Append(*record[1:])
        at = record.offset
    yield from map(_tombstone, range(at + 1, mark.last + 1))


def _tombstone(offset: int) -> Append:
    return Append(f"lost:{offset}", LOST_TYPE, 1, "event", None, 0, None, None, b"")


def _build(path: Path, connect: Connect, start: Seal, records: Iterator[Append], rows: list[tuple[str, Any]]) -> None:
    db = connect(path, False)
    try:
        prepare(db, Synchronous.FULL)
        migrate(db, path)
        db.execute("DELETE FROM seals")
        db.execute("INSERT INTO seals VALUES (?, ?, ?, ?, ?)", (*start, start.crc))
        store = Store(db, path, token="repair", counters=Counters())
        store.claim("repair")
        store.begin()
        for table, columns in rows:
            store.adopt(table, columns)
        while batch := list(islice(records, _CHUNK)):
            store.append(batch)
            store.flush()
        if store.write():
            store.commit_written()
        else:
            store.abandon()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.close()


def _remove(path: Path) -> None:
    for each in (path, log_file(path), index_file(path)):
        each.unlink(missing_ok=True)

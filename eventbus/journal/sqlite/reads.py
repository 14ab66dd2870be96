"""Reading a journal file: every question there is, as SQL.

Works on any connection, so the writer and a read-only reader share it. Nothing here changes the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventbus.errors import JournalDamaged, OffsetGone
from eventbus.journal.progress import GroupProgress
from eventbus.journal.sqlite.integrity import Seal, row_crc, sound_bodies, sound_parts, unpack
from eventbus.journal.values import DeadLetterRecord, Quarantined, Record, SettledDelivery

if TYPE_CHECKING:
    from eventbus.journal.sqlite.schema import Database

RECORD_COLUMNS = "offset, event_id, labels, crc, body, body_crc"
_BODY_COLUMNS = "offset, body, body_crc"
TYPE = "json_extract(labels, '$[0]')"
_TIME_NS = "json_extract(labels, '$[4]')"
_CORRELATION_ID = "json_extract(labels, '$[5]')"
_FAR = 2**63 - 1


class Reads:
    """Queries over one connection to one journal file."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db = db
        self._path = path

    # --- records ----------------------------------------------------------------------------------------------------

    def seal(self) -> Seal:
        """The newest seal. Raises `JournalDamaged` if there is none or it is not whole."""
        row = self._one("SELECT last, commits, digest, ledger, crc FROM seals ORDER BY last DESC LIMIT 1")
        if row is None:
            raise self.damaged("the last seal is missing", first_bad=None, last_good=0, expected=0)
        seal = Seal(*row[:4])
        if seal.crc != row[4]:
            raise self.damaged("the last seal is altered", first_bad=None, last_good=0, expected=seal.last)
        return seal

    def base(self) -> int:
        """The offset before the oldest record kept."""
        row = self._one("SELECT min(last) FROM seals")
        return int(row[0] or 0)

    def read(
        self, after: int, limit: int, types: Sequence[str] | None = None, until: int | None = None
    ) -> list[Record]:
        """See `Journal.read`."""
        where = ""
        parameters: list[int | str] = [after, _FAR if until is None else until]
        if types is not None:
            where = f" AND ({' OR '.join([f'{TYPE} GLOB ?'] * len(types)) or 'FALSE'})"
            parameters += [_glob(pattern) for pattern in types]
        rows = self._following(RECORD_COLUMNS, after, where, (*parameters, limit))
        return self._records(self._sound(rows, after if types is None else None))

    def bodies(self, after: int, limit: int, until: int | None = None) -> list[tuple[int, bytes]]:
        """See `Journal.bodies`."""
        rows = self._following(_BODY_COLUMNS, after, "", (after, _FAR if until is None else until, limit))
        bodies = sound_bodies(rows)
        self._expect(rows, len(bodies), after)
        return bodies

    def _following(self, columns: str, after: int, where: str, parameters: Sequence[Any]) -> list[Any]:
        base = self.base()
        if after < base:
            raise OffsetGone(after + 1, base + 1)
        return self._all(
            f"SELECT {columns} FROM records WHERE offset > ? AND offset <= ?{where} ORDER BY offset LIMIT ?", parameters
        )

    def find(self, event_id: str) -> Record | None:
        """The record with this id."""
        rows = self._all(f"SELECT {RECORD_COLUMNS} FROM records WHERE event_id = ?", (event_id,))
        return self._records(self._sound(rows))[0] if rows else None

    def related(self, correlation_id: str, limit: int) -> list[Record]:
        """See `Journal.related`. A root is older than what it caused, so the search begins there."""
        root = self._one("SELECT offset FROM records WHERE event_id = ?", (correlation_id,))
        rows = self._all(
            f"SELECT {RECORD_COLUMNS} FROM records WHERE offset >= ? AND ({_CORRELATION_ID} = ? OR event_id = ?)"
            " ORDER BY offset LIMIT ?",
            (root[0] if root else 0, correlation_id, correlation_id, limit),
        )
        return self._records(self._sound(rows))

    def seek(self, time_ns: int) -> int:
        """See `Journal.seek`. Wall-clock labels need not ascend, so this looks at each."""
        row = self._one(f"SELECT offset FROM records WHERE {_TIME_NS} >= ? ORDER BY offset LIMIT 1", (time_ns,))
        return row[0] - 1 if row else self.seal().last

    # --- what is kept beside the records ----------------------------------------------------------------------------

    def groups(self) -> dict[str, GroupProgress]:
        """The progress of every group."""
        groups = {}
        for row in self._rows("groups", "name, floor, settled, attempts, totals", "ORDER BY name"):
            try:
                groups[row[0]] = GroupProgress.from_fields(*row)
            except ValueError as error:
                raise self.small_damage("groups") from error
        return groups

    def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        """See `Journal.outcomes`."""
        found: list[SettledDelivery] = []
        for at in range(0, len(offsets), 500):
            chunk = offsets[at : at + 500]
            found += map(
                SettledDelivery._make,
                self._all(
                    "SELECT name, offset, status, attempts, queued_ns, ran_ns FROM outcomes"
                    f" WHERE offset IN ({', '.join('?' * len(chunk))}) ORDER BY offset, name",
                    chunk,
                ),
            )
        return found

    def dead_letters(self, after: int, limit: int, subscription: str | None, redriven: bool) -> list[DeadLetterRecord]:
        """See `Journal.dead_letters`."""
        rows = self._rows(
            "dead_letters",
            "id, subscription, event_id, type, offset, reason, error, attempts, first_failed_ns, last_failed_ns, body,"
            " redriven",
            "WHERE id > ? AND (? IS NULL OR subscription = ?) AND redriven <= ? ORDER BY id LIMIT ?",
            (after, subscription, subscription, int(redriven), limit),
        )
        return [DeadLetterRecord._make((*row[:-1], bool(row[-1]))) for row in rows]

    def count_dead_letters(self, subscription: str | None, redriven: bool) -> int:
        """See `Journal.count_dead_letters`."""
        row = self._one(
            "SELECT count(*) FROM dead_letters WHERE (? IS NULL OR subscription = ?) AND redriven <= ?",
            (subscription, subscription, int(redriven)),
        )
        return int(row[0])

    def quarantined(self, after: int, limit: int) -> list[Quarantined]:
        """See `Journal.quarantined`."""
        rows = self._rows(
            "quarantine", "id, offset, reason, time_ns, raw", "WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
        )
        return list(map(Quarantined._make, rows))

    def count_quarantined(self) -> int:
        """How many items are quarantined."""
        return int(self._one("SELECT count(*) FROM quarantine")[0])

    def values(self, space: str) -> dict[str, bytes]:
        """See `Journal.values`."""
        rows = self._rows("small_values", "space, name, value", "WHERE space = ? ORDER BY name", (space,))
        return {name: value for _, name, value in rows}

    def file_bytes(self) -> int:
        """Size of the database as SQLite counts it, free pages left out."""
        pages = self._one("PRAGMA page_count")[0] - self._one("PRAGMA freelist_count")[0]
        return int(pages * self._one("PRAGMA page_size")[0])

    # --- helpers ----------------------------------------------------------------------------------------------------

    def damaged(self, reason: str, *, first_bad: int | None, last_good: int, expected: int) -> JournalDamaged:
        """The error that names damage in this file."""
        return JournalDamaged(
            str(self._path), first_bad=first_bad, last_good=last_good, expected=expected, reason=reason
        )

    def bad_record(self, last_good: int, head: Seal) -> JournalDamaged:
        """The error that names a record."""
        return self.damaged(
            "a record is missing or altered", first_bad=last_good + 1, last_good=last_good, expected=head.last
        )

    def small_damage(self, table: str) -> JournalDamaged:
        """The error that names a table beside the records."""
        last = self.seal().last
        return self.damaged(f"{table}: a row is missing or altered", first_bad=None, last_good=last, expected=last)

    def _records(self, rows: list[Any]) -> list[Record]:
        """The records of sound rows."""
        return list(map(unpack, rows))

    def _sound(self, rows: list[Any], after: int | None = None) -> list[Any]:
        """The rows, each as it was written; with `after` they must follow it without a hole."""
        self._expect(rows, len(sound_parts(rows)) // 2, after)
        return rows

    def _expect(self, rows: Sequence[Any], sound: int, after: int | None) -> None:
        """Raise `JournalDamaged` unless all of these rows are sound, and follow `after` without a hole."""
        if sound < len(rows):
            raise self.bad_record(rows[sound][0] - 1, self.seal())
        if after is not None and (reached := contiguous(rows, after)) < len(rows):
            raise self.bad_record(after + reached, self.seal())

    def _rows(self, table: str, columns: str, rest: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a small table without their CRC, each checked."""
        rows = []
        for *values, crc in self._all(f"SELECT {columns}, crc FROM {table} {rest}", parameters):
            if row_crc(table, values) != crc:
                raise self.small_damage(table)
            rows.append(tuple(values))
        return rows

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return self._db.execute(sql, parameters).fetchone()

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._db.execute(sql, parameters).fetchall()


def contiguous(rows: Sequence[Any], after: int) -> int:
    """How many of the rows follow `after` and each other without a hole. They come in order, each once."""
    if not rows or rows[-1][0] == after + len(rows):
        return len(rows)
    return next(at for at, row in enumerate(rows) if row[0] != after + at + 1)


def _glob(pattern: str) -> str:
    """A wildcard in the words of SQLite, which negates a character set with ^ where fnmatch has !."""
    return pattern.replace("[!", "[^")

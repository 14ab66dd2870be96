"""The small tables beside the records: dead letters, quarantine, values, groups; each row counts in the ledger.

Knows how to write rows and how to account for them. Transactions, records and cursors are `store`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from eventbus.journal.sqlite.integrity import Column, row_crc
from eventbus.journal.sqlite.reads import Reads

if TYPE_CHECKING:
    from eventbus.journal.values import NewDeadLetter, NewQuarantined

# Rows per INSERT: each statement gives up the interpreter lock once, and a busy loop takes its time to give it back.
_ROW_COUNTS = (100, 10, 1)


class SmallTables(Reads):
    """Changes to the small tables, within a transaction that somebody else began."""

    _ledger = 0
    _changed = False

    def add_dead_letters(self, letters: Sequence[NewDeadLetter]) -> list[int]:
        """See `Journal.add_dead_letters`. Reason and error are cut to `TEXT_CAP`."""
        ids = self._new_ids("dead_letters", len(letters))
        for id_, letter in zip(ids, letters, strict=True):
            self._put("dead_letters", (id_, *letter.capped(), 0))
        return ids

    def mark_redriven(self, ids: Sequence[int]) -> int:
        """See `Journal.mark_redriven`."""
        marked = 0
        for id_ in ids:
            row = self._one("SELECT * FROM dead_letters WHERE id = ? AND redriven = 0", (id_,))
            if row is not None:
                self._put("dead_letters", (*row[:-2], 1), "id = ?", (id_,))
                marked += 1
        return marked

    def purge_dead_letters(self, ids: Sequence[int] | None) -> int:
        """See `Journal.purge_dead_letters`."""
        if ids is None:
            return self._remove("dead_letters", "TRUE", ())
        return sum(self._remove("dead_letters", "id = ?", (id_,)) for id_ in ids)

    def add_quarantined(self, items: Sequence[NewQuarantined]) -> list[int]:
        """See `Journal.add_quarantined`."""
        ids = self._new_ids("quarantine", len(items))
        for id_, item in zip(ids, items, strict=True):
            self._put("quarantine", (id_, *item.capped()))
        return ids

    def set_values(self, space: str, values: Mapping[str, bytes | None]) -> None:
        """See `Journal.set_values`."""
        for name, value in values.items():
            if value is None:
                self._remove("small_values", "space = ? AND name = ?", (space, name))
            else:
                self._put("small_values", (space, name, value), "space = ? AND name = ?", (space, name))

    def adopt(self, table: str, columns: Sequence[Column]) -> None:
        """Take over a row of a small table from another file."""
        self._put(table, columns)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _new_ids(self, table: str, count: int) -> list[int]:
        if not count:
            return []
        first = 1 + (self._one(f"SELECT max(id) FROM {table}")[0] or 0)
        return list(range(first, first + count))

    def _put(
        self, table: str, columns: Iterable[Column], where: str | None = None, parameters: Sequence[Column] = ()
    ) -> None:
        """Write a row of a small table, in place of the one that `where` finds, and account for it in the ledger."""
        if where is not None:
            self._remove(table, where, parameters)
        # An enum member is stored as plain text, and has to be checked as such.
        row = [str(column) if isinstance(column, str) else column for column in columns]
        crc = row_crc(table, row)
        self._insert(table, len(row) + 1, [*row, crc])
        self._ledger ^= crc
        self._changed = True

    def _remove(self, table: str, where: str, parameters: Sequence[Column]) -> int:
        rows = self._all(f"DELETE FROM {table} WHERE {where} RETURNING crc", parameters)
        for (crc,) in rows:
            self._ledger ^= crc
        self._changed |= bool(rows)
        return len(rows)

    def _insert(self, table: str, width: int, parameters: list[Column]) -> None:
        """Insert rows given as one flat list, in as few statements as few shapes of statement allow."""
        verb = "INSERT OR REPLACE" if table == "outcomes" else "INSERT"
        place = f"({', '.join('?' * width)})"
        at = 0
        for rows in _ROW_COUNTS:
            chunk = rows * width
            if len(parameters) - at < chunk:
                continue
            statement = f"{verb} INTO {table} VALUES {', '.join([place] * rows)}"
            for begin in range(at, len(parameters) - chunk + 1, chunk):
                self._db.execute(statement, parameters[begin : begin + chunk])
                at = begin + chunk

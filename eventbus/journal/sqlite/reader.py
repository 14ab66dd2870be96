"""Reading a journal file from outside, live or closed: for commands and tools.

A connection of its own, for reading only. Knows nothing of the writer but the mark that it leaves.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from eventbus.errors import JournalError, JournalUnavailable
from eventbus.journal.sqlite.check import check_file
from eventbus.journal.sqlite.guard import read_mark
from eventbus.journal.sqlite.integrity import unpack
from eventbus.journal.sqlite.place import log_file, real_path, refuse_what_is_no_file, size_of
from eventbus.journal.sqlite.reads import Reads
from eventbus.journal.sqlite.schema import Database, at_rest, connect, is_damage, unavailable, version_of

if TYPE_CHECKING:
    from eventbus.journal.values import Cursor, Record, Verified

_T = TypeVar("_T")
_LABELS = (int, str, str, int, str, str | None, int, str | None, str | None, bytes)


class SqliteReader(Reads):
    """Reads a journal file, live or closed, without ever getting in the way of its writer. Synchronous.

    Each call is a short transaction of its own. Raises `JournalUnavailable` if there is no such journal.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = real_path(path)
        if not self._file.exists():
            raise JournalUnavailable(str(path), "there is no such file")
        refuse_what_is_no_file(self._file)
        self._rest: tuple[int, ...] | None = None
        super().__init__(self._connected(), self._file)

    def _connected(self) -> Database:
        self._rest = at_rest(self._file)
        with contextlib.ExitStack() as failed:
            try:
                db = connect(self._file, True)
                failed.callback(db.close)
                version = version_of(db, self._file)
            except sqlite3.Error as error:
                raise unavailable(self._file, error) from error
            if version == 0:
                raise JournalUnavailable(str(self._file), "it holds no journal yet")
            failed.pop_all()
        return db

    def _one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return self._asked(super()._one, sql, parameters)

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return self._asked(super()._all, sql, parameters)

    def _asked(self, ask: Callable[[str, Sequence[Any]], _T], sql: str, parameters: Sequence[Any]) -> _T:
        """The answer. What a file at rest said counts only if no writer came meanwhile."""
        while True:
            try:
                answer = ask(sql, parameters)
            except sqlite3.Error as error:
                if self._rest is None or at_rest(self._file) == self._rest:
                    raise self._words(error) from error
            else:
                if self._rest is None or at_rest(self._file) == self._rest:
                    return answer
            self._db.close()
            self._db = self._connected()

    def _records(self, rows: list[Any]) -> list[Record]:
        """A file from anywhere may hold labels that we never wrote, under a checksum that fits them."""
        found: list[Record] = []
        for row in rows:
            record = _record(row)
            if record is None:
                raise self.bad_record(row[0] - 1, self.seal())
            found.append(record)
        return found

    def _words(self, error: sqlite3.Error) -> JournalError:
        if is_damage(error):
            return self.damaged(f"SQLite cannot read it: {error}", first_bad=None, last_good=0, expected=0)
        return unavailable(self._file, error)

    def first(self) -> int:
        """See `JournalReader.first`."""
        return self.base() + 1

    def last(self) -> int:
        """See `JournalReader.last`."""
        return self.seal().last

    def cursors(self) -> list[Cursor]:
        """See `JournalReader.cursors`."""
        return [progress.cursor() for progress in self.groups().values()]

    def log_bytes(self) -> int:
        """Size of the log beside the file: what its writer has yet to move into it."""
        return size_of(log_file(self._file))

    def verify(self) -> Verified:
        """See `Journal.verify`."""
        return check_file(self._file, connect, read_mark(self._file))

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _record(row: Any) -> Record | None:
    try:
        record = unpack(row)
    except (TypeError, ValueError):
        return None
    return record if len(record) == len(_LABELS) and all(map(isinstance, record, _LABELS)) else None

"""The SQLite file of a journal: its tables, its settings, its versions, and how an error of SQLite is read.

Opens connections and migrates; knows nothing of offsets or groups.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from eventbus.errors import JournalUnavailable
from eventbus.journal.sqlite.integrity import GENESIS, Seal
from eventbus.journal.sqlite.place import log_file
from eventbus.journal.values import Durability

APPLICATION_ID = 0x45564A32
"""Marks the file as ours, so that no other database is opened by mistake ("EVJ2")."""

PAGE_BYTES = 8192
"""Twice the usual: a batch then costs a tenth less, and a single record no more (measured)."""

LOG_BYTES = 32 * 1024 * 1024
"""How large the log beside the file is left."""

# The labels of a record are one JSON array: a column costs more to write than its bytes do (a sixth of a microsecond each), and a
# strict table works out its generated columns for each row that is written, only to check their types.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (),  # schema 1 came before the first release: nothing goes on from there
    (
        """CREATE TABLE records (
            offset INTEGER PRIMARY KEY,
            event_id TEXT NOT NULL UNIQUE,
            labels TEXT NOT NULL,
            crc INTEGER NOT NULL,
            body BLOB NOT NULL,
            body_crc INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE seals (
            last INTEGER PRIMARY KEY,
            commits INTEGER NOT NULL,
            digest BLOB NOT NULL,
            ledger INTEGER NOT NULL,
            crc INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE groups (
            name TEXT PRIMARY KEY,
            floor INTEGER NOT NULL,
            settled TEXT NOT NULL,
            attempts TEXT NOT NULL,
            totals TEXT NOT NULL,
            crc INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE outcomes (
            offset INTEGER NOT NULL,
            name TEXT NOT NULL,
            status TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            queued_ns INTEGER,
            ran_ns INTEGER,
            PRIMARY KEY (offset, name)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE dead_letters (
            id INTEGER PRIMARY KEY,
            subscription TEXT NOT NULL,
            event_id TEXT NOT NULL,
            type TEXT NOT NULL,
            offset INTEGER,
            reason TEXT NOT NULL,
            error TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            first_failed_ns INTEGER NOT NULL,
            last_failed_ns INTEGER NOT NULL,
            body BLOB NOT NULL,
            redriven INTEGER NOT NULL,
            crc INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE quarantine (
            id INTEGER PRIMARY KEY,
            offset INTEGER,
            reason TEXT NOT NULL,
            time_ns INTEGER NOT NULL,
            raw BLOB NOT NULL,
            crc INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE small_values (
            space TEXT NOT NULL,
            name TEXT NOT NULL,
            value BLOB NOT NULL,
            crc INTEGER NOT NULL,
            PRIMARY KEY (space, name)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE owner (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            token TEXT NOT NULL,
            process TEXT NOT NULL
        ) STRICT""",
    ),
)
"""What each version adds to the one before; the version of a file is how many of these it has had."""

SMALL_TABLES = ("groups", "dead_letters", "quarantine", "small_values")
"""Tables whose rows are checked against the ledger of the newest seal; the last column of each is its CRC."""


class Synchronous(StrEnum):
    """When SQLite waits for the disk, and with that what a commit survives."""

    FULL = "full"
    NORMAL = "normal"
    OFF = "off"

    @property
    def durability(self) -> Durability:
        """The worst that an acknowledged record survives."""
        return Durability.POWER_LOSS if self is Synchronous.FULL else Durability.PROCESS_CRASH


class Statement(Protocol):
    """What an executed statement gives."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Database(Protocol):
    """The part of `sqlite3.Connection` that is used. Tests bring another one, over a disk that loses power."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Statement: ...

    def close(self) -> None: ...


Connect = Callable[[Path, bool], Database]
"""Opens a connection to a path, for reading only if the second argument says so."""

Probe = Callable[[str], None]
"""Told the name of each point at which a process may die. Tests let it die there."""


def connect(path: Path, read_only: bool) -> Database:
    """A connection in autocommit, waiting at most a second for a foreign lock. A reader never checkpoints.

    A file without a log has no writer: a reader then takes it as it is, for else SQLite would make a log and an index beside it, and
    leave them there. Should a writer come, `at_rest` says so.
    """
    mode = "rwc" if not read_only else "ro" if at_rest(path) is None else "ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None, cached_statements=64, factory=_Connection)


class _Unspeakable(sqlite3.DatabaseError):
    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class _Connection(sqlite3.Connection):
    """One that takes a message which is no text for what it is: it quotes a damaged file."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            raise _Unspeakable(f"malformed, and SQLite cannot even say where: {error.object!r:.200}") from error


def at_rest(path: Path) -> tuple[int, ...] | None:
    """Which file this is and when it was written, as long as nobody has it open for writing; None while somebody has, or may have."""
    if log_file(path).exists() or path.with_name(path.name + "-journal").exists():
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def no_probe(point: str) -> None:
    """Lets every process live."""


def prepare(db: Database, synchronous: Synchronous) -> None:
    """Set what lasts for this connection. Checkpoints are the writer's alone: it has to know when the file changed by itself."""
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {LOG_BYTES}",
        "mmap_size = 0",
        "cell_size_check = ON",
        "temp_store = MEMORY",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()


def version_of(db: Database, path: Path) -> int:
    """The schema version, 0 for an empty file. Raises `JournalUnavailable` for a file that is not ours, newer, or of before any release."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    mark: int = db.execute("PRAGMA application_id").fetchone()[0]
    tables: int = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if mark != APPLICATION_ID and tables:
        raise JournalUnavailable(str(path), "this is the database of another program: choose another file")
    if version > len(MIGRATIONS):
        raise JournalUnavailable(str(path), f"written by a newer version (schema {version}): upgrade eventbus")
    if version == 1:
        raise JournalUnavailable(str(path), "written before the first release (schema 1): choose another file")
    return version


def migrate(db: Database, path: Path, probe: Probe = no_probe) -> None:
    """Bring the file to the newest version, in one transaction."""
    version = version_of(db, path)
    if version == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            db.execute(statement)
            probe("migrating")
    if version == 0:
        genesis = Seal(0, 0, GENESIS, 0)
        db.execute("INSERT INTO seals VALUES (?, ?, ?, ?, ?)", (*genesis, genesis.crc))
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")


def is_refusal(error: Exception) -> bool:
    """Whether a single job was at fault: a rule it broke, a value that does not fit. SQLite itself is well."""
    faults = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError)
    return not isinstance(error, sqlite3.Error) or isinstance(error, faults)


def is_passing(error: sqlite3.Error) -> bool:
    """Whether the connection is still good, and only this transaction was not possible."""
    return _code(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY}


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk has no room left."""
    return _code(error) == sqlite3.SQLITE_FULL


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is not what was written: by SQLite, or, when a table or a column is missing, by us.

    Text that is no UTF-8 has no code of its own.
    """
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or (
        isinstance(error, sqlite3.OperationalError) and _code(error) in {0, sqlite3.SQLITE_ERROR}
    )


def unavailable(path: Path, error: sqlite3.Error) -> JournalUnavailable:
    """The error of SQLite, said in our words."""
    reasons = {
        sqlite3.SQLITE_FULL: "the disk is full",
        sqlite3.SQLITE_READONLY: "it can only be read",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
        sqlite3.SQLITE_IOERR: "the disk failed",
        sqlite3.SQLITE_BUSY: "another program holds a lock on it",
        sqlite3.SQLITE_NOMEM: "memory ran out",
    }
    reason = reasons.get(_code(error), "SQLite refused")
    return JournalUnavailable(str(path), f"{reason} ({error})")


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF

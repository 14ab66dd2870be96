"""A disk that loses power: records what SQLite writes and syncs, and builds the files a power cut may leave.

Until a file is synced, each write to it since the last sync may be there, be missing, or be there in part, whatever its
order. After a sync it is there.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import apsw

T = TypeVar("T")

SECTOR = 512


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that reached the page cache."""

    file: str
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file cut, or grown with zeros, to a size."""

    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Delete:
    """A file removed, and the folder synced."""

    file: str


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything written to the file before this survives."""

    file: str


Operation = Write | Truncate | Delete | Sync
Change = Write | Truncate


class Gate(Protocol):
    """Asked before a sync or a write of a file; may raise what the disk would."""

    def __call__(self, operation: str, file: str) -> None: ...


def _no_gate(operation: str, file: str) -> None:
    return


@dataclass
class CrashDisk:
    """A SQLite file system by name. `operations` is everything that happened; `gate` can make it fail."""

    name: str
    operations: list[Operation] = field(default_factory=list)
    gate: Gate = _no_gate

    def __post_init__(self) -> None:
        self._vfs = _RecordingVFS(self)

    def connect(self, path: Path, read_only: bool) -> CrashDatabase:
        """To be given to a journal as its way to connect."""
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        return CrashDatabase(lambda: apsw.Connection(str(path), vfs=self.name, flags=flags))

    def image(self, until: int, chance: random.Random, folder: Path) -> None:
        """Write into `folder` what a power cut after so many operations may leave."""
        durable: dict[str, bytearray] = {}
        pending: dict[str, list[Change]] = {}
        for operation in self.operations[:until]:
            match operation:
                case Sync(file):
                    _apply(durable.setdefault(file, bytearray()), pending.pop(file, ()))
                case Delete(file):
                    durable.pop(file, None)
                    pending.pop(file, None)
                case _:
                    pending.setdefault(operation.file, []).append(operation)
        for file, changes in pending.items():
            _apply(durable.setdefault(file, bytearray()), _survivors(changes, chance))
        for file, content in durable.items():
            (folder / Path(file).name).write_bytes(content)


def _apply(content: bytearray, changes: Iterable[Change]) -> None:
    for change in changes:
        match change:
            case Write(_, at, data):
                content.extend(bytes(max(0, at - len(content))))
                content[at : at + len(data)] = data
            case Truncate(_, size):
                del content[size:]


def _survivors(changes: Sequence[Change], chance: random.Random) -> list[Change]:
    """What the disk had got round to: all, nothing, the first few, or any of them, some torn between sectors."""
    match chance.randrange(4):
        case 0:
            return list(changes)
        case 1:
            return []
        case 2:
            return list(changes[: chance.randrange(len(changes) + 1)])
        case _:
            return [_torn(change, chance) for change in changes if chance.random() < 0.6]


def _torn(change: Change, chance: random.Random) -> Change:
    if not isinstance(change, Write) or len(change.data) <= SECTOR or chance.random() < 0.7:
        return change
    cut = SECTOR * chance.randrange(1, -(-len(change.data) // SECTOR))
    if chance.random() < 0.5:
        return Write(change.file, change.at, change.data[:cut])
    return Write(change.file, change.at + cut, change.data[cut:])


class _RecordingFile(apsw.VFSFile):
    def __init__(self, disk: CrashDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._file = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        self._disk.gate("write", self._file)
        self._disk.operations.append(Write(self._file, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._disk.operations.append(Truncate(self._file, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self._disk.gate("sync", self._file)
        self._disk.operations.append(Sync(self._file))  # not carried out: the page cache is enough for a live process


class _RecordingVFS(apsw.VFS):
    def __init__(self, disk: CrashDisk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _RecordingFile:
        return _RecordingFile(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self._disk.operations.append(Delete(filename))
        super().xDelete(filename, syncdir)


class CrashDatabase:
    """A connection of APSW that looks and fails like one of `sqlite3`."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._db = _translated(connect)
        self._db.set_busy_timeout(1000)

    @property
    def in_transaction(self) -> bool:
        return not self._db.get_autocommit()

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> apsw.Cursor:
        return _translated(lambda: self._db.execute(sql, tuple(parameters)))

    def close(self) -> None:
        # SQLite shrugs when a reader cannot lock the file for a last checkpoint; APSW reports the shrug.
        with suppress(apsw.Error):
            self._db.close()


def _translated(call: Callable[[], T]) -> T:
    try:
        return call()
    except apsw.Error as error:
        kind: type[sqlite3.Error] = sqlite3.OperationalError
        if isinstance(error, apsw.ConstraintError):
            kind = sqlite3.IntegrityError
        elif isinstance(error, apsw.CorruptError | apsw.NotADBError):
            kind = sqlite3.DatabaseError
        translated = kind(str(error))
        translated.sqlite_errorcode = getattr(error, "extendedresult", apsw.SQLITE_ERROR)
        raise translated from error

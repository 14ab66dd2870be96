"""The file beside a journal: who writes it, and how far it was written.

`run.db-mark` is locked for as long as its owner lives, and holds the last acknowledged seal outside of the database, so
that a journal which lost its end is recognised. Knows nothing of SQLite.

The mark is written after each commit and before anybody is told, without waiting for the disk: the page cache survives
a killed process, so then the mark is never behind an answer. After a power cut it may be older than the journal, which
only makes it a weaker witness; it is newer only if the disk lied about the commit, and that deserves to be named.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from eventbus.errors import JournalInUse, JournalUnavailable
from eventbus.journal.sqlite.integrity import GENESIS, Seal

_SLOT = struct.Struct("<4sQQ32s")
_CRC = struct.Struct("<I")
_MAGIC = b"EVM1"
_SECTOR = 512  # each slot has a sector of its own, so a torn write leaves the other whole
_OWNER_AT = 2 * _SECTOR
_OWNER_BYTES = 200


class Mark(NamedTuple):
    """The newest commit known outside the journal."""

    commits: int
    last: int
    digest: bytes


NO_MARK = Mark(0, 0, GENESIS)


class Guard:
    """Holds the lock and the mark of one journal file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._side = side_file(path)
        self._fd = -1
        self._identity: tuple[int, int] | None = None

    def acquire(self, owner: str) -> Mark:
        """Lock at once or raise `JournalInUse`; gives the mark that was left. Nothing is changed on refusal."""
        try:
            fd = os.open(self._side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalUnavailable(str(self._path), f"its side file cannot be opened ({error})") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, _OWNER_BYTES, _OWNER_AT).rstrip(b"\0").decode(errors="replace")
            os.close(fd)
            raise JournalInUse(str(self._path), holder or "another process") from error
        self._fd = fd
        _held.add(self)
        try:
            os.pwrite(fd, owner.encode()[:_OWNER_BYTES].ljust(_OWNER_BYTES, b"\0"), _OWNER_AT)
        except OSError as error:
            self.release()
            raise JournalUnavailable(str(self._path), f"its side file cannot be written ({error})") from error
        return _read(fd)

    def note(self, seal: Seal) -> None:
        """Write the mark. Two slots alternate, so the older survives whatever happens to this write."""
        slot = _SLOT.pack(_MAGIC, seal.commits, seal.last, seal.digest)
        os.pwrite(self._fd, slot + _CRC.pack(crc32(slot)), _SECTOR * (seal.commits % 2))

    def sync(self) -> None:
        """Bring the mark to the disk, if it is held."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def watch(self) -> None:
        """Remember which file the journal is from now on."""
        self._identity = _identity(self._path)

    def is_same_file(self) -> bool:
        """Whether the path still names the file that was opened."""
        return _identity(self._path) == self._identity

    def release(self) -> None:
        """Let go of the lock. May be called twice."""
        _held.discard(self)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def log_file(path: Path) -> Path:
    """Where SQLite keeps what is not in the file yet."""
    return path.with_name(path.name + "-wal")


def side_file(path: Path) -> Path:
    """Where the lock and the mark of a journal are kept."""
    return path.with_name(path.name + "-mark")


def read_mark(path: Path) -> Mark:
    """The mark of a journal, without taking it."""
    try:
        fd = os.open(side_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return NO_MARK
    try:
        return _read(fd)
    finally:
        os.close(fd)


def size_of(path: Path) -> int:
    """The size of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(fd: int) -> Mark:
    return max(_slot(os.pread(fd, _SLOT.size + _CRC.size, at)) for at in (0, _SECTOR))


def _slot(data: bytes) -> Mark:
    if len(data) < _SLOT.size + _CRC.size:
        return NO_MARK
    (crc,) = _CRC.unpack_from(data, _SLOT.size)
    magic, commits, last, digest = _SLOT.unpack_from(data)
    return Mark(commits, last, digest) if magic == _MAGIC and crc == crc32(data[: _SLOT.size]) else NO_MARK


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


_held: weakref.WeakSet[Guard] = weakref.WeakSet()


def _release_in_child() -> None:
    """A forked child shares the lock; were it to live longer than its parent, nobody could open the journal again."""
    for guard in list(_held):
        guard.release()


os.register_at_fork(after_in_child=_release_in_child)

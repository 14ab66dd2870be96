"""The mark of a journal: who writes it, how far it was written, and whether its files are still as they were left.

`run.db-mark` is locked for as long as its owner lives, and holds the last acknowledged seal outside of the database, so
that a journal which lost its end is recognised. It is there before the first record is, so records without it are evidence
of a loss too. Knows nothing of SQLite.

The mark is written after each commit and before anybody is told, without waiting for the disk: the page cache survives
a killed process, so then the mark is never behind an answer. After a power cut it may be older than the journal, which
only makes it a weaker witness; it is newer only if the disk lied about the commit, and that deserves to be named.
"""

from __future__ import annotations

import fcntl
import os
import struct
import weakref
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from eventbus.errors import JournalInUse, JournalUnavailable
from eventbus.journal.sqlite.integrity import GENESIS, Seal
from eventbus.journal.sqlite.place import log_file, mark_file, not_writable

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


class Meddling(StrEnum):
    """What somebody else did to the files of a journal that is open."""

    GONE = "its file was removed or replaced"
    CHANGED = "its file was changed by somebody else while it was open"
    CUT = "its log was cut or removed while it was open"


NEW = Mark(0, 0, GENESIS)
"""The mark of a journal without a commit. It contradicts nothing."""


class Guard:
    """Holds the lock and the mark of one journal file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = mark_file(path)
        self._names = os.fspath(path), os.fspath(log_file(path))  # both are looked at with each commit
        self._fd = -1
        self._is_tentative = False  # this guard made the file, and there may be no journal to go with it
        self._file: tuple[int, ...] | None = None
        self._log: tuple[int, ...] | None = None

    def acquire(self, owner: str) -> Mark | None:
        """Lock at once or raise `JournalInUse`; gives the mark that was left, None if there is none that says anything.

        Nothing is changed on refusal.
        """
        fd = self._locked()
        self._fd = fd
        _held.add(self)
        try:
            os.pwrite(fd, owner.encode()[:_OWNER_BYTES].ljust(_OWNER_BYTES, b"\0"), _OWNER_AT)
        except OSError as error:
            self.withdraw()
            raise JournalUnavailable(str(self._path), f"its mark cannot be written ({error})") from error
        return _read(fd)

    def _locked(self) -> int:
        while True:
            try:
                try:
                    fd = os.open(self._mark, os.O_RDWR | os.O_CLOEXEC)
                except FileNotFoundError:
                    fd = os.open(self._mark, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                    self._is_tentative = True
            except FileExistsError:  # somebody else was quicker
                continue
            except OSError as error:
                raise not_writable(self._path, error) from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(fd, _OWNER_BYTES, _OWNER_AT).rstrip(b"\0").decode(errors="replace")
                os.close(fd)
                raise JournalInUse(str(self._path), holder or "another process") from error
            with suppress(OSError):
                if os.path.samestat(os.fstat(fd), os.stat(self._mark)):
                    return fd
            os.close(fd)  # it was withdrawn while this process waited at the door

    def note(self, seal: Seal) -> None:
        """Write the mark. Two slots alternate, so the older survives whatever happens to this write."""
        self._write(seal, seal.commits % 2)

    def begin(self, seal: Seal) -> None:
        """Let the mark say this and nothing else, for good, before anything that it is the witness of."""
        for slot in (0, 1):
            self._write(seal, slot)
        os.fsync(self._fd)
        folder = os.open(self._mark.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._is_tentative = False

    def _write(self, seal: Seal, slot: int) -> None:
        content = _SLOT.pack(_MAGIC, seal.commits, seal.last, seal.digest)
        os.pwrite(self._fd, content + _CRC.pack(crc32(content)), _SECTOR * slot)

    def sync(self) -> None:
        """Bring the mark to the disk, if it is held."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def watch(self) -> None:
        """Remember the files as they are: whatever changes from now on was somebody else."""
        self._file, self._log = map(_state, self._names)

    def watch_log(self) -> None:
        """Remember the log as it is, after a commit."""
        self._log = _state(self._names[1])

    def meddling(self) -> Meddling | None:
        """What somebody else did to the files since they were watched; None if nothing.

        The file is written by a checkpoint only, and the log is never cut but by one.
        """
        file, log = map(_state, self._names)
        if file != self._file:
            is_same = file is not None and self._file is not None and file[:2] == self._file[:2]
            return Meddling.CHANGED if is_same else Meddling.GONE
        if self._log is not None and (log is None or log[:2] != self._log[:2] or log[2] < self._log[2]):
            return Meddling.CUT
        return None

    def withdraw(self) -> None:
        """Let go, and leave no mark behind if this guard made it and no journal came of it."""
        if self._is_tentative and self._fd >= 0:
            with suppress(OSError):
                self._mark.unlink()
        self.release()

    def release(self) -> None:
        """Let go of the lock. May be called twice."""
        if self._fd >= 0:
            # By name: a child that was forked and has not run yet still shares it, and closing here would leave it locked.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """Close what this process has of the lock, which whoever shares it keeps."""
        _held.discard(self)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_mark(path: Path) -> Mark | None:
    """The mark of a journal, without taking it; None if there is none, or none that says anything."""
    try:
        fd = os.open(mark_file(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalUnavailable(str(path), f"its mark cannot be read ({error.strerror})") from error
    try:
        return _read(fd)
    except OSError as error:
        raise JournalUnavailable(str(path), f"its mark cannot be read ({error.strerror})") from error
    finally:
        os.close(fd)


def _read(fd: int) -> Mark | None:
    return max(filter(None, (_slot(os.pread(fd, _SLOT.size + _CRC.size, at)) for at in (0, _SECTOR))), default=None)


def _slot(data: bytes) -> Mark | None:
    if len(data) < _SLOT.size + _CRC.size:
        return None
    (crc,) = _CRC.unpack_from(data, _SLOT.size)
    magic, commits, last, digest = _SLOT.unpack_from(data)
    return Mark(commits, last, digest) if magic == _MAGIC and crc == crc32(data[: _SLOT.size]) else None


def _state(path: str) -> tuple[int, ...] | None:
    """Which file this is (two numbers), its size, and when it was last written."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


_held: weakref.WeakSet[Guard] = weakref.WeakSet()


def _release_in_child() -> None:
    """A forked child shares the lock; were it to live longer than its parent, nobody could open the journal again."""
    for guard in list(_held):
        guard.abandon()


os.register_at_fork(after_in_child=_release_in_child)

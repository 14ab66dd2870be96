"""Where a journal is: one real file, whatever name it was asked for by, and the files that stand beside it.

Says why a place cannot hold a journal before anything is made there. Knows nothing of SQLite.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from eventbus.errors import JournalUnavailable

_NO_JOURNAL = "this is no journal, nor any database: choose another file"
_FOLDER = "this is a folder: name a file in it"
_MAGIC = b"SQLite format 3\0"


def real_path(path: str | os.PathLike[str]) -> Path:
    """The file itself: links are followed, so that lock, log and mark are the same by each name.

    Raises `JournalUnavailable` for a name that no file can have.
    """
    try:
        found = Path(os.path.realpath(path))
    except ValueError as error:
        raise JournalUnavailable(os.fspath(path), f"no file can have this name ({error})") from error
    if not found.name or os.fspath(path).endswith(os.sep):
        raise JournalUnavailable(str(found), _FOLDER)
    return found


def log_file(path: Path) -> Path:
    """Where SQLite keeps what is not in the file yet."""
    return path.with_name(path.name + "-wal")


def index_file(path: Path) -> Path:
    """Where SQLite keeps the index of the log, for as long as somebody reads or writes."""
    return path.with_name(path.name + "-shm")


def mark_file(path: Path) -> Path:
    """Where the lock and the mark of a journal are kept."""
    return path.with_name(path.name + "-mark")


def size_of(path: Path) -> int:
    """The size of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def refuse_what_is_no_file(path: Path) -> None:
    """Raise `JournalUnavailable` for a path that stands for something else than a journal, or where there can be none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        _refuse_folder(path)
        return
    except (OSError, ValueError) as error:
        raise JournalUnavailable(str(path), _words(error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise JournalUnavailable(str(path), _FOLDER)
    if not stat.S_ISREG(found.st_mode):
        raise JournalUnavailable(str(path), "this is no regular file: choose another one")
    if found.st_nlink > 1 and not mark_file(path).exists():
        raise JournalUnavailable(
            str(path), "the file has another name (a hard link), and its mark goes by that: use it"
        )
    if found.st_size and not mark_file(path).exists():
        try:
            with path.open("rb") as file:
                is_database = file.read(len(_MAGIC)) == _MAGIC
        except OSError as error:
            raise JournalUnavailable(str(path), _words(error)) from error
        if not is_database:
            raise JournalUnavailable(str(path), _NO_JOURNAL)


def _refuse_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise JournalUnavailable(str(path), f"its folder {path.parent} is not there: make it first")


def not_writable(path: Path, error: OSError) -> JournalUnavailable:
    """What it means that a file beside the journal could not be made or opened for writing."""
    if isinstance(error, PermissionError) or error.strerror == os.strerror(30):
        if mark_file(path).exists():
            return JournalUnavailable(str(path), f"it can only be read by this user ({_words(error)})")
        return JournalUnavailable(str(path), f"its folder {path.parent} cannot be written ({_words(error)})")
    return JournalUnavailable(str(path), f"its mark cannot be opened ({_words(error)})")


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

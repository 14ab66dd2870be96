"""Looking into a journal from outside, live or closed: the questions that commands and tools ask, whatever keeps the answers.

`open_reader` knows where each backend has its reader, and loads it only then. A reader changes nothing and holds up nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self, cast

from eventbus.errors import UnknownBackend
from eventbus.journal.backends import journal_at, url_of
from eventbus.journal.values import Cursor, DeadLetterRecord, Quarantined, Record, SettledDelivery, Verified
from eventbus.url import Url

if TYPE_CHECKING:
    from eventbus.journal.remote.journal import RemoteJournal


class JournalReader(Protocol):
    """A journal to look at. Synchronous; each call sees what is there by then. Use it as a context manager, or `close()` it.

    Raises `JournalDamaged` for what is not as it was written, `JournalUnavailable` for what cannot be read now.
    """

    def first(self) -> int:
        """The oldest offset kept; `last() + 1` when empty."""
        ...

    def last(self) -> int:
        """The newest offset; 0 before the first."""
        ...

    def read(
        self, after: int, limit: int, types: Sequence[str] | None = None, until: int | None = None
    ) -> list[Record]:
        """See `Journal.read`."""
        ...

    def find(self, event_id: str) -> Record | None:
        """See `Journal.find`."""
        ...

    def related(self, correlation_id: str, limit: int) -> list[Record]:
        """See `Journal.related`."""
        ...

    def seek(self, time_ns: int) -> int:
        """See `Journal.seek`."""
        ...

    def cursors(self) -> list[Cursor]:
        """The cursor of every group."""
        ...

    def outcomes(self, offsets: Sequence[int]) -> list[SettledDelivery]:
        """See `Journal.outcomes`."""
        ...

    def dead_letters(self, after: int, limit: int, subscription: str | None, redriven: bool) -> list[DeadLetterRecord]:
        """See `Journal.dead_letters`."""
        ...

    def count_dead_letters(self, subscription: str | None, redriven: bool) -> int:
        """See `Journal.count_dead_letters`."""
        ...

    def quarantined(self, after: int, limit: int) -> list[Quarantined]:
        """See `Journal.quarantined`."""
        ...

    def count_quarantined(self) -> int:
        """How many items are quarantined."""
        ...

    def values(self, space: str) -> dict[str, bytes]:
        """See `Journal.values`."""
        ...

    def file_bytes(self) -> int:
        """What the journal takes where it is kept, what waits to be moved there left out."""
        ...

    def log_bytes(self) -> int:
        """What its writer has yet to move there."""
        ...

    def verify(self) -> Verified:
        """See `Journal.verify`."""
        ...

    def close(self) -> None:
        """Let go of it. May be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def open_reader(source: str | os.PathLike[str]) -> JournalReader:
    """A reader of the journal that a URL (`sqlite:///run.db`) or the name of a file stands for.

    Raises `JournalUnavailable` if there is no such journal, `UnknownBackend`, and `PolicyConflict` for a URL that says something else.
    """
    url = url_of(source)
    reader = _READERS.get(url.scheme)
    if reader is None:
        raise UnknownBackend(url.scheme, _READERS)
    return reader(url)


def _sqlite(url: Url) -> JournalReader:
    from eventbus.journal.sqlite import SqliteReader  # only who uses it pays for it

    return SqliteReader(url.file())


def _remote(url: Url) -> JournalReader:
    from eventbus.journal.remote.reader import RemoteReader

    return RemoteReader(lambda: cast("RemoteJournal", journal_at(url, creates=False)))


_READERS: dict[str, Callable[[Url], JournalReader]] = {
    "nats": _remote,
    "sqlite": _sqlite,
    "postgres": _remote,
    "postgresql": _remote,
    "redis": _remote,
    "rediss": _remote,
}

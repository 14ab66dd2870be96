"""Calendar: instants become session numbers.

A session is one instant at which at least one symbol of the universe has a bar. Knows nothing of prices or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Protocol

from quantum_trader.model import Bar


@dataclass(frozen=True, slots=True)
class SessionBars:
    """The bars of one session, in sorted symbol order; a symbol that has no bar is simply absent."""

    session: int  # 0-based over the union calendar
    ts: datetime  # aware UTC
    bars: tuple[Bar, ...]


class Feed(Protocol):
    """Sessions in order, one at a time: a data set that is held, or a source that makes bars as they are asked for."""

    @property
    def symbols(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[SessionBars]: ...


def union(calendars: Iterable[Iterable[datetime]]) -> tuple[datetime, ...]:
    """Every instant of any of the calendars, once, ascending. Its index is the session number."""
    return tuple(sorted({ts for calendar in calendars for ts in calendar}))


def parse_ts(text: str, pattern: str | None = None) -> datetime:
    """The instant that `text` names, aware UTC.

    ISO 8601 unless a `strptime` pattern is given. A date alone stands for 00:00 UTC: for daily bars `ts` labels the
    session, it is not the moment of its close. A time without a zone is taken as UTC. Raises `ValueError`.
    """
    ts = datetime.fromisoformat(text) if pattern is None else datetime.strptime(text, pattern)  # noqa: DTZ007
    return ts.replace(tzinfo=UTC) if ts.tzinfo is None else ts.astimezone(UTC)


def format_ts(ts: datetime) -> str:
    """The shortest text that `parse_ts` reads back: a plain date at midnight, otherwise the full instant."""
    return ts.date().isoformat() if ts.time() == time.min else ts.isoformat()


def first_instant(start: date | datetime | None) -> datetime:
    """The earliest instant that a range starting at `start` contains. Raises `ValueError` for a naive time."""
    if start is None:
        return datetime.min.replace(tzinfo=UTC)
    return _aware(start) if isinstance(start, datetime) else datetime.combine(start, time.min, UTC)


def last_instant(end: date | datetime | None) -> datetime:
    """The latest instant that a range ending at `end` contains; a date contains its whole day."""
    if end is None:
        return datetime.max.replace(tzinfo=UTC)
    if isinstance(end, datetime):
        return _aware(end)
    return datetime.combine(end, time.max, UTC)


def _aware(ts: datetime) -> datetime:
    if ts.tzinfo is None:
        raise ValueError(f"{ts} has no time zone; write it with one, or give a date")
    return ts.astimezone(UTC)

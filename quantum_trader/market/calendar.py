"""Calendar: instants become session numbers.

A session is one instant at which at least one symbol of the universe has a bar. Knows nothing of prices or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import pairwise
from statistics import median
from typing import Final, Protocol

from quantum_trader.model import Bar

_DAY_S: Final = 86_400
_SATURDAY: Final = 5


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


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a calendar has a session: the seconds between two, how many a day and a year has."""

    interval_s: int = 86_400
    sessions_a_day: int = 1  # 1 for bars of a day and longer
    periods_per_year: int = 252

    def __str__(self) -> str:
        return f"bars of {_length(self.interval_s)}, {self.periods_per_year:,} a year"


def rhythm(instants: Sequence[datetime]) -> Rhythm:
    """The rhythm of sessions at `instants`, ascending: the median distance, the median of sessions a day.

    A year has 365 days where Saturdays have sessions as other days do, else 252. Of fewer than two nothing can be said:
    they count as daily.
    """
    if len(instants) < 2:
        return Rhythm()
    interval_s = round(median((after - before).total_seconds() for before, after in pairwise(instants)))
    days = Counter(ts.date() for ts in instants)
    days_a_year = 365 if sum(day.weekday() == _SATURDAY for day in days) * 20 >= len(days) else 252
    if interval_s >= 3 * _DAY_S:
        return Rhythm(interval_s, 1, max(1, round(365 * _DAY_S / interval_s)))
    a_day = round(median(days.values())) if interval_s < _DAY_S else 1
    return Rhythm(interval_s, a_day, a_day * days_a_year)


def _length(seconds: int) -> str:
    for size, name in ((_DAY_S, "day"), (3_600, "hour"), (60, "minute")):
        if seconds % size == 0:
            return f"a {name}" if seconds == size else f"{seconds // size} {name}s"
    return f"{seconds} seconds"


def parse_local(text: str, pattern: str | None = None) -> datetime:
    """The instant that `text` names, in the offset that it is written in; UTC where it has none.

    ISO 8601 unless a `strptime` pattern is given. Raises `ValueError`.
    """
    ts = datetime.fromisoformat(text) if pattern is None else datetime.strptime(text, pattern)  # noqa: DTZ007
    return ts.replace(tzinfo=UTC) if ts.tzinfo is None else ts


def parse_ts(text: str, pattern: str | None = None) -> datetime:
    """The instant that `text` names, aware UTC.

    A date alone stands for 00:00 UTC: for daily bars `ts` labels the session, it is not the moment of its close. Raises
    `ValueError`.
    """
    return parse_local(text, pattern).astimezone(UTC)


def dates_of(instants: Mapping[str, Sequence[datetime]]) -> bool:
    """Whether the instants of each symbol, as its exchange writes them, are those of days: the date is what counts.

    They are when no symbol has two on one date; of single ones only midnight says so.
    """
    if any(len({ts.date() for ts in own}) < len(own) for own in instants.values()):
        return False
    return any(len(own) > 1 for own in instants.values()) or all(
        ts.time() == time.min for own in instants.values() for ts in own
    )


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

"""The progress of one group: a floor, ranges settled above it, attempts that began below the end.

Plain arithmetic on offsets, shared by backends that keep cursors themselves. Knows nothing of storage.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from eventbus.errors import OffsetGone
from eventbus.journal.values import Cursor, Settled, Start, Status


class OffsetRanges:
    """A set of offsets, kept as disjoint inclusive ranges in order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._firsts, offset) - 1
        return at >= 0 and offset <= self._lasts[at]

    def add(self, first: int, last: int) -> None:
        """Add an inclusive range; it merges with those it touches."""
        low = bisect_right(self._lasts, first - 2)  # the first range that ends at first - 1 or later
        high = bisect_right(self._firsts, last + 1)  # past the last range that begins at last + 1 or earlier
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def take_prefix(self, floor: int) -> int:
        """Drop what lies at or touches `floor`; gives the floor moved up to the end of it."""
        while self._firsts and self._firsts[0] <= floor + 1:
            del self._firsts[0]
            floor = max(floor, self._lasts.pop(0))
        return floor


def floor_of(start: Start, first: int, last: int) -> int:
    """The floor of a new cursor on a log that begins at `first` and ends at `last`.

    Raises `ValueError` for a start that is none, `OffsetGone` for one before what is kept.
    """
    if start == "beginning":
        return first - 1
    if start == "end":
        return last
    if not isinstance(start, int):
        raise ValueError(f"start={start!r}: use 'beginning', 'end' or an offset")
    if not 0 <= start <= last:
        raise ValueError(f"start={start} is not in this journal, which ends at {last}")
    if start < first - 1:
        raise OffsetGone(start + 1, first)
    return start


class GroupProgress:
    """What one group has done. Mutable; `cursor()` gives a snapshot, `fields()` what has to be kept."""

    def __init__(
        self,
        group: str,
        floor: int,
        settled: Iterable[tuple[int, int]] = (),
        attempts: dict[int, int] | None = None,
        totals: dict[str, int] | None = None,
    ) -> None:
        self.group = group
        self.floor = floor
        self._settled = OffsetRanges(settled)
        self._attempts = attempts if attempts is not None else {}
        self._totals = totals if totals is not None else {}

    def begin(self, offsets: Sequence[int]) -> dict[int, int]:
        """Count an attempt for each offset; a settled offset counts too, but is not remembered."""
        attempts = self._attempts
        counts = {offset: attempts.get(offset, 0) + 1 for offset in offsets}
        attempts.update((offset, count) for offset, count in counts.items() if not self._is_settled(offset))
        return counts

    def attempts(self, offset: int) -> int:
        """How many attempts were counted for an offset that is not settled."""
        return self._attempts.get(offset, 0)

    def settle(self, deliveries: Sequence[Settled]) -> list[Settled]:
        """Settle deliveries; gives those that were not settled before."""
        fresh = []
        for delivery in deliveries:
            offset = delivery.offset
            if self._is_settled(offset):
                continue
            self._attempts.pop(offset, None)
            if offset == self.floor + 1:
                self.floor = offset
            else:
                self._settled.add(offset, offset)
            status = delivery.status
            self._totals[status] = self._totals.get(status, 0) + 1
            fresh.append(delivery)
        self.floor = self._settled.take_prefix(self.floor)
        return fresh

    def skip(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Settle inclusive ranges without an outcome: nothing in them was for this group."""
        for first, last in ranges:
            if last > self.floor:
                self._settled.add(max(first, self.floor + 1), last)
        self.floor = self._settled.take_prefix(self.floor)
        if self._attempts:
            self._attempts = {begun: count for begun, count in self._attempts.items() if not self._is_settled(begun)}

    def clamp(self, last: int) -> bool:
        """Know nothing of offsets beyond `last`. Gives whether anything was known of them."""
        known = self.fields()
        self.floor = min(self.floor, last)
        self._settled = OffsetRanges(
            (first, min(end, last)) for first, end in self._settled if self.floor < first <= last
        )
        self._attempts = {offset: count for offset, count in self._attempts.items() if offset <= last}
        return self.fields() != known

    def cursor(self) -> Cursor:
        """An immutable snapshot."""
        return Cursor(self.group, self.floor, tuple(self._settled), dict(self._attempts), dict(self._totals))

    def fields(self) -> tuple[int, str, str, str]:
        """Floor, settled ranges, attempts and totals, as short text for storage."""
        settled = " ".join(f"{first}-{last}" for first, last in self._settled)
        return self.floor, settled, _write_attempts(self._attempts), _write_totals(self._totals)

    @classmethod
    def from_fields(cls, group: str, floor: int, settled: str, attempts: str, totals: str) -> GroupProgress:
        """The inverse of `fields()`. Raises ValueError for text that it did not write."""
        return cls(group, floor, _read_ranges(settled), _read_attempts(attempts), _read_totals(totals))

    def _is_settled(self, offset: int) -> bool:
        return offset <= self.floor or offset in self._settled


def _write_attempts(attempts: dict[int, int]) -> str:
    """Runs of equal counts: `1001-2000:1 2005-2005:3`. A first pass over a backlog is one run."""
    words: list[str] = []
    first = last = count = 0
    for offset in sorted(attempts):
        if count and offset == last + 1 and attempts[offset] == count:
            last = offset
            continue
        if count:
            words.append(f"{first}-{last}:{count}")
        first = last = offset
        count = attempts[offset]
    if count:
        words.append(f"{first}-{last}:{count}")
    return " ".join(words)


def _read_attempts(text: str) -> dict[int, int]:
    attempts: dict[int, int] = {}
    for word in text.split():
        span, count = word.split(":")
        first, last = _read_range(span)
        attempts.update(dict.fromkeys(range(first, last + 1), int(count)))
    return attempts


def _write_totals(totals: dict[str, int]) -> str:
    return " ".join(f"{Status(status)}:{count}" for status, count in sorted(totals.items()))


def _read_totals(text: str) -> dict[str, int]:
    return {status: int(count) for status, count in (word.split(":") for word in text.split())}


def _read_ranges(text: str) -> list[tuple[int, int]]:
    return [_read_range(word) for word in text.split()]


def _read_range(word: str) -> tuple[int, int]:
    first, last = word.split("-")
    return int(first), int(last)

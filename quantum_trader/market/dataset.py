"""Dataset: the bars a run replays, adjusted, numbered and grouped by session.

Comes from a file in the common layout: the demo bars that the package ships, or what `import_csv` wrote.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import combinations
from pathlib import Path
from typing import Final, Literal

from quantum_trader.market import layout
from quantum_trader.market.adjust import RawBar, adjusted, bars_sha256, factors
from quantum_trader.market.calendar import SessionBars, first_instant, format_ts, last_instant, union
from quantum_trader.market.errors import DamagedFile, EmptyRange, Misaligned, UnknownSymbol
from quantum_trader.market.validate import ohlcv_fault
from quantum_trader.model import UNKNOWN_VOLUME, Bar

Align = Literal["strict", "outer"]
SHIPPED: Final = Path(__file__).with_name("data") / f"demo{layout.SUFFIX}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Bars of a universe on its union calendar. A `Feed`: iterating gives one `SessionBars` after the other."""

    name: str
    file: Path
    sha256: str  # of the file's uncompressed text, whatever part of it was chosen
    symbols: tuple[str, ...]  # sorted; one that has no bar in the chosen range is still part of the universe
    sessions: tuple[SessionBars, ...]
    warnings: tuple[str, ...] = ()  # what is odd about it, and was accepted

    def __len__(self) -> int:
        return len(self.sessions)

    def __iter__(self) -> Iterator[SessionBars]:
        return iter(self.sessions)

    @property
    def bar_count(self) -> int:
        """Bars of all symbols together."""
        return sum(len(session.bars) for session in self.sessions)

    def by_symbol(self) -> dict[str, list[Bar]]:
        """The bars of each symbol in time order, symbols sorted."""
        columns: dict[str, list[Bar]] = {symbol: [] for symbol in self.symbols}
        for session in self.sessions:
            for bar in session.bars:
                columns[bar.symbol].append(bar)
        return columns

    def digests(self) -> dict[str, str]:
        """`bars_sha256` of each symbol: what a run states as its data."""
        return {symbol: bars_sha256(bars) for symbol, bars in self.by_symbol().items()}


def load_dataset(
    source: str | Path | None = None,
    symbols: Iterable[str] | None = None,
    start: date | datetime | None = None,
    end: date | datetime | None = None,
    *,
    align: Align = "strict",
) -> Dataset:
    """The bars in the file `source` (the shipped demo bars if None), adjusted and put on one calendar.

    `symbols` chooses a universe (all by default); `start` and `end` are both inclusive, a date as `end` with its
    whole day. Bars are adjusted before the range is cut, so a shorter run sees the very prices of the longer one;
    sessions count from 0 at the first bar left. No price is ever filled in. Symbols that hardly ever trade in the same
    session are refused, unless `align` is "outer". Raises `DataError`: `MissingFile`, `NotImported`, `DamagedFile`,
    `UnknownSymbol`, `EmptyRange`, `Misaligned`.
    """
    path = SHIPPED if source is None else Path(source)
    manifest, rows = layout.read(path)
    universe = _universe(rows, symbols, path)
    earliest, latest = first_instant(start), last_instant(end)
    cut = {
        symbol: [
            (row, k) for row, k in zip(rows[symbol], factors(rows[symbol]), strict=True) if earliest <= row.ts <= latest
        ]
        for symbol in universe
    }
    calendar = union((row.ts for row, _ in kept) for kept in cut.values())
    if not calendar:
        raise _empty_range([rows[symbol] for symbol in universe], universe, path)
    number = {ts: session for session, ts in enumerate(calendar)}
    slots: list[list[Bar]] = [[] for _ in calendar]
    for symbol, kept in cut.items():
        for row, k in kept:
            session = number[row.ts]
            slots[session].append(adjusted(symbol, session, row, k))
    _check_bars(slots, universe, path)
    warnings = _without_volume(rows, universe) + _aligned(
        {symbol: [number[row.ts] for row, _ in kept] for symbol, kept in cut.items()}, align, path
    )
    sessions = tuple(SessionBars(session, calendar[session], tuple(bars)) for session, bars in enumerate(slots))
    return Dataset(manifest.name, path, manifest.sha256, universe, sessions, warnings)


def _check_bars(slots: Iterable[Iterable[Bar]], universe: tuple[str, ...], path: Path) -> None:
    """A replay drops bars that make no sense, and says so. Of more than a hundredth of a symbol it is the file that is wrong."""
    bars, faults = Counter[str](), Counter[str]()
    for slot in slots:
        for bar in slot:
            bars[bar.symbol] += 1
            faults[bar.symbol] += ohlcv_fault(bar.open, bar.high, bar.low, bar.close, bar.volume) is not None
    for symbol in universe:
        if faults[symbol] * 100 > bars[symbol]:
            problem = f"{faults[symbol]} of {bars[symbol]} bars of {symbol} make no sense"
            raise DamagedFile(problem, remedy="correct the source and import it again", file=path)


def _aligned(sessions: Mapping[str, Sequence[int]], align: Align, path: Path) -> tuple[str, ...]:
    """A line for each pair of symbols that shares less than nine tenths of its sessions within the dates of both.

    Below one half they are refused, unless that is accepted.
    """
    found = []
    for one, other, shared, of in _meetings(sessions):
        line = f"{one} and {other} share {shared} of {of} sessions"
        if shared * 2 < of and align != "outer":
            remedy = "correct their dates, or accept it with --align outer"
            raise Misaligned(f"{line} within the dates of both", remedy=remedy, file=path)
        if shared * 10 < of * 9:
            found.append(line)
    return tuple(found)


def _without_volume(rows: Mapping[str, Sequence[RawBar]], universe: Iterable[str]) -> tuple[str, ...]:
    unknown = [symbol for symbol in universe if any(row.volume == UNKNOWN_VOLUME for row in rows[symbol])]
    return (f"no volume of {', '.join(unknown)} is known: it limits no order",) if unknown else ()


def _meetings(sessions: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, str, int, int]]:
    """For each pair: sessions in common, and those of the one that has fewer, within the dates that both cover."""
    known = {symbol: own for symbol, own in sessions.items() if own}
    sets = {symbol: frozenset(own) for symbol, own in known.items()}
    for one, other in combinations(sorted(known), 2):
        mine, theirs = known[one], known[other]
        first, last = max(mine[0], theirs[0]), min(mine[-1], theirs[-1])
        of = min(_within(mine, first, last), _within(theirs, first, last))
        if of > 0 and mine != theirs:
            common = sets[one] & sets[other]
            yield one, other, sum(1 for session in common if first <= session <= last), of


def _within(ascending: Sequence[int], first: int, last: int) -> int:
    return bisect_right(ascending, last) - bisect_left(ascending, first)


def _universe(known: Iterable[str], chosen: Iterable[str] | None, path: Path) -> tuple[str, ...]:
    if chosen is None:
        return tuple(sorted(known))
    universe = {chosen} if isinstance(chosen, str) else set(chosen)
    for symbol in sorted(universe.difference(known)):
        raise UnknownSymbol(symbol, known, file=path)
    return tuple(sorted(universe))


def _empty_range(chosen: Sequence[Sequence[RawBar]], universe: tuple[str, ...], path: Path) -> EmptyRange:
    held = [rows for rows in chosen if rows]
    if not held:
        return EmptyRange("no symbol was chosen", remedy="name at least one", file=path)
    first, last = min(rows[0].ts for rows in held), max(rows[-1].ts for rows in held)
    return EmptyRange(
        f"no bar of {', '.join(universe)} in the chosen range",
        remedy=f"choose within {format_ts(first)} .. {format_ts(last)}",
        file=path,
    )

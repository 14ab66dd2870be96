"""Dataset: the bars a run replays, adjusted, numbered and grouped by session.

Comes from a file in the common layout: the demo bars that the package ships, or what `import_csv` wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

from quantum_trader.market import layout
from quantum_trader.market.adjust import RawBar, adjusted, bars_sha256, factors
from quantum_trader.market.calendar import SessionBars, first_instant, format_ts, last_instant, union
from quantum_trader.market.errors import EmptyRange, UnknownSymbol
from quantum_trader.model import Bar

SHIPPED: Final = Path(__file__).with_name("data") / f"demo{layout.SUFFIX}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Bars of a universe on its union calendar. A `Feed`: iterating gives one `SessionBars` after the other."""

    name: str
    file: Path
    sha256: str  # of the file's uncompressed text, whatever part of it was chosen
    symbols: tuple[str, ...]  # sorted; one that has no bar in the chosen range is still part of the universe
    sessions: tuple[SessionBars, ...]

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
) -> Dataset:
    """The bars in the file `source` (the shipped demo bars if None), adjusted and put on one calendar.

    `symbols` chooses a universe (all by default); `start` and `end` are both inclusive, a date as `end` with its
    whole day. Bars are adjusted before the range is cut, so a shorter run sees the very prices of the longer one;
    sessions count from 0 at the first bar left. No price is ever filled in. Raises `DataError`: `MissingFile`,
    `NotImported`, `DamagedFile`, `UnknownSymbol`, `EmptyRange`.
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
    sessions = tuple(SessionBars(session, calendar[session], tuple(bars)) for session, bars in enumerate(slots))
    return Dataset(manifest.name, path, manifest.sha256, universe, sessions)


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

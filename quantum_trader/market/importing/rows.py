"""Rows: the rows of a table become bars by symbol, and every fault on the way is told.

Two walks: the first sees how dates and numbers are written, the second reads them. Nothing is guessed that the file does not
prove: what may be read in two ways is asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from quantum_trader.market.adjust import RawBar
from quantum_trader.market.calendar import format_ts
from quantum_trader.market.columns import PRICES, Columns, text_at
from quantum_trader.market.errors import Fault, MissingColumns, Unusable, quoted
from quantum_trader.market.importing.dates import UnknownZone
from quantum_trader.market.importing.heads import Head
from quantum_trader.market.importing.numerals import number_in
from quantum_trader.market.importing.shape import Shape
from quantum_trader.market.importing.survey import survey
from quantum_trader.market.importing.table import Table
from quantum_trader.market.validate import ohlcv_fault
from quantum_trader.model import UNKNOWN_VOLUME

_SYMBOL: Final = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9^.@$#][A-Za-z0-9._^=/:&@$#!+*-]{0,31}")
_NEAR: Final = 1e-9  # relative: vendors adjust in floats, and a high may end a hair below the close
_NOTHING: Final = frozenset({"", "-", "nan", "null", "none", "na", "n/a", "#n/a"})  # how a cell says that it has none
_T = TypeVar("_T")
Bars = dict[str, list[RawBar]]  # by symbol


class _Range(NamedTuple):
    least: float
    most: float


# Wider than any market; within them no adjustment can overflow.
_PRICES: Final = _Range(1e-9, 1e12)
_VOLUMES: Final = _Range(0.0, 1e15)
_TURNOVERS: Final = _Range(0.0, 1e18)


class _Row(NamedTuple):
    """One row as one symbol has it; `symbol` is None where a cell says it."""

    number: int
    cells: Sequence[str]
    columns: Columns
    symbol: str | None

    def text(self, field: str) -> str:
        text = text_at(self.cells, self.columns, field)
        if not text:
            raise self.unreadable(field, "the cell is empty", "fill it, or remove the row")
        return text

    def unreadable(self, field: str, problem: str, remedy: str) -> _Unreadable:
        return _Unreadable(Fault(self.number, self.columns[field].header, problem, remedy))


class _Unreadable(Exception):
    """A cell that cannot be used, as a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Reading:
    """One reading of a table: `bars` by symbol in time order, `faults` by row, and `told`, what was assumed."""

    def __init__(self, table: Table, head: Head, shape: Shape, symbol: str | None, file: Path) -> None:
        """Raises `MissingColumns` and `Unusable` when the user has to say more."""
        self._table, self._head, self._file = table, head, file
        self._symbol = self._checked_symbol(symbol)
        self._wide = len(head.groups) > 1
        self.bars: Bars = {}
        self.faults: list[Fault] = []
        self.told: list[str] = []
        self._clipped = self._idle = 0
        self._writing = survey(((row.cells, row.columns) for row in self._rows()), head, shape, file)
        self.told += self._writing.told
        self._read()

    # --- bars ---

    def _read(self) -> None:
        numbered: dict[str, list[tuple[int, RawBar]]] = {}
        for row in self._rows():
            faults: list[Fault] = []
            symbol = row.symbol or self._caught(faults, partial(self._symbol_in, row))
            bar = self._bar(row, faults)
            # A line of text below the table is one fault, not one of each column.
            self.faults += faults[:1] if sum(map(bool, map(str.strip, row.cells))) == 1 else faults
            if not faults and bar is not None and symbol is not None:
                own = numbered.setdefault(symbol, [])
                if own and bar.ts <= own[-1][1].ts < (second := self._ts(row, second=True)):
                    bar = bar._replace(ts=second)  # clocks went back in between
                own.append((row.number, bar))
        reversed_symbols = [symbol for symbol, rows in numbered.items() if _descends(rows)]
        for symbol, rows in numbered.items():
            self.bars[symbol] = list(self._ordered(rows[::-1] if symbol in reversed_symbols else rows))
        self.faults = sorted(
            dict.fromkeys(self.faults), key=lambda fault: fault.row
        )  # side by side, a date fails for all
        if reversed_symbols:
            self.told.append("order: newest first, turned round")
        if self._clipped:
            self.told.append(f"clipped: {self._clipped} bars whose high or low is a rounding off")
        if self._idle:
            self.told.append(f"kept: {self._idle} bars without volume")

    def _rows(self) -> Iterator[_Row]:
        """Each row once for each symbol that it may hold."""
        for row, cells in self._table:
            if row > self._head.line:
                for symbol, columns in self._head.groups:
                    if self._wide and all(
                        text_at(cells, columns, field).casefold() in _NOTHING for field in columns if field != "date"
                    ):
                        continue  # side by side, one that does not trade has an empty place
                    yield _Row(row, cells, columns, symbol or self._symbol)

    def _bar(self, row: _Row, faults: list[Fault]) -> RawBar | None:
        def number(field: str, sensible: _Range = _PRICES) -> float:
            found = self._caught(faults, lambda: self._number(field, row, sensible))
            return math.nan if found is None else found

        ts = self._caught(faults, partial(self._ts, row))
        open_, high, low, close = (number(field) for field in PRICES)
        volume = self._volume((open_, high, low, close), number)
        adj_close = number("adj_close") if "adj_close" in row.columns else close
        if faults or ts is None:
            return None
        most, least = max(open_, close), min(open_, close)
        if high < most <= high * (1 + _NEAR) or low > least >= low * (1 - _NEAR):
            high, low = max(high, most), min(low, least)
            self._clipped += 1
        fault = ohlcv_fault(open_, high, low, close, volume)
        if fault is not None:
            faults.append(Fault(row.number, None, fault, "correct or remove the row"))
        self._idle += volume == 0
        return RawBar(ts, open_, high, low, close, volume, adj_close)

    def _volume(self, prices: Sequence[float], number: Callable[[str, _Range], float]) -> float:
        """Units that were traded; of money they are what it buys at the mean price of the bar, to twelve digits."""
        match self._writing.volume:
            case None:
                return UNKNOWN_VOLUME
            case "turnover":
                mean = math.fsum(prices) / len(prices)
                return float(f"{number('turnover', _TURNOVERS) / mean:.12g}")
            case field:
                return number(field, _VOLUMES)

    def _caught(self, faults: list[Fault], read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except _Unreadable as unreadable:
            faults.append(unreadable.fault)
            return None

    def _ts(self, row: _Row, *, second: bool = False) -> datetime:
        text = row.text("date")
        if "time" in row.columns and not self._writing.dates.are_whole:
            text = f"{text} {_clock(row.text('time'))}"
        try:
            return self._writing.dates.read(text, second=second)
        except UnknownZone as cause:
            problem, remedy = f"{quoted(text)} has an unknown zone", "write its offset, or a name like Europe/Berlin"
            raise row.unreadable("date", problem, remedy) from cause
        except (ValueError, OverflowError) as cause:
            problem, remedy = (
                f"{quoted(text)} is not {self._writing.dates.wanted}",
                "correct it, or give the date format",
            )
            raise row.unreadable("date", problem, remedy) from cause

    def _number(self, field: str, row: _Row, sensible: _Range) -> float:
        text = row.text(field)
        number = number_in(text, self._writing.decimal)
        if not math.isfinite(number):
            remedy = "write a plain number such as 1234.5, or remove the row"
            raise row.unreadable(field, f"{quoted(text)} is not a number", remedy)
        if not sensible.least <= number <= sensible.most:
            problem = f"{number} is not between {sensible.least:g} and {sensible.most:g}"
            raise row.unreadable(field, problem, "correct or remove the row")
        return number

    def _symbol_in(self, row: _Row) -> str:
        text = row.text("symbol")
        if not _SYMBOL.fullmatch(text):
            remedy = "write it without spaces, such as BRK.B"
            raise row.unreadable("symbol", f"{quoted(text)} is not a symbol", remedy)
        return text

    def _ordered(self, rows: Sequence[tuple[int, RawBar]]) -> Iterator[RawBar]:
        """The bars that come after all those before them; the others are faults."""
        last: datetime | None = None
        header = self._columns["date"].header
        for row, bar in rows:
            if last is None or bar.ts > last:
                last = bar.ts
                yield bar
            elif bar.ts == last:
                self.faults.append(Fault(row, header, f"a second row for {format_ts(bar.ts)}", "keep one of the two"))
            else:
                problem = f"{format_ts(bar.ts)} comes after {format_ts(last)}"
                self.faults.append(Fault(row, header, problem, "sort the rows by date, oldest first"))

    # --- symbols ---

    @property
    def _columns(self) -> Columns:
        return self._head.groups[0][1]

    def _checked_symbol(self, symbol: str | None) -> str | None:
        named = [name for name, _ in self._head.groups if name is not None]
        if symbol is None:
            for name in named:
                if not _SYMBOL.fullmatch(name):
                    raise Unusable(f"{quoted(name)} is not a symbol", remedy="write it without spaces, such as BRK.B")
            if not named and "symbol" not in self._columns:
                remedy = "give the symbol, or map its column"
                raise MissingColumns("no column says the symbol", remedy=remedy, file=self._file, columns=["symbol"])
            return None
        if named or "symbol" in self._columns:
            says = f"column {self._columns['symbol'].header!r} already says" if not named else "the columns already say"
            raise Unusable(f"{says} the symbol", remedy="do not give one", file=self._file)
        if not _SYMBOL.fullmatch(symbol):
            raise Unusable(f"{quoted(symbol)} is not a symbol", remedy="write it without spaces, such as BRK.B")
        return symbol


def _clock(text: str) -> str:
    """A time of day with colons; some write 93000 for half past nine."""
    if not text.isdigit():
        return text
    digits = text.zfill(6 if len(text) > 4 else 4)
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def _descends(rows: Sequence[tuple[int, RawBar]]) -> bool:
    steps = [after.ts < before.ts for (_, before), (_, after) in pairwise(rows) if after.ts != before.ts]
    return sum(steps) * 2 > len(steps)

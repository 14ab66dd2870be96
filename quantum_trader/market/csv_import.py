"""CSV import: a user's own OHLCV file becomes a data set like the shipped one.

Checks every row before anything is written. A row that makes no sense stops the import, named by file, row and column:
a guess made here would become a trade later.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, time
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple, TextIO

from quantum_trader.market import layout
from quantum_trader.market.adjust import RawBar
from quantum_trader.market.calendar import dates_of, format_ts, parse_local
from quantum_trader.market.columns import Columns, locate
from quantum_trader.market.errors import BadRow, DamagedFile, Jumps, MissingColumns, MissingFile, Unusable, quoted
from quantum_trader.market.jumps import Jump, without_splits
from quantum_trader.market.jumps import jumps as all_jumps
from quantum_trader.market.library import DEMO
from quantum_trader.market.validate import ohlcv_fault

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SYMBOL: Final = re.compile(r"[A-Za-z0-9^][A-Za-z0-9._^=/:-]{0,31}")
_Bars = dict[str, list[RawBar]]  # by symbol
_DELIMITERS: Final = ",;\t|"


class _Range(NamedTuple):
    least: float
    most: float


# Wider than any market; within them no adjustment can overflow.
_PRICES: Final = _Range(1e-9, 1e12)
_VOLUMES: Final = _Range(0.0, 1e15)


def import_csv(
    source: str | Path,
    directory: str | Path,
    *,
    name: str | None = None,
    symbol: str | None = None,
    columns: Mapping[str, str] | None = None,
    date_format: str | None = None,
    replace: bool = False,
    jumps: Literal["refuse", "allow", "adjust"] = "refuse",
    note: Callable[[str], None] = lambda _line: None,
    reading: Callable[[Path], AbstractContextManager[BinaryIO]] = lambda path: path.open("rb"),
) -> Path:
    """Check the CSV file `source` and write it into `directory` as a data set; returns the file for `load_dataset`.

    - `name`: by default the file's own name without its endings.
    - `symbol`: what the bars are of, when the file has no column that says so.
    - `columns`: field -> header in the file, for headers that are not recognised. Fields: date, symbol, open, high,
      low, close, volume, adj_close. Without an adjusted close, prices are taken as adjusted already.
    - `date_format`: a `strptime` pattern, when dates are not ISO 8601. Times without a zone are UTC.
    - `replace`: overwrite a data set of the same name.
    - `jumps`: what to do about prices that change by more than a fifth from one bar to the next. They are refused, or
      kept, or, where they look like a split, what was before is brought to the scale after.
    - `note`: is told, line by line, what was assumed and what was done.
    - `reading`: how to open the file, for who wants to see how far it is read.

    The file may be gzipped; comma, semicolon, tab and bar are recognised as separators. Rows of one symbol must ascend in
    time. Bars that come once a day have the date that their exchange writes, whatever its offset. Raises `DataError`, and
    then nothing was written.
    """
    source, directory = Path(source), Path(directory)
    name = _checked_name(source.name.split(".")[0] if name is None else name, directory, replace=replace)
    with _opened(source, reading) as text:
        bars = _Rows(source, text, symbol, columns or {}, date_format).normalised()
    bars = _dated(bars, note)
    bars = _without_jumps(bars, jumps, source, note)
    lines = {symbol: [layout.line(symbol, bar) for bar in rows] for symbol, rows in bars.items()}
    return layout.write(directory, name, f"imported from {source.name}", lines)


def _dated(bars: _Bars, note: Callable[[str], None]) -> _Bars:
    """Daily bars with the date of their exchange, others with their instant in UTC."""
    daily = dates_of({symbol: [bar.ts for bar in rows] for symbol, rows in bars.items()})
    note("one bar a day: sessions are dates" if daily else "several bars a day: sessions are instants, in UTC")
    if daily:
        return {
            symbol: [bar._replace(ts=datetime.combine(bar.ts.date(), time.min, UTC)) for bar in rows]
            for symbol, rows in bars.items()
        }
    return {symbol: [bar._replace(ts=bar.ts.astimezone(UTC)) for bar in rows] for symbol, rows in bars.items()}


def _without_jumps(bars: _Bars, wanted: str, file: Path, note: Callable[[str], None]) -> _Bars:
    if wanted == "adjust":
        found: list[Jump] = []
        adjusted: _Bars = {}
        for symbol, rows in bars.items():
            adjusted[symbol], splits, left = without_splits(symbol, rows)
            found += left
            for split in splits:
                note(f"adjusted: {split}")
    else:
        found = [jump for symbol, rows in bars.items() for jump in all_jumps(symbol, rows)]
        adjusted = bars
    if found and wanted != "allow":
        raise Jumps(found, file=file)
    for jump in found:
        note(f"kept: {jump}")
    return adjusted


def _checked_name(name: str, directory: Path, *, replace: bool) -> str:
    if not _NAME.fullmatch(name):
        raise Unusable(
            f"{quoted(name)} cannot name a data set", remedy="give a name of letters, digits, dots and dashes"
        )
    if name == DEMO:
        raise Unusable(f"{DEMO!r} is the shipped data set", remedy="give another name")
    if not replace and (directory / (name + layout.SUFFIX)).exists():
        raise Unusable(f"data set {name!r} exists", remedy="give another name, or replace it", file=directory)
    return name


@contextmanager
def _opened(source: Path, reading: Callable[[Path], AbstractContextManager[BinaryIO]]) -> Iterator[TextIO]:
    """`source` as text, its faults as a file turned into errors of ours wherever they show."""
    try:
        with reading(source) as raw:
            plain = gzip.GzipFile(fileobj=raw) if source.suffix == ".gz" else raw
            with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
                yield text
    except FileNotFoundError as cause:
        raise MissingFile("no such file", remedy="check the path", file=source) from cause
    except (gzip.BadGzipFile, EOFError, zlib.error) as cause:
        raise DamagedFile("not a whole gzip file", remedy="download or pack it again", file=source) from cause
    except UnicodeDecodeError as cause:
        raise DamagedFile("not UTF-8 text", remedy="save it as CSV with UTF-8 encoding", file=source) from cause
    except OSError as cause:
        raise MissingFile(
            f"cannot be read ({cause.strerror})", remedy="check path and permissions", file=source
        ) from cause


class _Rows:
    """The rows of one file, from text to normalised lines."""

    def __init__(
        self, source: Path, text: TextIO, symbol: str | None, columns: Mapping[str, str], date_format: str | None
    ) -> None:
        head = text.readline()
        self._file = source
        self._reader = csv.reader(chain([head], text), delimiter=max(_DELIMITERS, key=head.count), strict=True)
        _, header = next(self._filled(), (1, ()))
        self._columns: Columns = locate(header, columns, source)
        self._date_format = date_format
        self._symbol = self._checked_symbol(symbol)

    def normalised(self) -> _Bars:
        """The bars of each symbol, their times in the offset they were written in.

        Raises `BadRow` at the first row that makes no sense, or when there is none.
        """
        bars: _Bars = {}
        last: dict[str, datetime] = {}
        for row, cells in self._filled():
            symbol = self._symbol or self._symbol_in(cells, row)
            bar = self._bar(cells, row)
            self._check_order(bar.ts, last.get(symbol), row)
            last[symbol] = bar.ts
            bars.setdefault(symbol, []).append(bar)
        if not bars:
            raise BadRow("the file has no rows", remedy="export it again, with data", file=self._file, row=2)
        return bars

    def _filled(self) -> Iterator[tuple[int, Sequence[str]]]:
        """The rows that are not blank, each with the number of the line it ends on."""
        try:
            for cells in self._reader:
                if any(cell.strip() for cell in cells):
                    yield self._reader.line_num, cells
        except csv.Error as cause:
            problem, row = f"not CSV ({cause})", self._reader.line_num
            raise BadRow(problem, remedy="check quotes and line ends", file=self._file, row=row) from cause

    def _bar(self, cells: Sequence[str], row: int) -> RawBar:
        ts = self._ts(cells, row)
        open_, high, low, close = (self._number(field, cells, row) for field in ("open", "high", "low", "close"))
        volume = self._number("volume", cells, row, _VOLUMES)
        fault = ohlcv_fault(open_, high, low, close, volume)
        if fault is not None:
            raise BadRow(fault, remedy="correct or remove the row", file=self._file, row=row)
        adj_close = self._number("adj_close", cells, row) if "adj_close" in self._columns else close
        return RawBar(ts, open_, high, low, close, volume, adj_close)

    def _ts(self, cells: Sequence[str], row: int) -> datetime:
        text = self._cell("date", cells, row)
        try:
            ts = parse_local(text, self._date_format)
            ts.astimezone(UTC)  # which the first and the last days there are cannot all be
            return ts
        except (ValueError, OverflowError) as cause:
            wanted = "an ISO 8601 date" if self._date_format is None else f"a date like {self._date_format}"
            remedy = "correct it, or give the date format"
            raise self._bad("date", row, f"{quoted(text)} is not {wanted}", remedy) from cause

    def _number(self, field: str, cells: Sequence[str], row: int, sensible: _Range = _PRICES) -> float:
        text = self._cell(field, cells, row)
        try:
            number = math.nan if "_" in text else float(text)  # Python would read 1_000
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            remedy = "write a plain number such as 1234.5, or remove the row"
            raise self._bad(field, row, f"{quoted(text)} is not a number", remedy)
        if not sensible.least <= number <= sensible.most:
            problem = f"{number} is not between {sensible.least:g} and {sensible.most:g}"
            raise self._bad(field, row, problem, "correct or remove the row")
        return number

    def _symbol_in(self, cells: Sequence[str], row: int) -> str:
        text = self._cell("symbol", cells, row)
        if not _SYMBOL.fullmatch(text):
            raise self._bad("symbol", row, f"{quoted(text)} is not a symbol", "write it without spaces, such as BRK.B")
        return text

    def _cell(self, field: str, cells: Sequence[str], row: int) -> str:
        place = self._columns[field].place
        text = cells[place].strip() if place < len(cells) else ""
        if not text:
            raise self._bad(field, row, "the cell is empty", "fill it, or remove the row")
        return text

    def _check_order(self, ts: datetime, previous: datetime | None, row: int) -> None:
        if previous is None or ts > previous:
            return
        if ts == previous:
            raise self._bad("date", row, f"a second row for {format_ts(ts)}", "keep one of the two")
        problem = f"{format_ts(ts)} comes after {format_ts(previous)}"
        raise self._bad("date", row, problem, "sort the rows by date, oldest first")

    def _bad(self, field: str, row: int, problem: str, remedy: str) -> BadRow:
        return BadRow(problem, remedy=remedy, file=self._file, row=row, column=self._columns[field].header)

    def _checked_symbol(self, symbol: str | None) -> str | None:
        if symbol is None and "symbol" not in self._columns:
            remedy = "give the symbol, or map its column"
            raise MissingColumns("no column says the symbol", remedy=remedy, file=self._file, columns=["symbol"])
        if symbol is None:
            return None
        if "symbol" in self._columns:
            header = self._columns["symbol"].header
            raise Unusable(f"column {header!r} already says the symbol", remedy="do not give one", file=self._file)
        if not _SYMBOL.fullmatch(symbol):
            raise Unusable(f"{quoted(symbol)} is not a symbol", remedy="write it without spaces, such as BRK.B")
        return symbol

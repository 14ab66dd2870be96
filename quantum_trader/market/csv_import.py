"""CSV import: a user's own file of bars becomes a data set like the shipped one.

Checks every row before anything is written. A row that makes no sense stops the import, and all of them are named at once by
file, row and column: a guess made here would become a trade later. What was assumed is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Final, Literal

from quantum_trader.market import layout
from quantum_trader.market.calendar import dates_of, rhythm, union
from quantum_trader.market.errors import BadRows, Fault, Jumps, Unusable, quoted
from quantum_trader.market.importing.heads import Head, head_of
from quantum_trader.market.importing.opening import Opener, text_of
from quantum_trader.market.importing.rows import Bars, Reading
from quantum_trader.market.importing.shape import Shape
from quantum_trader.market.importing.table import NAMES, Table
from quantum_trader.market.jumps import Jump, without_splits
from quantum_trader.market.jumps import jumps as all_jumps
from quantum_trader.market.library import DEMO

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LISTED: Final = 20  # rows left out that are named
_SKIP: Final = "or leave such rows out with --skip-bad"
Note = Callable[[str], None]


def import_csv(
    source: str | Path,
    directory: str | Path,
    *,
    name: str | None = None,
    symbol: str | None = None,
    shape: Shape = Shape(),  # noqa: B008 - it is frozen
    replace: bool = False,
    jumps: Literal["refuse", "allow", "adjust"] = "refuse",
    note: Note = lambda _line: None,
    reading: Opener = lambda path: path.open("rb"),
) -> Path:
    """Check the CSV file `source` and write it into `directory` as a data set; returns the file for `load_dataset`.

    - `name`: by default the file's own name without its endings.
    - `symbol`: what the bars are of, when neither a column nor the names of the columns say so.
    - `shape`: how the file is written, as far as it does not tell itself. Without an adjusted close, prices are taken as
      adjusted already. Times without a zone are UTC.
    - `replace`: overwrite a data set of the same name.
    - `jumps`: what to do about prices that change by more than a fifth from one bar to the next. They are refused, or
      kept, or, where they look like a split, what was before is brought to the scale after.
    - `note`: is told, line by line, what was assumed and what was done.
    - `reading`: how to open the file, for who wants to see how far it is read.

    The file may be packed with gzip or, alone, with zip; comma, semicolon, tab and bar are recognised as separators, as are
    lines before the header, numbers with a decimal comma, and the usual forms of dates. Rows of one symbol must ascend or
    descend in time. Bars that come once a day have the date that their exchange writes, whatever its offset. Raises
    `DataError`, of all rows that make no sense at once, and then nothing was written.
    """
    source, directory = Path(source), Path(directory)
    name = _checked_name(source.name.split(".")[0] if name is None else name, directory, replace=replace)
    text, encoding = text_of(source, reading, shape.encoding)
    table = Table(text, source, skip_rows=shape.skip_rows)
    head = head_of(table.sample(), shape, source)
    read = Reading(table, head, shape, symbol, source)
    note(f"file: {encoding}, columns separated by {NAMES[table.separator]}, data from line {head.line + 1}")
    _tell_columns(head, note)
    for line in read.told:
        note(line)
    _judge(read, source, note, skip_bad=shape.skip_bad)
    bars = _dated(read.bars, shape, note)
    bars = _without_jumps(bars, jumps, source, note)
    lines = {symbol: [layout.line(symbol, bar) for bar in rows] for symbol, rows in bars.items()}
    return layout.write(directory, name, f"imported from {source.name}", lines)


def _tell_columns(head: Head, note: Note) -> None:
    symbols = [symbol for symbol, _ in head.groups if symbol is not None]
    columns = head.groups[0][1]
    note("columns: " + ", ".join(f"{field} {column.header!r}" for field, column in columns.items()))
    if len(symbols) > 1:
        note(f"and so for {', '.join(symbols[1:])}")
    adjusted = columns.get("adj_close")
    note(
        "adjustment: none, prices are taken as they are" if adjusted is None else f"adjustment: by {adjusted.header!r}"
    )


def _judge(read: Reading, file: Path, note: Note, *, skip_bad: bool) -> None:
    """Faults are refused all at once, or their rows left out and named."""
    if read.faults and not skip_bad:
        raise BadRows(read.faults, file=file, otherwise=_SKIP)
    rows = {fault.row: fault for fault in reversed(read.faults)}
    if rows:
        note(f"left out: {len(rows)} rows")
        for row in sorted(rows)[:_LISTED]:
            note(f"left out: row {row}: {rows[row]}")
        if len(rows) > _LISTED:
            note(f"left out: and {len(rows) - _LISTED} more")
    if not any(read.bars.values()):
        raise BadRows([Fault(2, None, "the file has no rows", "export it again, with data")], file=file)


def _dated(bars: Bars, shape: Shape, note: Note) -> Bars:
    """Daily bars with the date of their exchange, others with their instant in UTC."""
    daily = dates_of({symbol: [bar.ts for bar in rows] for symbol, rows in bars.items()})
    dated = {
        symbol: [
            bar._replace(ts=datetime.combine(bar.ts.date(), time.min, UTC) if daily else bar.ts.astimezone(UTC))
            for bar in rows
        ]
        for symbol, rows in bars.items()
    }
    note("one bar a day: sessions are dates" if daily else "several bars a day: sessions are instants, in UTC")
    note(f"interval: {rhythm(union((bar.ts for bar in rows) for rows in dated.values()))}")
    if not daily:
        note(f"zone: {shape.zone or 'UTC'}, where the file does not say another")
    return dated


def _without_jumps(bars: Bars, wanted: str, file: Path, note: Note) -> Bars:
    if wanted == "adjust":
        found: list[Jump] = []
        adjusted: Bars = {}
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

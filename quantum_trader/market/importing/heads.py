"""Heads: where the names of the columns stand, and what each column is.

Above them vendors put titles and addresses; several symbols stand below each other with a column that says which, or side by side
with names such as `AAPL.Open`, or with the symbols in a line of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from quantum_trader.market.columns import PRICES, Column, Columns, field_of, locate, names_date
from quantum_trader.market.errors import MissingColumns
from quantum_trader.market.importing.numerals import number_in
from quantum_trader.market.importing.shape import Decimal, Shape
from quantum_trader.market.importing.table import Row

_PAIR: Final = re.compile(r"\(\s*'?(.*?)'?\s*,\s*'?(.*?)'?\s*\)")  # as pandas writes a column of two names
_BETWEEN: Final = re.compile(r"[ ._:|-]")


class Head(NamedTuple):
    """The columns of each symbol (None: a column, or the user, says which), and the last line that is not data."""

    line: int
    groups: tuple[tuple[str | None, Columns], ...]


def head_of(sample: Sequence[Row], shape: Shape, file: Path) -> Head:
    """The head of a table that begins with `sample`. Raises `MissingColumns`, `Unusable`."""
    if shape.header is not None:
        columns = locate(shape.header, shape.columns, file, has_volume=shape.has_volume)
        return Head(shape.skip_rows, ((None, columns),))
    above = _above(sample)
    if sample and not above:
        remedy = "name its columns in order, such as --columns date,open,high,low,close,volume"
        problem = "the table begins with data, not with names of columns"
        raise MissingColumns(problem, remedy=remedy, file=file, columns=PRICES, row=sample[0].number)
    best = max(_candidates(above), key=lambda row: _known(row.cells), default=Row(1, []))
    try:
        columns = locate(best.cells, shape.columns, file, row=best.number, has_volume=shape.has_volume)
    except MissingColumns:
        wide = _wide(above, shape.columns, file, has_volume=shape.has_volume)
        if wide is None:
            raise
        return wide
    units = (row.number for row in above if row.number > best.number and not row.cells[0].strip() and not _numbers(row))
    return Head(next(units, best.number), ((None, columns),))


def _above(sample: Sequence[Row]) -> list[Row]:
    """The rows before the first that has as many numbers as a bar has prices."""
    rows: list[Row] = []
    for row in sample:
        if _numbers(row) >= len(PRICES) and _known(row.cells) < len(PRICES):
            break
        rows.append(row)
    return rows


def _numbers(row: Row) -> int:
    marks: tuple[Decimal, Decimal] = ("point", "comma")
    return sum(any(math.isfinite(number_in(cell.strip(), mark)) for mark in marks) for cell in row.cells)


def _known(cells: Sequence[str]) -> int:
    """How many of the names are known, each once."""
    names = {field_of(cell) or ("date" if names_date(cell) else None) for cell in cells}
    return len(names - {None})


def _candidates(above: Sequence[Row]) -> Iterator[Row]:
    """The lines that may have the names, and each two that may share them (Adj over Close)."""
    yield from above
    for upper, lower in pairwise(above):
        if len(upper.cells) == len(lower.cells):
            cells = [f"{one.strip()} {two.strip()}".strip() for one, two in zip(upper.cells, lower.cells, strict=True)]
            yield Row(lower.number, cells)


def _wide(above: Sequence[Row], wanted: Mapping[str, str], file: Path, *, has_volume: bool) -> Head | None:
    """The head of a table with symbols side by side, or None."""
    for row in above:
        found = [_split(cell.strip()) for cell in row.cells]
        if sum(pair is not None for pair in found) >= len(PRICES):
            return _grouped(found, [row], wanted, file, has_volume=has_volume)
    for upper, lower in pairwise(above):
        for fields, symbols in ((upper.cells, _carried(lower.cells)), (lower.cells, _carried(upper.cells))):
            pairs = zip(fields, symbols, strict=False)
            found = [(field, symbol) if field_of(field) and symbol else None for field, symbol in pairs]
            found = [None, *found[1:]]  # the first names the levels
            if sum(pair is not None for pair in found) >= len(PRICES):
                below = [row for row in above if row.number > lower.number and not any(map(str.strip, row.cells[1:]))]
                return _grouped(found, [upper, lower, *below[:1]], wanted, file, has_volume=has_volume)
    return None


def _grouped(
    found: Sequence[tuple[str, str] | None],
    lines: Sequence[Row],
    wanted: Mapping[str, str],
    file: Path,
    *,
    has_volume: bool,
) -> Head:
    """Each symbol with its columns; the dates are in a column that says so, else in the first."""
    row = lines[-1].number
    dates = (
        place for line in lines for place, cell in enumerate(line.cells) if names_date(cell) and found[place] is None
    )
    date = next(dates, 0)
    groups = []
    for symbol in dict.fromkeys(pair[1] for pair in found if pair is not None):
        header = [pair[0] if pair is not None and pair[1] == symbol else "-" for pair in found]
        header[date] = "date"
        columns = locate(header, wanted, file, row=row, has_volume=has_volume)
        named = {
            field: Column(place, f"{symbol} {name}") for field, (place, name) in columns.items() if field != "date"
        }
        groups.append((symbol, {"date": columns["date"], **named}))
    return Head(row, tuple(groups))


def _carried(cells: Sequence[str]) -> Iterator[str]:
    """Each cell, an empty one as the one before: spreadsheets merge them."""
    last = ""
    for cell in cells:
        last = cell.strip() or last
        yield last


def _split(name: str) -> tuple[str, str] | None:
    """`AAPL.Adj.Close`, `Open BRK.B` or `('Close', 'AAPL')` as field and symbol; None for anything else."""
    pair = _PAIR.fullmatch(name)
    if pair is not None:
        one, other = pair.groups()
        return (one, other) if field_of(one) else (other, one) if field_of(other) else None
    if field_of(name) or names_date(name):
        return None
    places = [found.start() for found in _BETWEEN.finditer(name)]
    for place in places:
        if place and field_of(name[place + 1 :]):
            return name[place + 1 :], name[:place]
    for place in reversed(places):
        if field_of(name[:place]) and name[place + 1 :]:
            return name[:place], name[place + 1 :]
    return None

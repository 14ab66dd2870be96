"""Table: the text of a file as rows of cells, each with its line. Knows nothing of what the cells mean."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from quantum_trader.market.errors import BadRows, Fault

_SAMPLE: Final = 40  # rows that tell how the file is built
_CELLS: Final = 5  # a bar has at least: a date and four prices
_RARE: Final = ";\t|"  # what hardly ever stands in a cell
NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blanks"}


class Row(NamedTuple):
    """The cells of one row and the line of the file that it ends on, from 1."""

    number: int
    cells: list[str]


class Table:
    """The rows of a text that are not blank, as often as one goes through them."""

    def __init__(self, text: str, file: Path, *, skip_rows: int = 0) -> None:
        self._text, self._file, self._skip = text, file, skip_rows
        self.separator = _separator(text, skip_rows)

    def __iter__(self) -> Iterator[Row]:
        """Raises `BadRows` where the text is not CSV any more."""
        reader = csv.reader(
            io.StringIO(self._text, newline=""),
            delimiter=self.separator,
            skipinitialspace=self.separator == " ",  # columns of equal width are filled up with blanks
            strict=True,
        )
        try:
            for cells in reader:
                if reader.line_num > self._skip and any(cell.strip() for cell in cells):
                    yield Row(reader.line_num, cells)
        except csv.Error as cause:
            fault = Fault(reader.line_num, None, f"not CSV ({cause})", "check quotes and line ends")
            raise BadRows([fault], file=self._file) from cause

    def sample(self) -> list[Row]:
        """The first rows, among them the header, if there is one."""
        return list(islice(self, _SAMPLE))


def _separator(text: str, skip_rows: int) -> str:
    """The one that makes rows of bars of most lines: a rare one if it does, else what the first line has most of."""
    lines = [line for line in islice(io.StringIO(text), skip_rows, skip_rows + _SAMPLE) if line.strip()]
    for separator in _RARE:
        if sum(line.count(separator) >= _CELLS - 1 for line in lines) * 2 > len(lines):
            return separator
    head = lines[0] if lines else ""
    if lines and all(len(line.split()) >= _CELLS and not any(mark in line for mark in f",{_RARE}") for line in lines):
        return " "
    return max(f",{_RARE}", key=head.count)

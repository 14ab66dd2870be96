"""Errors of market data: one root, each with the file, the row where there is one, and the remedy.

Raised by everything that reads or writes bars; shown to the user as they are. Every message is one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

_LISTED = 20  # faults of a file that one message names
_SHOWN = 40  # characters of a user's own text that a message repeats


class DataError(Exception):
    """Market data could not be read, checked or written. `remedy` says what to do about it."""

    def __init__(self, problem: str, *, remedy: str, file: Path | str | None = None, row: int | None = None) -> None:
        place = "" if file is None else f"{file}: " if row is None else f"{file}, row {row}: "
        super().__init__(f"{place}{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.file = None if file is None else Path(file)
        self.row = row


class MissingFile(DataError):
    """The file is not there or may not be read. Check the path and its permissions."""


class NotImported(DataError):
    """The file is not a data set: it was never imported, or lost its manifest. Import it first."""


class DamagedFile(DataError):
    """The content is not what its manifest promises. Restore or rebuild the file."""


class MissingColumns(DataError):
    """A needed column is absent or not to be told from another. Map it by its name in the file."""

    def __init__(self, problem: str, *, remedy: str, file: Path | str, columns: Iterable[str], row: int = 1) -> None:
        super().__init__(problem, remedy=remedy, file=file, row=row)
        self.columns = tuple(columns)


class Fault(NamedTuple):
    """What is wrong with one row of a user's file, and what to do about it. `row` counts lines of the file from 1."""

    row: int
    column: str | None  # as the header writes it
    problem: str
    remedy: str

    def __str__(self) -> str:
        return self.problem if self.column is None else f"column {self.column!r}: {self.problem}"


class BadRows(DataError):
    """Rows of a user's file make no sense. Correct or remove them; `faults` has all, `row` and `column` are of the first."""

    def __init__(self, faults: Sequence[Fault], *, file: Path | str, otherwise: str | None = None) -> None:
        """`otherwise`: another way out, for all of them."""
        first, *others = faults
        told = [str(first), *(f"row {fault.row}: {fault}" for fault in others[: _LISTED - 1])]
        if len(faults) > len(told):
            told.append(f"and {len(faults) - len(told)} more, {len(faults)} in all")
        remedies = dict.fromkeys(fault.remedy for fault in faults[:_LISTED])
        remedy = "; ".join([*remedies, *([] if otherwise is None else [otherwise])])
        super().__init__("; ".join(told), remedy=remedy, file=file, row=first.row)
        self.faults = tuple(faults)
        self.column = first.column


class UnknownSymbol(DataError):
    """The data set does not hold the symbol. Choose one of those it holds, `known`."""

    def __init__(self, symbol: str, known: Iterable[str], *, file: Path | str) -> None:
        self.symbol = symbol
        self.known = tuple(sorted(known))
        super().__init__(f"unknown symbol {quoted(symbol)}", remedy=f"known are {', '.join(self.known)}", file=file)


class EmptyRange(DataError):
    """No bar of the chosen symbols lies between start and end. Widen the range."""


class Unusable(DataError):
    """An argument of an import cannot be used: the name, the column map, the symbol. The remedy names a usable one."""


class Jumps(DataError):
    """Prices change by more than a fifth from one bar to the next. Say whether they did, or were split."""

    def __init__(self, found: Sequence[object], *, file: Path | str) -> None:
        shown = "; ".join(map(str, found[:_LISTED]))
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        super().__init__(
            f"prices jump: {shown}{more}",
            remedy="keep them with --allow-jumps, or have those like splits adjusted with --adjust-splits",
            file=file,
        )
        self.count = len(found)


class Misaligned(DataError):
    """Symbols hardly ever trade in the same session. Correct their dates, or accept a calendar of all their sessions."""


class NotWritten(DataError):
    """The data directory could not be written. Nothing was left behind; check space and permissions."""


def quoted(text: str) -> str:
    """A user's text as part of a one-line message: quoted, control characters escaped, shortened."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")

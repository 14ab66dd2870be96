"""Columns: which column of a user's file holds which field of a bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from quantum_trader.market.errors import MissingColumns, Unusable, quoted

# What headers are called in the wild, in small letters and without blanks and punctuation.
_ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "date": frozenset({"date", "datetime", "day", "time", "timestamp", "ts"}),
    "symbol": frozenset({"symbol", "ticker", "instrument", "code"}),
    "open": frozenset({"open", "o", "openprice"}),
    "high": frozenset({"high", "h", "highprice"}),
    "low": frozenset({"low", "l", "lowprice"}),
    "close": frozenset({"close", "c", "closeprice", "closelast", "last"}),
    "volume": frozenset({"volume", "vol", "v"}),
    "adj_close": frozenset({"adjclose", "adjustedclose", "closeadj", "closeadjusted"}),
}
_OPTIONAL: Final = frozenset({"symbol", "adj_close"})


class Column(NamedTuple):
    """A column of the file: its place, from 0, and its header as written."""

    place: int
    header: str


Columns = dict[str, Column]  # by field


def locate(header: Sequence[str], wanted: Mapping[str, str], file: Path) -> Columns:
    """Where each field is: by `wanted` (field -> header) where given, otherwise by common names.

    A wanted header must be written as in the file; the common ones are found in any case and punctuation. Optional
    are symbol and adj_close. Raises `Unusable` for a field in `wanted` that does not exist and `MissingColumns` when
    a needed field has no column, or two that it could be.
    """
    for field in wanted:
        if field not in _ALIASES:
            raise Unusable(f"{quoted(field)} is not a field", remedy=f"map only {', '.join(_ALIASES)}", file=file)
    found: Columns = {}
    missing: list[str] = []
    for field, aliases in _ALIASES.items():
        chosen = wanted.get(field)
        fits = [
            Column(place, text.strip())
            for place, text in enumerate(header)
            if (_plain(text) in aliases if chosen is None else text.strip() == chosen)
        ]
        if len(fits) > 1:
            problem = f"{field} could be any of {', '.join(quoted(fit.header) for fit in fits)}"
            raise MissingColumns(problem, remedy=f"map {field} to one of them", file=file, columns=[field])
        if fits:
            found[field] = fits[0]
        elif field in wanted or field not in _OPTIONAL:
            missing.append(field)
    if missing:
        there = ", ".join(quoted(text.strip()) for text in header) or "none"
        problem = f"no column for {', '.join(missing)} (columns are {there})"
        raise MissingColumns(problem, remedy="map them to the headers of the file", file=file, columns=missing)
    return found


def _plain(header: str) -> str:
    return "".join(character for character in header.casefold() if character.isalnum())

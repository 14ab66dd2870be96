"""Columns: which column of a user's file holds which field of a bar."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from quantum_trader.market.errors import MissingColumns, Unusable, quoted

# What headers are called in the wild, in small letters and without blanks, accents and punctuation. Of the groups of a field
# the first that fits counts: who writes both a date and a number of seconds means the same by them.
_ALIASES: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "date": (
        frozenset({"date", "datetime", "day", "tradedate", "tradingday", "datum", "tag", "fecha", "dia", "jour"}),
        frozenset(
            {"timestamp", "ts", "unix", "unixtime", "epoch", "opentime", "t", "dateandtime", "gmttime", "utctime"}
        ),
        frozenset({"time"}),
    ),
    "time": (frozenset({"time", "uhrzeit", "zeit", "hora", "heure"}),),
    "symbol": (frozenset({"symbol", "ticker", "instrument", "code", "symbole", "simbolo"}),),
    "open": (
        frozenset(
            {"open", "o", "openprice", "opening", "eroffnung", "eroeffnung", "eroffnungskurs", "eroffn", "erster"}
        ),
        frozenset({"ouverture", "ouv", "apertura", "inicio", "adjopen"}),
    ),
    "high": (
        frozenset({"high", "h", "highprice", "hoch", "hochst", "hochstkurs", "tageshoch"}),
        frozenset({"plushaut", "haut", "maximo", "max", "adjhigh"}),
    ),
    "low": (
        frozenset({"low", "l", "lowprice", "tief", "tiefst", "tiefstkurs", "tagestief"}),
        frozenset({"plusbas", "bas", "minimo", "min", "adjlow"}),
    ),
    "close": (
        frozenset({"close", "c", "closeprice", "closelast", "schluss", "schlusskurs", "cloture", "cierre"}),
        frozenset({"last", "lastprice", "zuletzt", "letzter", "dernier", "ultimo", "price", "settle"}),
        frozenset({"adjclose", "adjustedclose"}),
    ),
    "volume": (
        frozenset({"stuck", "stucke", "stuecke", "shares", "realvolume"}),  # beside which `Volumen` is in money
        frozenset({"volume", "vol", "v", "totalvolume", "volumen", "umsatz"}),
        frozenset({"adjvolume"}),
    ),
    "tick_volume": (frozenset({"tickvol", "tickvolume", "ticks"}),),
    "turnover": (
        frozenset({"turnover", "amount", "tradedvalue", "totaltradedvalue", "dollarvolume", "chiffredaffaires"}),
        frozenset({"quotevolume", "quoteassetvolume"}),
    ),
    "adj_close": (frozenset({"adjclose", "adjustedclose", "closeadj", "closeadjusted", "adjusted"}),),
}
_OPTIONAL: Final = frozenset({"time", "symbol", "tick_volume", "turnover", "adj_close"})
VOLUMES: Final = ("volume", "tick_volume", "turnover")  # what tells how much was traded, the best of it first
PRICES: Final = ("open", "high", "low", "close")


class Column(NamedTuple):
    """A column of the file: its place, from 0, and its header as written."""

    place: int
    header: str


Columns = dict[str, Column]  # by field


def locate(
    header: Sequence[str], wanted: Mapping[str, str], file: Path, *, row: int = 1, has_volume: bool = True
) -> Columns:
    """Where each field is: by `wanted` (field -> header) where given, otherwise by common names.

    A wanted header must be written as in the file; the common ones are found in any case and punctuation. Optional are time,
    symbol, tick_volume, turnover and adj_close, and the volume where there is one of those or `has_volume` is false. A first
    column without a name has the date when no other has. Raises `Unusable` for a field in `wanted` that does not exist and
    `MissingColumns` when a needed field has no column, or two that it could be.
    """
    for field in wanted:
        if field not in _ALIASES:
            raise Unusable(f"{quoted(field)} is not a field", remedy=f"map only {', '.join(_ALIASES)}", file=file)
    found: Columns = {}
    missing: list[str] = []
    for field in _ALIASES:
        if not has_volume and field in VOLUMES:
            continue
        fits = _fits(field, header, wanted.get(field), {column.place for column in found.values()})
        if len(fits) > 1:
            problem = f"{field} could be any of {', '.join(quoted(fit.header) for fit in fits)}"
            remedy = f"map {field} to one of them, such as --column {field}={fits[0].header!r}"
            raise MissingColumns(problem, remedy=remedy, file=file, columns=[field], row=row)
        if fits:
            found[field] = fits[0]
        elif field in wanted or field not in _OPTIONAL:
            missing.append(field)
    if found.keys() & VOLUMES and "volume" not in wanted and "volume" in missing:
        missing.remove("volume")
    if missing:
        there = ", ".join(quoted(text.strip()) for text in header) or "none"
        problem = f"no column for {', '.join(missing)} (columns are {there})"
        remedy = "map them with --column FIELD=HEADER"
        if missing == ["volume"]:
            remedy += ", or go without with --no-volume"
        raise MissingColumns(problem, remedy=remedy, file=file, columns=missing, row=row)
    return found


def text_at(cells: Sequence[str], columns: Columns, field: str) -> str:
    """What a row has in the column of `field`, without blanks around; empty where there is no such column or cell."""
    column = columns.get(field)
    return cells[column.place].strip() if column is not None and column.place < len(cells) else ""


def field_of(header: str) -> str | None:
    """The field of a bar's numbers that is commonly called so, or None."""
    name = _plain(header)
    if name in _ALIASES["adj_close"][0]:
        return "adj_close"
    numbers = (*PRICES, *VOLUMES)
    return next((field for field in numbers if any(name in group for group in _ALIASES[field])), None)


def names_date(header: str) -> bool:
    """Whether a column of that name has the dates."""
    return any(_plain(header) in group for group in _ALIASES["date"])


def _fits(field: str, header: Sequence[str], chosen: str | None, taken: set[int]) -> list[Column]:
    """The columns that may hold a field, those of its first group of names that has any."""
    columns = [Column(place, text.strip()) for place, text in enumerate(header)]
    if chosen is not None:
        return [column for column in columns if column.header == chosen]
    for group in _ALIASES[field]:
        fits = [column for column in columns if _plain(column.header) in group and column.place not in taken]
        if fits:
            return fits
    if field == "date" and columns and _plain(columns[0].header) in {"", "index", "unnamed0"}:
        return columns[:1]
    return []


def _plain(header: str) -> str:
    letters = unicodedata.normalize("NFKD", header.casefold())
    return "".join(letter for letter in letters if letter.isalnum())

"""Survey: how a file writes its dates, its numbers and its volume, seen in all of its rows before any is read.

What may be read in two ways and is not proved by another row is asked of the user.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import NamedTuple

from quantum_trader.market.columns import PRICES, VOLUMES, Columns, text_at
from quantum_trader.market.errors import MissingColumns, Unusable, quoted
from quantum_trader.market.importing.dates import DateEvidence, Dates, UnknownZone, zone_of
from quantum_trader.market.importing.heads import Head
from quantum_trader.market.importing.numerals import NumeralEvidence
from quantum_trader.market.importing.shape import Decimal, Shape


class Writing(NamedTuple):
    """How the cells of a file are to be read; `volume` is the field that has it, `told` what was found out."""

    dates: Dates
    decimal: Decimal
    volume: str | None
    told: tuple[str, ...]


def survey(rows: Iterable[tuple[Sequence[str], Columns]], head: Head, shape: Shape, file: Path) -> Writing:
    """See how `rows` are written. Raises `MissingColumns` and `Unusable` when the user has to say more."""
    dates, numerals, traded = DateEvidence(), NumeralEvidence(), False
    for cells, columns in rows:
        dates.add(text_at(cells, columns, "date"))
        for field in (*PRICES, *VOLUMES, "adj_close"):
            if field in columns:
                numerals.add(text_at(cells, columns, field))
        traded = traded or text_at(cells, columns, "volume").strip("0.,") != ""
    columns = head.groups[0][1]
    reader = _reader(dates, head, shape, file)
    decimal = shape.decimal or numerals.verdict()
    if decimal is None:
        problem = f"{quoted(f'{numerals.ambiguous}')} may be two numbers"
        remedy = "say what separates fractions with --decimal point or --decimal comma"
        raise MissingColumns(problem, remedy=remedy, file=file, columns=PRICES, row=head.line + 1)
    volume = _volume(columns, shape, traded=traded)
    told = (
        f"dates: read as {reader.wanted.removeprefix('a ').removeprefix('an ')}",
        f"numbers: decimal {decimal}",
        _volume_told(columns, volume),
    )
    return Writing(reader, decimal, volume, told)


def _reader(evidence: DateEvidence, head: Head, shape: Shape, file: Path) -> Dates:
    zone = None if shape.zone is None else _zone(shape.zone)
    if shape.date_format is not None:
        if "%Z" in shape.date_format:
            raise Unusable("%Z would be what this machine takes it for", remedy="give the zone with --zone instead")
        return Dates(shape.date_format, zone=zone)
    kind, order = evidence.kind, shape.first or evidence.order
    if kind == "slashed" and order is None:
        column = head.groups[0][1]["date"].header
        problem = f"column {column!r}: {quoted(f'{evidence.ambiguous}')} may be two dates"
        remedy = "say what comes first with --day-first or --month-first"
        raise MissingColumns(problem, remedy=remedy, file=file, columns=["date"], row=head.line + 1)
    return Dates(kind, order=order, zone=zone)


def _zone(name: str) -> tzinfo:
    try:
        return zone_of(name)
    except UnknownZone as cause:
        raise Unusable(f"{quoted(name)} is not a zone", remedy="name one such as Europe/Berlin") from cause


def _volume(columns: Columns, shape: Shape, *, traded: bool) -> str | None:
    """The real volume where there is one, else that of ticks, else what the turnover in money comes to."""
    if not shape.has_volume:
        return None
    there = [field for field in VOLUMES if field in columns]
    return there[1] if there[0] == "volume" and not traded and len(there) > 1 else there[0]


def _volume_told(columns: Columns, field: str | None) -> str:
    if field is None:
        return "volume: none, no order is limited by it"
    over = " (money) over the mean price of the bar" if field == "turnover" else ""
    return f"volume: column {columns[field].header!r}{over}"

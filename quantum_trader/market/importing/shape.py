"""Shape: what a user says about how a file is written. What is left out is told from the file itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Decimal = Literal["point", "comma"]
DayOrder = Literal["day", "month"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the file to import is written, as far as the user says so.

    - `columns`: field -> header in the file, for headers that are not recognised.
    - `header`: the names of the columns in order, for a file that has no header.
    - `skip_rows`: lines before the table.
    - `encoding`: of the text, when it is neither UTF-8 nor UTF-16.
    - `date_format`: a `strptime` pattern, or one of `epoch-s`, `epoch-ms`, `epoch-us`, `epoch-ns`, `serial`.
    - `first`: what comes first in dates like 01/02/2020.
    - `zone`: the IANA name of the zone that times without one are in, and in which epoch times are looked at.
    - `decimal`: what separates the fraction of a number.
    - `has_volume`: False where the file has no volume, and none is wanted.
    - `skip_bad`: leave out rows that make no sense, instead of refusing the file.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    header: tuple[str, ...] | None = None
    skip_rows: int = 0
    encoding: str | None = None
    date_format: str | None = None
    first: DayOrder | None = None
    zone: str | None = None
    decimal: Decimal | None = None
    has_volume: bool = True
    skip_bad: bool = False

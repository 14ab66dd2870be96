"""Numerals: how a file writes numbers, judged over all of them, and what each one says.

`1,234` alone may be a thousand or one and a bit: the other numbers of the file tell, or the user is asked.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Final

from quantum_trader.market.importing.shape import Decimal

_SCALES: Final = {"K": 1e3, "M": 1e6, "MIO": 1e6, "B": 1e9, "BN": 1e9, "MRD": 1e9, "T": 1e12}
_DRESS: Final = re.compile(
    r"(?P<sign>[+-]?)(?:[A-Z]{3})?(?P<number>[\d.,]+(?:[eE][+-]?\d+)?)(?P<scale>[A-Z]{3}|[A-Za-z]{0,2}|Mio|Mrd)\.?"
)
_GROUPS: Final = {
    "point": re.compile(r"(?:\d+|\d{1,3}(?:,\d{2,3})*,\d{3})?(?:\.\d*)?(?:[eE][+-]?\d+)?"),
    "comma": re.compile(r"(?:\d+|\d{1,3}(?:\.\d{2,3})*\.\d{3})?(?:,\d*)?(?:[eE][+-]?\d+)?"),
}


class NumeralEvidence:
    """Counts what the numbers of a file say about their decimal mark."""

    def __init__(self) -> None:
        self._point = self._comma = 0
        self._either: str | None = None  # a number that may be read both ways

    def add(self, text: str) -> None:
        """Look at one cell; one that is no number says nothing."""
        point, comma = text.rfind("."), text.rfind(",")
        if comma < 0 and (point < 0 or len(text) - point != 4):  # the many: 10.5
            self._point += point >= 0
            return
        found = _DRESS.fullmatch(_bare(text))
        number = "" if found is None else found["number"]
        mark = _decimal_of(number)
        if mark == "point":
            self._point += 1
        elif mark == "comma":
            self._comma += 1
        elif "," in number:
            self._either = self._either or text

    def verdict(self) -> Decimal | None:
        """The decimal mark of the file; None when `ambiguous` may be read both ways and nothing else tells."""
        if self._comma > self._point:
            return "comma"
        return None if self._point == 0 and self._either is not None else "point"

    @property
    def ambiguous(self) -> str | None:
        """A number that has two readings."""
        return self._either


def number_in(text: str, decimal: Decimal) -> float:
    """What `text` says, NaN when it is no number: with thousands separators, a currency, or a scale such as 1.2M."""
    if decimal == "point":
        try:
            return math.nan if "_" in text else float(text)  # Python would read 1_000
        except ValueError:
            pass
    found = _DRESS.fullmatch(_bare(text))
    if found is None or not _GROUPS[decimal].fullmatch(found["number"]):
        return math.nan
    scale = found["scale"].upper()
    if scale and scale not in _SCALES and len(scale) != 3:  # three letters are a currency
        return math.nan
    number = (
        found["number"].replace(",", "") if decimal == "point" else found["number"].replace(".", "").replace(",", ".")
    )
    try:
        return float(found["sign"] + number) * _SCALES.get(scale, 1.0)
    except ValueError:
        return math.nan


def _bare(text: str) -> str:
    """Without blanks of any kind, apostrophes (as Switzerland groups thousands) and currency signs."""
    if text.isascii():
        return text.replace(" ", "").replace("'", "").replace("$", "")
    return "".join(c for c in text if not c.isspace() and c not in "'\u2019" and unicodedata.category(c) != "Sc")


def _decimal_of(number: str) -> Decimal | None:
    """The decimal mark that a number proves, or None."""
    for mark, other, decimal, opposite in ((".", ",", "point", "comma"), (",", ".", "comma", "point")):
        whole, found, fraction = number.rpartition(mark)
        if not found or other in fraction:
            continue
        if other in whole:
            return _as_decimal(decimal)
        if mark in whole:  # twice: it groups
            return _as_decimal(opposite)
        if len(fraction) != 3 or len(whole) > 3 or whole in {"", "0"}:
            return _as_decimal(decimal)
    return None


def _as_decimal(name: str) -> Decimal:
    return "point" if name == "point" else "comma"

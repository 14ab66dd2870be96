"""Dates: how a file writes them, judged over all of them, and the instant that each one names.

01/02/2020 is two days: another date of the file tells which, or the user is asked. Zones are resolved by their IANA names, never
by what the machine takes a name for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from quantum_trader.market.importing.shape import DayOrder

_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS: Final = {name: 1 + i for i, name in enumerate(_NAMES)}
_KINDS: Final = {
    "iso": r"\d{4}-\d\d?-\d\d?(?!\d)",
    "compact": r"(?:1[89]|2[01])\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?![\d.])",
    "ymd": r"\d{4}[./]\d\d?[./]\d\d?(?!\d)",
    "dotted": r"\d\d?\.\s?\d\d?\.\s?(?:\d{4}|\d\d)(?!\d)",
    "slashed": r"\d\d?[/-]\d\d?[/-](?:\d{4}|\d\d)(?!\d)",
    "named": r"(?:[A-Za-z]{3,9}\.?,?\s+)?(?:\d\d?[ -][A-Za-z]{3,9}[ ,-]+(?:\d{4}|\d\d)|[A-Za-z]{3,9}\.? \d\d?,? \d{4})(?!\d)",
    "serial": r"\d{5}(?:\.\d+)?$",
    "epoch-s": r"\d{9,10}(?:\.\d+)?$",
    "epoch-ms": r"\d{12,13}(?:\.\d+)?$",
    "epoch-us": r"\d{15,16}$",
    "epoch-ns": r"\d{18,19}$",
}
_KIND: Final = re.compile("|".join(f"(?P<{name.replace('-', '_')}>{pattern})" for name, pattern in _KINDS.items()))
_REST: Final = re.compile(
    r"(?:[T,\s]\s*(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?(?:\s?(?P<half>[AaPp])\.?[Mm]\.?(?![A-Za-z]))?)?"
    r"\s*(?P<zone>Z|[+-]\d\d:?(?:\d\d)?|[A-Za-z][A-Za-z0-9_+/-]*)?"
)
_COMPACT: Final = re.compile(r"^(\d{8})[T ](\d\d)(\d\d)(\d\d)$")  # 20200131 093000
_UNITS: Final = {"epoch-s": 10**6, "epoch-ms": 10**3, "epoch-us": 1, "epoch-ns": 1}  # microseconds in one
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SERIAL_ZERO: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - spreadsheets have no zones
_SAID: Final = {
    "iso": "an ISO 8601 date",
    "compact": "a date like 20200131",
    "ymd": "a date like 2020/01/31",
    "dotted": "a date like 31.01.2020",
    "named": "a date like 31-Jan-2020",
    "serial": "a spreadsheet's serial date",
    "epoch-s": "a time in seconds since 1970",
    "epoch-ms": "a time in milliseconds since 1970",
    "epoch-us": "a time in microseconds since 1970",
    "epoch-ns": "a time in nanoseconds since 1970",
}
SPECIAL: Final = frozenset({*_UNITS, "serial"})  # formats that no strptime pattern can say


class UnknownZone(ValueError):
    """A zone is named that the IANA database does not have."""


def zone_of(name: str) -> tzinfo:
    """The zone called so in the IANA database. Raises `UnknownZone`."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as cause:  # a name may even be that of a directory
        raise UnknownZone(name) from cause


class DateEvidence:
    """Counts in what forms the dates of a file are written."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._orders: Counter[DayOrder] = Counter()
        self.ambiguous: str | None = None  # a date that has two readings

    def add(self, text: str) -> None:
        """Look at one cell; one that is no date says nothing."""
        kind = _kind_of(text)
        if kind is None:
            return
        self._kinds[kind] += 1
        if kind == "slashed":
            one, other = (int(part) for part in re.split("[/-]", text)[:2])
            if one > 12 or other > 12:
                self._orders["day" if one > 12 else "month"] += 1
            elif one != other:
                self.ambiguous = self.ambiguous or text

    @property
    def kind(self) -> str:
        """The form of most dates."""
        return max(self._kinds, key=self._kinds.__getitem__, default="iso")

    @property
    def order(self) -> DayOrder | None:
        """What comes first in dates with slashes; None when each may be read both ways."""
        if not self._orders:
            return None if self.ambiguous is not None else "month"  # 01/01/2020 is the same both ways
        return "day" if self._orders["day"] > self._orders["month"] else "month"


class Dates:
    """Reads the dates of one file, all written in the same form."""

    def __init__(self, kind: str, *, order: DayOrder | None = None, zone: tzinfo | None = None) -> None:
        """`kind` is one of a `DateEvidence`, one of `SPECIAL`, or a `strptime` pattern."""
        self._kind, self._order, self._zone = kind, order, zone
        self._zones: dict[str, tzinfo] = {}
        self.wanted = _SAID.get(kind, f"a date like {kind}")
        if kind == "slashed":
            self.wanted = "a date like 31/01/2020" if order == "day" else "a date like 01/31/2020"
        self._parse: Callable[[str], datetime] = self._by_pattern
        if kind in _UNITS:
            self._parse = self._by_epoch
        elif kind == "serial":
            self._parse = self._by_serial
        elif kind in _KINDS:
            self._parse = self._by_kind

    @property
    def are_whole(self) -> bool:
        """Whether a date already has its time of day: one in a column beside it says nothing new."""
        return self._kind in SPECIAL

    def read(self, text: str, *, second: bool = False) -> datetime:
        """The instant that `text` names, in the fixed offset that its zone has then; UTC where nothing says another.

        `second`: of an hour that comes twice, when clocks go back, the later one.

        Raises `ValueError` and `OverflowError`, `UnknownZone` for a zone that is none.
        """
        ts = self._parse(text)
        if ts.tzinfo is None:
            ts = ts.replace(tzinfo=UTC if self._zone is None else self._zone)
        if second:
            ts = ts.replace(fold=1)
        offset = ts.utcoffset() or timedelta(0)
        fixed = ts.replace(tzinfo=UTC if not offset else timezone(offset), fold=0)
        fixed.astimezone(UTC)  # which the first and the last days there are cannot all be
        return fixed

    def _by_pattern(self, text: str) -> datetime:
        try:
            return datetime.strptime(text, self._kind)  # noqa: DTZ007 - `read` gives it a zone
        except re.error as cause:  # a pattern that says a thing twice
            raise ValueError(text) from cause

    def _by_epoch(self, text: str) -> datetime:
        whole, _, fraction = text.partition(".")
        unit = _UNITS[self._kind]
        micros = int(whole) // 1000 if self._kind == "epoch-ns" else int(whole) * unit
        ts = _EPOCH + timedelta(microseconds=micros + (round(float(f"0.{fraction}") * unit) if fraction else 0))
        return ts if self._zone is None else ts.astimezone(self._zone)

    def _by_serial(self, text: str) -> datetime:
        return _SERIAL_ZERO + timedelta(seconds=round(float(text) * 86_400))

    def _by_kind(self, text: str) -> datetime:
        if self._kind == "iso":
            try:
                return datetime.fromisoformat(text)
            except ValueError:
                pass  # with one digit, half days, or the name of a zone
        text = _COMPACT.sub(r"\1 \2:\3:\4", text)
        found = _KIND.match(text)
        rest = None if found is None else _REST.fullmatch(text, found.end())
        if found is None or rest is None or _kind_of(text) != self._kind:
            raise ValueError(text)
        ts = self._day(found.group())
        if rest["hour"] is not None:
            hour = int(rest["hour"])
            if rest["half"] is not None:
                if not 1 <= hour <= 12:
                    raise ValueError(text)
                hour = hour % 12 + (12 if rest["half"] in "pP" else 0)
            micros = int((rest["fraction"] or "0").ljust(6, "0")[:6])
            ts = ts.replace(hour=hour, minute=int(rest["minute"]), second=int(rest["second"] or 0), microsecond=micros)
        return ts if rest["zone"] is None else ts.replace(tzinfo=self._zone_in(rest["zone"]))

    def _day(self, text: str) -> datetime:
        if self._kind == "compact":
            return datetime.strptime(text, {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}[len(text)])  # noqa: DTZ007
        if self._kind == "named":
            return _named(text)
        one, two, three = (int(part) for part in re.split(r"[./-]\s?", text))
        if self._kind in {"iso", "ymd"}:
            return datetime(one, two, three)  # noqa: DTZ001 - `read` gives it a zone
        day, month = (two, one) if self._kind == "slashed" and self._order == "month" else (one, two)
        return datetime(_year(three), month, day)  # noqa: DTZ001

    def _zone_in(self, text: str) -> tzinfo:
        if text not in self._zones:
            digits = re.sub(r"\D", "", text)
            if text[0] in "+-" and digits:
                minutes = int(digits[:2]) * 60 + int(digits[2:] or 0)
                self._zones[text] = timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
            else:
                self._zones[text] = UTC if text == "Z" else zone_of(text)
        return self._zones[text]


def _kind_of(text: str) -> str | None:
    found = _KIND.match(text)
    return None if found is None else f"{found.lastgroup}".replace("_", "-")


def _named(text: str) -> datetime:
    words = re.findall(r"[A-Za-z]+", text)
    day, year = (int(part) for part in re.findall(r"\d+", text))
    month = _MONTHS.get(words[-1][:3].casefold())  # a weekday may stand before it
    if month is None:
        raise ValueError(text)
    return datetime(_year(year), month, day)  # noqa: DTZ001 - `Dates.read` gives it a zone


def _year(number: int) -> int:
    """Two digits are a year between 1970 and 2069."""
    return number if number >= 100 else number + (1900 if number >= 70 else 2000)

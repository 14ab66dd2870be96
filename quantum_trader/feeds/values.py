"""Values: a bar as a feed of a user's own gives it, what a feed is, and what came in the place of a bar."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

_LONGEST_NAME: Final = 40
_SHOWN: Final = 80  # characters of what came that are repeated
_PRICES: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Bar:
    """One symbol over one interval that began or ended at `ts` (aware). Prices in account currency, volume in units.

    `final` says that nothing of it changes any more; what is not is a sign of life, and is not acted on.
    """

    symbol: str
    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    final: bool = True


class Feed(Protocol):
    """Bars that can be replayed: by time, then symbol, with an end. `interval_s` is the seconds between two bars."""

    @property
    def symbols(self) -> Sequence[str]: ...
    @property
    def interval_s(self) -> int: ...
    def __iter__(self) -> Iterator[Bar]: ...


class LiveFeed(Protocol):
    """Bars as they happen. They may repeat, come out of order, stop: that is watched, and told as `feed.anomaly`.

    Whoever writes one reconnects in it; an exception ends the run, which can be resumed.
    """

    @property
    def symbols(self) -> Sequence[str]: ...
    @property
    def interval_s(self) -> int: ...
    def __aiter__(self) -> AsyncIterator[Bar]: ...


@dataclass(frozen=True, slots=True)
class Garbage:
    """What came in the place of a bar, and why it is none; `symbol` is "" when not even that could be read."""

    symbol: str
    detail: str


def read_json(text: str | bytes) -> Bar | Garbage:
    """A bar written as JSON: `symbol, ts, open, high, low, close, volume`, optional `final`."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return Garbage("", f"not JSON: {_short(text)}")
    if not isinstance(fields, Mapping):
        return Garbage("", f"no JSON object: {_short(text)}")
    return read_fields(fields)


def read_fields(fields: Mapping[str, Any]) -> Bar | Garbage:
    """The same from fields by name; numbers may be text, as they are in CSV."""
    symbol = fields.get("symbol")
    if not isinstance(symbol, str) or not 0 < len(symbol) <= _LONGEST_NAME or not symbol.isprintable():
        return Garbage("", f"no symbol: {_short(symbol)}")
    try:
        numbers = {name: _number(fields[name]) for name in _PRICES}
        ts = _instant(fields["ts"])
    except KeyError as missing:
        return Garbage(symbol, f"no {missing.args[0]}")
    except (ValueError, TypeError, OverflowError, OSError) as error:
        return Garbage(symbol, _short(error))
    final = fields.get("final", True)
    return Bar(symbol, ts, final=final not in (False, "false", "False", "0", 0), **numbers)


def checked(item: object) -> Bar | Garbage:
    """What a feed gave, as a bar whose values are what they say, or as what it is instead."""
    if isinstance(item, Garbage):
        return item
    symbol = getattr(item, "symbol", "")
    name = symbol if isinstance(symbol, str) else ""
    if not isinstance(item, Bar):
        return Garbage(name, f"no Bar but {type(item).__name__}")
    fields = {field: getattr(item, field) for field in ("symbol", "ts", *_PRICES, "final")}
    if getattr(item.ts, "tzinfo", True) is None:
        return Garbage(name, f"a time without a zone: {item.ts}")
    return read_fields(fields)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number")
    return number


def _instant(value: Any) -> datetime:
    """ISO 8601, in UTC where it says nothing else, or seconds since 1970."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    ts = datetime.fromisoformat(str(value))
    return ts.replace(tzinfo=UTC) if ts.tzinfo is None else ts.astimezone(UTC)


def _short(value: object) -> str:
    text = " ".join((value.decode(errors="replace") if isinstance(value, bytes) else str(value)).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

"""Equity curve: the account at the end of every session, kept in columns of numbers.

A point is made when somebody looks at it. Held as objects, the points of a million bars would take more memory than all
else together; a row of columns takes 41 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, overload

from quantum_trader.model import MONEY, RiskMode, money

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICROS: Final = Decimal(1_000_000)  # in a unit of money, which has six places
_MODES: Final = (None, *RiskMode)


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """The account and the benchmark at the end of one session, in account currency."""

    session: int
    ts: datetime
    equity: Decimal
    benchmark: float
    drawdown: float
    mode: RiskMode | None


class EquityCurve(Sequence[EquityPoint]):
    """Points by session, oldest first. Money is kept to the micro, time to the microsecond."""

    def __init__(self) -> None:
        self._sessions, self._times, self._equities = array("q"), array("q"), array("q")
        self._benchmarks, self._drawdowns = array("d"), array("d")
        self._modes = array("b")

    def append(self, point: EquityPoint) -> None:
        """Add the newest point. Raises OverflowError for an equity above 9e12."""
        self._equities.append(int(MONEY.multiply(point.equity, _MICROS)))
        self._sessions.append(point.session)
        self._times.append((point.ts - _EPOCH) // _MICROSECOND)
        self._benchmarks.append(point.benchmark)
        self._drawdowns.append(point.drawdown)
        self._modes.append(_MODES.index(point.mode))

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[EquityPoint]:
        return map(self._point, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> EquityPoint: ...
    @overload
    def __getitem__(self, at: slice) -> list[EquityPoint]: ...
    def __getitem__(self, at: int | slice) -> EquityPoint | list[EquityPoint]:
        places = range(len(self))[at]
        return self._point(places) if isinstance(places, int) else [self._point(place) for place in places]

    def _point(self, at: int) -> EquityPoint:
        return EquityPoint(
            self._sessions[at],
            _EPOCH + self._times[at] * _MICROSECOND,
            money(MONEY.divide(self._equities[at], _MICROS)),
            self._benchmarks[at],
            self._drawdowns[at],
            _MODES[self._modes[at]],
        )

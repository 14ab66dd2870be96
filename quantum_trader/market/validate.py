"""Validation: what is wrong with a bar, said as a value.

A feed hands each bar to `FeedCheck` before anybody sees it. Nothing is repaired, nothing is filled in: a bar is
delivered as it came or not at all, and every doubt is an `Anomaly`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from quantum_trader.model import Bar

JUMP: Final = 1.4  # an opening further from the last close than this factor looks like a split nobody told us of
STALE_AFTER: Final = 3  # sessions


class AnomalyKind(StrEnum):
    """What may be doubtful about a feed, and what becomes of the bar."""

    MISSING = "MISSING"  # a listed symbol had no bar in the session
    STALE = "STALE"  # no bar, or the very same bar, for more than `stale_after` sessions; said once
    OUT_OF_ORDER = "OUT_OF_ORDER"  # older than the last bar delivered; dropped
    DUPLICATE = "DUPLICATE"  # same time as the last bar delivered; dropped
    BAD_OHLC = "BAD_OHLC"  # incoherent; dropped
    JUMP = "JUMP"  # delivered; entries in the symbol are for the risk guard to stop
    # Of live feeds alone:
    GARBAGE = "GARBAGE"  # what came is no bar; dropped
    SILENT = "SILENT"  # nothing came for several intervals
    GAP = "GAP"  # sessions further apart than an interval


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One doubt about the feed of one symbol."""

    symbol: str
    session: int
    kind: AnomalyKind
    detail: str


class Verdict(NamedTuple):
    """What `FeedCheck.bar` decided."""

    deliver: bool
    anomalies: tuple[Anomaly, ...] = ()


def ohlcv_fault(open_: float, high: float, low: float, close: float, volume: float) -> str | None:
    """Why these five cannot be one bar, or None.

    Prices must be finite, positive and within [low, high]; volume must not be negative.
    """
    if not (low <= open_ <= high and low <= close <= high):
        if any(math.isnan(price) for price in (open_, high, low, close)):
            return "a price is not a number"
        if high < max(open_, close, low):
            return f"high {high} is below {max(open_, close, low)}"
        return f"low {low} is above {min(open_, close)}"
    if low <= 0:
        return f"low {low} is not positive"
    if high == math.inf:
        return "a price is infinite"
    return None if volume >= 0 else f"volume {volume} is negative"


def is_jump(previous_close: float, open_: float) -> bool:
    """Whether |ln(open / previous close)| > ln 1.4: an unadjusted split, or a very bad night."""
    return open_ > JUMP * previous_close or previous_close > JUMP * open_


@dataclass(slots=True)
class _Seen:
    """What is remembered of a symbol: its last delivered bar, and how often in a row that bar has come again."""

    ts: datetime
    session: int
    close: float
    shape: tuple[float, float, float, float, float]
    repeats: int = 0


class FeedCheck:
    """Judges bars in the order in which a feed brings them.

    Call `bar` for each bar, then `end_session` once the session has no more. A symbol is expected from its first
    delivered bar on, so one that lists late is not missing before.
    """

    def __init__(self, *, stale_after: int = STALE_AFTER) -> None:
        """`stale_after`: sessions without a bar, or with the same bar again, that are still no reason for STALE."""
        self._stale_after = stale_after
        self._seen: dict[str, _Seen] = {}

    def bar(self, bar: Bar) -> Verdict:
        """Whether to deliver `bar`, and what is odd about it. A dropped bar leaves no trace in later verdicts."""
        seen = self._seen.get(bar.symbol)
        if seen is not None and bar.ts <= seen.ts:
            kind = AnomalyKind.DUPLICATE if bar.ts == seen.ts else AnomalyKind.OUT_OF_ORDER
            return _dropped(bar, kind, f"bar of {bar.ts.isoformat()} after one of {seen.ts.isoformat()}")
        fault = ohlcv_fault(bar.open, bar.high, bar.low, bar.close, bar.volume)
        if fault is not None:
            return _dropped(bar, AnomalyKind.BAD_OHLC, fault)
        shape = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        if seen is None:
            self._seen[bar.symbol] = _Seen(bar.ts, bar.session, bar.close, shape)
            return _CLEAN
        anomalies: tuple[Anomaly, ...] = ()
        if is_jump(seen.close, bar.open):
            detail = f"open {bar.open} after close {seen.close}"
            anomalies = (Anomaly(bar.symbol, bar.session, AnomalyKind.JUMP, detail),)
        seen.repeats = seen.repeats + 1 if shape == seen.shape else 0
        if seen.repeats == self._stale_after + 1:
            detail = f"the same bar {seen.repeats + 1} times"
            anomalies += (Anomaly(bar.symbol, bar.session, AnomalyKind.STALE, detail),)
        seen.ts, seen.session, seen.close, seen.shape = bar.ts, bar.session, bar.close, shape
        return Verdict(True, anomalies) if anomalies else _CLEAN

    def end_session(self, session: int) -> tuple[Anomaly, ...]:
        """What was expected in `session` and did not come, in sorted symbol order.

        MISSING for each session of a gap until it has lasted `stale_after` sessions, then one STALE, then silence until
        the symbol has a bar again.
        """
        anomalies = []
        for symbol in sorted(self._seen):
            absent = session - self._seen[symbol].session
            if 0 < absent <= self._stale_after:
                anomalies.append(Anomaly(symbol, session, AnomalyKind.MISSING, "no bar in this session"))
            elif absent == self._stale_after + 1:
                anomalies.append(Anomaly(symbol, session, AnomalyKind.STALE, f"no bar for {absent} sessions"))
        return tuple(anomalies)


_CLEAN: Final = Verdict(True)


def _dropped(bar: Bar, kind: AnomalyKind, detail: str) -> Verdict:
    return Verdict(False, (Anomaly(bar.symbol, bar.session, kind, detail),))

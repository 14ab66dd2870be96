"""Assembling: what a live feed brings becomes sessions; what is odd about it becomes doubts. Knows no loop and no clock.

A session closes when every symbol has its final bar of that time, or `grace` seconds after the first. What comes later, again or
in the place of a bar is dropped and told; a feed that says nothing for long makes an empty session that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from quantum_trader.feeds.values import Bar, Garbage, checked
from quantum_trader.market.validate import Anomaly, AnomalyKind, FeedCheck
from quantum_trader.model import Bar as SessionBar

_PATIENCE: Final = 3  # intervals of silence before it is told


@dataclass(frozen=True, slots=True)
class Assembled:
    """A session that is closed: its bars in sorted symbol order, and every doubt since the one before."""

    session: int
    ts: datetime
    bars: tuple[SessionBar, ...]
    doubts: tuple[Anomaly, ...]
    missing: tuple[str, ...]


@dataclass(slots=True)
class _Open:
    """A time of which something has come; `since` is when the first of it did."""

    since: float
    bars: dict[str, Bar] = field(default_factory=dict)


class Assembler:
    """Give it everything that comes, with the seconds of a clock that only goes forward; ask it what is `due`.

    What comes `in_order` of time has no more of a time once it has a later one.
    """

    def __init__(self, symbols: Iterable[str], interval_s: int, *, grace: float = 5.0, in_order: bool = False) -> None:
        self._symbols = tuple(sorted(set(symbols)))
        self._interval_s = interval_s
        self._grace = grace
        self._in_order = in_order
        self._check = FeedCheck()
        self._open: dict[datetime, _Open] = {}
        self._doubts: list[tuple[str, AnomalyKind, str]] = []
        self._listed: dict[str, None] = {}
        self._last: datetime | None = None
        self._known: datetime | None = None  # the last time that an earlier process had
        self._heard = 0.0
        self._is_silent = False
        self.session = 0  # the number of the next one

    @property
    def silence_s(self) -> float:
        """Seconds without a word after which a feed is silent."""
        return _PATIENCE * self._interval_s + self._grace

    def replayed(self, session: int, ts: datetime, bars: Sequence[SessionBar]) -> None:
        """A session that an earlier process had: the watch goes on from there."""
        for bar in bars:
            self._check.bar(bar)
            self._listed[bar.symbol] = None
        self._check.end_session(session)
        self._last, self._known, self.session = ts, ts, session + 1

    def listen(self, now: float) -> None:
        """The watch begins: silence counts from here."""
        self._heard = now

    def take(self, item: object, now: float) -> None:
        """One thing that came."""
        self._heard, self._is_silent = now, False
        bar = checked(item)
        if isinstance(bar, Garbage):
            self._doubt(bar.symbol if bar.symbol in self._symbols else "", AnomalyKind.GARBAGE, bar.detail)
        elif bar.symbol not in self._symbols:
            self._doubt("", AnomalyKind.GARBAGE, f"a bar of {bar.symbol}, which was not asked for")
        elif self._known is not None and bar.ts <= self._known:
            return  # a feed that begins again tells what was told already
        elif self._last is not None and bar.ts <= self._last:
            self._doubt(
                bar.symbol, AnomalyKind.OUT_OF_ORDER, f"bar of {bar.ts.isoformat()} after {self._last.isoformat()}"
            )
        elif bar.final:
            slot = self._open.setdefault(bar.ts, _Open(now))
            if bar.symbol in slot.bars:
                self._doubt(bar.symbol, AnomalyKind.DUPLICATE, f"bar of {bar.ts.isoformat()} again")
            else:
                slot.bars[bar.symbol] = bar

    def due(self, now: float, *, is_over: bool = False) -> list[Assembled]:
        """The sessions that are closed by now, oldest first; all that is left when the feed `is_over`."""
        closed = []
        times = sorted(self._open)
        for ts in times:
            slot = self._open[ts]
            is_passed = is_over or (self._in_order and ts < times[-1])
            if len(slot.bars) < len(self._symbols) and now < slot.since + self._grace and not is_passed:
                break
            del self._open[ts]
            closed.append(self._close(ts, slot.bars))
        if not closed and not self._is_silent and not is_over and self._last and now >= self._heard + self.silence_s:
            self._is_silent = True
            for symbol in self._symbols:
                self._doubt(symbol, AnomalyKind.SILENT, f"nothing for {now - self._heard:.0f} seconds")
            closed.append(self._close(self._last + timedelta(seconds=self._interval_s / 2), {}))
        return closed

    def deadline(self) -> float | None:
        """When it must be asked again if nothing comes."""
        if self._open:
            return min(slot.since for slot in self._open.values()) + self._grace
        return None if self._is_silent or self._last is None else self._heard + self.silence_s

    def _close(self, ts: datetime, bars: dict[str, Bar]) -> Assembled:
        session, delivered = self.session, []
        gap = (ts - self._last).total_seconds() if self._last is not None else 0.0
        if bars and gap > 1.5 * self._interval_s:
            self._doubt("", AnomalyKind.GAP, f"{gap:.0f} seconds since the session before")
        doubts = [Anomaly(symbol, session, kind, detail) for symbol, kind, detail in self._doubts]
        for symbol in sorted(bars):
            bar = bars[symbol]
            found = SessionBar(symbol, session, ts, bar.open, bar.high, bar.low, bar.close, bar.volume)
            verdict = self._check.bar(found)
            doubts += verdict.anomalies
            if verdict.deliver:
                delivered.append(found)
                self._listed[symbol] = None
        doubts += self._check.end_session(session)
        present = {bar.symbol for bar in delivered}
        self._doubts.clear()
        self._last, self.session = ts, session + 1
        missing = tuple(symbol for symbol in sorted(self._listed) if symbol not in present)
        return Assembled(session, ts, tuple(delivered), tuple(doubts), missing)

    def _doubt(self, symbol: str, kind: AnomalyKind, detail: str) -> None:
        self._doubts.append((symbol, kind, detail))

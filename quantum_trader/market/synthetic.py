"""Synthetic bars: as many as wanted, always the same for a seed, never more than a block of them in memory.

For benchmarks and load tests. Looks like a market to the code, says nothing about one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from quantum_trader.market.calendar import SessionBars
from quantum_trader.model import Bar

_BLOCK: Final = 512  # sessions computed at once
_PRICE: Final = 100.0
_GAP, _DAY, _WICK = 0.006, 0.017, 0.005  # log-scale moves: overnight, open to close, beyond the body
_PULL: Final = 0.002  # back to 100 per session, or a million bars would wander off the scale
_SHARES: Final = 1_000_000

_Levels = np.ndarray[tuple[int], np.dtype[np.float64]]
_Prices = list[list[tuple[float, float, float, float]]]  # by session and symbol: open, high, low, close


class SyntheticFeed:
    """A `Feed` of bars of `symbols` over `sessions` sessions, mean-reverting around 100. Each iteration starts anew."""

    def __init__(
        self,
        symbols: Sequence[str],
        sessions: int,
        *,
        seed: int,
        start: datetime = datetime(2020, 1, 1, tzinfo=UTC),
        step: timedelta = timedelta(minutes=1),
    ) -> None:
        """`seed` is the key of a Philox generator (0 <= seed < 2**128); sessions are `step` apart from `start` on."""
        self._symbols = tuple(sorted(set(symbols)))
        if not self._symbols or sessions < 0:
            raise ValueError("give at least one symbol, and sessions of 0 or more")
        self._sessions, self._seed, self._start, self._step = sessions, seed, start, step

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._symbols

    def __len__(self) -> int:
        return self._sessions

    def __iter__(self) -> Iterator[SessionBars]:
        random = np.random.Generator(np.random.Philox(key=self._seed))
        level = np.zeros(len(self._symbols))  # ln(price / 100) at the last close
        for first in range(0, self._sessions, _BLOCK):
            prices, volumes, level = _block(random, level)
            for session in range(first, min(first + _BLOCK, self._sessions)):
                ts = self._start + session * self._step
                rows = zip(self._symbols, prices[session - first], volumes[session - first], strict=True)
                bars = [Bar(symbol, session, ts, *ohlc, volume) for symbol, ohlc, volume in rows]
                yield SessionBars(session, ts, tuple(bars))


def _block(random: np.random.Generator, level: _Levels) -> tuple[_Prices, list[list[float]], _Levels]:
    """Prices and volumes of the next block of sessions, and the levels at its end."""
    gap, day, above, below, activity = random.standard_normal((5, _BLOCK, len(level)))
    opening, closing = np.empty_like(gap), np.empty_like(gap)
    for i in range(_BLOCK):
        opening[i] = level + _GAP * gap[i]
        closing[i] = opening[i] + _DAY * day[i] - _PULL * level
        level = closing[i]
    high = np.maximum(opening, closing) + _WICK * np.abs(above)
    low = np.minimum(opening, closing) - _WICK * np.abs(below)
    prices = np.round(_PRICE * np.exp(np.stack((opening, high, low, closing), axis=-1)), 6)
    volumes = _SHARES * np.exp(0.3 * activity)
    return prices.tolist(), np.floor(volumes).tolist(), level

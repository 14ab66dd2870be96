"""Stops: where an entry decided at a symbol's last close would be protected, a multiple of the average true range below.

The strategy runtime puts it into its signals, trials protect their positions with it. One for all strategies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from quantum_trader.market.indicators import ATR
from quantum_trader.model import Bar, significant
from quantum_trader.snapshot import reinstate, snapshot

ATR_BARS: Final = 20


class Stops:
    """Feed it every bar once. `distance` is in average true ranges; 0 protects nothing."""

    def __init__(self, distance: float) -> None:
        self._distance = distance
        self._ranges: dict[str, ATR] = {}
        self._levels: dict[str, float | None] = {}

    def take(self, bar: Bar) -> float | None:
        """The level for an entry decided at the close of `bar`; None before there are enough bars to say."""
        average = self._ranges.get(bar.symbol)
        if average is None:
            average = self._ranges[bar.symbol] = ATR(ATR_BARS)
        value = average.update(bar.high, bar.low, bar.close)
        level = None if value is None or not self._distance else significant(bar.close - self._distance * value)
        self._levels[bar.symbol] = level
        return level

    def level(self, symbol: str) -> float | None:
        """The level at the last close of a symbol that had a bar."""
        return self._levels[symbol]

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {symbol: [snapshot(average), self._levels[symbol]] for symbol, average in self._ranges.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._ranges = {symbol: ATR(ATR_BARS) for symbol in state}
        self._levels = {symbol: level for symbol, (_, level) in state.items()}
        for symbol, (kept, _) in state.items():
            reinstate(self._ranges[symbol], kept)

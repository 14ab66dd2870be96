"""Virtual account: what a strategy would have earned alone, whatever the portfolio made of its signals.

Each strategy has one, in every stage: a fixed share of its equity per symbol, filled at the next open, with fees and half
spread. Its returns are where confidence comes from. Floats: nothing is booked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quantum_trader.learning.statistics import probabilistic_sharpe


class VirtualAccount:
    """Starts with 1. `weight` is the fraction of equity per symbol, `cost` the fraction of value lost per trade."""

    def __init__(self, *, weight: float, cost: float, window: int) -> None:
        self._weight = weight
        self._cost = cost
        self._cash = 1.0
        self._equity = 1.0
        self._shares: dict[str, float] = {}
        self._closes: dict[str, float] = {}
        self._window = window
        self._returns = np.zeros(2 * window)  # the newest are the last of the first `_count`: no copy to look at them
        self._count = 0
        self._confidence: float | None = None

    def take(self, symbol: str, opened: float, close: float, target: int | None) -> None:
        """Take the next bar of a symbol: the position becomes `target` (1 long, 0 flat, None as it is) at the open."""
        held = self._shares.get(symbol)
        if held is None:
            if target:
                value = self._weight * self._equity
                self._shares[symbol] = value / opened
                self._cash -= value * (1.0 + self._cost)
        elif target == 0:
            del self._shares[symbol]
            self._cash += held * opened * (1.0 - self._cost)
        self._closes[symbol] = close

    def close_session(self) -> float:
        """Value the account; the return of the session."""
        equity = self._cash
        for symbol, shares in self._shares.items():
            equity += shares * self._closes[symbol]
        change = equity / self._equity - 1.0
        self._equity = equity
        self._confidence = None
        self._remember(change)
        return change

    @property
    def equity(self) -> float:
        return self._equity

    @property
    def confidence(self) -> float:
        """PSR(0) of the returns in the window: the probability that the true Sharpe ratio is positive."""
        if self._confidence is None:
            newest = self._returns[max(0, self._count - self._window) : self._count]
            self._confidence = probabilistic_sharpe(newest)
        return self._confidence

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "cash": self._cash,
            "equity": self._equity,
            "shares": dict(self._shares),
            "closes": dict(self._closes),
            "returns": self._returns[: self._count].tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._cash, self._equity = state["cash"], state["equity"]
        self._shares, self._closes = dict(state["shares"]), dict(state["closes"])
        self._count = len(state["returns"])
        self._returns[: self._count] = state["returns"]
        self._confidence = None

    def _remember(self, change: float) -> None:
        if self._count == len(self._returns):
            self._returns[: self._window] = self._returns[self._window :]
            self._count = self._window
        self._returns[self._count] = change
        self._count += 1

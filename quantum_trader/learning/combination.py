"""Combination: one log-range forecast out of several, and the volatility that it stands for.

The ensemble manager feeds forecasts and errors; which members are LIVE is its business. Members are weighted by their
recent errors and by nothing else: no forecast is ever improved on its way to a consumer.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from quantum_trader.model import Bar

HALF_LIFE: Final = 60.0  # sessions
MSE_FLOOR: Final = 1e-4
KAPPA_RANGE: Final = (0.8, 2.0)

# A driftless Brownian motion with volatility sigma has E[ln(high / low)^2] = 4 ln 2 sigma^2 (Parkinson 1980).
_RANGES_PER_SIGMA: Final = 2 * math.sqrt(math.log(2))


@dataclass(frozen=True, slots=True)
class Combined:
    """A combined forecast, the weights that made it (they add up to 1) and the members dropped as not finite."""

    value: float
    weights: dict[str, float]
    dropped: tuple[str, ...]


class ErrorWeights:
    """Members weighted by the inverse of their mean squared error, exponentially forgotten over sessions."""

    def __init__(self, half_life: float = HALF_LIFE) -> None:
        if half_life <= 0:
            raise ValueError(f"half_life: {half_life} sessions, it must be positive")
        self._keep: float = 0.5 ** (1 / half_life)
        self._mse: dict[str, float] = {}
        self._known: dict[
            tuple[str, ...], dict[str, float]
        ] = {}  # weights since the last score, by members: symbols share

    def score(self, member: str, loss: float) -> None:
        """Take a session's loss of `member`: the mean over symbols of its squared error."""
        before = self._mse.get(member, loss)
        self._mse[member] = self._keep * before + (1 - self._keep) * loss
        self._known.clear()

    def forget(self, member: str) -> None:
        """Drop a member that retired."""
        self._mse.pop(member, None)
        self._known.clear()

    def combine(self, forecasts: Mapping[str, float]) -> Combined | None:
        """`sum(w_i f_i)` with `w_i ~ 1 / max(MSE_i, 1e-4)`; None when no forecast is finite.

        A member without any score weighs as much as the worst scored one, so that a newcomer cannot dominate.
        """
        finite = {member: value for member, value in sorted(forecasts.items()) if math.isfinite(value)}
        if not finite:
            return None
        weights = self._weights(tuple(finite))
        return Combined(
            value=math.fsum([weights[member] * value for member, value in finite.items()]),
            weights=weights,
            dropped=tuple(sorted(forecasts.keys() - finite.keys())),
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"mse": dict(self._mse)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described; the half-life must be the same."""
        self._mse = dict(state["mse"])
        self._known.clear()

    def _weights(self, members: tuple[str, ...]) -> dict[str, float]:
        weights = self._known.get(members)
        if weights is None:
            worst = max((self._mse[member] for member in members if member in self._mse), default=1.0)
            inverse = {member: 1 / max(self._mse.get(member, worst), MSE_FLOOR) for member in members}
            total = math.fsum(inverse.values())
            weights = self._known[members] = {member: value / total for member, value in inverse.items()}
        return weights


def fill_missing(forecasts: Mapping[str, float | None]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Forecasts by symbol, those missing replaced by the median of the others; and the symbols so replaced, sorted.

    Without any forecast the answer is empty: a median of nothing would be an invention.
    """
    known = {symbol: value for symbol, value in forecasts.items() if value is not None}
    if not known:
        return {}, ()
    missing = tuple(sorted(forecasts.keys() - known.keys()))
    if missing:
        known |= dict.fromkeys(missing, statistics.median(known.values()))
    return known, missing


@dataclass(slots=True)
class _Averages:
    squared_change: float
    squared_range: float
    squared_error: float | None
    close: float


class SigmaCalibration:
    """From a log-range forecast to the volatility of one day's close-to-close return, symbol by symbol.

    `sigma_1d = kappa exp(yhat + s2) / (2 sqrt(ln 2))`: `s2` is the EW variance of the forecast error, so that the
    exponential is the root mean square of a lognormal range: it is the mean of the *squared* range that the divisor turns
    into a variance (M. Parkinson, J. Business 53, 1980). And
    `kappa = sqrt(EW mean(r^2) / EW mean(range variance))`, clipped to [0.8, 2], adds what happens overnight.
    """

    def __init__(self, half_life: float = HALF_LIFE) -> None:
        if half_life <= 0:
            raise ValueError(f"half_life: {half_life} sessions, it must be positive")
        self._keep: float = 0.5 ** (1 / half_life)
        self._symbols: dict[str, _Averages] = {}

    def observe(self, bar: Bar, error: float | None = None) -> None:
        """Take the next bar of a symbol, and the `error` (actual minus forecast log range) if it was forecast."""
        squared_range = (math.log(bar.high / bar.low) / _RANGES_PER_SIGMA) ** 2
        seen = self._symbols.get(bar.symbol)
        if seen is None:
            # The change into the first bar is unknown: kappa starts at 1.
            self._symbols[bar.symbol] = _Averages(squared_range, squared_range, None, bar.close)
            return
        seen.squared_change = self._mixed(seen.squared_change, math.log(bar.close / seen.close) ** 2)
        seen.squared_range = self._mixed(seen.squared_range, squared_range)
        seen.close = bar.close
        if error is not None:
            seen.squared_error = self._mixed(error**2 if seen.squared_error is None else seen.squared_error, error**2)

    def kappa(self, symbol: str) -> float:
        """Close-to-close over range volatility, clipped to [0.8, 2]; 1 for an unknown symbol."""
        seen = self._symbols.get(symbol)
        if seen is None or seen.squared_range <= 0:
            return 1.0
        low, high = KAPPA_RANGE
        return min(max(math.sqrt(seen.squared_change / seen.squared_range), low), high)

    def sigma(self, symbol: str, forecast: float) -> float:
        """Volatility of the next session's return, a fraction, from the `forecast` of its log range."""
        seen = self._symbols.get(symbol)
        variance = 0.0 if seen is None or seen.squared_error is None else seen.squared_error
        return self.kappa(symbol) * math.exp(forecast + variance) / _RANGES_PER_SIGMA

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            symbol: [seen.squared_change, seen.squared_range, seen.squared_error, seen.close]
            for symbol, seen in self._symbols.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described; the half-life must be the same."""
        self._symbols = {symbol: _Averages(*values) for symbol, values in state.items()}

    def _mixed(self, before: float, value: float) -> float:
        return self._keep * before + (1 - self._keep) * value

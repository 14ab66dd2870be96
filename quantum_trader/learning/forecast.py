"""Forecast: models of the next session's log range, which can be forecast where the direction of returns cannot.

A history turns a symbol's bars into observations; forecasters learn from them one at a time and answer per symbol.
Symbols come in sorted order, whoever calls. What is done with the forecasts, and who may be used, is not known here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter, mul
from typing import Any, Final, Protocol

from quantum_trader.model import Bar

FLOOR: Final = 1e-5  # of ln(high / low), for a bar that did not move
WEEK: Final = 5
MONTH: Final = 22  # sessions; also the warm-up of every forecaster

_WOUND_UP: Final = 1e3  # trace of P; market data stay below 10


def log_range(high: float, low: float) -> float:
    """The target `y = ln(max(ln(high / low), 1e-5))`."""
    return math.log(max(math.log(high / low), FLOOR))


@dataclass(frozen=True, slots=True)
class Observation:
    """What one bar tells: its log range `y`, the means of the last 5 and 22, and `fall = 10 max(0, -r)` of the close.

    The means are None while there are fewer bars.
    """

    y: float
    week: float | None
    month: float | None
    fall: float


class RangeHistory:
    """The last 22 log ranges of one symbol."""

    def __init__(self) -> None:
        self._ranges: deque[float] = deque(maxlen=MONTH)
        self._close: float | None = None

    def observe(self, bar: Bar) -> Observation:
        """Take the next bar of the symbol."""
        y = log_range(bar.high, bar.low)
        change = 0.0 if self._close is None else math.log(bar.close / self._close)
        self._close = bar.close
        self._ranges.append(y)
        newest = list(self._ranges)
        return Observation(
            y=y,
            week=math.fsum(newest[-WEEK:]) / WEEK if len(newest) >= WEEK else None,
            month=math.fsum(newest) / MONTH if len(newest) == MONTH else None,
            fall=10 * max(0.0, -change),
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"ranges": list(self._ranges), "close": self._close}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the history that `state()` described."""
        self._ranges = deque(state["ranges"], maxlen=MONTH)
        self._close = state["close"]


class Forecaster(Protocol):
    """A model of the next session's log range. Two with equal `state()` forecast the same for ever."""

    @property
    def name(self) -> str:
        """Family and parameters, without spaces."""
        ...

    def update(self, symbol: str, seen: Observation) -> None:
        """Learn from the newest bar of `symbol`."""
        ...

    def forecast(self, symbol: str) -> float | None:
        """The log range expected for the next session; None before 22 bars."""
        ...

    def state(self) -> dict[str, Any]:
        """All parameters and memory, in plain JSON values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the forecaster that `state()` described; it must have the same name."""
        ...


def digest(forecaster: Forecaster) -> str:
    """SHA-256 over the name and the fitted parameters: the identity of a model version."""
    text = json.dumps({"name": forecaster.name, **forecaster.state()}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class MovingAverage:
    """MA22: the mean of the last 22 log ranges."""

    name = "MA22"

    def __init__(self) -> None:
        self._forecasts: dict[str, float] = {}

    def update(self, symbol: str, seen: Observation) -> None:
        if seen.month is not None:
            self._forecasts[symbol] = seen.month

    def forecast(self, symbol: str) -> float | None:
        return self._forecasts.get(symbol)

    def state(self) -> dict[str, Any]:
        return {"forecasts": dict(self._forecasts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._forecasts = dict(state["forecasts"])


class Ewma:
    """Exponentially weighted mean of log ranges: `s = decay s + (1 - decay) y`, started at the first."""

    def __init__(self, decay: float = 0.9) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay: {decay} must lie between 0 and 1")
        self.name = f"EWMA-{decay:g}"
        self._decay = decay
        self._smooth: dict[str, float] = {}
        self._ready: set[str] = set()

    def update(self, symbol: str, seen: Observation) -> None:
        before = self._smooth.get(symbol, seen.y)
        self._smooth[symbol] = self._decay * before + (1 - self._decay) * seen.y
        if seen.month is not None:
            self._ready.add(symbol)

    def forecast(self, symbol: str) -> float | None:
        return self._smooth[symbol] if symbol in self._ready else None

    def state(self) -> dict[str, Any]:
        return {"decay": self._decay, "smooth": dict(self._smooth), "ready": sorted(self._ready)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._smooth = dict(state["smooth"])
        self._ready = set(state["ready"])


class HarRls:
    """Heterogeneous autoregression by recursive least squares with forgetting, one set of coefficients for all symbols.

    `x = [1, y, mean5(y), mean22(y)]` and, with `leverage`, `10 max(0, -r)`; the coefficients start at
    [0, 1/3, 1/3, 1/3, 0]. One observation y of the forecast x'theta: `k = P x / (l + x' P x)`,
    `theta += k (y - x' theta)`, `P = (P - k x' P) / l`.
    Sources: F. Corsi, "A simple approximate long-memory model of realized volatility", J. Financial Econometrics 7
    (2009); L. Ljung, "System Identification", section 11.2.
    """

    def __init__(self, forgetting: float = 0.999, *, leverage: bool = True) -> None:
        if not 0.9 <= forgetting <= 1:
            raise ValueError(f"forgetting: {forgetting} must lie between 0.9 and 1")
        self.name = f"HAR-RLS-{forgetting:g}{'-leverage' if leverage else ''}"
        self._forgetting = forgetting
        self._leverage = leverage
        self._theta = [0.0, 1 / 3, 1 / 3, 1 / 3, *([0.0] if leverage else [])]
        self._shape = _Symmetric(len(self._theta))
        self._P = [float(row == column) for row in range(len(self._theta)) for column in range(row + 1)]
        self._inputs: dict[str, list[float]] = {}

    def update(self, symbol: str, seen: Observation) -> None:
        before = self._inputs.get(symbol)
        if before is not None:
            self._learn(before, seen.y)
        if seen.week is not None and seen.month is not None:
            fall = [seen.fall] if self._leverage else []
            self._inputs[symbol] = [1.0, seen.y, seen.week, seen.month, *fall]

    def forecast(self, symbol: str) -> float | None:
        x = self._inputs.get(symbol)
        return None if x is None else _product(x, self._theta)

    def state(self) -> dict[str, Any]:
        return {
            "forgetting": self._forgetting,
            "leverage": self._leverage,
            "theta": list(self._theta),
            "P": self._shape.whole(self._P),
            "inputs": {symbol: list(x) for symbol, x in self._inputs.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._theta = list(state["theta"])
        self._P = self._shape.half(state["P"])
        self._inputs = {symbol: list(x) for symbol, x in state["inputs"].items()}

    def _learn(self, x: list[float], y: float) -> None:
        forgetting, shape = self._forgetting, self._shape
        scaled = [_product(row(self._P), x) for row in shape.rows]  # P x, and x' P: P is symmetric
        size = forgetting + _product(scaled, x)
        gain = [value / size for value in scaled]
        surprise = y - _product(x, self._theta)
        self._theta = [value + factor * surprise for value, factor in zip(self._theta, gain, strict=True)]
        # P - k x' P, each place the mean of itself and its mirror image: rounding would make P asymmetric, and forgetting
        # would let that grow without bound.
        first, second = shape.first, shape.second
        P = [
            ((value - a * b) + (value - c * d)) / 2
            for value, a, b, c, d in zip(self._P, first(gain), second(scaled), second(gain), first(scaled), strict=True)
        ]
        # Inputs that never change teach nothing: forgetting then only winds P up, so it pauses.
        is_wound_up = sum(shape.diagonal(P)) >= _WOUND_UP
        self._P = P if is_wound_up else [value / forgetting for value in P]


class _Symmetric:
    """Where the values of a symmetric matrix of `size` rows stand in a list of its lower half, row after row."""

    def __init__(self, size: int) -> None:
        places = [(row, column) for row in range(size) for column in range(row + 1)]
        self.rows = [
            itemgetter(*(places.index((max(row, column), min(row, column))) for column in range(size)))
            for row in range(size)
        ]
        self.diagonal = itemgetter(*(places.index((row, row)) for row in range(size)))
        self.first = itemgetter(*(row for row, _ in places))  # of a vector, for each place
        self.second = itemgetter(*(column for _, column in places))

    def whole(self, half: list[float]) -> list[list[float]]:
        """The matrix, row by row."""
        return [list(row(half)) for row in self.rows]

    @staticmethod
    def half(whole: list[list[float]]) -> list[float]:
        """The lower half of a matrix."""
        return [value for number, row in enumerate(whole) for value in row[: number + 1]]


def _product(one: Iterable[float], other: Iterable[float]) -> float:
    """Of two vectors, rounded once: a library's dot product depends on the kind of CPU, and a decision must not."""
    return math.fsum(map(mul, one, other))

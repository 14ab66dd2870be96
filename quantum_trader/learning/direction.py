"""Direction: a model of the sign of the return over 5 sessions, kept as a permanent challenger.

The continuous learning manager runs it in shadow against the base rate. On daily bars of large stocks it is not better,
and the promotion gate says so: that refusal is what it is here for. It never gives a live number.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import mul
from typing import Any, Final

HORIZON: Final = 5  # sessions
_LAGS: Final = (1, 5, 22)  # sessions of past return that the model looks at
_SPREADS: Final = tuple((lag, math.sqrt(lag)) for lag in _LAGS)  # of returns over as many sessions, in those of one
_MEMORY: Final = 22
_CLIP: Final = 3.0  # sigmas: one crash must not own the coefficients


@dataclass(frozen=True, slots=True)
class Scored:
    """A prediction that came due: probabilities of a rise by the model and by the base rate, and whether it rose."""

    model: float
    base: float
    rose: bool

    @property
    def loss(self) -> float:
        """Brier score of the model: the squared error of its probability."""
        return (self.model - self.rose) ** 2

    @property
    def base_loss(self) -> float:
        """Brier score of the base rate."""
        return (self.base - self.rose) ** 2


@dataclass(slots=True)
class _Pending:
    close: float
    inputs: list[float]
    model: float
    base: float


class _Path:
    """The last 23 closes of a symbol, and what the model makes of each: its logarithm, and the squared return into it."""

    __slots__ = ("closes", "logs", "squares")

    def __init__(self, closes: Iterable[float] = ()) -> None:
        self.closes: deque[float] = deque(maxlen=_MEMORY + 1)
        self.logs: deque[float] = deque(maxlen=_MEMORY + 1)
        self.squares: deque[float] = deque(maxlen=_MEMORY)
        for close in closes:
            self.add(close)

    def add(self, close: float) -> None:
        """Take the next close."""
        log = math.log(close)
        if self.logs:
            self.squares.append((log - self.logs[-1]) ** 2)
        self.closes.append(close)
        self.logs.append(log)

    def inputs(self) -> list[float] | None:
        """1 and the past returns, each over its own standard deviation if returns were independent, clipped; None before
        there are 23 closes."""
        if len(self.squares) < _MEMORY:
            return None
        daily = math.sqrt(math.fsum(self.squares) / _MEMORY)
        if daily == 0:
            return [1.0] + [0.0] * len(_LAGS)
        logs, inputs = self.logs, [1.0]
        for lag, spread in _SPREADS:
            inputs.append(min(max((logs[-1] - logs[-1 - lag]) / (daily * spread), -_CLIP), _CLIP))
        return inputs


class DirectionModel:
    """Online logistic regression on past returns in units of their volatility, one set of coefficients for all symbols.

    `p = 1 / (1 + exp(-x' theta))`, `theta += rate (rose - p) x` when the outcome of x is known, 5 sessions later. The
    base rate, its opponent, is the share of rises among all outcomes so far. Source: stochastic gradient descent on
    the log likelihood, L. Bottou, "Online learning and stochastic approximations" (1998).
    """

    name = "direction-5"

    def __init__(self, rate: float = 0.01) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"rate: {rate} must lie between 0 and 1")
        self._rate = rate
        self._theta = [0.0] * (1 + len(_LAGS))
        self._paths: dict[str, _Path] = {}
        self._pending: dict[str, deque[_Pending]] = {}
        self._outcomes = 0
        self._rises = 0

    def update(self, symbol: str, close: float) -> Scored | None:
        """Take the next close of `symbol`: learn from the prediction that comes due, make a new one.

        Returns the one that came due, scored with the probabilities given at the time; None while there is none.
        """
        path = self._paths.get(symbol)
        if path is None:
            path = self._paths[symbol] = _Path()
        pending = self._pending.setdefault(symbol, deque())
        path.add(close)
        due = pending.popleft() if len(pending) == HORIZON else None
        scored = None
        if due is not None:
            scored = Scored(due.model, due.base, rose=close > due.close)
            self._learn(due.inputs, scored.rose)
        inputs = path.inputs()
        if inputs is not None:
            pending.append(_Pending(close, inputs, self._probability(inputs), self._base_rate()))
        return scored

    def forecast(self, symbol: str) -> float | None:
        """Probability that the close 5 sessions on lies above the last one; None before 23 closes."""
        pending = self._pending.get(symbol)
        return pending[-1].model if pending else None

    def state(self) -> dict[str, Any]:
        """All parameters and memory, in plain JSON values."""
        return {
            "rate": self._rate,
            "theta": list(self._theta),
            "closes": {symbol: list(path.closes) for symbol, path in self._paths.items()},
            "pending": {
                symbol: [[one.close, list(one.inputs), one.model, one.base] for one in pending]
                for symbol, pending in self._pending.items()
            },
            "outcomes": self._outcomes,
            "rises": self._rises,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the model that `state()` described; the rate must be the same."""
        self._theta = list(state["theta"])
        self._paths = {symbol: _Path(closes) for symbol, closes in state["closes"].items()}
        self._pending = {
            symbol: deque(_Pending(*values) for values in pending) for symbol, pending in state["pending"].items()
        }
        self._outcomes = state["outcomes"]
        self._rises = state["rises"]

    def _learn(self, inputs: list[float], rose: bool) -> None:
        error = rose - self._probability(inputs)
        self._theta = [weight + self._rate * error * x for weight, x in zip(self._theta, inputs, strict=True)]
        self._outcomes += 1
        self._rises += rose

    def _probability(self, inputs: list[float]) -> float:
        score = math.fsum(map(mul, self._theta, inputs))
        return 1 / (1 + math.exp(-min(max(score, -30.0), 30.0)))

    def _base_rate(self) -> float:
        return (self._rises + 1) / (self._outcomes + 2)

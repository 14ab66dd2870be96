"""Figures: what a run is judged by, from its equity at the end of each session and the results of its closed trades.

Pure functions of numbers. Returns, drawdowns and rates are fractions; money is in account currency; what is not defined (no
loss, no trade, no variation) is None, never infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from quantum_trader.learning.statistics import expected_best_sharpe, probabilistic_sharpe

_LEAST: Final = 1e-12
_MOST: Final = 30.0  # of the logarithm of a yearly growth: a fortune ten trillion times over tells nothing


@dataclass(frozen=True, slots=True)
class Figures:
    """See `figures`, which says how each is reckoned."""

    cagr: float | None
    volatility: float
    sharpe: float
    sortino: float | None
    calmar: float | None
    drawdown: float  # the deepest
    drawdown_sessions: int  # the longest time below a peak
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None  # net profit of a closed trade, on average
    sqn: float | None
    psr: float
    dsr: float
    trials: int  # that the last figure is deflated for

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures(equity: Sequence[float], results: Sequence[float], *, periods: int, trials: int = 1) -> Figures:
    """The figures of `equity` (the start, then the end of each session) and of the net `results` of closed trades.

    `periods` is the sessions of a year. CAGR is compound; volatility and Sharpe are of simple returns, sample deviation times
    the root of `periods`; Sortino divides by the root mean square of returns below 0; Calmar is CAGR over the deepest drawdown.
    SQN is the mean result over its sample deviation, times the root of their number (V. Tharp). PSR is the probability that
    the true Sharpe ratio is above 0; DSR the same above the best of `trials` without skill, whose ratios deviate as those of
    as many sessions without skill do, 1 over the root of their number (D. Bailey, M. Lopez de Prado).
    """
    worth = np.asarray(equity, dtype=np.float64)
    returns = worth[1:] / worth[:-1] - 1.0 if len(worth) > 1 and (worth[:-1] > 0).all() else np.zeros(0)
    n, root = len(returns), math.sqrt(periods)
    mean = float(returns.mean()) if n else 0.0
    deviation = float(returns.std(ddof=1)) if n > 1 else 0.0
    below = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2))) if n else 0.0
    cagr = compound(float(worth[-1] / worth[0]), periods / n) if n and worth[0] > 0 else 0.0
    deepest, longest = drawdowns(equity)
    luck = expected_best_sharpe(1.0 / math.sqrt(n), trials) if n and trials > 1 else 0.0
    return Figures(
        cagr=cagr,
        volatility=deviation * root,
        sharpe=mean / deviation * root if deviation > _LEAST else 0.0,
        sortino=mean / below * root if below > _LEAST else None,
        calmar=cagr / deepest if cagr is not None and deepest > 0.0 else None,
        drawdown=deepest,
        drawdown_sessions=longest,
        **_of_trades([float(result) for result in results]),
        psr=float(probabilistic_sharpe(returns)) if n > 1 else 0.0,
        dsr=float(probabilistic_sharpe(returns, luck)) if n > 1 else 0.0,
        trials=trials,
    )


def compound(growth: float, years: float) -> float | None:
    """The rate at which `growth` compounds, `years` being how often the time it took goes into one; None beyond any number."""
    if growth <= 0.0:
        return -1.0
    exponent = math.log(growth) * years
    return math.expm1(exponent) if exponent < _MOST else None


def drawdowns(equity: Sequence[float]) -> tuple[float, int]:
    """The deepest fall from a peak as a fraction of it, and the most sessions in a row below one."""
    peak, deepest, longest, current = -math.inf, 0.0, 0, 0
    for value in equity:
        if value >= peak:
            peak, current = value, 0
        else:
            current += 1
            longest = max(longest, current)
            deepest = max(deepest, 1.0 - value / peak)
    return deepest, longest


def drawdown_curve(equity: Sequence[float]) -> list[float]:
    """How far below its peak so far each value is, as a fraction at most 0."""
    worth = np.asarray(equity, dtype=np.float64)
    return [float(value) for value in worth / np.maximum.accumulate(worth) - 1.0] if len(worth) else []


def _of_trades(results: list[float]) -> dict[str, float | None]:
    n = len(results)
    if not n:
        return dict.fromkeys(("win_rate", "profit_factor", "expectancy", "sqn"))
    gains, losses = math.fsum(r for r in results if r > 0), -math.fsum(r for r in results if r < 0)
    mean = math.fsum(results) / n
    deviation = math.sqrt(math.fsum((r - mean) ** 2 for r in results) / (n - 1)) if n > 1 else 0.0
    return {
        "win_rate": sum(r > 0 for r in results) / n,
        "profit_factor": gains / losses if losses > 0 else None,
        "expectancy": mean,
        "sqn": math.sqrt(n) * mean / deviation if deviation > _LEAST else None,
    }

"""Statistics: how good a series of returns, trades or losses is, and how likely it is luck.

Plain maths for gates, reports and confidence; knows no strategy and no model. Sharpe ratios are per session unless a
name says annual; drawdowns are positive fractions. What cannot be judged (too few values, no variation) gets the
cautious answer, never an optimistic one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Series = Sequence[float] | Floats

SESSIONS_PER_YEAR: Final = 252
# Stands for "no loss at all": figures stay finite, so that they can be stored, compared and sent.
PROFIT_FACTOR_CAP: Final = 1_000.0

_NORMAL: Final = NormalDist()
_EULER_GAMMA: Final = 0.5772156649015329
# A deviation this small beside the values is rounding noise of a constant series.
_NOISE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Moments:
    """What ratios need to know of `n` returns: hand it to several of them, and it is worked out once."""

    n: int
    sharpe: float
    skewness: float
    kurtosis: float
    varies: bool


Returns = Series | Moments


def moments(returns: Series) -> Moments:
    """The moments of a series; without variation or with fewer than 2 values those of a normal that does not vary."""
    x = np.asarray(returns, dtype=np.float64)
    n = x.size
    if n < 2:
        return Moments(n, 0.0, 0.0, 3.0, varies=False)
    mean = float(np.add.reduce(x)) / n
    d = x - mean
    squares = d * d
    second = float(np.add.reduce(squares)) / n
    if second <= (_NOISE * float(np.abs(x).max())) ** 2:
        return Moments(n, 0.0, 0.0, 3.0, varies=False)
    third, fourth = float(np.add.reduce(squares * d)) / n, float(np.add.reduce(squares * squares)) / n
    return Moments(
        n=n,
        sharpe=mean / math.sqrt(second * n / (n - 1)),
        skewness=third / second**1.5,
        kurtosis=fourth / second**2,
        varies=True,
    )


def sharpe(returns: Returns) -> float:
    """Mean over sample standard deviation of per-session returns; 0 without variation or with fewer than 2 values.

    Source: W. F. Sharpe, "The Sharpe ratio", J. Portfolio Management 21 (1994), with a risk-free rate of 0.
    """
    return _known(returns).sharpe


def annual_sharpe(returns: Returns, periods_per_year: int = SESSIONS_PER_YEAR) -> float:
    """`sharpe` times the square root of the sessions that a year has."""
    return sharpe(returns) * math.sqrt(periods_per_year)


def probabilistic_sharpe(returns: Returns, benchmark: float = 0.0) -> float:
    """PSR: probability that the true Sharpe ratio exceeds `benchmark`, both per session.

    `Phi((S - S*) sqrt(n - 1) / sqrt(1 - g3 S + (g4 - 1) / 4 S^2))` with skewness g3 and kurtosis g4 (3 for a normal).
    0 without variation or with fewer than 2 returns: nothing is known, nothing is promised.
    Source: D. H. Bailey, M. Lopez de Prado, "The Sharpe ratio efficient frontier", J. Risk 15 (2012).
    """
    m = _known(returns)
    spread = 1 - m.skewness * m.sharpe + (m.kurtosis - 1) / 4 * m.sharpe**2
    if not m.varies or spread <= 0:
        return 0.0
    return _NORMAL.cdf((m.sharpe - benchmark) * math.sqrt(m.n - 1) / math.sqrt(spread))


def expected_best_sharpe(deviation: float, trials: int) -> float:
    """Sharpe ratio to expect from the best of `trials` skilless ones whose ratios have the standard `deviation`.

    `S0 = sd ((1 - e) Phi^-1(1 - 1/N) + e Phi^-1(1 - 1/(N exp 1)))`, e = 0.5772; 0 for a single trial.
    Source: D. H. Bailey, M. Lopez de Prado, "The deflated Sharpe ratio", J. Portfolio Management 40 (2014).
    """
    if trials < 2:
        return 0.0
    best = _NORMAL.inv_cdf(1 - 1 / trials)
    next_best = _NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return deviation * ((1 - _EULER_GAMMA) * best + _EULER_GAMMA * next_best)


def deflated_sharpe(returns: Returns, trial_sharpes: Series, trials: int | None = None) -> float:
    """DSR: PSR of `returns` against the best that luck alone would have found.

    `trial_sharpes` are the per-session ratios of the candidates known, `trials` how many were ever tried (their
    number by default). Source: as `expected_best_sharpe`.
    """
    known = np.asarray(trial_sharpes, dtype=np.float64)
    deviation = _deviation(known) if known.size > 1 else 0.0
    return probabilistic_sharpe(returns, expected_best_sharpe(deviation, trials or known.size))


def profit_factor(results: Series) -> float:
    """Gross profit over gross loss of closed trades, at most 1,000; 0 without a profit."""
    x = np.asarray(results, dtype=np.float64)
    gain, loss = float(np.add.reduce(x[x > 0])), float(-np.add.reduce(x[x < 0]))
    if gain == 0:
        return 0.0
    return min(gain / loss, PROFIT_FACTOR_CAP) if loss > 0 else PROFIT_FACTOR_CAP


def max_drawdown(equity: Series) -> float:
    """Largest fall from a peak so far, as a positive fraction of that peak; 0 for an empty series."""
    x = np.asarray(equity, dtype=np.float64)
    if x.size == 0:
        return 0.0
    return float((1 - x / np.maximum.accumulate(x)).max())


def correlation(one: Series, other: Series) -> float:
    """Pearson's, of two series of one length; 0 where either does not vary."""
    x, y = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if x.size < 2 or not (moments(x).varies and moments(y).varies):
        return 0.0
    x, y = x - np.add.reduce(x) / x.size, y - np.add.reduce(y) / y.size
    return float(np.add.reduce(x * y)) / math.sqrt(float(np.add.reduce(x * x)) * float(np.add.reduce(y * y)))


@dataclass(frozen=True, slots=True)
class DieboldMariano:
    """Comparison of two forecasters. `t` is positive when the challenger lost less; `p` is one-sided: small means
    that it is better. `ratio` is its mean loss over the incumbent's, `n` the number of sessions."""

    t: float
    p: float
    n: int
    ratio: float


def diebold_mariano(live: Series, challenger: Series) -> DieboldMariano:
    """Is the loss of `challenger` smaller than that of `live`? Both per session, over the same sessions.

    `d = live - challenger`, `t = mean(d) / sqrt(V / n)` with the long-run variance V of Newey and West, Bartlett
    weights w, m = floor(n^(1/3)) lags. V is itself an estimate: on average `1 - (1 + 2 sum w) / n` of what it estimates,
    and as uncertain as one with `n / (1 + 2 sum w^2)` degrees of freedom. p is that of Student's t with both put right;
    by the normal distribution 126 sessions would call 2 % what is 2.7 %. Losses without a difference that varies give
    t = 0, p = 1. Raises ValueError on different lengths. Sources: F. X. Diebold, R. S. Mariano, "Comparing predictive
    accuracy", JBES 13 (1995); W. K. Newey, K. D. West, Econometrica 55 (1987); M. B. Priestley, "Spectral analysis and
    time series" (1981), 6.2; for t in small samples D. Harvey, S. Leybourne, P. Newbold, Int. J. Forecasting 13 (1997).
    """
    old, new = np.asarray(live, dtype=np.float64), np.asarray(challenger, dtype=np.float64)
    if old.size != new.size:
        raise ValueError(f"challenger: {new.size} losses against {old.size}; compare the same sessions")
    n = old.size
    if n == 0:
        return DieboldMariano(t=0.0, p=1.0, n=0, ratio=1.0)
    mean_old, mean_new = float(old.mean()), float(new.mean())
    ratio = mean_new / mean_old if mean_old > 0 else 1.0
    d = old - new
    variance = long_run_variance(d)
    if variance <= (_NOISE * float(np.abs(d).max())) ** 2:
        return DieboldMariano(t=0.0, p=1.0, n=n, ratio=ratio)
    t = float(d.mean()) / math.sqrt(variance / n)
    weights = _bartlett(n)
    bias = (1 + 2 * math.fsum(weights)) / n
    freedom = n / (1 + 2 * math.fsum(weight**2 for weight in weights))
    return DieboldMariano(t=t, p=student_tail(t * math.sqrt(1 - bias), freedom), n=n, ratio=ratio)


def student_tail(t: float, freedom: float) -> float:
    """Probability that Student's t exceeds `t`: by D. L. Wallace's normal deviate, good to 2e-3 from 10 degrees on.

    Source: "Bounds on normal approximations to Student's and the chi-square distributions", Ann. Math. Stat. 30 (1959).
    """
    deviate = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return _NORMAL.cdf(-math.copysign(deviate, t))


def long_run_variance(values: Series) -> float:
    """Newey and West's variance of a serially correlated series, floor(n^(1/3)) lags, never negative."""
    x = np.asarray(values, dtype=np.float64)
    n = x.size
    d = x - x.mean()
    # Sums of products, not dot products: those are added up in another order on another kind of CPU.
    total = float(np.add.reduce(d * d))
    for lag, weight in enumerate(_bartlett(n), start=1):
        total += 2 * weight * float(np.add.reduce(d[lag:] * d[:-lag]))
    return total / n


def _bartlett(n: int) -> list[float]:
    """Weights of the floor(n^(1/3)) lags of a series of n values."""
    lags = round(n ** (1 / 3))
    if lags**3 > n:
        lags -= 1
    return [1 - lag / (lags + 1) for lag in range(1, lags + 1)]


def _deviation(x: Floats) -> float:
    """As `x.std(ddof=1)`, which takes four times as long over a few numbers."""
    d = x - np.add.reduce(x) / x.size
    return math.sqrt(np.add.reduce(d * d) / (x.size - 1))


def _known(returns: Returns) -> Moments:
    return returns if isinstance(returns, Moments) else moments(returns)

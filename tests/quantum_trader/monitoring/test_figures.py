"""Figures: each against an independent computation with pandas and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.monitoring.figures import drawdown_curve, drawdowns, figures

RISES = st.lists(st.floats(-0.2, 0.25), min_size=3, max_size=60)


@given(RISES, st.lists(st.integers(-1000, 1000), min_size=2, max_size=40), st.sampled_from([252, 365, 98_280]))
def test_every_figure_equals_a_second_opinion(rises: list[float], results: list[int], periods: int) -> None:
    import pandas as pd

    worth = pd.Series(np.cumprod([1e6, *(1.0 + rise for rise in rises)]))
    found = figures(worth.tolist(), [float(r) for r in results], periods=periods)
    change = worth.pct_change().dropna()
    yearly = math.log(worth.iloc[-1] / worth.iloc[0]) * periods / len(change)
    assert found.cagr == (None if yearly > 30 else pytest.approx(math.exp(yearly) - 1.0, rel=1e-6, abs=1e-12))
    assert found.volatility == pytest.approx(change.std() * math.sqrt(periods), rel=1e-9, abs=1e-12)
    if change.std() > 1e-9:
        assert found.sharpe == pytest.approx(change.mean() / change.std() * math.sqrt(periods), rel=1e-6, abs=1e-9)
    loss = change.clip(upper=0.0)
    if (loss < -1e-6).any():
        downside = math.sqrt((loss**2).sum() / len(loss))
        assert found.sortino == pytest.approx(change.mean() / downside * math.sqrt(periods), rel=1e-9)
    fall = 1.0 - worth / worth.cummax()
    assert found.drawdown == pytest.approx(fall.max(), abs=1e-12)
    below = (worth < worth.cummax()).astype(int)
    assert found.drawdown_sessions == max((len(run) for run in "".join(map(str, below)).split("0")), default=0)
    assert drawdown_curve(worth.tolist()) == pytest.approx((-fall).tolist(), abs=1e-12)
    if fall.max() > 0 and found.cagr is not None:
        assert found.calmar == pytest.approx(found.cagr / fall.max(), rel=1e-9)
    won, lost = [r for r in results if r > 0], [r for r in results if r < 0]
    assert found.win_rate == pytest.approx(len(won) / len(results))
    assert found.expectancy == pytest.approx(np.mean(results))
    assert found.profit_factor == (pytest.approx(sum(won) / -sum(lost)) if lost else None)
    if np.std(results) > 0:
        assert found.sqn == pytest.approx(np.mean(results) / np.std(results, ddof=1) * math.sqrt(len(results)))


def test_probabilities_are_those_of_their_papers() -> None:
    change = np.random.default_rng(3).normal(0.001, 0.01, 300)
    worth = np.cumprod([1e6, *(1 + change)])
    r = worth[1:] / worth[:-1] - 1
    ratio, n = r.mean() / r.std(ddof=1), len(r)
    spread = math.sqrt(1 - scipy.stats.skew(r) * ratio + (scipy.stats.kurtosis(r, fisher=False) - 1) / 4 * ratio**2)
    alone, among = (figures(worth.tolist(), [], periods=252, trials=trials) for trials in (1, 50))
    assert alone.psr == alone.dsr == pytest.approx(scipy.stats.norm.cdf(ratio * math.sqrt(n - 1) / spread), abs=1e-3)
    gamma = 0.5772156649015329
    best = (1 - gamma) * scipy.stats.norm.ppf(1 - 1 / 50) + gamma * scipy.stats.norm.ppf(1 - 1 / (50 * math.e))
    expected = scipy.stats.norm.cdf((ratio - best / math.sqrt(n)) * math.sqrt(n - 1) / spread)
    assert among.dsr == pytest.approx(expected, abs=1e-3)
    assert among.psr == alone.psr


def test_what_is_not_defined_is_none_and_never_infinite() -> None:
    flat = figures([1e6] * 10, [], periods=252)
    assert (flat.sharpe, flat.sortino, flat.calmar, flat.win_rate, flat.sqn) == (0.0, None, None, None, None)
    assert figures([1e6], [], periods=252).cagr == 0.0
    assert figures([1e6, 0.0], [-1e6], periods=252).cagr == -1.0
    assert figures([1.0, 2.0, 3.0], [5.0, 6.0], periods=252).profit_factor is None
    assert drawdowns([]) == (0.0, 0)

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.learning.statistics import (
    PROFIT_FACTOR_CAP,
    annual_sharpe,
    correlation,
    deflated_sharpe,
    diebold_mariano,
    expected_best_sharpe,
    long_run_variance,
    max_drawdown,
    probabilistic_sharpe,
    profit_factor,
    sharpe,
    student_tail,
)

RETURNS = np.random.default_rng(5).standard_t(4, 500) * 0.01 + 0.0007


def test_sharpe_is_mean_over_sample_deviation() -> None:
    assert sharpe(RETURNS) == pytest.approx(RETURNS.mean() / RETURNS.std(ddof=1), rel=1e-12)
    assert annual_sharpe(RETURNS) == pytest.approx(sharpe(RETURNS) * math.sqrt(252))


def test_psr_follows_the_formula_with_independent_moments() -> None:
    s = RETURNS.mean() / RETURNS.std(ddof=1)
    g3, g4 = scipy.stats.skew(RETURNS), scipy.stats.kurtosis(RETURNS, fisher=False)
    for benchmark in (0.0, 0.02, 0.1):
        z = (s - benchmark) * math.sqrt(499) / math.sqrt(1 - g3 * s + (g4 - 1) / 4 * s**2)
        assert probabilistic_sharpe(RETURNS, benchmark) == pytest.approx(scipy.stats.norm.cdf(z), rel=1e-10)


def test_psr_is_calibrated_on_normal_returns() -> None:
    """With a true Sharpe ratio of 0, PSR(0) is uniform: 5 % of the samples reach 0.95."""
    rng = np.random.default_rng(6)
    values = [probabilistic_sharpe(rng.standard_normal(252)) for _ in range(4_000)]
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01
    assert np.mean(np.array(values) >= 0.95) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("returns", [[], [0.01], [0.0] * 50, [0.01] * 50])
def test_what_cannot_be_judged_promises_nothing(returns: list[float]) -> None:
    assert probabilistic_sharpe(returns) == 0
    assert sharpe(returns) == 0


def test_negative_skew_and_fat_tails_lower_the_psr() -> None:
    normal = scipy.stats.norm.ppf((np.arange(1_000) + 0.5) / 1_000)
    skewed = -scipy.stats.lognorm(0.8).ppf((np.arange(1_000) + 0.5) / 1_000)
    skewed = (skewed - skewed.mean()) / skewed.std()
    assert probabilistic_sharpe(skewed + 0.05) < probabilistic_sharpe(normal + 0.05)


def test_expected_best_grows_with_the_number_of_trials() -> None:
    assert expected_best_sharpe(1.0, 1) == 0
    best = [expected_best_sharpe(1.0, trials) for trials in (2, 10, 100, 1_000)]
    assert best == sorted(best)
    rng = np.random.default_rng(7)
    for trials in (10, 100):
        simulated = rng.standard_normal((4_000, trials)).max(axis=1).mean()
        assert expected_best_sharpe(1.0, trials) == pytest.approx(simulated, rel=0.04)


def test_dsr_falls_with_every_trial_ever_made() -> None:
    known = [0.01, 0.03, -0.02, 0.05]
    values = [deflated_sharpe(RETURNS, known, trials) for trials in (4, 40, 400)]
    assert values == sorted(values, reverse=True)
    assert deflated_sharpe(RETURNS, known) == values[0]
    assert deflated_sharpe(RETURNS, [0.05]) == probabilistic_sharpe(RETURNS), "a single trial needs no deflation"


def test_profit_factor_is_gross_profit_over_gross_loss() -> None:
    assert profit_factor([3.0, -1.0, 2.0, -1.5, 0.0]) == 2.0
    assert profit_factor([]) == 0
    assert profit_factor([-1.0]) == 0
    assert profit_factor([1.0]) == PROFIT_FACTOR_CAP, "finite, even without a loss"


def test_max_drawdown_is_a_positive_fraction_of_the_peak() -> None:
    assert max_drawdown([100, 120, 90, 130, 117]) == pytest.approx(0.25)
    assert max_drawdown([1, 2, 3]) == 0
    assert max_drawdown([]) == 0


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=50))
def test_max_drawdown_equals_the_search_over_all_pairs(equity: list[float]) -> None:
    worst = max(1 - later / peak for at, peak in enumerate(equity) for later in equity[at:])
    assert max_drawdown(equity) == pytest.approx(max(0.0, worst))


@pytest.mark.parametrize(("n", "lags"), [(26, 2), (27, 3), (124, 4), (125, 5), (126, 5), (1_000, 10)])
def test_long_run_variance_uses_the_cube_root_of_n_lags(n: int, lags: int) -> None:
    x = np.random.default_rng(n).standard_normal(n).cumsum() * 0.1
    d = x - x.mean()
    gamma = [float((d[k:] * d[: n - k]).sum()) / n for k in range(lags + 1)]
    expected = gamma[0] + 2 * sum((1 - k / (lags + 1)) * gamma[k] for k in range(1, lags + 1))
    assert long_run_variance(x) == pytest.approx(expected, rel=1e-10)


def test_diebold_mariano_tells_the_better_forecaster() -> None:
    rng = np.random.default_rng(8)
    noise = rng.standard_normal(300) ** 2
    better = diebold_mariano(noise + 0.3 * rng.random(300), noise)
    assert better.t > 1.645
    assert better.p < 0.05
    assert better.ratio < 1
    worse = diebold_mariano(noise, noise + 0.3 * rng.random(300))
    assert worse.p > 0.95


def test_diebold_mariano_is_calibrated_under_equal_skill() -> None:
    rng = np.random.default_rng(9)
    p = [diebold_mariano(rng.standard_normal(252) ** 2, rng.standard_normal(252) ** 2).p for _ in range(2_000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("freedom", [10.0, 31.0, 60.5, 1_000.0])
def test_the_tail_of_student_agrees_with_another_implementation(freedom: float) -> None:
    for t in (-3.0, -1.0, 0.0, 0.5, 1.7, 2.1, 4.0):
        assert student_tail(t, freedom) == pytest.approx(scipy.stats.t.sf(t, freedom), abs=2e-3)


def test_diebold_mariano_allows_for_the_uncertainty_of_its_variance() -> None:
    d = np.random.default_rng(10).standard_normal(126) + 0.15
    found = diebold_mariano(d, np.zeros(126))
    weights = 1 - np.arange(1, 6) / 6
    t = found.t * math.sqrt(1 - (1 + 2 * weights.sum()) / 126)
    assert found.t == pytest.approx(d.mean() / math.sqrt(long_run_variance(d) / 126))
    assert found.p == pytest.approx(scipy.stats.t.sf(t, 126 / (1 + 2 * (weights**2).sum())), abs=1e-3)
    assert found.p > scipy.stats.norm.sf(found.t)


def test_correlation_agrees_with_another_implementation() -> None:
    rng = np.random.default_rng(11)
    x = rng.standard_normal(200)
    y = 0.6 * x + rng.standard_normal(200)
    assert correlation(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, rel=1e-12)
    assert correlation(x, -x) == pytest.approx(-1.0)
    assert correlation(x, np.full(200, 0.1)) == 0, "what does not vary is like nothing"


def test_equal_losses_favour_nobody() -> None:
    assert diebold_mariano([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).p == 1
    assert diebold_mariano([], []).p == 1
    assert diebold_mariano([0.3] * 9, [0.1] * 9).p == 1, "a constant difference has no standard error"


def test_losses_of_different_sessions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 losses against 3"):
        diebold_mariano([1.0, 2.0, 3.0], [1.0, 2.0])

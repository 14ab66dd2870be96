"""Looks: the levels against published constants and against scipy's multivariate normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from quantum_trader.learning.looks import growing_level, rolling_level


@pytest.mark.parametrize(("looks", "constant"), [(1, 1.960), (2, 2.178), (3, 2.289), (5, 2.413), (10, 2.555)])
def test_equally_spaced_looks_have_the_published_constants_of_pocock(looks: int, constant: float) -> None:
    """For 5 % on two sides: Pocock (1977), as in C. Jennison, B. Turnbull, "Group sequential methods" (2000), table 2.1."""
    level = growing_level(0.025, first=1, step=1, looks=looks)
    assert scipy.stats.norm.isf(level) == pytest.approx(constant, abs=1e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_growing_windows_agree_with_the_multivariate_normal_distribution(alpha: float) -> None:
    n = np.arange(126, 253, 21)
    correlation = np.sqrt(np.minimum.outer(n, n) / np.maximum.outer(n, n))
    bound = scipy.stats.norm.isf(growing_level(alpha, first=126, step=21, looks=7))
    kept = scipy.stats.multivariate_normal(cov=correlation, seed=1).cdf(np.full(7, bound))
    assert kept == pytest.approx(1 - alpha, abs=1e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize(("step", "looks"), [(21, 24), (63, 9), (504, 2), (300, 2)])
def test_rolling_windows_agree_with_the_multivariate_normal_distribution(alpha: float, step: int, looks: int) -> None:
    at = np.arange(looks) * step
    correlation = np.maximum(0.0, 1 - np.abs(np.subtract.outer(at, at)) / 504)
    bound = scipy.stats.norm.isf(rolling_level(alpha, window=504, step=step, looks=looks))
    kept = scipy.stats.multivariate_normal(cov=correlation, seed=1, maxpts=100_000).cdf(np.full(looks, bound))
    assert kept == pytest.approx(1 - alpha, abs=2e-3)


def test_a_single_look_spends_everything() -> None:
    assert growing_level(0.05, first=126, step=21, looks=1) == pytest.approx(0.05, abs=1e-6)
    assert rolling_level(0.05, window=504, step=21, looks=1) == 0.05


def test_looks_that_reach_beyond_one_window_are_refused() -> None:
    with pytest.raises(ValueError, match="26 looks every 21 sessions reach beyond one window of 504"):
        rolling_level(0.05, window=504, step=21, looks=26)

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy

from quantum_trader.monitoring.constants import FACTORS

# Published to three decimals: n, d2, c4, A2, A3, D3, D4, B3, B4.
PUBLISHED = [
    (2, 1.128, 0.798, 1.880, 2.659, 0, 3.267, 0, 3.267),
    (3, 1.693, 0.886, 1.023, 1.954, 0, 2.575, 0, 2.568),
    (4, 2.059, 0.921, 0.729, 1.628, 0, 2.282, 0, 2.266),
    (5, 2.326, 0.940, 0.577, 1.427, 0, 2.114, 0, 2.089),
]


def integrated(n: int) -> tuple[float, float]:
    """Mean and standard deviation of the range of `n` standard normal values, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x, of_x = 10 * nodes, 10 * weights  # [-10, 10]
    w, of_w = 8 * (nodes + 1), 8 * weights  # [0, 16]
    between = scipy.stats.norm.cdf(x + w[:, None]) - scipy.stats.norm.cdf(x)
    below = (n * scipy.stats.norm.pdf(x) * between ** (n - 1)) @ of_x
    mean = float(((1 - below) * of_w).sum())
    square = float((2 * w * (1 - below) * of_w).sum())
    return mean, math.sqrt(square - mean * mean)


@pytest.mark.parametrize("n", sorted(FACTORS))
def test_the_table_equals_a_fresh_integration(n: int) -> None:
    assert (FACTORS[n].d2, FACTORS[n].d3) == pytest.approx(integrated(n), abs=2e-9)


@pytest.mark.parametrize("n", sorted(FACTORS))
def test_c4_is_the_mean_of_the_chi_distribution(n: int) -> None:
    assert FACTORS[n].c4 == pytest.approx(scipy.stats.chi(n - 1).mean() / math.sqrt(n - 1), rel=1e-12)


@pytest.mark.parametrize("row", PUBLISHED)
def test_factors_match_the_published_table(row: tuple[float, ...]) -> None:
    n, *published = row
    f = FACTORS[int(n)]
    assert [round(value, 3) for value in (f.d2, f.c4, f.A2, f.A3, f.D3, f.D4, f.B3, f.B4)] == published


def test_lower_limits_appear_where_the_textbook_has_them() -> None:
    assert min(n for n, f in FACTORS.items() if f.D3 > 0) == 7
    assert min(n for n, f in FACTORS.items() if f.B3 > 0) == 6
    assert sorted(FACTORS) == list(range(2, 26))

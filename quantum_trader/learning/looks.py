"""Looks: how small a p-value must be when a question is asked several times, so that luck passes as seldom as if once.

Pocock's boundary: one critical value for every look, such that a normal statistic without drift crosses it at any of them
with probability alpha. Source: S. J. Pocock, "Group sequential methods in the design and analysis of clinical trials",
Biometrika 64 (1977); the recursion over the looks is that of P. Armitage, C. K. McPherson, B. C. Rowe, "Repeated
significance tests on accumulating data", J. R. Stat. Soc. A 132 (1969).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NORMAL: Final = NormalDist()
_SPACING: Final = 0.25  # of two points, in deviations of what is added between two looks: closer changes no digit
_DEEP: Final = 7.0  # deviations below 0 at which the grid begins
_ENOUGH: Final = 1e-7  # deviations
_DIGITS: Final = 5  # of a level: the grid is good for that, and sums over it are the same on every kind of CPU


@lru_cache(maxsize=64)
def growing_level(alpha: float, *, first: int, step: int, looks: int) -> float:
    """The one-sided level of each of `looks`, at `first`, `first + step`, ... sessions since the beginning."""

    def stays(bound: float) -> float:
        spread = math.sqrt(first)
        grid, weights = _grid(bound * spread, _DEEP * spread, step)
        mass = _normal(grid, first) * weights
        for look in range(1, looks):
            spread = math.sqrt(first + look * step)
            further, weights = _grid(bound * spread, _DEEP * spread, step)
            mass = np.einsum("ij,j->i", _normal(further[:, None] - grid[None, :], step), mass) * weights
            grid = further
        return float(mass.sum())

    return _level(alpha, stays)


@lru_cache(maxsize=64)
def rolling_level(alpha: float, *, window: int, step: int, looks: int) -> float:
    """The one-sided level of each of `looks`, every `step` sessions at the last `window` ones.

    Two windows share what lies in both, the first and the last look at least nothing: `(looks - 1) * step <= window`, or
    ValueError. Then, given the first and the last, the sums between are a random walk's bridge with steps of variance
    `2 step`, and the chance to stay below is a power of one kernel. The process is D. Slepian's, "First passage time for
    a particular Gaussian process", Ann. Math. Stat. 32 (1961).
    """
    if (looks - 1) * step > window:
        raise ValueError(f"{looks} looks every {step} sessions reach beyond one window of {window}; take fewer looks")
    if looks == 1:
        return round(alpha, _DIGITS)
    apart = (looks - 1) * step
    shared = window - apart

    def stays(bound: float) -> float:
        spread = math.sqrt(window)
        grid, weights = _grid(bound * spread, _DEEP * spread, 2 * step)
        x, y = grid[:, None], grid[None, :]
        walk = _power(_normal(x - y, 2 * step) * weights[None, :], looks - 1)  # weighted at its end
        # The ends have variance `window` each and share `shared`; what the walk alone would say of them is divided out.
        determinant = window**2 - shared**2
        ends = np.exp(-(window * x**2 - 2 * shared * x * y + window * y**2) / (2 * determinant))
        ends /= 2 * math.pi * math.sqrt(determinant)
        bridge = 2 * apart
        free = np.exp((x - y) ** 2 / (2 * bridge)) * math.sqrt(2 * math.pi * bridge)
        return float((weights[:, None] * ends * free * walk).sum())

    return _level(alpha, stays)


def _power(kernel: Floats, exponent: int) -> Floats:
    """By squares. Not by a library's product: its threads would wait for one another longer than all of this takes."""
    result: Floats | None = None
    while True:
        if exponent & 1:
            result = kernel if result is None else np.einsum("ij,jk->ik", result, kernel)
        exponent >>= 1
        if not exponent:
            break
        kernel = np.einsum("ij,jk->ik", kernel, kernel)
    return kernel if result is None else result


def _level(alpha: float, stays: Callable[[float], float]) -> float:
    """The level of the bound that is kept with probability `1 - alpha`, by the secant method on its smooth curve."""
    before, bound = _NORMAL.inv_cdf(1 - alpha), _NORMAL.inv_cdf(1 - alpha / 5)
    missed = stays(before) - (1 - alpha)
    while abs(bound - before) > _ENOUGH:
        miss = stays(bound) - (1 - alpha)
        if miss == missed:
            break
        before, bound, missed = bound, bound - miss * (bound - before) / (miss - missed), miss
    return round(1 - _NORMAL.cdf(bound), _DIGITS)


def _grid(top: float, deep: float, variance: float) -> tuple[Floats, Floats]:
    """Points from `-deep` to `top`, close enough for steps of `variance`, and the weights of Simpson's rule."""
    count = 2 * math.ceil((top + deep) / (2 * _SPACING * math.sqrt(variance))) + 1
    points, width = np.linspace(-deep, top, count, retstep=True)
    weights = np.full(count, 2.0)
    weights[1::2] = 4.0
    weights[0] = weights[-1] = 1.0
    return points, weights * (width / 3)


def _normal(x: Floats, variance: float) -> Floats:
    return np.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

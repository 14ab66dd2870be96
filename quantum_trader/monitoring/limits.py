"""Limits: centre line and control limits from a baseline, for individual values, subgroups and proportions.

A chart hands over its baseline points; what it does with the limits, and which rules it applies, is not known here.
A point is a tuple: one value, one whole subgroup, or the pair (nonconforming, size).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Protocol

from quantum_trader.monitoring.constants import FACTORS
from quantum_trader.monitoring.rules import TIE

Point = tuple[float, ...]

MAX_ROUNDS: Final = 25  # of exclusion
MIN_KEPT: Final = 0.6  # share of a baseline that exclusion must leave
MIN_PROPORTION_SIZE: Final = 20  # orders, or whatever is counted, behind one point of a p chart

# A spread this small beside the values themselves is rounding noise of a constant.
_NOISE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Limits:
    """Control limits, in the unit of the charted statistic; `sigma` is that of the statistic, 0 without variation.

    `n_used` points made them after `n_excluded` were left out in `iterations` rounds. The `range_` fields belong to the
    companion chart of ranges, where the method has one.
    """

    centre: float
    sigma: float
    lcl: float
    ucl: float
    method: str
    n_used: int
    n_excluded: int = 0
    iterations: int = 0
    range_centre: float | None = None
    range_lcl: float | None = None
    range_ucl: float | None = None

    def z(self, value: float) -> float:
        """How many sigmas `value` lies above the centre. Raises ZeroDivisionError without variation."""
        return (value - self.centre) / self.sigma


class Method(Protocol):
    """How points become a charted statistic and its limits."""

    @property
    def name(self) -> str:
        """What `Limits.method` says."""
        ...

    @property
    def size(self) -> int:
        """Single observations behind one point."""
        ...

    def point(self, observations: Sequence[float]) -> Point:
        """One point made of single observations, the newest last."""
        ...

    def check(self, point: Point) -> None:
        """Raise ValueError, naming what is wrong, unless `point` can be charted."""
        ...

    def statistic(self, point: Point) -> float:
        """The value to plot."""
        ...

    def spread(self, point: Point, previous: Point | None) -> float | None:
        """The value for the companion chart of ranges, None where there is none."""
        ...

    def estimate(self, points: Sequence[Point]) -> Limits:
        """Limits from all `points`."""
        ...

    def applied(self, limits: Limits, point: Point) -> Limits:
        """`limits` as they hold for `point`, whose size may differ from the average."""
        ...


class MovingRange:
    """Individual values (I-MR): `sigma` is the mean moving range over d2 = 1.128, the limits lie 3 sigma away."""

    name = "moving_range"
    size = 1

    def point(self, observations: Sequence[float]) -> Point:
        return (observations[-1],)

    def check(self, point: Point) -> None:
        if len(point) != 1 or not math.isfinite(point[0]):
            raise ValueError(f"a point of an individuals chart is one finite value, not {point}")

    def statistic(self, point: Point) -> float:
        return point[0]

    def spread(self, point: Point, previous: Point | None) -> float | None:
        return None if previous is None else abs(point[0] - previous[0])

    def estimate(self, points: Sequence[Point]) -> Limits:
        if len(points) < 2:
            raise ValueError("a moving range needs at least 2 points")
        values = [value for (value,) in points]
        mean_range = _mean([abs(b - a) for a, b in pairwise(values)])
        sigma = _real(mean_range / FACTORS[2].d2, values)
        return _around(_mean(values), sigma, self.name, len(values), mean_range, 2)

    def applied(self, limits: Limits, point: Point) -> Limits:
        return limits


class SubgroupRange:
    """Means of subgroups of `size` (X-bar/R): limits are the grand mean +- A2 times the mean range."""

    name = "subgroup_range"

    def __init__(self, size: int) -> None:
        if size not in FACTORS:
            raise ValueError(f"size: subgroups have {min(FACTORS)} to {max(FACTORS)} values, not {size}")
        self.size = size

    def point(self, observations: Sequence[float]) -> Point:
        return tuple(observations)

    def check(self, point: Point) -> None:
        if len(point) != self.size or not all(map(math.isfinite, point)):
            raise ValueError(f"a point of this chart is a subgroup of {self.size} finite values, not {point}")

    def statistic(self, point: Point) -> float:
        return _mean(point)

    def spread(self, point: Point, previous: Point | None) -> float | None:
        return max(point) - min(point)

    def estimate(self, points: Sequence[Point]) -> Limits:
        if not points:
            raise ValueError("limits of subgroups need at least 1 subgroup")
        means = [_mean(point) for point in points]
        mean_range = _mean([max(point) - min(point) for point in points])
        sigma = _real(mean_range / (FACTORS[self.size].d2 * math.sqrt(self.size)), means)
        return _around(_mean(means), sigma, self.name, len(points), mean_range, self.size)

    def applied(self, limits: Limits, point: Point) -> Limits:
        return limits


class Proportion:
    """Share of nonconforming items (p chart): p +- 3 sqrt(p (1 - p) / n_i), clipped to [0, 1], each n_i >= 20."""

    name = "proportion"

    def __init__(self, size: int = MIN_PROPORTION_SIZE) -> None:
        if size < MIN_PROPORTION_SIZE:
            raise ValueError(f"size: a proportion needs {MIN_PROPORTION_SIZE} items or more, not {size}")
        self.size = size

    def point(self, observations: Sequence[float]) -> Point:
        return (math.fsum(observations), float(len(observations)))

    def check(self, point: Point) -> None:
        if len(point) != 2 or not (point[1] >= MIN_PROPORTION_SIZE and 0 <= point[0] <= point[1] < math.inf):
            raise ValueError(
                f"a point of a p chart is (nonconforming, size) with 0 <= nonconforming <= size and "
                f"size >= {MIN_PROPORTION_SIZE}, not {point}"
            )

    def statistic(self, point: Point) -> float:
        return point[0] / point[1]

    def spread(self, point: Point, previous: Point | None) -> float | None:
        return None

    def estimate(self, points: Sequence[Point]) -> Limits:
        if not points:
            raise ValueError("limits of proportions need at least 1 point")
        items = math.fsum(size for _, size in points)
        centre = math.fsum(count for count, _ in points) / items
        overall = Limits(centre, 0.0, 0.0, 1.0, self.name, len(points))
        return self._sized(overall, items / len(points))

    def applied(self, limits: Limits, point: Point) -> Limits:
        return self._sized(limits, point[1])

    @staticmethod
    def _sized(limits: Limits, size: float) -> Limits:
        p = limits.centre
        sigma = math.sqrt(p * (1 - p) / size)
        return replace(limits, sigma=sigma, lcl=max(0.0, p - 3 * sigma), ucl=min(1.0, p + 3 * sigma))


def settle(points: Sequence[Point], method: Method, *, exclude: bool = True) -> Limits:
    """Limits from the baseline `points`, special causes left out.

    Points beyond 3 sigma are excluded and the limits computed again, until none is beyond, after 25 rounds, or before
    fewer than 60 % of the points would remain. With `exclude=False` all points count. Raises ValueError when `points`
    are too few for `method`.
    """
    kept = list(points)
    limits = method.estimate(kept)
    rounds = 0
    while exclude and rounds < MAX_ROUNDS and limits.sigma > 0:
        inside = [point for point in kept if _is_inside(point, method, limits)]
        if len(inside) == len(kept) or len(inside) < MIN_KEPT * len(points):
            break
        kept = inside
        limits = method.estimate(kept)
        rounds += 1
    return replace(limits, n_excluded=len(points) - len(kept), iterations=rounds)


def _is_inside(point: Point, method: Method, limits: Limits) -> bool:
    return abs(method.applied(limits, point).z(method.statistic(point))) <= 3 + TIE


def _around(centre: float, sigma: float, method: str, used: int, mean_range: float, size: int) -> Limits:
    return Limits(
        centre=centre,
        sigma=sigma,
        lcl=centre - 3 * sigma,
        ucl=centre + 3 * sigma,
        method=method,
        n_used=used,
        range_centre=mean_range,
        range_lcl=FACTORS[size].D3 * mean_range,
        range_ucl=FACTORS[size].D4 * mean_range,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _real(sigma: float, values: Sequence[float]) -> float:
    """`sigma`, or 0 when it is no more than the rounding noise of a constant series."""
    return sigma if sigma > _NOISE * max(map(abs, values)) else 0.0

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.monitoring.limits import MIN_KEPT, MovingRange, Point, Proportion, SubgroupRange, settle


def singles(*values: float) -> list[Point]:
    return [(value,) for value in values]


def test_moving_range_limits_follow_the_formula() -> None:
    limits = MovingRange().estimate(singles(10, 12, 11, 13))
    mean_range = (2 + 1 + 2) / 3
    assert limits.centre == 11.5
    assert limits.sigma == pytest.approx(mean_range / 1.128, rel=4e-4)
    assert limits.ucl == pytest.approx(11.5 + 2.660 * mean_range, rel=4e-4)
    assert limits.lcl == pytest.approx(11.5 - 2.660 * mean_range, rel=4e-3)
    assert limits.range_ucl == pytest.approx(3.267 * mean_range, rel=1e-3)
    assert limits.range_lcl == 0
    assert limits.method == "moving_range"


def test_subgroup_limits_are_the_grand_mean_and_a2_mean_ranges() -> None:
    groups: list[Point] = [(1.0, 2.0, 3.0, 4.0, 5.0), (2.0, 2.0, 4.0, 4.0, 8.0)]
    limits = SubgroupRange(5).estimate(groups)
    assert limits.centre == pytest.approx(3.5)
    assert limits.range_centre == pytest.approx(5.0)
    assert limits.ucl == pytest.approx(3.5 + 0.577 * 5.0, abs=5e-3)
    assert limits.lcl == pytest.approx(3.5 - 0.577 * 5.0, abs=5e-3)
    assert limits.range_ucl == pytest.approx(2.114 * 5.0, abs=5e-3)
    assert limits.range_lcl == 0


def test_proportion_limits_depend_on_the_size_of_the_point() -> None:
    method = Proportion()
    limits = method.estimate([(2.0, 20.0), (8.0, 80.0)])
    assert limits.centre == pytest.approx(0.1)
    small, large = method.applied(limits, (0.0, 20.0)), method.applied(limits, (0.0, 400.0))
    assert small.sigma == pytest.approx(math.sqrt(0.09 / 20))
    assert large.ucl == pytest.approx(0.1 + 3 * math.sqrt(0.09 / 400))
    assert small.lcl == 0, "clipped"
    assert large.lcl == pytest.approx(0.055)


def test_proportion_limits_never_leave_the_unit_interval() -> None:
    limits = Proportion().estimate([(19.0, 20.0)])
    assert limits.ucl == 1


def test_a_proportion_of_few_items_is_refused() -> None:
    with pytest.raises(ValueError, match="size >= 20"):
        Proportion().check((1.0, 19.0))
    with pytest.raises(ValueError, match="size"):
        Proportion(19)
    with pytest.raises(ValueError, match="nonconforming <= size"):
        Proportion().check((21.0, 20.0))


@pytest.mark.parametrize("size", [1, 26])
def test_a_subgroup_without_constants_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="2 to 25"):
        SubgroupRange(size)


@pytest.mark.parametrize("point", [(math.nan,), (math.inf,), (1.0, 2.0), ()])
def test_an_individual_value_must_be_one_finite_number(point: Point) -> None:
    with pytest.raises(ValueError, match="one finite value"):
        MovingRange().check(point)


def test_a_baseline_leaves_special_causes_out() -> None:
    quiet = [math.sin(at) for at in range(50)]
    clean = settle(singles(*quiet), MovingRange())
    dirty = settle(singles(*quiet, 60.0, 90.0), MovingRange())
    assert clean.n_excluded == 0
    assert (dirty.n_excluded, dirty.n_used) == (2, 50)
    assert dirty.iterations >= 1
    assert (dirty.centre, dirty.sigma) == (clean.centre, clean.sigma)
    assert settle(singles(*quiet, 60.0, 90.0), MovingRange(), exclude=False).n_excluded == 0


def test_exclusion_stops_before_too_few_points_remain() -> None:
    # Two tight clusters: every round would throw out the far one, which holds half of the points.
    values = [0.0, 0.001] * 10 + [1.0, 1.001] * 10
    limits = settle(singles(*values), MovingRange())
    assert limits.n_used == 40


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60))
def test_a_baseline_never_shrinks_below_its_share(values: list[float]) -> None:
    limits = settle(singles(*values), MovingRange())
    assert limits.n_used >= MIN_KEPT * len(values)
    assert limits.n_used + limits.n_excluded == len(values)
    assert limits.lcl <= limits.centre <= limits.ucl


@pytest.mark.parametrize("value", [0.0, 2.0, 0.1 + 0.2])
def test_a_constant_series_has_no_sigma(value: float) -> None:
    assert settle(singles(*[value] * 30), MovingRange()).sigma == 0


def test_rounding_noise_is_not_variation() -> None:
    assert settle(singles(*[0.3, 0.1 + 0.2] * 20), MovingRange()).sigma == 0


def test_sigma_is_recovered_from_normal_data() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(5.0, 2.0, 5_000).tolist()
    assert settle(singles(*values), MovingRange(), exclude=False).sigma == pytest.approx(2.0, rel=0.03)
    groups: list[Point] = [tuple(row) for row in rng.normal(5.0, 2.0, (1_000, 5)).tolist()]
    assert settle(groups, SubgroupRange(5), exclude=False).sigma == pytest.approx(2 / math.sqrt(5), rel=0.03)


def test_too_few_points_are_named() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        settle(singles(1.0), MovingRange())
    with pytest.raises(ValueError, match="at least 1"):
        settle([], SubgroupRange(5))
    with pytest.raises(ValueError, match="at least 1"):
        settle([], Proportion())

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.learning.combination import ErrorWeights, SigmaCalibration, fill_missing
from quantum_trader.model import Bar


def bar(session: int, high: float, low: float, close: float) -> Bar:
    return Bar("A", session, datetime(2000, 1, 1, tzinfo=UTC), close, high, low, close, 100)


def test_weights_are_inverse_to_the_mean_squared_error() -> None:
    weights = ErrorWeights()
    weights.score("good", 0.1)
    weights.score("bad", 0.3)
    combined = weights.combine({"good": 1.0, "bad": 2.0})
    assert combined is not None
    assert combined.weights == pytest.approx({"good": 0.75, "bad": 0.25})
    assert combined.value == pytest.approx(1.25)


def test_an_error_loses_half_its_weight_in_60_sessions() -> None:
    weights = ErrorWeights()
    weights.score("late", 1.0)
    weights.score("never", 0.0)
    for _ in range(60):
        weights.score("late", 0.0)
    assert weights.state()["mse"]["late"] == pytest.approx(0.5)


def test_a_perfect_member_does_not_divide_by_zero() -> None:
    weights = ErrorWeights()
    weights.score("perfect", 0.0)
    weights.score("other", 1e-4)
    combined = weights.combine({"perfect": 1.0, "other": 3.0})
    assert combined is not None
    assert combined.value == pytest.approx(2.0), "both sit on the floor"


def test_a_forecast_that_is_not_finite_is_dropped_and_named() -> None:
    weights = ErrorWeights()
    combined = weights.combine({"b": math.nan, "a": math.inf, "c": 2.0})
    assert combined is not None
    assert combined.value == 2.0
    assert combined.dropped == ("a", "b")
    assert weights.combine({"a": math.nan}) is None
    assert weights.combine({}) is None


def test_a_newcomer_weighs_as_much_as_the_worst() -> None:
    weights = ErrorWeights()
    weights.score("good", 0.1)
    weights.score("bad", 0.4)
    combined = weights.combine({"good": 0.0, "bad": 0.0, "new": 0.0})
    assert combined is not None
    assert combined.weights["new"] == combined.weights["bad"]


def test_a_retired_member_is_forgotten() -> None:
    weights = ErrorWeights()
    weights.score("old", 9.0)
    weights.forget("old")
    weights.forget("old")
    assert weights.state() == {"mse": {}}


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-8, 0), min_size=1), st.lists(st.floats(0, 5), min_size=6))
def test_a_combination_lies_between_its_members(forecasts: dict[str, float], losses: list[float]) -> None:
    weights = ErrorWeights()
    for member, loss in zip("abcdef", losses, strict=False):
        weights.score(member, loss)
    combined = weights.combine(forecasts)
    assert combined is not None
    assert min(forecasts.values()) - 1e-9 <= combined.value <= max(forecasts.values()) + 1e-9
    assert math.fsum(combined.weights.values()) == pytest.approx(1.0)


def test_a_missing_forecast_is_the_median_of_the_others_and_flagged() -> None:
    filled, flagged = fill_missing({"A": -4.0, "B": None, "C": -3.0, "D": -5.0, "E": None})
    assert filled == {"A": -4.0, "B": -4.0, "C": -3.0, "D": -5.0, "E": -4.0}
    assert flagged == ("B", "E")
    assert fill_missing({"A": None}) == ({}, ())


def test_sigma_of_an_unknown_symbol_is_parkinsons() -> None:
    assert SigmaCalibration().sigma("A", math.log(0.02)) == pytest.approx(0.02 / (2 * math.sqrt(math.log(2))))


def test_kappa_is_clipped_on_both_sides() -> None:
    gaps, still = SigmaCalibration(), SigmaCalibration()
    for session in range(300):
        close = 100.0 if session % 2 else 110.0
        gaps.observe(bar(session, close * 1.001, close, close))
        still.observe(bar(session, 102.0, 98.0, 100.0))
    assert gaps.kappa("A") == 2.0
    assert still.kappa("A") == 0.8


def test_the_error_variance_raises_sigma_as_for_a_lognormal() -> None:
    calibration = SigmaCalibration()
    calibration.observe(bar(0, 102.0, 98.0, 100.0))
    without = calibration.sigma("A", -4.0) / calibration.kappa("A")
    for session in range(1, 5):
        calibration.observe(bar(session, 102.0, 98.0, 100.0), error=0.4)
    assert calibration.sigma("A", -4.0) / calibration.kappa("A") == pytest.approx(without * math.exp(0.16))


def test_sigma_is_right_for_a_random_walk_with_overnight_gaps() -> None:
    """Half of the variance happens overnight, so the range alone would understate the volatility by a factor."""
    rng = np.random.default_rng(4)
    calibration, forecasts, level, close, steps = SigmaCalibration(half_life=400), [], -4.0, 100.0, 200
    for session in range(3_000):
        opened = close * math.exp(0.01 * float(rng.standard_normal()))
        path = opened * np.exp(0.01 / math.sqrt(steps) * rng.standard_normal(steps).cumsum())
        high, low, close = max(opened, float(path.max())), min(opened, float(path.min())), float(path[-1])
        forecasts.append(math.log(math.log(high / low)))
        level = float(np.mean(forecasts[-500:]))
        calibration.observe(bar(session, high, low, close), error=forecasts[-1] - level)
    assert calibration.kappa("A") == pytest.approx(math.sqrt(2), rel=0.12)
    assert calibration.sigma("A", level) == pytest.approx(0.01 * math.sqrt(2), rel=0.12)


def test_restored_figures_go_on_as_if_never_interrupted() -> None:
    weights, calibration = ErrorWeights(), SigmaCalibration()
    for session in range(40):
        weights.score("a", session / 10)
        calibration.observe(bar(session, 102.0 + session % 3, 98.0, 100.0 + session % 2), error=session / 100)
    copied_weights, copied_calibration = ErrorWeights(), SigmaCalibration()
    copied_weights.restore(json.loads(json.dumps(weights.state())))
    copied_calibration.restore(json.loads(json.dumps(calibration.state())))
    for one in (weights, copied_weights):
        one.score("a", 0.7)
    assert copied_weights.state() == weights.state()
    for each in (calibration, copied_calibration):
        each.observe(bar(40, 103.0, 97.0, 101.0), error=0.2)
    assert copied_calibration.state() == calibration.state()
    assert copied_calibration.sigma("A", -4.0) == calibration.sigma("A", -4.0)


def test_a_half_life_must_be_positive() -> None:
    with pytest.raises(ValueError, match="half_life"):
        ErrorWeights(0)
    with pytest.raises(ValueError, match="half_life"):
        SigmaCalibration(-1)

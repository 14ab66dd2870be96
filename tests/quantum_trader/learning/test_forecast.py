from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from quantum_trader.learning.forecast import (
    FLOOR,
    Ewma,
    Forecaster,
    HarRls,
    MovingAverage,
    Observation,
    RangeHistory,
    digest,
    log_range,
)
from quantum_trader.model import Bar

FAMILIES: list[Callable[[], Forecaster]] = [MovingAverage, Ewma, HarRls, lambda: HarRls(0.995, leverage=False)]


def bar(symbol: str, session: int, high: float, low: float, close: float) -> Bar:
    return Bar(symbol, session, datetime(2000, 1, 1, tzinfo=UTC), close, high, low, close, 100)


def series(sessions: int, seed: int = 1) -> list[Observation]:
    """Observations of a log range that is persistent around -4."""
    rng = np.random.default_rng(seed)
    history, level, close, found = RangeHistory(), 0.0, 100.0, []
    for session in range(sessions):
        level = 0.97 * level + 0.1 * float(rng.standard_normal())
        width = math.exp(-4 + level + 0.3 * float(rng.standard_normal()))
        close *= math.exp(width * float(rng.standard_normal()) / 2)
        found.append(
            history.observe(bar("A", session, close * math.exp(width / 2), close * math.exp(-width / 2), close))
        )
    return found


def fed(forecaster: Forecaster, *seen: Observation) -> Forecaster:
    for one in seen:
        forecaster.update("A", one)
    return forecaster


def test_a_bar_that_did_not_move_gets_the_floor() -> None:
    assert log_range(10.0, 10.0) == math.log(FLOOR)
    assert log_range(math.e**0.02, 1.0) == pytest.approx(math.log(0.02))


def test_an_observation_holds_the_means_of_a_week_and_a_month() -> None:
    seen = series(30)
    y = [one.y for one in seen]
    assert [at for at, one in enumerate(seen) if one.week is None] == list(range(4))
    assert [at for at, one in enumerate(seen) if one.month is None] == list(range(21))
    assert seen[-1].week == pytest.approx(np.mean(y[-5:]))
    assert seen[-1].month == pytest.approx(np.mean(y[-22:]))


def test_only_a_fall_of_the_close_is_leverage() -> None:
    history = RangeHistory()
    closes = [100.0, 90.0, 95.0]
    falls = [history.observe(bar("A", at, close + 1, close - 1, close)).fall for at, close in enumerate(closes)]
    assert falls == pytest.approx([0.0, 10 * math.log(100 / 90), 0.0])


@pytest.mark.parametrize("make", FAMILIES)
def test_there_is_no_forecast_before_22_bars(make: Callable[[], Forecaster]) -> None:
    seen = series(22)
    forecaster = make()
    assert forecaster.forecast("A") is None
    assert fed(forecaster, *seen[:21]).forecast("A") is None
    assert fed(forecaster, seen[21]).forecast("A") is not None
    assert forecaster.forecast("B") is None


def test_ma22_is_the_mean_of_the_last_22() -> None:
    seen = series(40)
    assert fed(MovingAverage(), *seen).forecast("A") == pytest.approx(np.mean([one.y for one in seen[-22:]]))


def test_ewma_follows_the_recursion() -> None:
    seen = series(40)
    smooth = seen[0].y
    for one in seen[1:]:
        smooth = 0.9 * smooth + 0.1 * one.y
    assert fed(Ewma(0.9), *seen).forecast("A") == pytest.approx(smooth)


def test_har_without_forgetting_is_least_squares_with_a_prior() -> None:
    seen = series(300)
    theta0 = np.array([0, 1 / 3, 1 / 3, 1 / 3, 0])
    inputs = np.array([[1, one.y, one.week, one.month, one.fall] for one in seen[21:]], dtype=float)
    x, y = inputs[:-1], np.array([one.y for one in seen[22:]])
    # P starts as the identity: the prior counts as one unit observation in each direction.
    theta = np.linalg.solve(np.eye(5) + x.T @ x, theta0 + x.T @ y)
    assert fed(HarRls(1.0), *seen).forecast("A") == pytest.approx(float(inputs[-1] @ theta), rel=1e-6)


def test_har_with_forgetting_is_weighted_least_squares() -> None:
    seen = series(300)
    inputs = np.array([[1, one.y, one.week, one.month] for one in seen[21:]], dtype=float)
    x, y = inputs[:-1], np.array([one.y for one in seen[22:]])
    weights = 0.99 ** np.arange(len(y) - 1, -1, -1)
    prior = 0.99 ** len(y)
    theta0 = np.array([0, 1 / 3, 1 / 3, 1 / 3])
    theta = np.linalg.solve(prior * np.eye(4) + (x.T * weights) @ x, prior * theta0 + (x.T * weights) @ y)
    forecast = fed(HarRls(0.99, leverage=False), *seen).forecast("A")
    assert forecast == pytest.approx(float(inputs[-1] @ theta), rel=1e-6)


def test_har_starts_as_the_mean_of_day_week_and_month() -> None:
    seen = series(22)[-1]
    assert seen.week is not None
    assert seen.month is not None
    assert fed(HarRls(), *series(22)).forecast("A") == pytest.approx((seen.y + seen.week + seen.month) / 3)


def test_har_shares_its_coefficients_between_symbols() -> None:
    pooled, alone = HarRls(), HarRls()
    for one, other in zip(series(200, seed=1), series(200, seed=2), strict=True):
        pooled.update("A", one)
        pooled.update("B", other)
        alone.update("A", one)
    assert pooled.forecast("A") != alone.forecast("A")


@pytest.mark.parametrize("forgetting", [0.9, 0.995])
def test_har_survives_inputs_that_never_change(forgetting: float) -> None:
    """Forgetting what is not replaced winds the covariance up; after it, the model must still learn."""
    forecaster = HarRls(forgetting)
    still = Observation(-4.0, -4.0, -4.0, 0.0)
    fed(forecaster, *[still] * 20_000)
    assert forecaster.forecast("A") == pytest.approx(-4.0, abs=1e-3)
    forecast = fed(forecaster, *series(500)).forecast("A")
    assert forecast is not None
    assert -6 < forecast < -2


def test_har_stays_finite_over_a_long_run_with_fast_forgetting() -> None:
    """Without keeping P symmetric its rounding errors grow by 1 / 0.995 an update and own the forecast in the end."""
    forecaster, errors = HarRls(0.995), []
    for one in series(12_000):
        forecast = forecaster.forecast("A")
        if forecast is not None:
            errors.append(one.y - forecast)
        forecaster.update("A", one)
    assert float(np.std(errors[-1_000:])) == pytest.approx(float(np.std(errors[:1_000])), rel=0.25)


@pytest.mark.parametrize("make", FAMILIES)
def test_a_restored_forecaster_goes_on_as_if_never_interrupted(make: Callable[[], Forecaster]) -> None:
    seen = series(120)
    straight, first, second = fed(make(), *seen), fed(make(), *seen[:60]), make()
    second.restore(json.loads(json.dumps(first.state())))
    assert digest(second) == digest(first)
    assert fed(second, *seen[60:]).forecast("A") == straight.forecast("A")
    assert digest(second) == digest(straight)


def test_a_restored_history_goes_on_as_if_never_interrupted() -> None:
    bars = [bar("A", at, 101 + at % 7, 99 - at % 3, 100 + at % 5) for at in range(60)]
    straight, first, second = RangeHistory(), RangeHistory(), RangeHistory()
    answers = [straight.observe(one) for one in bars]
    for one in bars[:30]:
        first.observe(one)
    second.restore(json.loads(json.dumps(first.state())))
    assert [second.observe(one) for one in bars[30:]] == answers[30:]


def test_a_digest_tells_versions_apart() -> None:
    seen = series(60)
    makers: list[Callable[[], Forecaster]] = [*FAMILIES, lambda: Ewma(0.8), lambda: HarRls(1.0)]
    digests = {digest(fed(make(), *seen)) for make in makers}
    assert len(digests) == len(makers)
    assert digest(fed(HarRls(), *seen)) != digest(fed(HarRls(), *seen[:-1]))


@pytest.mark.parametrize(
    ("make", "field"),
    [(lambda: Ewma(1.0), "decay"), (lambda: HarRls(1.1), "forgetting"), (lambda: HarRls(0.5), "forgetting")],
)
def test_a_parameter_out_of_range_is_named(make: Callable[[], Forecaster], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        make()

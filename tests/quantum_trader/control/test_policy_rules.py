from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.config import ModeConfig, PolicyConfig
from quantum_trader.control.policy_rules import (
    Decision,
    Inputs,
    VolatilityRatio,
    allowed_strategies,
    decide,
    memoryless,
    safer,
)
from quantum_trader.model import HealthStatus, RiskMode

DEFENSIVE, NORMAL, AGGRESSIVE = RiskMode
HEALTHY, DEGRADED, CRITICAL = HealthStatus


def after(
    mode: RiskMode,
    drawdown: float | None = 0.0,
    ratio: float | None = 0.9,
    health: HealthStatus = HEALTHY,
    *,
    since: int | None = 99,
) -> Decision:
    return decide(mode, Inputs(drawdown, ratio, health), sessions_since_change=since)


def allows(confidence: float, risk: float, positions: int, gross: float, top_n: int) -> ModeConfig:
    return ModeConfig(
        global_min_confidence=confidence,
        max_risk_per_trade=risk,
        max_positions=positions,
        gross_limit=gross,
        top_n=top_n,
    )


def test_the_table_allows_more_from_mode_to_mode() -> None:
    assert PolicyConfig().mode(DEFENSIVE) == allows(0.80, 0.005, 2, 0.40, 2)
    assert PolicyConfig().mode(NORMAL) == allows(0.65, 0.010, 4, 0.80, 4)
    assert PolicyConfig().mode(AGGRESSIVE) == allows(0.55, 0.015, 5, 1.00, 5)


@pytest.mark.parametrize("mode", RiskMode)
@pytest.mark.parametrize(
    ("drawdown", "ratio", "health"), [(0.101, 0.9, HEALTHY), (0.0, 1.51, HEALTHY), (0.0, 0.9, CRITICAL)]
)
def test_danger_is_defensive_at_once_from_every_mode(
    mode: RiskMode, drawdown: float, ratio: float, health: HealthStatus
) -> None:
    decision = after(mode, drawdown, ratio, health, since=0)
    assert decision.mode is DEFENSIVE
    assert decision.changed == (mode is not DEFENSIVE)


@pytest.mark.parametrize("mode", RiskMode)
@pytest.mark.parametrize("unknown", [None, math.nan])
def test_what_is_unknown_is_defensive(mode: RiskMode, unknown: float | None) -> None:
    assert after(mode, drawdown=unknown).mode is DEFENSIVE
    assert after(mode, ratio=unknown).mode is DEFENSIVE


def test_equality_on_a_threshold_changes_nothing() -> None:
    assert after(NORMAL, 0.10, 1.50).mode is NORMAL
    assert after(DEFENSIVE, 0.07, 1.0).mode is DEFENSIVE
    assert after(DEFENSIVE, 0.0, 1.25).mode is DEFENSIVE
    assert after(NORMAL, 0.04, 0.9).mode is NORMAL
    assert after(NORMAL, 0.0, 0.95).mode is NORMAL
    assert after(AGGRESSIVE, 0.06, 1.10).mode is AGGRESSIVE


def test_risk_is_taken_one_step_at_a_time() -> None:
    assert after(DEFENSIVE).mode is NORMAL
    assert after(NORMAL).mode is AGGRESSIVE


def test_risk_is_taken_only_after_the_dwell() -> None:
    assert after(DEFENSIVE, since=4).mode is DEFENSIVE
    assert after(DEFENSIVE, since=5).mode is NORMAL
    assert after(DEFENSIVE, since=None).mode is NORMAL
    assert after(NORMAL, since=4).mode is NORMAL


@pytest.mark.parametrize(
    ("drawdown", "ratio", "health"), [(0.061, 0.9, HEALTHY), (0.0, 1.11, HEALTHY), (0.0, 0.9, DEGRADED)]
)
def test_aggressive_yields_to_strain_without_waiting(drawdown: float, ratio: float, health: HealthStatus) -> None:
    assert after(AGGRESSIVE, drawdown, ratio, health, since=0).mode is NORMAL


def test_degraded_health_allows_normal_but_not_aggressive() -> None:
    assert after(DEFENSIVE, health=DEGRADED).mode is NORMAL
    assert after(NORMAL, health=DEGRADED).mode is NORMAL


def test_between_the_thresholds_every_mode_stays() -> None:
    assert after(DEFENSIVE, 0.08, 1.3).mode is DEFENSIVE
    assert after(NORMAL, 0.08, 1.3).mode is NORMAL
    assert after(AGGRESSIVE, 0.05, 1.0).mode is AGGRESSIVE


def test_reasons_carry_the_figures_that_caused_a_change() -> None:
    assert after(NORMAL, 0.1234, 1.6).reasons == ("drawdown 0.1234 > 0.1", "volatility_ratio 1.6000 > 1.5")
    assert after(AGGRESSIVE, health=DEGRADED).reasons == ("health DEGRADED",)
    assert after(DEFENSIVE).reasons == ("drawdown 0.0000", "volatility_ratio 0.9000", "health HEALTHY")
    assert after(NORMAL, ratio=None).reasons == ("volatility_ratio unknown",)
    assert after(DEFENSIVE, 0.2).reasons == ()


def test_the_order_of_safety() -> None:
    order = (DEFENSIVE, NORMAL, AGGRESSIVE)
    for one, other in itertools.product(order, repeat=2):
        assert safer(one, other) is order[min(order.index(one), order.index(other))]


@given(st.sampled_from(RiskMode), st.floats(0, 1), st.floats(0.1, 5), st.sampled_from(HealthStatus), st.integers(0, 20))
def test_a_mode_never_rises_by_two_nor_during_the_dwell(
    mode: RiskMode, drawdown: float, ratio: float, health: HealthStatus, since: int
) -> None:
    decision = after(mode, drawdown, ratio, health, since=since)
    order = tuple(RiskMode)
    rise = order.index(decision.mode) - order.index(mode)
    assert rise <= (1 if since >= 5 else 0)
    assert decision.changed == (rise != 0)
    assert bool(decision.reasons) == decision.changed


@given(st.floats(0, 0.3), st.floats(0.5, 2), st.sampled_from(HealthStatus))
def test_worse_figures_never_give_a_riskier_mode(drawdown: float, ratio: float, health: HealthStatus) -> None:
    for mode in RiskMode:
        there = after(mode, drawdown, ratio, health).mode
        for worse in ((drawdown + 0.01, ratio, health), (drawdown, ratio + 0.1, health), (drawdown, ratio, CRITICAL)):
            assert safer(there, after(mode, *worse).mode) is after(mode, *worse).mode


def test_without_memory_the_figures_alone_decide() -> None:
    assert memoryless(Inputs(0.0, 0.9, HEALTHY)) is AGGRESSIVE
    assert memoryless(Inputs(0.05, 0.9, HEALTHY)) is NORMAL
    assert memoryless(Inputs(0.0, None, HEALTHY)) is DEFENSIVE


def test_a_mode_allows_the_strategies_that_are_probable_enough() -> None:
    psr = {"trend-20-50": 0.80, "breakout-20-10": 0.79, "momentum-252": 0.55, "nan": math.nan}
    assert allowed_strategies(psr, PolicyConfig().mode(DEFENSIVE)) == ("trend-20-50",)
    assert allowed_strategies(psr, PolicyConfig().mode(NORMAL)) == ("breakout-20-10", "trend-20-50")
    assert allowed_strategies(psr, PolicyConfig().mode(AGGRESSIVE)) == ("breakout-20-10", "momentum-252", "trend-20-50")


def test_the_volatility_ratio_waits_for_its_history() -> None:
    ratio = VolatilityRatio(window=5)
    assert [ratio.update({"A": -4.0}) for _ in range(5)] == [None] * 4 + [1.0]
    assert ratio.update({}) is None, "a session without forecasts is unknown"


def test_the_volatility_ratio_is_the_geometric_mean_over_symbols_with_history() -> None:
    ratio = VolatilityRatio(window=3)
    for _ in range(2):
        ratio.update({"A": -4.0, "B": -5.0})
    found = ratio.update({"A": -4.0 + math.log(2), "B": -5.0, "C": 3.0})
    assert found == pytest.approx(math.sqrt(2)), "C has no history and does not count"


def test_a_restored_ratio_goes_on_as_if_never_interrupted() -> None:
    forecasts = [{"A": float(value), "B": float(value) / 2} for value in np.random.default_rng(1).normal(-4, 1, 60)]
    straight, first, second = (VolatilityRatio(window=20) for _ in range(3))
    for one in forecasts[:30]:
        straight.update(one)
        first.update(one)
    second.restore(json.loads(json.dumps(first.state())))
    assert [second.update(one) for one in forecasts[30:]] == [straight.update(one) for one in forecasts[30:]]

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import null_gates
from quantum_trader.config import GatesConfig, load_config
from quantum_trader.learning.lifecycle import (
    LEGAL,
    Challenge,
    IllegalStageChange,
    ModelStage,
    StrategyMetrics,
    challenge,
    check_legal,
    check_legal_model,
    needs_rollback,
    review,
)
from quantum_trader.learning.statistics import DieboldMariano
from quantum_trader.model import HealthStatus, StrategyLifecycle

BACKTEST, SHADOW, LIVE, RETIRED = StrategyLifecycle

DEFAULT = GatesConfig()
GOOD = StrategyMetrics(sessions=504, trades=20, profit_factor=1.3, max_drawdown=0.15, sharpe=0.6, psr=0.995, dsr=0.98)


def next_stage(
    stage: StrategyLifecycle,
    metrics: StrategyMetrics = GOOD,
    *,
    sessions_in_stage: int = 126,
    health: HealthStatus = HealthStatus.HEALTHY,
    gates: GatesConfig = DEFAULT,
) -> StrategyLifecycle:
    change = review(stage, metrics, sessions_in_stage=sessions_in_stage, health=health, gates=gates)
    return stage if change is None else change.to_stage


def test_a_good_backtest_enters_shadow_with_equality_on_every_plain_threshold() -> None:
    assert next_stage(BACKTEST, replace(GOOD, max_drawdown=0.20)) is SHADOW


@pytest.mark.parametrize(
    "worse",
    [{"sessions": 503}, {"trades": 19}, {"profit_factor": 1.29}, {"max_drawdown": 0.21}, {"psr": 0.99}],
)
def test_one_missed_criterion_keeps_a_candidate_in_backtest(worse: dict[str, Any]) -> None:
    assert next_stage(BACKTEST, replace(GOOD, **worse)) is BACKTEST


def test_a_single_look_asks_for_no_more_than_the_configured_probability() -> None:
    once = GatesConfig(gate="psr", backtest_looks=1)
    assert next_stage(BACKTEST, replace(GOOD, psr=0.95), gates=once) is SHADOW
    assert next_stage(BACKTEST, replace(GOOD, psr=0.9499), gates=once) is BACKTEST


def test_the_gate_that_ships_asks_for_the_probability_whose_error_is_measured() -> None:
    """PSR beyond its share of 5 % over all looks; how many others were tried is reported, and asked about by `gate = "dsr"`."""
    assert next_stage(BACKTEST, replace(GOOD, psr=0.995, dsr=0.1)) is SHADOW
    assert next_stage(BACKTEST, replace(GOOD, psr=0.95, dsr=0.99)) is BACKTEST
    assert load_config(environ={}).strategies.gates == DEFAULT == null_gates.STRATEGY


def test_the_dsr_gate_replaces_the_psr_gate() -> None:
    gates = GatesConfig(gate="dsr")
    assert next_stage(BACKTEST, replace(GOOD, psr=0.1, dsr=0.953), gates=gates) is SHADOW
    assert next_stage(BACKTEST, replace(GOOD, dsr=0.95), gates=gates) is BACKTEST


SHADOWED = StrategyMetrics(sessions=126, trades=10, profit_factor=1.2, max_drawdown=0.15, sharpe=0.51)


def test_a_shadow_that_qualifies_goes_live() -> None:
    assert next_stage(SHADOW, SHADOWED) is LIVE
    assert next_stage(SHADOW, SHADOWED, health=HealthStatus.DEGRADED) is LIVE


@pytest.mark.parametrize(
    "worse",
    [{"sessions": 125}, {"trades": 9}, {"profit_factor": 1.19}, {"max_drawdown": 0.16}, {"sharpe": 0.5}],
)
def test_one_missed_criterion_keeps_a_strategy_in_shadow(worse: dict[str, Any]) -> None:
    assert next_stage(SHADOW, replace(SHADOWED, **worse)) is SHADOW


def test_nothing_goes_live_while_health_is_critical() -> None:
    assert next_stage(SHADOW, SHADOWED, health=HealthStatus.CRITICAL) is SHADOW


def test_a_shadow_that_never_qualifies_goes_back() -> None:
    poor = replace(SHADOWED, sharpe=0.0)
    assert next_stage(SHADOW, poor, sessions_in_stage=251) is SHADOW
    change = review(SHADOW, poor, sessions_in_stage=252, health=HealthStatus.HEALTHY, gates=DEFAULT)
    assert change is not None
    assert change.to_stage is BACKTEST
    assert change.reason == "252 sessions without qualifying: sharpe 0 <= 0.5"
    assert change.metrics["sharpe"] == 0.0


def test_a_live_strategy_that_loses_is_retired() -> None:
    assert next_stage(LIVE, replace(GOOD, trades=8, profit_factor=0.89)) is RETIRED
    assert next_stage(LIVE, replace(GOOD, trades=8, profit_factor=0.90)) is LIVE
    assert next_stage(LIVE, replace(GOOD, trades=7, profit_factor=0.1)) is LIVE, "too few trades to judge"


def test_a_live_strategy_is_not_judged_by_its_profits_before_its_window_is_full() -> None:
    losing = replace(GOOD, sessions=251, trades=20, profit_factor=0.1)
    assert next_stage(LIVE, losing) is LIVE
    assert next_stage(LIVE, replace(losing, sessions=252)) is RETIRED
    assert next_stage(LIVE, replace(losing, max_drawdown=0.151)) is RETIRED, "a broken drawdown waits for nothing"


def test_a_live_strategy_with_a_broken_drawdown_is_retired_whatever_its_trades() -> None:
    assert next_stage(LIVE, replace(GOOD, trades=0, max_drawdown=0.151)) is RETIRED


def test_a_retired_strategy_may_try_again_after_504_sessions() -> None:
    assert next_stage(RETIRED, sessions_in_stage=503) is RETIRED
    assert next_stage(RETIRED, sessions_in_stage=504) is BACKTEST


@pytest.mark.parametrize("figure", ["profit_factor", "max_drawdown", "psr"])
def test_a_figure_that_is_not_a_number_promotes_nobody(figure: str) -> None:
    undefined: dict[str, Any] = {figure: math.nan}
    assert next_stage(BACKTEST, replace(GOOD, **undefined)) is BACKTEST


@pytest.mark.parametrize("figure", ["profit_factor", "max_drawdown"])
def test_a_figure_that_is_not_a_number_keeps_nobody_live(figure: str) -> None:
    undefined: dict[str, Any] = {figure: math.nan}
    assert next_stage(LIVE, replace(GOOD, **undefined)) is RETIRED


def test_only_five_changes_of_stage_are_legal() -> None:
    for change in itertools.product(StrategyLifecycle, repeat=2):
        if change in LEGAL:
            check_legal("trend-10-50", *change)
        else:
            with pytest.raises(IllegalStageChange, match=f"trend-10-50: {change[0]} -> {change[1]}"):
                check_legal("trend-10-50", *change)
    assert len(LEGAL) == 5


def test_a_review_never_asks_for_an_illegal_change() -> None:
    for stage, psr, factor, sharpe, sessions, health in itertools.product(
        StrategyLifecycle, (0.0, 1.0), (0.5, 2.0), (0.0, 2.0), (0, 300, 600), HealthStatus
    ):
        metrics = StrategyMetrics(600, 50, factor, 0.1, sharpe, psr)
        change = review(stage, metrics, sessions_in_stage=sessions, health=health, gates=DEFAULT)
        assert change is None or (change.from_stage, change.to_stage) in LEGAL


BETTER = DieboldMariano(t=2.0, p=0.02, n=126, ratio=0.95)


def test_a_better_challenger_is_promoted() -> None:
    assert challenge(BETTER, sessions_since_violation=None).answer is Challenge.PROMOTE
    assert challenge(replace(BETTER, ratio=0.99), sessions_since_violation=20).answer is Challenge.PROMOTE


@pytest.mark.parametrize(
    ("comparison", "since", "reason"),
    [
        (replace(BETTER, n=125), None, "sessions 125 < 126"),
        (replace(BETTER, p=0.0205), None, "p 0.0205 >= 0.02044"),
        (replace(BETTER, ratio=0.995), None, "mse_ratio 0.995 > 0.99"),
        (BETTER, 19, "sessions since a violation 19 < 20"),
        (replace(BETTER, p=math.nan), None, "p nan >= 0.02044"),
    ],
)
def test_a_challenger_waits_for_every_criterion(comparison: DieboldMariano, since: int | None, reason: str) -> None:
    result = challenge(comparison, sessions_since_violation=since)
    assert result.answer is Challenge.WAIT
    assert result.reasons == (reason,)


def test_a_challenger_is_rejected_when_patience_ends() -> None:
    assert challenge(replace(BETTER, n=251, p=0.5), sessions_since_violation=None).answer is Challenge.WAIT
    assert challenge(replace(BETTER, n=252, p=0.5), sessions_since_violation=None).answer is Challenge.REJECT
    assert challenge(replace(BETTER, n=252), sessions_since_violation=None).answer is Challenge.PROMOTE


def test_a_promotion_is_rolled_back_when_the_old_version_wins() -> None:
    assert not needs_rollback(DieboldMariano(3.0, 0.001, 62, 0.9))
    assert needs_rollback(DieboldMariano(3.0, 0.001, 63, 0.9))
    assert not needs_rollback(DieboldMariano(1.0, 0.16, 63, 0.99))


def test_models_may_return_from_retirement_but_not_skip_shadow() -> None:
    check_legal_model("HAR-2", ModelStage.RETIRED, ModelStage.LIVE)
    with pytest.raises(IllegalStageChange, match="HAR-2: TRAINED -> LIVE"):
        check_legal_model("HAR-2", ModelStage.TRAINED, ModelStage.LIVE)

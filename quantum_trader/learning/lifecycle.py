"""Lifecycle: when a strategy or a model may change its stage, and when it must.

The strategy generator and the learning manager ask after every evaluation and publish what comes back. Pure functions
of measured figures: nothing here runs a strategy, counts sessions or remembers an answer.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, Literal

from quantum_trader.config import GatesConfig, ModelGateConfig
from quantum_trader.learning.looks import growing_level, rolling_level
from quantum_trader.learning.statistics import DieboldMariano
from quantum_trader.model import HealthStatus, StrategyLifecycle

BACKTEST, SHADOW, LIVE, RETIRED = StrategyLifecycle

LEGAL: Final = frozenset({(BACKTEST, SHADOW), (SHADOW, LIVE), (SHADOW, BACKTEST), (LIVE, RETIRED), (RETIRED, BACKTEST)})


class IllegalStageChange(ValueError):
    """A change of stage that no rule allows. Go through the stages between, each with its own evaluation."""

    def __init__(self, subject: str, from_stage: str, to_stage: str) -> None:
        super().__init__(f"{subject}: {from_stage} -> {to_stage} is not a legal change of stage")
        self.subject = subject
        self.from_stage = from_stage
        self.to_stage = to_stage


@dataclass(frozen=True, slots=True)
class StrategyMetrics:
    """Figures of one strategy over the window that its stage is judged by.

    BACKTEST: the last 504 sessions. SHADOW: the sessions since entering, and no earlier one. LIVE: the last 252 live
    ones.
    """

    sessions: int
    trades: int  # positions that overlap the window
    profit_factor: float  # of what they earned within it, marked at both ends
    max_drawdown: float  # positive fraction
    sharpe: float = 0.0  # annual
    psr: float = 0.0  # probability that the true Sharpe ratio is positive
    dsr: float = 0.0  # the same, against the best of all trials
    similarity: float = 0.0  # correlation of daily profits with the live strategy most like it that is not surely worse


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a gate lets pass, None if there is too little to judge; and every criterion that was not met, with its figure
    and its threshold."""

    passed: bool | None
    reasons: tuple[str, ...] = ()

    @property
    def word(self) -> Literal["PASS", "FAIL", "NOT_JUDGED"]:
        """As `evaluation.completed` tells it."""
        return "NOT_JUDGED" if self.passed is None else "PASS" if self.passed else "FAIL"


@dataclass(frozen=True, slots=True)
class StageChange:
    """A change of stage that the rules ask for."""

    from_stage: StrategyLifecycle
    to_stage: StrategyLifecycle
    reason: str
    metrics: dict[str, float]


def check_legal(subject: str, from_stage: StrategyLifecycle, to_stage: StrategyLifecycle) -> None:
    """Raises IllegalStageChange unless a strategy may go from one stage to the other."""
    if (from_stage, to_stage) not in LEGAL:
        raise IllegalStageChange(subject, from_stage, to_stage)


def backtest_gate(metrics: StrategyMetrics, gates: GatesConfig) -> Verdict:
    """May a candidate enter SHADOW? One of several looks at it: each asks for so much more that all together let luck
    through no oftener than one look at the configured level would."""
    wanted = gates.backtest_psr if gates.gate == "psr" else gates.backtest_dsr
    level = rolling_level(
        round(1 - wanted, 9), window=gates.backtest_sessions, step=gates.review_every, looks=gates.backtest_looks
    )
    skill = _at_least(gates.gate, metrics.psr if gates.gate == "psr" else metrics.dsr, 1 - level)
    return _verdict(
        _at_least("sessions", metrics.sessions, gates.backtest_sessions),
        _at_least("trades", metrics.trades, gates.backtest_trades),
        _at_least("profit_factor", metrics.profit_factor, gates.backtest_profit_factor),
        _at_most("max_drawdown", metrics.max_drawdown, gates.backtest_drawdown),
        skill,
    )


def shadow_gate(metrics: StrategyMetrics, gates: GatesConfig, health: HealthStatus, *, rival: str = "") -> Verdict:
    """May a strategy in SHADOW go LIVE? `rival` is the live strategy that its similarity tells of, where that is known."""
    similar = (
        None if metrics.similarity <= gates.similar else f"correlation {metrics.similarity:.4g} > {gates.similar:g}"
    )
    return _verdict(
        _at_least("sessions", metrics.sessions, gates.shadow_sessions),
        _at_least("trades", metrics.trades, gates.shadow_trades),
        _at_least("profit_factor", metrics.profit_factor, gates.shadow_profit_factor),
        None if metrics.sharpe > gates.shadow_sharpe else f"sharpe {metrics.sharpe:.4g} <= {gates.shadow_sharpe:g}",
        _at_most("max_drawdown", metrics.max_drawdown, gates.shadow_drawdown),
        similar and f"TOO_SIMILAR to {rival or 'a live strategy'}: {similar}",
        "health CRITICAL" if health is HealthStatus.CRITICAL else None,
    )


def is_surely_better(comparison: DieboldMariano, gates: GatesConfig) -> bool:
    """Does a candidate earn more a day than a live strategy like it? One look of those that a stay in SHADOW allows."""
    looks = max(0, gates.shadow_patience - gates.shadow_sessions) // gates.review_every + 1
    level = growing_level(gates.similar_p, first=gates.shadow_sessions, step=gates.review_every, looks=looks)
    return comparison.p < level


def live_gate(metrics: StrategyMetrics, gates: GatesConfig) -> Verdict:
    """May a LIVE strategy stay? Not judged without a position of its own, nor before the window is full; few trades are no
    reason to retire it, and a broken drawdown always is."""
    drawdown = _at_most("max_drawdown", metrics.max_drawdown, gates.live_drawdown)
    unfilled = _at_least("sessions", metrics.sessions, gates.live_sessions)
    if drawdown is None and not metrics.trades:
        return Verdict(None, ("no position in the window",))
    if drawdown is None and unfilled is not None:
        return Verdict(None, (unfilled,))
    judged = unfilled is None and metrics.trades >= gates.live_trades
    losing = judged and not metrics.profit_factor >= gates.live_profit_factor
    return _verdict(
        f"profit_factor {metrics.profit_factor:.4g} < {gates.live_profit_factor:g}" if losing else None, drawdown
    )


def review(
    stage: StrategyLifecycle,
    metrics: StrategyMetrics,
    *,
    sessions_in_stage: int,
    health: HealthStatus,
    gates: GatesConfig,
) -> StageChange | None:
    """The change of stage that the rules of the lifecycle ask for, or None to stay.

    A figure that is not a number fails its criterion.
    """
    match stage:
        case StrategyLifecycle.BACKTEST if backtest_gate(metrics, gates).passed:
            return _change(stage, SHADOW, "backtest gate passed", metrics)
        case StrategyLifecycle.SHADOW:
            verdict = shadow_gate(metrics, gates, health)
            if verdict.passed:
                return _change(stage, LIVE, "shadow gate passed", metrics)
            if sessions_in_stage >= gates.shadow_patience:
                reason = f"{sessions_in_stage} sessions without qualifying: {', '.join(verdict.reasons)}"
                return _change(stage, BACKTEST, reason, metrics)
        case StrategyLifecycle.LIVE:
            verdict = live_gate(metrics, gates)
            if verdict.passed is False:
                return _change(stage, RETIRED, ", ".join(verdict.reasons), metrics)
        case StrategyLifecycle.RETIRED if sessions_in_stage >= gates.retired_sessions:
            return _change(stage, BACKTEST, f"{sessions_in_stage} sessions after retirement", metrics)
        case _:
            pass
    return None


class ModelStage(StrEnum):
    """The life of a version of a model: only one of a name is LIVE, those in the SHADOW are scored beside it."""

    TRAINED = "TRAINED"
    SHADOW = "SHADOW"
    LIVE = "LIVE"
    RETIRED = "RETIRED"


# RETIRED -> LIVE is the rollback: the old version stays registered for it.
LEGAL_MODEL: Final = frozenset(
    {
        (ModelStage.TRAINED, ModelStage.SHADOW),
        (ModelStage.SHADOW, ModelStage.LIVE),
        (ModelStage.SHADOW, ModelStage.RETIRED),
        (ModelStage.LIVE, ModelStage.RETIRED),
        (ModelStage.RETIRED, ModelStage.LIVE),
    }
)


MODEL_GATE: Final = ModelGateConfig()


class Challenge(StrEnum):
    """The answer to a challenger: not yet, promoted, or rejected for good."""

    WAIT = "WAIT"
    PROMOTE = "PROMOTE"
    REJECT = "REJECT"


@dataclass(frozen=True, slots=True)
class ChallengeResult:
    """The answer to a challenger, with every reason why it is not promoted yet."""

    answer: Challenge
    reasons: tuple[str, ...]


def check_legal_model(subject: str, from_stage: ModelStage, to_stage: ModelStage) -> None:
    """Raises IllegalStageChange unless a model version may go from one stage to the other."""
    if (from_stage, to_stage) not in LEGAL_MODEL:
        raise IllegalStageChange(subject, from_stage, to_stage)


def challenge(
    comparison: DieboldMariano, *, sessions_since_violation: int | None, gate: ModelGateConfig = MODEL_GATE
) -> ChallengeResult:
    """May the challenger replace the live model? `comparison` covers its whole time in shadow, of which this is one look.

    `sessions_since_violation` counts from the last rule-1 violation of its own error, None if there was none. The
    reasons are the criteria that failed; none when it is promoted.
    """
    level = growing_level(gate.p, first=gate.sessions, step=gate.every, looks=gate.looks)
    quiet = math.inf if sessions_since_violation is None else sessions_since_violation
    verdict = _verdict(
        _at_least("sessions", comparison.n, gate.sessions),
        None if comparison.p < level else f"p {comparison.p:.4g} >= {level:.4g}",
        _at_most("mse_ratio", comparison.ratio, gate.mse_ratio),
        _at_least("sessions since a violation", quiet, gate.quiet_sessions),
    )
    if verdict.passed:
        return ChallengeResult(Challenge.PROMOTE, ())
    answer = Challenge.REJECT if comparison.n >= gate.patience else Challenge.WAIT
    return ChallengeResult(answer, verdict.reasons)


def needs_rollback(comparison: DieboldMariano, gate: ModelGateConfig = MODEL_GATE) -> bool:
    """Has the replaced model beaten its successor? `comparison` takes the successor as live, the old one as challenger,
    over the sessions since the promotion; it is due once, when `rollback_sessions` are over."""
    return comparison.n >= gate.rollback_sessions and comparison.p < gate.p


def _change(
    from_stage: StrategyLifecycle, to_stage: StrategyLifecycle, reason: str, metrics: StrategyMetrics
) -> StageChange:
    return StageChange(from_stage, to_stage, reason, asdict(metrics))


def _verdict(*failures: str | None) -> Verdict:
    reasons = tuple(failure for failure in failures if failure is not None)
    return Verdict(not reasons, reasons)


# Written so that a NaN fails.
def _at_least(name: str, value: float, threshold: float) -> str | None:
    return None if value >= threshold else f"{name} {value:.4g} < {threshold:g}"


def _at_most(name: str, value: float, threshold: float) -> str | None:
    return None if value <= threshold else f"{name} {value:.4g} > {threshold:g}"

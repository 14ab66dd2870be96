"""Subjects: how strategies and models are measured for an evaluation, from bars and losses stored as they came.

The evaluation handler feeds these and asks; when something is measured, how often, and what follows, is not known here.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Protocol

from quantum_trader.alpha.families import LONGEST_WINDOW, StrategySpec
from quantum_trader.config import Costs
from quantum_trader.events import EvaluationRequestedEvent, Purpose, ScoreItem
from quantum_trader.execution.marked import KEPT
from quantum_trader.instruments import SHARES, Instruments
from quantum_trader.learning.catalogue import ENSEMBLE, FIRST
from quantum_trader.learning.lifecycle import (
    Challenge,
    ModelGate,
    StrategyGates,
    StrategyMetrics,
    Verdict,
    backtest_gate,
    challenge,
    live_gate,
    needs_rollback,
    shadow_gate,
)
from quantum_trader.learning.statistics import (
    DieboldMariano,
    annual_sharpe,
    deflated_sharpe,
    diebold_mariano,
    max_drawdown,
    moments,
    probabilistic_sharpe,
    profit_factor,
    sharpe,
)
from quantum_trader.learning.trial import Group, Trial, run
from quantum_trader.model import Bar, HealthStatus

STORED: Final = KEPT + LONGEST_WINDOW  # sessions of bars: a candidate's window and the warm-up before it
LOSSES: Final = 400  # sessions of losses: the patience of the gate, and a rollback's window
_RANGE_OF_TWO: Final = 1.128  # mean range of two standard normal values: the individuals chart's d2
NEVER: Final = -1.0  # stands for "no violation" among metrics, which are numbers
_FIGURES: Final = tuple(field.name for field in fields(StrategyMetrics))


class UnknownSubject(LookupError):
    """Nothing is known of what is to be evaluated. Create or train it first."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of a subject over the window asked for, and the verdict of the gate that its purpose names."""

    metrics: dict[str, float]
    verdict: Verdict


class Subjects(Protocol):
    """Everything of one kind that can be evaluated."""

    def measure(self, request: EvaluationRequestedEvent) -> Measured:
        """Measure over `first_session`..`last_session`. Raises UnknownSubject, and whatever a subject's code raises."""
        ...


class StrategySubjects:
    """Strategies, each run on the stored bars as far as it was needed yet.

    `weight` is the fraction of a trial's equity per symbol. Trials count for the deflated Sharpe ratio once created.
    """

    def __init__(self, costs: Costs, *, weight: float, gates: StrategyGates, instruments: Instruments = SHARES) -> None:
        self._costs = costs
        self._instruments = instruments
        self._weight = weight
        self._gates = gates
        self._stored: deque[Group] = deque(maxlen=STORED)
        self._closes: dict[str, tuple[list[int], list[float]]] = {}  # sessions and closes of what is stored, by symbol
        self._open: list[Bar] = []
        self._specs: dict[str, StrategySpec] = {}
        self._trials: dict[str, Trial] = {}
        self._sharpes: dict[
            tuple[int, int], list[float]
        ] = {}  # of every candidate, by the window of this session's asking

    def create(self, strategy_id: str, spec: StrategySpec) -> None:
        """Another candidate exists."""
        self._specs[strategy_id] = spec
        self._sharpes.clear()

    def bar(self, bar: Bar) -> None:
        """Take a bar of the session that is going on, in sorted symbol order."""
        self._open.append(bar)

    def close(self, session: int) -> None:
        """The session is over: what came since the last one is stored."""
        self._sharpes.clear()
        if self._open:
            self._store(Group(session, tuple(self._open)))
            self._open = []

    def measure(self, request: EvaluationRequestedEvent) -> Measured:
        trial = self._trial(request.subject_id)
        first, last = request.first_session, request.last_session
        returns = moments(trial.returns(first, last))
        profits = trial.profits(first, last, self._close_at)
        metrics = StrategyMetrics(
            sessions=trial.sessions(first, last),
            trades=len(profits),
            profit_factor=profit_factor(profits),
            max_drawdown=max_drawdown(trial.equity(first, last)),
            sharpe=annual_sharpe(returns),
            psr=probabilistic_sharpe(returns),
            dsr=deflated_sharpe(returns, self._all_sharpes(first, last), len(self._specs)),
        )
        return Measured({name: float(getattr(metrics, name)) for name in _FIGURES}, self._judge(request, metrics))

    def _store(self, group: Group) -> None:
        if len(self._stored) == STORED:
            for bar in self._stored[0].bars:
                for column in self._closes[bar.symbol]:
                    del column[0]
        self._stored.append(group)
        for bar in group.bars:
            sessions, closes = self._closes.setdefault(bar.symbol, ([], []))
            sessions.append(bar.session)
            closes.append(bar.close)

    def _close_at(self, symbol: str, session: int) -> float:
        """The last close of a symbol at or before a session, of those that are stored."""
        sessions, closes = self._closes[symbol]
        return closes[max(0, bisect_right(sessions, session) - 1)]

    def _all_sharpes(self, first: int, last: int) -> list[float]:
        """The Sharpe ratio that each candidate ever made would have had in `first`..`last`, whatever became of it.

        One whose returns do not vary there has none: it was no try that luck could have helped.
        """
        found = self._sharpes.get((first, last))
        if found is None:
            known = (moments(self._trial(key).returns(first, last)) for key in sorted(self._specs))
            found = self._sharpes[first, last] = [sharpe(one) for one in known if one.varies]
        return found

    def _judge(self, request: EvaluationRequestedEvent, metrics: StrategyMetrics) -> Verdict:
        match request.purpose:
            case Purpose.BACKTEST:
                return backtest_gate(metrics, self._gates)
            case Purpose.SHADOW:
                # The figures alone: how healthy the whole is, is asked when the stage is changed.
                return shadow_gate(metrics, self._gates, HealthStatus.HEALTHY)
            case _:
                return live_gate(metrics, self._gates)

    def _trial(self, strategy_id: str) -> Trial:
        trial = self._trials.get(strategy_id)
        oldest = self._stored[0].session if self._stored else 0
        # One that slept longer than bars are kept starts over: a gap would be a position nobody watched.
        if trial is None or trial.through < oldest - 1:
            spec = self._specs.get(strategy_id)
            if spec is None:
                raise UnknownSubject(f"strategy {strategy_id}: nobody created it")
            trial = self._trials[strategy_id] = Trial(
                spec, self._costs, weight=self._weight, instruments=self._instruments
            )
        run(trial, self._since(trial.through))
        return trial

    def _since(self, through: int) -> Iterable[Group]:
        newest = []
        for group in reversed(self._stored):
            if group.session <= through:
                break
            newest.append(group)
        return reversed(newest)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "stored": [
                [group.session, group.bars[0].ts.isoformat(), [_numbers(bar) for bar in group.bars]]
                for group in self._stored
            ],
            "specs": {key: [spec.family, list(spec.params)] for key, spec in self._specs.items()},
            "trials": {key: trial.state() for key, trial in self._trials.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._stored.clear()
        self._closes = {}
        for saved in state["stored"]:
            self._store(_session(*saved))
        self._specs = {key: StrategySpec(family, tuple(params)) for key, (family, params) in state["specs"].items()}
        self._trials = {}
        for key, saved in state["trials"].items():
            trial = self._trials[key] = Trial(
                self._specs[key], self._costs, weight=self._weight, instruments=self._instruments
            )
            trial.restore(saved)
        self._sharpes.clear()


class ModelSubjects:
    """Models by the losses of their forecasts, session by session; `live` and `before` say who competes with whom."""

    def __init__(self, gate: ModelGate) -> None:
        self._gate = gate
        self._losses: dict[tuple[str, int], deque[tuple[int, float]]] = {}
        self._errors: dict[tuple[str, int], deque[tuple[int, float]]] = {}
        self._live: dict[str, int] = {FIRST[0]: FIRST[1]}
        self._before: dict[str, int] = {}

    def promote(self, model: str, old_version: int, new_version: int) -> None:
        """Another version of `model` is live now."""
        self._live[model], self._before[model] = new_version, old_version

    def score(self, session: int, items: Iterable[ScoreItem]) -> None:
        """Take the errors of a session: the loss is the mean over symbols of their squares."""
        errors: dict[tuple[str, int], list[float]] = {}
        for item in items:
            errors.setdefault((item.model, item.version), []).append(item.error)
        for (model, version), values in errors.items():
            self.loss(model, version, session, math.fsum(value**2 for value in values) / len(values))
            kept = self._errors.setdefault((model, version), deque(maxlen=LOSSES))
            kept.append((session, math.fsum(values) / len(values)))

    def loss(self, model: str, version: int, session: int, value: float) -> None:
        """Take the loss of a model in a session."""
        if (model, version) not in self._losses:
            self._forget(session - LOSSES)
            self._losses[model, version] = deque(maxlen=LOSSES)
        self._losses[model, version].append((session, value))

    def _forget(self, last: int) -> None:
        """Drop versions that have not been scored since session `last`: no window reaches back that far."""
        for series in (self._losses, self._errors):
            for key in [key for key, kept in series.items() if kept[-1][0] <= last]:
                del series[key]

    def measure(self, request: EvaluationRequestedEvent) -> Measured:
        model, version = request.subject_id, request.version
        first, last = request.first_session, request.last_session
        if request.purpose is Purpose.LIVE_REVIEW:
            comparison = self._compare(model, version, self._before.get(model, 0), first, last)
            verdict = (
                Verdict(False, ("beaten by the version before",))
                if needs_rollback(comparison, self._gate)
                else Verdict(True)
            )
            return Measured(_figures(comparison, None), verdict)
        comparison = self._compare(model, self._live.get(model, 0), version, first, last)
        quiet = self._since_violation((model, version), first, last)
        result = challenge(comparison, sessions_since_violation=quiet, gate=self._gate)
        return Measured(_figures(comparison, quiet), Verdict(result.answer is Challenge.PROMOTE, result.reasons))

    def _compare(self, model: str, live: int, challenger: int, first: int, last: int) -> DieboldMariano:
        ours, theirs = self._series(model, live), self._series(model, challenger)
        both = [session for session in sorted(ours) if session in theirs and first <= session <= last]
        return diebold_mariano([ours[session] for session in both], [theirs[session] for session in both])

    def _series(self, model: str, version: int) -> dict[int, float]:
        found = self._losses.get((model, version))
        # Where no version is live yet, a challenger competes with what is used instead: the combined forecast.
        if found is None and version == 0:
            found = self._losses.get((ENSEMBLE, 0))
        if found is None:
            raise UnknownSubject(f"model {model} version {version}: it was never scored")
        return dict(found)

    def _since_violation(self, key: tuple[str, int], first: int, last: int) -> int | None:
        """Sessions since the challenger's own mean error was last beyond 3 sigma, None if never."""
        series = [(session, error) for session, error in self._errors.get(key, ()) if first <= session <= last]
        if len(series) < 2:
            return None
        centre = math.fsum(error for _, error in series) / len(series)
        moves = [abs(b - a) for (_, a), (_, b) in pairwise(series)]
        sigma = math.fsum(moves) / len(moves) / _RANGE_OF_TWO
        if sigma <= 0:
            return None
        beyond = [session for session, error in series if abs(error - centre) > 3 * sigma]
        return last - beyond[-1] if beyond else None

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "losses": [[*key, [list(point) for point in kept]] for key, kept in self._losses.items()],
            "errors": [[*key, [list(point) for point in kept]] for key, kept in self._errors.items()],
            "live": dict(self._live),
            "before": dict(self._before),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._losses, self._errors = _points(state["losses"]), _points(state["errors"])
        self._live, self._before = dict(state["live"]), dict(state["before"])


def comparison_of(metrics: Mapping[str, float]) -> tuple[DieboldMariano, int | None]:
    """The comparison that a model's evaluation measured, and the sessions since a violation, None if never."""
    quiet = metrics["since_violation"]
    dm = DieboldMariano(t=metrics["t"], p=metrics["p"], n=int(metrics["sessions"]), ratio=metrics["mse_ratio"])
    return dm, None if quiet == NEVER else int(quiet)


def _figures(comparison: DieboldMariano, quiet: int | None) -> dict[str, float]:
    return {
        "t": comparison.t,
        "p": comparison.p,
        "sessions": float(comparison.n),
        "mse_ratio": comparison.ratio,
        "since_violation": NEVER if quiet is None else float(quiet),
    }


def _points(saved: Iterable[Any]) -> dict[tuple[str, int], deque[tuple[int, float]]]:
    return {(model, version): deque(((a, b) for a, b in kept), maxlen=LOSSES) for model, version, kept in saved}


def _numbers(bar: Bar) -> list[Any]:
    return [bar.symbol, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.adj_factor]


def _session(session: int, ts: str, bars: Iterable[Any]) -> Group:
    at = datetime.fromisoformat(ts)
    return Group(session, tuple(Bar(symbol, session, at, *rest) for symbol, *rest in bars))

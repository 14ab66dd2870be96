"""Strategy subjects: how strategies are measured for an evaluation, on the bars as they came and by their own fills.

The evaluation handler feeds them and asks; when something is measured, how often, and what follows, is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final, NamedTuple

from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.trials import Trials
from quantum_trader.config import StrategiesConfig
from quantum_trader.events import EvaluationRequestedEvent, Purpose
from quantum_trader.execution.marked import MarkedBook
from quantum_trader.execution.sole import SoleAccount
from quantum_trader.learning.lifecycle import (
    StrategyMetrics,
    Verdict,
    backtest_gate,
    is_surely_better,
    live_gate,
    shadow_gate,
)
from quantum_trader.learning.statistics import (
    SESSIONS_PER_YEAR,
    Series,
    annual_sharpe,
    correlation,
    deflated_sharpe,
    diebold_mariano,
    max_drawdown,
    moments,
    probabilistic_sharpe,
    profit_factor,
    sharpe,
)
from quantum_trader.learning.subjects import Measured, UnknownSubject
from quantum_trader.model import Bar, HealthStatus, StrategyLifecycle

_FIGURES: Final = tuple(field.name for field in fields(StrategyMetrics))


class _Filled(NamedTuple):
    strategy_id: str
    symbol: str
    session: int
    shares: Decimal
    cash: float
    late: bool


class _Peers(NamedTuple):
    """What the deflated Sharpe ratio is deflated by: the ratios of all that were tried, and how many that were."""

    sharpes: Sequence[float]
    tried: int


class StrategySubjects:
    """Strategies: each by its trial, the live ones by their own fills.

    `periods_per_year` is the sessions that annual figures are reckoned with. Trials count for the deflated Sharpe ratio once
    created.
    """

    def __init__(
        self,
        trials: Trials,
        config: StrategiesConfig,
        *,
        periods_per_year: int = SESSIONS_PER_YEAR,
    ) -> None:
        self._periods_per_year = periods_per_year
        self._config = config
        self._trials = trials
        self._live: dict[str, MarkedBook] = {}  # of the strategies that were ever filled
        self._filled: list[_Filled] = []  # not booked yet
        self._in_live: dict[str, None] = {}
        self._admitted: dict[str, None] = {}  # passed into LIVE in this session's round
        self._replaced: dict[str, None] = {}  # by one that was
        self._sharpes: dict[
            tuple[int, int], list[float]
        ] = {}  # of every candidate, by the window of this session's asking

    def create(self, strategy_id: str, spec: StrategySpec) -> None:
        """Another candidate exists."""
        self._trials.create(strategy_id, spec)
        self._sharpes.clear()

    def promote(self, strategy_id: str, to_stage: StrategyLifecycle) -> None:
        """A strategy changed its stage."""
        if to_stage is StrategyLifecycle.LIVE:
            self._in_live[strategy_id] = None
        else:
            self._in_live.pop(strategy_id, None)

    def bar(self, bar: Bar) -> None:
        """Take a bar of the session that is going on."""
        self._trials.bar(bar)

    def fill(self, strategy_id: str, symbol: str, session: int, shares: Decimal, cash: float, *, late: bool) -> None:
        """Something was bought (`shares` above 0) or sold for a strategy; it brought `cash`, costs taken off.

        What is found `late`, while its session is being closed, may come before or after that: it counts in the next.
        """
        self._filled.append(_Filled(strategy_id, symbol, session, shares, cash, late))

    def close(self, session: int) -> None:
        """The session is over: what came since the last one is stored, and marked."""
        self._sharpes.clear()
        self._admitted.clear()
        self._replaced.clear()
        self._trials.close(session)
        self._book_fills(session)
        closes = self._trials.last_closes() if self._live else {}
        for book in self._live.values():
            book.close(session, closes)

    def measure(self, request: EvaluationRequestedEvent) -> Measured:
        live = request.purpose is Purpose.LIVE_REVIEW
        subject, first, last = request.subject_id, request.first_session, request.last_session
        figures = self._live_figures if live else self._trial_figures
        metrics = figures(subject, first, last, _Peers(self._all_sharpes(first, last), len(self._trials.known)))
        verdict, replaces = self._judge(request.purpose, metrics), tuple[str, ...]()
        if request.purpose is Purpose.SHADOW and verdict.passed:
            metrics, verdict, replaces = self._among_the_live(request, metrics)
        return Measured({name: float(getattr(metrics, name)) for name in _FIGURES}, verdict, replaces)

    def by_own_fills(self, strategy_id: str, session: int) -> dict[Purpose, Measured]:
        """What each gate finds by what the account did for a strategy, in the gate's window up to `session`.

        For a strategy that is LIVE by its user's word, and stands alone: nothing follows from it. Raises `UnknownSubject`.
        """
        gates = self._config.gates
        windows = {
            Purpose.BACKTEST: gates.backtest_sessions,
            Purpose.SHADOW: gates.shadow_sessions,
            Purpose.LIVE_REVIEW: gates.live_sessions,
        }
        found = {}
        for purpose, window in windows.items():
            metrics = self._live_figures(strategy_id, max(0, session - window + 1), session, _Peers((), 1))
            found[purpose] = Measured(asdict(metrics), self._judge(purpose, metrics))
        return found

    def _among_the_live(
        self, request: EvaluationRequestedEvent, metrics: StrategyMetrics
    ) -> tuple[StrategyMetrics, Verdict, tuple[str, ...]]:
        """What good a strategy would do beside those that are live, or passed before it in this round.

        They are compared by the same account over the same sessions, for the live one's fills depend on what it was
        crowded out by.
        """
        subject, first, last = request.subject_id, request.first_session, request.last_session
        gates, mine = self._config.gates, self._account(subject).returns(first, last)
        most, rival, worse = 0.0, "", []
        known = self._trials.known
        for other in sorted(self._in_live.keys() | self._admitted.keys()):
            if other == subject or other in self._replaced or other not in known:
                continue
            theirs = self._account(other).returns(first, last)
            alike = correlation(mine, theirs)
            if alike <= gates.similar:
                continue
            if is_surely_better(diebold_mariano(-theirs, -mine), gates):
                worse.append(other)
            elif alike > most:
                most, rival = alike, other
        metrics = replace(metrics, similarity=most)
        verdict = shadow_gate(metrics, gates, HealthStatus.HEALTHY, rival=rival)
        if not verdict.passed:
            return metrics, verdict, ()
        self._admitted[subject] = None
        self._replaced |= dict.fromkeys(worse)
        return metrics, verdict, tuple(worse)

    def _trial_figures(self, strategy_id: str, first: int, last: int, peers: _Peers) -> StrategyMetrics:
        account = self._account(strategy_id)
        returns, profits = account.returns(first, last), account.book.profits(first, last, self._trials.close_at)
        sessions = account.book.sessions(first, last)
        return self._figures(returns, profits, account.equity(first, last), sessions, peers)

    def _live_figures(self, strategy_id: str, first: int, last: int, peers: _Peers) -> StrategyMetrics:
        """By what the account did for it: profit of each session over its own mean capital at work.

        The mean is over the sessions in which it had any: days without a position tie up nothing, and would make the
        losses of a strategy that is seldom in the market look the larger the more seldom it is.
        """
        if strategy_id not in self._trials.known:
            raise UnknownSubject(f"strategy {strategy_id}: nobody created it")
        sessions = self._trials.sessions(first, last)
        book = self._live.get(strategy_id)
        daily = [] if book is None else book.daily(first, last)
        profits = [] if book is None else book.profits(first, last, self._trials.close_at)
        work = [] if book is None else [capital for capital in book.capital(first, last) if capital > 0]
        mean = math.fsum(work) / len(work) if work else 1.0
        returns = [0.0] * (sessions - len(daily)) + [profit / mean for profit in daily]
        equity = list(accumulate(returns, initial=1.0))
        return self._figures(returns, profits, equity, sessions, peers)

    def _figures(
        self, returns: Series, profits: Series, equity: Series, sessions: int, peers: _Peers
    ) -> StrategyMetrics:
        known = moments(returns)
        return StrategyMetrics(
            sessions=sessions,
            trades=len(profits),
            profit_factor=profit_factor(profits),
            max_drawdown=max_drawdown(equity),
            sharpe=annual_sharpe(known, self._periods_per_year),
            psr=probabilistic_sharpe(known),
            dsr=deflated_sharpe(known, peers.sharpes, peers.tried),
        )

    def _book_fills(self, session: int) -> None:
        filled, self._filled = self._filled, []
        for one in filled:
            if one.late and one.session >= session:
                self._filled.append(one)
                continue
            book = self._live.get(one.strategy_id)
            if book is None:
                book = self._live[one.strategy_id] = MarkedBook()
            book.fill(one.session, one.symbol, one.shares, one.cash)

    def _all_sharpes(self, first: int, last: int) -> list[float]:
        """The Sharpe ratio that each candidate ever made would have had in `first`..`last`, whatever became of it.

        One whose returns do not vary there has none: it was no try that luck could have helped.
        """
        found = self._sharpes.get((first, last))
        if found is None:
            known = (moments(self._account(key).returns(first, last)) for key in self._trials.known)
            found = self._sharpes[first, last] = [sharpe(one) for one in known if one.varies]
        return found

    def _judge(self, purpose: Purpose, metrics: StrategyMetrics) -> Verdict:
        match purpose:
            case Purpose.BACKTEST:
                return backtest_gate(metrics, self._config.gates)
            case Purpose.SHADOW:
                # The figures alone: how healthy the whole is, is asked when the stage is changed.
                return shadow_gate(metrics, self._config.gates, HealthStatus.HEALTHY)
            case _:
                return live_gate(metrics, self._config.gates)

    def _account(self, strategy_id: str) -> SoleAccount:
        try:
            return self._trials.account(strategy_id)
        except KeyError:
            raise UnknownSubject(f"strategy {strategy_id}: nobody created it") from None

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "live": {key: book.state() for key, book in self._live.items()},
            "in_live": list(self._in_live),
            "filled": [[*one[:3], str(one.shares), *one[4:]] for one in self._filled],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._live = {}
        for key, saved in state["live"].items():
            book = self._live[key] = MarkedBook()
            book.restore(saved)
        self._in_live = dict.fromkeys(state["in_live"])
        self._filled = [
            _Filled(strategy_id, symbol, session, Decimal(shares), cash, late)
            for strategy_id, symbol, session, shares, cash, late in state["filled"]
        ]
        self._sharpes.clear()

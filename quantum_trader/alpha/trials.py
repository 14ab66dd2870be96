"""Trials: every strategy alone on the bars so far, each computed once for whoever asks: for its targets, or its profit.

Who hears of a bar or of the end of a session first, tells it; told again, it changes nothing, so nobody depends on another who
asks here. A trial is brought up to date when somebody asks for it: a candidate at its reviews, who may speak every session.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from quantum_trader.alpha.families import LONGEST_WINDOW, StrategySpec
from quantum_trader.alpha.stops import Stops
from quantum_trader.alpha.trial import Group, Trial, run
from quantum_trader.config import Costs, StrategiesConfig
from quantum_trader.execution.marked import KEPT
from quantum_trader.execution.sole import SoleAccount
from quantum_trader.instruments import SHARES, Instruments
from quantum_trader.model import Bar

STORED: Final = KEPT + LONGEST_WINDOW  # sessions of bars: a candidate's window and the warm-up before it


class Trials:
    """The bars of the last 1,300 sessions, the stops at their closes, and a trial of each strategy created.

    `cooldown` is the sessions that a symbol rests after a stop.
    """

    def __init__(
        self, costs: Costs, config: StrategiesConfig, *, cooldown: int, instruments: Instruments = SHARES
    ) -> None:
        self._costs = costs
        self._config = config
        self._cooldown = cooldown
        self._instruments = instruments
        self._specs: dict[str, StrategySpec] = {}
        self._trials: dict[str, Trial] = {}
        self._stored: deque[Group] = deque(maxlen=STORED)
        self._stops = Stops(config.stop_atr)
        self._closes: dict[str, tuple[list[int], list[float]]] = {}  # sessions and closes of what is stored, by symbol
        self._open: dict[str, Bar] = {}  # of the session that is going on
        self._session = -1  # the last that is over

    @property
    def known(self) -> Sequence[str]:
        """Every strategy ever created, sorted."""
        return sorted(self._specs)

    def create(self, strategy_id: str, spec: StrategySpec) -> None:
        """A strategy exists."""
        self._specs[strategy_id] = spec

    def bar(self, bar: Bar) -> None:
        """Take a bar of the session that is going on."""
        if bar.session > self._session:
            self._open[bar.symbol] = bar

    def close(self, session: int) -> None:
        """The session is over: what came since the last one is stored."""
        if session <= self._session:
            return
        self._session = session
        if self._open:
            bars = tuple(self._open.values())
            self._open = {}
            self._store(Group(session, bars, {bar.symbol: self._stops.take(bar) for bar in bars}))

    def account(self, strategy_id: str) -> SoleAccount:
        """What a strategy alone has come to by the last close. Raises `KeyError` for one that nobody created."""
        return self._up_to_date(strategy_id).account

    def targets(self, strategy_id: str) -> Mapping[str, int | None]:
        """What a strategy wants at the last close of each symbol: 1 long, 0 flat, None while warming up.

        Raises `KeyError` for one that nobody created.
        """
        return self._up_to_date(strategy_id).targets()

    def stop(self, symbol: str) -> float | None:
        """Where an entry decided at the last close of a symbol would be protected; None before there are enough bars to say."""
        return self._stops.level(symbol)

    def last_closes(self) -> dict[str, float]:
        """The last close of each symbol that is stored."""
        return {symbol: column[-1] for symbol, (_, column) in self._closes.items() if column}

    def close_at(self, symbol: str, session: int) -> float:
        """The last close of a symbol at or before a session, of those that are stored."""
        sessions, closes = self._closes[symbol]
        return closes[max(0, bisect_right(sessions, session) - 1)]

    def sessions(self, first: int, last: int) -> int:
        """How many of the sessions `first`..`last` are stored."""
        stored = [group.session for group in self._stored]
        return bisect_right(stored, last) - bisect_left(stored, first)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; costs and sizes are configuration."""
        return {
            "stored": [
                [
                    group.session,
                    group.bars[0].ts.isoformat(),
                    [[*_numbers(bar), group.stops[bar.symbol]] for bar in group.bars],
                ]
                for group in self._stored
            ],
            "session": self._session,
            "stops": self._stops.state(),
            "specs": {key: [spec.family, list(spec.params)] for key, spec in self._specs.items()},
            "trials": {key: trial.state() for key, trial in self._trials.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._stored.clear()
        self._closes, self._open = {}, {}
        for saved in state["stored"]:
            self._store(_session(*saved))
        self._session = state["session"]
        self._stops.restore(state["stops"])
        self._specs = {key: StrategySpec(family, tuple(params)) for key, (family, params) in state["specs"].items()}
        self._trials = {}
        for key, saved in state["trials"].items():
            trial = self._trials[key] = self._fresh(self._specs[key])
            trial.restore(saved)

    def _up_to_date(self, strategy_id: str) -> Trial:
        trial = self._trials.get(strategy_id)
        oldest = self._stored[0].session if self._stored else 0
        # One that slept longer than bars are kept starts over: a gap would be a position nobody watched.
        if trial is None or trial.through < oldest - 1:
            trial = self._trials[strategy_id] = self._fresh(self._specs[strategy_id])
        run(trial, self._since(trial.through))
        return trial

    def _fresh(self, spec: StrategySpec) -> Trial:
        account = SoleAccount(
            self._costs,
            weight=self._config.weight_per_symbol,
            cooldown=self._cooldown,
            instruments=self._instruments,
        )
        return Trial(spec, account, settle_bars=self._config.settle_bars)

    def _since(self, through: int) -> Iterable[Group]:
        newest = []
        for group in reversed(self._stored):
            if group.session <= through:
                break
            newest.append(group)
        return reversed(newest)

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


def _numbers(bar: Bar) -> list[Any]:
    return [bar.symbol, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.adj_factor]


def _session(session: int, ts: str, bars: Iterable[Any]) -> Group:
    at = datetime.fromisoformat(ts)
    made = [(Bar(symbol, session, at, *rest), stop) for symbol, *rest, stop in bars]
    return Group(session, tuple(bar for bar, _ in made), {bar.symbol: stop for bar, stop in made})

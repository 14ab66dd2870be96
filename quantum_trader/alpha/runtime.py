"""Strategy runtime: runs every strategy on every symbol and says, once a session, what has changed in their wishes.

Bars in, `signals.generated` out. Signals are edges, not levels: repeating a wish every session would only repeat its
denial. Stages and confidence are carried along, never improved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.trials import Trials
from quantum_trader.config import StrategiesConfig
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    MarketBarEvent,
    MetricRecordedEvent,
    OpportunitiesUpdatedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
    SignalItem,
    SignalsGeneratedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
    Warrant,
    steps_down_only,
    unwatched,
)
from quantum_trader.learning.statistics import probabilistic_sharpe
from quantum_trader.model import Bar, Side, Station, StrategyLifecycle, added, taken
from quantum_trader.snapshot import bar_of, bar_values, event_values, events_of

SOURCE = "strategy_runtime"
CONFIDENCE_METRIC = "strategy.confidence"
LEAST_FAITH = 0.75  # in a signal of the lowest rank
CONFIDENCE_EVERY = 5  # sessions between two statements of confidence
_SPEAKING = frozenset({StrategyLifecycle.SHADOW, StrategyLifecycle.LIVE, StrategyLifecycle.RETIRED})


@dataclass(slots=True)
class _Said:
    """The target last signalled by one strategy in one symbol, and when."""

    target: int = 0
    session: int = 0


@dataclass(slots=True)
class _Strategy:
    """`confidence` comes from its trial, in every stage and whatever the portfolio made of its signals."""

    spec: StrategySpec
    stage: StrategyLifecycle = StrategyLifecycle.BACKTEST
    said: defaultdict[str, _Said] = field(default_factory=lambda: defaultdict(_Said))  # by symbol
    confidence: float | None = None  # None until it is asked for in this session


class StrategyRuntimeEngine:
    """Runs what `strategy.created` told of, in the stages that `strategy.promoted` gave.

    With `ranked` the confidence of a signal is the strategy's times 0.75 to 1, by the rank of the symbol.
    """

    publishes: ClassVar = (MetricRecordedEvent, SignalsGeneratedEvent, ComponentHeartbeatEvent)

    def __init__(
        self,
        bus: EventBus,
        config: StrategiesConfig,
        trials: Trials,
        *,
        warrant: Warrant = steps_down_only,
        ranked: bool = False,
        alive: Alive = unwatched,
    ) -> None:
        self._bus = bus
        self._alive = alive
        self._config = config
        self._trials = trials
        self._warrant = warrant
        self._ranked = ranked
        self._rankings: list[OpportunitiesUpdatedEvent] = []  # the one in force, and those that will be
        self._session = -1  # the last that was closed
        self._strategies: dict[str, _Strategy] = {}
        self._held: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self._last: dict[str, Bar] = {}
        self._promotions: list[StrategyPromotedEvent] = []
        bus.subscribe(StrategyCreatedEvent, self.on_strategy_created, name="runtime.created")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name="runtime.promoted")
        bus.subscribe(OpportunitiesUpdatedEvent, self.on_opportunities_updated, name="runtime.ranking")
        bus.subscribe(MarketBarEvent, self.on_bar, name="runtime.bar")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="runtime.trade")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="runtime.closed")
        bus.subscribe(SessionDecideEvent, self.on_session_decide, name="runtime.decide")

    def stages(self) -> dict[str, StrategyLifecycle]:
        """The stage of each strategy, by id."""
        return {strategy_id: strategy.stage for strategy_id, strategy in sorted(self._strategies.items())}

    async def on_strategy_created(self, event: StrategyCreatedEvent) -> None:
        spec = StrategySpec.named_params(event.family, event.params)
        self._trials.create(event.strategy_id, spec)
        self._strategies[event.strategy_id] = _Strategy(spec)
        self._strategies = dict(sorted(self._strategies.items()))

    async def on_strategy_promoted(self, event: StrategyPromotedEvent) -> None:
        self._promotions.append(event)

    async def on_opportunities_updated(self, event: OpportunitiesUpdatedEvent) -> None:
        self._rankings.append(event)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        pair = (event.strategy_id, event.symbol)
        change = added if event.side is Side.BUY else taken
        self._held[pair] = change(self._held[pair], event.size)

    async def on_bar(self, event: MarketBarEvent) -> None:
        bar = event.bar
        self._last[bar.symbol] = bar
        self._trials.bar(bar)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "strategies": {
                strategy_id: {
                    "family": strategy.spec.family,
                    "params": list(strategy.spec.params),
                    "stage": strategy.stage.value,
                    "said": {symbol: [said.target, said.session] for symbol, said in strategy.said.items()},
                }
                for strategy_id, strategy in self._strategies.items()
            },
            "held": [[*pair, str(qty)] for pair, qty in sorted(self._held.items())],
            "session": self._session,
            "last": [bar_values(bar) for bar in self._last.values()],
            "rankings": [event_values(event) for event in self._rankings],
            "promotions": [event_values(event) for event in self._promotions],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._strategies = {}
        for strategy_id, saved in state["strategies"].items():
            strategy = _Strategy(
                StrategySpec(saved["family"], tuple(saved["params"])), StrategyLifecycle(saved["stage"])
            )
            for symbol, said in saved["said"].items():
                strategy.said[symbol] = _Said(*said)
            self._strategies[strategy_id] = strategy
        self._held = defaultdict(Decimal, {(owner, symbol): Decimal(qty) for owner, symbol, qty in state["held"]})
        self._session = state["session"]
        self._last = {bar.symbol: bar for bar in map(bar_of, state["last"])}
        self._rankings = events_of(state["rankings"])
        self._promotions = events_of(state["promotions"])

    def _confidence(self, strategy_id: str, strategy: _Strategy) -> float:
        """PSR(0) of the trial's returns in the window: the probability that the true Sharpe ratio is positive."""
        if strategy.confidence is None:
            first = self._session - self._config.confidence_window + 1
            strategy.confidence = probabilistic_sharpe(self._trials.account(strategy_id).returns(first, self._session))
        return strategy.confidence

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._change_stages(event.session)
        self._session = event.session
        self._trials.close(event.session)
        due = event.session % CONFIDENCE_EVERY == 0
        for strategy_id, strategy in self._strategies.items():
            strategy.confidence = None
            if due and strategy.stage is StrategyLifecycle.LIVE:
                await self._bus.publish(
                    MetricRecordedEvent(
                        metric=CONFIDENCE_METRIC,
                        value=self._confidence(strategy_id, strategy),
                        unit="probability",
                        labels={"strategy_id": strategy_id},
                        session=event.session,
                        timestamp=event.timestamp,
                        source=SOURCE,
                    )
                )
        self._alive(Station.STRATEGIES, SOURCE)

    async def on_session_decide(self, event: SessionDecideEvent) -> None:
        while len(self._rankings) > 1 and self._rankings[1].effective_session <= event.session:
            del self._rankings[0]
        items = self._signals(event.session)
        await self._bus.publish(
            SignalsGeneratedEvent(session=event.session, items=items, timestamp=event.timestamp, source=SOURCE)
        )

    def _change_stages(self, session: int) -> None:
        """A change of stage told in one session holds from the next one on."""
        waiting = []
        for promotion in self._promotions:
            strategy = self._strategies.get(promotion.strategy_id)
            if promotion.session >= session:
                waiting.append(promotion)
            elif strategy is not None and self._warrant(promotion):
                strategy.stage = promotion.to_stage
        self._promotions = waiting

    def _signals(self, session: int) -> tuple[SignalItem, ...]:
        items = []
        symbols = sorted(self._last)
        for strategy_id, strategy in self._strategies.items():
            if strategy.stage in _SPEAKING:
                targets = self._trials.targets(strategy_id)
                for symbol in symbols:
                    item = self._signal(strategy_id, strategy, symbol, targets.get(symbol), session)
                    if item is not None:
                        items.append(item)
        return tuple(items)

    def _signal(
        self, strategy_id: str, strategy: _Strategy, symbol: str, wanted: int | None, session: int
    ) -> SignalItem | None:
        said, bar = strategy.said[symbol], self._last[symbol]
        target = 0 if strategy.stage is StrategyLifecycle.RETIRED else wanted
        if target is None:
            return None
        held = self._held[strategy_id, symbol] > 0
        reason = self._reason(strategy.stage, said, target, held=held, session=session)
        # Only a symbol that traded today has a price to enter at.
        if reason is None or (target and bar.session != session):
            return None
        said.target, said.session = target, session
        return SignalItem(
            signal_id=f"{session}-{strategy_id}-{symbol}",
            strategy_id=strategy_id,
            stage=strategy.stage,
            symbol=symbol,
            target=1 if target else 0,
            reference_px=bar.close,
            stop_px=self._trials.stop(symbol) if target else None,
            confidence=self._confidence(strategy_id, strategy) * self._faith(symbol, session),
            reason=reason,
        )

    def _faith(self, symbol: str, session: int) -> float:
        """What a symbol's rank leaves of a strategy's confidence; one that is not ranked, or excluded, has rank 0."""
        if not self._ranked:
            return 1.0
        in_force = [ranking for ranking in self._rankings[:1] if ranking.effective_session <= session]
        rank = in_force[0].scores.get(symbol, 0.0) if in_force else 0.0
        return LEAST_FAITH + (1.0 - LEAST_FAITH) * rank

    def _reason(self, stage: StrategyLifecycle, said: _Said, target: int, *, held: bool, session: int) -> str | None:
        """Why to speak, or None to be silent."""
        if held and not target:
            return "target is flat" if said.target != target else "position without target"
        if stage is StrategyLifecycle.RETIRED:
            return None
        if target != said.target:
            return "target is long" if target else "target is flat"
        again = target and not held and session - said.session >= self._config.retry_after
        return "still wanted" if again and stage is StrategyLifecycle.LIVE else None

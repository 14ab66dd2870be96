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

from eventbus import InMemoryEventBus
from quantum_trader.alpha.families import Machine, StrategySpec
from quantum_trader.alpha.virtual import VirtualAccount
from quantum_trader.events import (
    MarketBarEvent,
    MetricRecordedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
    SignalItem,
    SignalsGeneratedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.market.indicators import ATR
from quantum_trader.model import Bar, Side, StrategyLifecycle, added, significant, taken
from quantum_trader.snapshot import bar_of, bar_values, event_values, events_of, reinstate, snapshot

SOURCE = "strategy_runtime"
CONFIDENCE_METRIC = "strategy.confidence"
_ATR_BARS = 20
_SPEAKING = frozenset({StrategyLifecycle.SHADOW, StrategyLifecycle.LIVE, StrategyLifecycle.RETIRED})


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How strategies speak. `cost` is the fraction of value a virtual trade loses; the rest is as in the configuration."""

    settle_bars: int = 0
    stop_atr: float = 3.0
    retry_after: int = 5
    weight_per_symbol: float = 0.20
    confidence_window: int = 252
    confidence_every: int = 5  # sessions between two statements of confidence
    cost: float = 0.0012


@dataclass(slots=True)
class _Cell:
    """One strategy on one symbol."""

    machine: Machine
    target: int | None = None
    settled: int = 0
    said: int = 0  # the target last signalled
    said_session: int = 0


@dataclass(slots=True)
class _Strategy:
    spec: StrategySpec
    account: VirtualAccount
    stage: StrategyLifecycle = StrategyLifecycle.BACKTEST
    cells: dict[str, _Cell] = field(default_factory=dict)


class StrategyRuntimeEngine:
    """Runs what `strategy.created` told of, in the stages that `strategy.promoted` gave."""

    publishes: ClassVar = (MetricRecordedEvent, SignalsGeneratedEvent)

    def __init__(self, bus: InMemoryEventBus, settings: RuntimeSettings = RuntimeSettings()) -> None:
        self._bus = bus
        self._settings = settings
        self._strategies: dict[str, _Strategy] = {}
        self._held: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self._atr: dict[str, ATR] = {}
        self._last: dict[str, Bar] = {}
        self._promotions: list[StrategyPromotedEvent] = []
        bus.subscribe(StrategyCreatedEvent, self.on_strategy_created, name="runtime.created")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name="runtime.promoted")
        bus.subscribe(MarketBarEvent, self.on_bar, name="runtime.bar")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="runtime.trade")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="runtime.closed")
        bus.subscribe(SessionDecideEvent, self.on_session_decide, name="runtime.decide")

    def stages(self) -> dict[str, StrategyLifecycle]:
        """The stage of each strategy, by id."""
        return {strategy_id: strategy.stage for strategy_id, strategy in sorted(self._strategies.items())}

    async def on_strategy_created(self, event: StrategyCreatedEvent) -> None:
        spec = StrategySpec.named_params(event.family, event.params)
        self._strategies[event.strategy_id] = self._fresh(spec)
        self._strategies = dict(sorted(self._strategies.items()))

    async def on_strategy_promoted(self, event: StrategyPromotedEvent) -> None:
        self._promotions.append(event)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        pair = (event.strategy_id, event.symbol)
        change = added if event.side is Side.BUY else taken
        self._held[pair] = change(self._held[pair], event.size)

    async def on_bar(self, event: MarketBarEvent) -> None:
        bar = event.bar
        symbol = bar.symbol
        self._last[symbol] = bar
        atr = self._atr.get(symbol)
        if atr is None:
            atr = self._atr[symbol] = ATR(_ATR_BARS)
        atr.update(bar.high, bar.low, bar.close)
        opened, close, settle_bars = bar.open, bar.close, self._settings.settle_bars
        for strategy in self._strategies.values():
            cell = strategy.cells.get(symbol)
            if cell is None:
                cell = strategy.cells[symbol] = _Cell(strategy.spec.machine())
            strategy.account.take(symbol, opened, close, cell.target)
            target = cell.machine.update(bar)
            if target is not None and cell.settled < settle_bars:
                cell.settled += 1
                target = None
            cell.target = target

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "strategies": {
                strategy_id: {
                    "family": strategy.spec.family,
                    "params": list(strategy.spec.params),
                    "stage": strategy.stage.value,
                    "account": strategy.account.state(),
                    "cells": {
                        symbol: {
                            "machine": snapshot(cell.machine),
                            "rest": [cell.target, cell.settled, cell.said, cell.said_session],
                        }
                        for symbol, cell in strategy.cells.items()
                    },
                }
                for strategy_id, strategy in self._strategies.items()
            },
            "held": [[*pair, str(qty)] for pair, qty in sorted(self._held.items())],
            "atr": {symbol: snapshot(atr) for symbol, atr in self._atr.items()},
            "last": [bar_values(bar) for bar in self._last.values()],
            "promotions": [event_values(event) for event in self._promotions],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._strategies = {}
        for strategy_id, saved in state["strategies"].items():
            strategy = self._fresh(StrategySpec(saved["family"], tuple(saved["params"])))
            strategy.stage = StrategyLifecycle(saved["stage"])
            strategy.account.restore(saved["account"])
            for symbol, kept in saved["cells"].items():
                machine = strategy.spec.machine()
                reinstate(machine, kept["machine"])
                strategy.cells[symbol] = _Cell(machine, *kept["rest"])
            self._strategies[strategy_id] = strategy
        self._held = defaultdict(Decimal, {(owner, symbol): Decimal(qty) for owner, symbol, qty in state["held"]})
        self._atr = {symbol: ATR(_ATR_BARS) for symbol in state["atr"]}
        for symbol, kept in state["atr"].items():
            reinstate(self._atr[symbol], kept)
        self._last = {bar.symbol: bar for bar in map(bar_of, state["last"])}
        self._promotions = events_of(state["promotions"])

    def _fresh(self, spec: StrategySpec) -> _Strategy:
        settings = self._settings
        return _Strategy(
            spec,
            VirtualAccount(weight=settings.weight_per_symbol, cost=settings.cost, window=settings.confidence_window),
        )

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._change_stages(event.session)
        due = event.session % self._settings.confidence_every == 0
        for strategy_id, strategy in self._strategies.items():
            strategy.account.close_session()
            if due and strategy.stage is StrategyLifecycle.LIVE:
                await self._bus.publish(
                    MetricRecordedEvent(
                        metric=CONFIDENCE_METRIC,
                        value=strategy.account.confidence,
                        unit="probability",
                        labels={"strategy_id": strategy_id},
                        session=event.session,
                        timestamp=event.timestamp,
                        source=SOURCE,
                    )
                )

    async def on_session_decide(self, event: SessionDecideEvent) -> None:
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
            elif strategy is not None:
                strategy.stage = promotion.to_stage
        self._promotions = waiting

    def _signals(self, session: int) -> tuple[SignalItem, ...]:
        items = []
        for strategy_id, strategy in self._strategies.items():
            if strategy.stage in _SPEAKING:
                for symbol in sorted(strategy.cells):
                    item = self._signal(strategy_id, strategy, symbol, session)
                    if item is not None:
                        items.append(item)
        return tuple(items)

    def _signal(self, strategy_id: str, strategy: _Strategy, symbol: str, session: int) -> SignalItem | None:
        cell, bar = strategy.cells[symbol], self._last[symbol]
        retired = strategy.stage is StrategyLifecycle.RETIRED
        target = 0 if retired else cell.target
        if target is None:
            return None
        held = self._held[strategy_id, symbol] > 0
        reason = self._reason(strategy.stage, cell, target, held=held, session=session)
        # Only a symbol that traded today has a price to enter at.
        if reason is None or (target and bar.session != session):
            return None
        cell.said, cell.said_session = target, session
        return SignalItem(
            signal_id=f"{session}-{strategy_id}-{symbol}",
            strategy_id=strategy_id,
            stage=strategy.stage,
            symbol=symbol,
            target=1 if target else 0,
            reference_px=bar.close,
            stop_px=self._stop(symbol, bar) if target else None,
            confidence=strategy.account.confidence,
            reason=reason,
        )

    def _reason(self, stage: StrategyLifecycle, cell: _Cell, target: int, *, held: bool, session: int) -> str | None:
        """Why to speak, or None to be silent."""
        if held and not target:
            return "target is flat" if cell.said != target else "position without target"
        if stage is StrategyLifecycle.RETIRED:
            return None
        if target != cell.said:
            return "target is long" if target else "target is flat"
        again = target and not held and session - cell.said_session >= self._settings.retry_after
        return "still wanted" if again and stage is StrategyLifecycle.LIVE else None

    def _stop(self, symbol: str, bar: Bar) -> float | None:
        atr = self._atr[symbol].value
        if not self._settings.stop_atr or atr is None:
            return None
        return significant(bar.close - self._settings.stop_atr * atr)

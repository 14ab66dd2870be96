"""Run record: what a report needs of a run, gathered from its events while it happens.

Keeps figures, not events: memory grows with sessions and trades, not with bars.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from eventbus import InMemoryEventBus
from quantum_trader.events import (
    MarketBarEvent,
    ModelPromotedEvent,
    OrderDeniedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import MONEY, RiskMode, Side


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """The account and the benchmark at the end of one session, in account currency."""

    session: int
    ts: datetime
    equity: Decimal
    benchmark: float
    drawdown: float
    mode: RiskMode | None


@dataclass(slots=True)
class RunRecord:
    """Subscribe it with `attach`; read its fields any time."""

    cash: Decimal
    universe_size: int
    points: list[EquityPoint] = field(default_factory=list)
    trades: list[TradeExecutedEvent] = field(default_factory=list)
    denials: Counter[str] = field(default_factory=Counter)
    promotions: list[StrategyPromotedEvent | ModelPromotedEvent] = field(default_factory=list)
    policies: list[PolicyUpdatedEvent] = field(default_factory=list)
    last: PortfolioUpdatedEvent | None = None
    bars: int = 0
    exposure_sum: float = 0.0  # of the share of equity invested, over sessions
    _firsts: dict[str, float] = field(default_factory=dict)
    _closes: dict[str, float] = field(default_factory=dict)

    def attach(self, bus: InMemoryEventBus) -> None:
        bus.subscribe(MarketBarEvent, self.on_bar, name="record.bar")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="record.portfolio")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="record.trade")
        bus.subscribe(OrderDeniedEvent, self.on_order_denied, name="record.denied")
        bus.subscribe(StrategyPromotedEvent, self.on_promoted, name="record.strategy")
        bus.subscribe(ModelPromotedEvent, self.on_promoted, name="record.model")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="record.policy")

    async def on_bar(self, event: MarketBarEvent) -> None:
        self.bars += 1
        self._firsts.setdefault(event.symbol, event.open)
        self._closes[event.symbol] = event.close

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        mode = self.policies[-1].risk_mode if self.policies else None
        self.keep_portfolio(event)
        self.points.append(
            EquityPoint(event.session, event.timestamp, event.equity, self.benchmark(), event.drawdown, mode)
        )

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        self.trades.append(event)

    async def on_order_denied(self, event: OrderDeniedEvent) -> None:
        self.denials[event.code] += 1

    async def on_promoted(self, event: StrategyPromotedEvent | ModelPromotedEvent) -> None:
        self.promotions.append(event)

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self.policies.append(event)

    def keep_portfolio(self, event: PortfolioUpdatedEvent) -> None:
        """Remember the newest statement, and what it says of exposure."""
        self.last = event
        self.exposure_sum += float(event.gross) / float(event.equity) if event.equity else 0.0

    def benchmark(self) -> float:
        """Buy and hold at the last closes: equal shares of the start cash in every symbol; one not listed yet waits as cash.

        No price before a listing is ever assumed: a symbol is bought at its own first open, out of its own share.
        """
        if not self._firsts:
            return float(self.cash)
        share = float(self.cash) / max(len(self._firsts), self.universe_size)
        waiting = max(0, self.universe_size - len(self._firsts))
        return share * (waiting + sum(self._closes[symbol] / first for symbol, first in sorted(self._firsts.items())))


def closed_trades(trades: list[TradeExecutedEvent]) -> list[Decimal]:
    """Net profit of each round trip per (strategy, symbol): from flat to flat, fees included, oldest first."""
    open_flow: dict[tuple[str, str], Decimal] = {}
    held: dict[tuple[str, str], int] = {}
    results = []
    for trade in trades:
        pair = (trade.strategy_id, trade.symbol)
        value = MONEY.multiply(trade.price, trade.size)
        flow = MONEY.subtract(value if trade.side is Side.SELL else -value, trade.fee)
        open_flow[pair] = MONEY.add(open_flow.get(pair, Decimal(0)), flow)
        held[pair] = held.get(pair, 0) + trade.side.sign * int(trade.size)
        if not held[pair]:
            results.append(open_flow.pop(pair))
    return results

"""Ledger: keeps the accounts from trades and closes, and states them once per session.

Fills and bars in, `portfolio.updated` out. A broken invariant is said in the statement; the risk guard acts on it.
"""

from __future__ import annotations

from typing import ClassVar

from eventbus import InMemoryEventBus
from quantum_trader.events import (
    MarketBarEvent,
    PortfolioUpdatedEvent,
    PositionItem,
    SessionClosedEvent,
    TradeExecutedEvent,
)
from quantum_trader.execution.accounts import Accounts, Statement
from quantum_trader.execution.fills import Fill
from quantum_trader.model import Trigger

SOURCE = "ledger"


class PortfolioLedger:
    """Wires `Accounts` to the bus."""

    publishes: ClassVar = (PortfolioUpdatedEvent,)

    def __init__(self, bus: InMemoryEventBus, accounts: Accounts) -> None:
        self._bus = bus
        self._accounts = accounts
        self._late: list[Fill] = []
        bus.subscribe(MarketBarEvent, self.on_bar, name="ledger.bar")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="ledger.trade")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="ledger.closed")

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._accounts.mark(event.symbol, event.session, event.close)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        fill = _fill(event)
        if fill.trigger is Trigger.DELISTED:
            # It is found while the session is being closed: whoever is first, it counts in the next.
            self._late.append(fill)
        else:
            self._accounts.book(fill)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        due = sorted((fill for fill in self._late if fill.session < event.session), key=lambda fill: fill.fill_id)
        self._late = [fill for fill in self._late if fill.session >= event.session]
        for fill in due:
            self._accounts.book(fill)
        await self._bus.publish(_portfolio(self._accounts.close_session(event.session), event))


def _fill(event: TradeExecutedEvent) -> Fill:
    return Fill(
        fill_id=event.fill_id or event.event_id,
        order_id=event.order_id,
        strategy_id=event.strategy_id,
        symbol=event.symbol,
        side=event.side,
        qty=int(event.size),
        price=event.price,
        fee=event.fee,
        slippage_bp=event.slippage_bp,
        shortfall_bp=event.shortfall_bp,
        trigger=event.trigger,
        leaves_qty=event.leaves_qty,
        session=event.session,
        stop=event.stop_px,
    )


def _portfolio(statement: Statement, closed: SessionClosedEvent) -> PortfolioUpdatedEvent:
    return PortfolioUpdatedEvent(
        session=statement.session,
        cash=statement.cash,
        equity=statement.equity,
        gross=statement.gross,
        realised=statement.realised,
        fees=statement.fees,
        drawdown=max(0.0, statement.drawdown),
        day_return=statement.day_return,
        positions=tuple(
            PositionItem(
                strategy_id=line.strategy_id,
                symbol=line.symbol,
                qty=line.qty,
                avg_price=line.avg_price,
                last=line.last,
                stop_px=line.stop,
                unrealised=line.unrealised,
                stale=line.stale,
            )
            for line in statement.positions
        ),
        invariants_ok=statement.invariants_ok,
        breaches=statement.breaches,
        timestamp=closed.timestamp,
        source=SOURCE,
    )

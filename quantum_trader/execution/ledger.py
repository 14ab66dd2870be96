"""Ledger: keeps the accounts from trades and closes, and states them once per session.

Fills and bars in, `portfolio.updated` out. A broken invariant is said in the statement; the risk guard acts on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    KillSwitchChangedEvent,
    MarketBarEvent,
    PortfolioUpdatedEvent,
    PositionItem,
    SessionClosedEvent,
    TradeExecutedEvent,
    unwatched,
)
from quantum_trader.execution.accounts import Accounts, Statement
from quantum_trader.execution.fills import Fill
from quantum_trader.model import KillMode, Station, Trigger
from quantum_trader.snapshot import event_values, events_of

SOURCE = "ledger"
GUARD = "risk_guard"


class PortfolioLedger:
    """Wires `Accounts` to the bus."""

    publishes: ClassVar = (PortfolioUpdatedEvent, ComponentHeartbeatEvent)

    def __init__(self, bus: EventBus, accounts: Accounts, *, alive: Alive = unwatched) -> None:
        self._bus = bus
        self._alive = alive
        self._accounts = accounts
        self._late: list[TradeExecutedEvent] = []
        bus.subscribe(MarketBarEvent, self.on_bar, name="ledger.bar")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="ledger.trade")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="ledger.closed")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="ledger.killswitch")

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._accounts.mark(event.symbol, event.session, event.close)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        if event.trigger is Trigger.DELISTED:
            # It is found while the session is being closed: whoever is first, it counts in the next.
            self._late.append(event)
        else:
            self._accounts.book(_fill(event))

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        due = sorted((late for late in self._late if late.session < event.session), key=lambda late: late.fill_id)
        self._late = [late for late in self._late if late.session >= event.session]
        for late in due:
            self._accounts.book(_fill(late))
        await self._bus.publish(_portfolio(self._accounts.close_session(event.session), event))
        self._alive(Station.LEDGER, SOURCE)

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        if event.mode is KillMode.OFF and event.actor == GUARD:
            self._accounts.forget_peak()  # or the drawdown that stopped trading would stop it again at once

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"accounts": self._accounts.state(), "late": [event_values(late) for late in self._late]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._accounts.restore(state["accounts"])
        self._late = events_of(state["late"])


def _fill(event: TradeExecutedEvent) -> Fill:
    return Fill(
        fill_id=event.fill_id or event.event_id,
        order_id=event.order_id,
        strategy_id=event.strategy_id,
        symbol=event.symbol,
        side=event.side,
        qty=event.size,
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

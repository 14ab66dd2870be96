"""The kill switch: HALT while an order works cancels it and refuses even exits; REDUCE_ONLY lets exits pass.

A small real system (switch, guard, executor, ledger) on a bus of its own, driven by hand.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from eventbus import Event, InMemoryEventBus
from quantum_trader.config import ExecutionConfig
from quantum_trader.control.kill_switch import KillSwitch
from quantum_trader.control.risk_guard import RiskGuard
from quantum_trader.control.risk_state import RiskState
from quantum_trader.events import (
    KillSwitchRequestedEvent,
    MarketBarEvent,
    OrdersSizedEvent,
    PolicyUpdatedEvent,
    SessionClosedEvent,
    SizedOrder,
    StrategyPromotedEvent,
)
from quantum_trader.execution.accounts import Accounts
from quantum_trader.execution.executor import Executor
from quantum_trader.execution.ledger import PortfolioLedger
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.model import HealthStatus, KillMode, OrderKind, RiskMode, Side, StrategyLifecycle

CASH = Decimal(100_000)
START = datetime(2020, 1, 1, tzinfo=UTC)


class Desk:
    """The system, and the few things a person does to it."""

    def __init__(self, bus: InMemoryEventBus) -> None:
        self.bus = bus
        self.seen: list[str] = []
        self.switch = KillSwitch(bus)
        self.accounts = Accounts(CASH)
        RiskGuard(bus, RiskState(0, HealthStatus.HEALTHY, CASH, CASH, frozenset({"AAA"})), warrant=lambda _: True)
        Executor(bus, PaperVenue(ExecutionConfig(), cash=CASH))
        PortfolioLedger(bus, self.accounts)
        bus.subscribe("order.*", self.see)
        bus.subscribe("trade.*", self.see)

    async def see(self, event: Event) -> None:
        self.seen.append(f"{event.type} {event.get('code') or event.get('reason') or ''}".strip())

    async def prepare(self) -> None:
        await self.bus.publish(
            PolicyUpdatedEvent(
                risk_mode=RiskMode.NORMAL,
                allowed_strategies=["s"],
                global_min_confidence=0.5,
                max_risk_per_trade=0.02,
                max_positions=3,
            )
        )
        await self.bus.publish(
            StrategyPromotedEvent(
                strategy_id="s",
                from_stage=StrategyLifecycle.SHADOW,
                to_stage=StrategyLifecycle.LIVE,
                reason="example",
            )
        )
        for session in range(2):
            await self.session(session)

    async def session(self, session: int) -> None:
        ts = START + timedelta(days=session)
        bar = MarketBarEvent(
            symbol="AAA", session=session, open=100.0, high=101.0, low=99.0, close=100.0, volume=1_000_000, timestamp=ts
        )
        for event in (bar, SessionClosedEvent(session=session, present=("AAA",), timestamp=ts)):
            await self.bus.publish(event)
            await self.bus.drain()

    async def order(self, session: int, kind: OrderKind) -> str:
        """Send a sized order through the guard; what came of it at once."""
        side = Side.BUY if kind is OrderKind.ENTRY else Side.SELL
        item = SizedOrder(
            order_id=f"{session}-s-AAA-{side}-1",
            intent_id="i",
            strategy_id="s",
            symbol="AAA",
            side=side,
            kind=kind,
            qty=Decimal(100),
            reference_px=100.0,
            stop_px=95.0 if kind is OrderKind.ENTRY else None,
            confidence=0.9,
            notional=Decimal(10_000),
            risk=Decimal(500),
        )
        await self.bus.publish(OrdersSizedEvent(session=session, policy_version=1, items=(item,)))
        await self.bus.drain()
        return self.seen[-1]

    async def ask(self, mode: KillMode) -> None:
        await self.bus.publish(KillSwitchRequestedEvent(mode=mode, reason="example", actor="ada"))
        await self.bus.drain()
        print(f"kill switch {self.switch.mode}, bus halted: {self.bus.is_halted}")


async def main() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.prepare()

        assert await desk.order(1, OrderKind.ENTRY) == "order.accepted"
        await desk.ask(KillMode.HALT)
        assert desk.seen[-1] == "order.cancelled KILL_SWITCH"
        await desk.session(2)
        assert desk.accounts.quantities() == {}, "a cancelled order was filled"

        await desk.ask(KillMode.OFF)
        assert await desk.order(2, OrderKind.ENTRY) == "order.accepted"
        await desk.session(3)
        assert desk.accounts.quantities() == {("s", "AAA"): 100}

        await desk.ask(KillMode.HALT)
        assert await desk.order(3, OrderKind.EXIT) == "order.denied KILL_SWITCH"
        await desk.ask(KillMode.REDUCE_ONLY)
        assert await desk.order(4, OrderKind.ENTRY) == "order.denied KILL_SWITCH"
        await desk.session(4)
        assert await desk.order(4, OrderKind.EXIT) == "order.accepted"
        await desk.session(5)
        assert desk.accounts.quantities() == {}

        for line in desk.seen:
            print(line)
        assert len(bus.dead_letters) == 0


if __name__ == "__main__":
    asyncio.run(main())

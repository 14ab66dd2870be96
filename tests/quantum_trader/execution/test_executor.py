"""Executor: only what the risk guard approved, for an order sized in this session, reaches the venue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from eventbus import Event, InMemoryEventBus
from quantum_trader.config import ExecutionConfig, HealthConfig
from quantum_trader.events import (
    KillSwitchChangedEvent,
    MarketBarEvent,
    OrderApprovedEvent,
    OrdersSizedEvent,
    SessionClosedEvent,
)
from quantum_trader.execution.executor import Executor
from quantum_trader.execution.order_state import OrderState
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.model import HealthStatus, KillMode, OrderKind, Side
from quantum_trader.monitoring.health import SystemHealthMonitor
from quantum_trader.monitoring.health_rules import Component

START = datetime(2020, 1, 1, tzinfo=UTC)


class Floor:
    """A bus with an executor and a guard that approves what it is told to."""

    def __init__(self, bus: InMemoryEventBus) -> None:
        self.bus = bus
        self.told: list[str] = []
        Executor(bus, PaperVenue(ExecutionConfig(half_spread_bp=0, impact_bp=0, participation=1), cash=Decimal(10_000)))
        bus.subscribe("order.*", self.on_told)
        bus.subscribe("trade.*", self.on_told)
        bus.subscribe(OrdersSizedEvent, self.on_sized)

    async def on_told(self, event: Event) -> None:
        self.told.append(event.type)

    async def on_sized(self, event: OrdersSizedEvent) -> None:
        await self.bus.publish(approval(event.session))

    async def approve(self, session: int) -> None:
        await self.bus.publish(OrdersSizedEvent(session=session, policy_version=1))
        await self.bus.drain()

    async def bar(self, session: int, price: float = 10.0) -> None:
        await self.bus.publish(
            MarketBarEvent(
                symbol="AAA",
                session=session,
                open=price,
                high=price,
                low=price,
                close=price,
                volume=1_000,
                timestamp=START + timedelta(days=session),
            )
        )
        await self.bus.drain()
        await self.bus.publish(SessionClosedEvent(session=session, timestamp=START + timedelta(days=session)))
        await self.bus.drain()


def approval(session: int, source: str = "risk_guard") -> OrderApprovedEvent:
    return OrderApprovedEvent(
        order_id=f"{session}-s-AAA-BUY-1",
        intent_id="i",
        strategy_id="s",
        symbol="AAA",
        side=Side.BUY,
        kind=OrderKind.ENTRY,
        qty=Decimal(10),
        reference_px=10.0,
        session=session,
        source=source,
    )


async def test_approved_order_fills_at_the_next_open() -> None:
    async with InMemoryEventBus() as bus:
        floor = Floor(bus)
        await floor.bar(0)
        await floor.approve(0)
        assert floor.told == ["order.approved", "order.accepted"]
        await floor.bar(1)
    assert floor.told == ["order.approved", "order.accepted", "trade.executed"]


async def test_approval_without_a_sized_order_is_dead_lettered() -> None:
    async with InMemoryEventBus() as bus:
        floor = Floor(bus)
        await bus.publish(approval(0))
        await bus.drain()
        await floor.bar(1)
        assert floor.told == ["order.approved"]
        assert [letter.subscription for letter in bus.dead_letters] == ["executor.approved"]


async def test_approval_by_somebody_else_is_dead_lettered() -> None:
    async with InMemoryEventBus() as bus:
        Floor(bus)
        await bus.publish(approval(0, source="strategy_runtime"))
        await bus.drain()
        (letter,) = bus.dead_letters
    assert "approved by strategy_runtime" in str(letter.error)


async def test_halt_cancels_what_works_and_the_cancellation_is_heard() -> None:
    async with InMemoryEventBus() as bus:
        floor = Floor(bus)
        await floor.bar(0)
        await floor.approve(0)
        bus.halt("test")
        await bus.publish(KillSwitchChangedEvent(mode=KillMode.HALT, reason="test", actor="ada"))
        await bus.drain()
        assert floor.told[-1] == "order.cancelled"
        await floor.bar(1)
    assert "trade.executed" not in floor.told


async def test_order_that_finds_no_bar_expires() -> None:
    async with InMemoryEventBus() as bus:
        floor = Floor(bus)
        await floor.bar(0)
        await floor.approve(0)
        for session in range(1, 4):
            await bus.publish(SessionClosedEvent(session=session))
            await bus.drain()
    assert floor.told[-1] == "order.expired"


async def test_an_illegal_transition_is_dead_lettered_and_changes_no_order() -> None:
    """A venue whose memory was tampered with: an order that is filled stands among those that work."""
    plain = ExecutionConfig(half_spread_bp=0, impact_bp=0, participation=1)
    first = PaperVenue(plain, cash=Decimal(10_000))
    first.submit(approval(0).order())
    state = first.state()
    state["books"]["AAA"]["working"][0]["state"] = OrderState.FILLED.value
    async with InMemoryEventBus() as bus:
        venue = PaperVenue(plain, cash=Decimal(10_000))
        venue.restore(state)
        Executor(bus, venue)
        health = SystemHealthMonitor(bus, HealthConfig())
        await bus.publish(SessionClosedEvent(session=9))
        await bus.drain()
        (letter,) = bus.dead_letters
        assert letter.subscription == "executor.closed"
        assert letter.error.startswith("IllegalTransition: order 0-s-AAA-BUY-1: EXPIRE in state FILLED")
        assert venue.state() == state
        await health.judge(SessionClosedEvent(session=9))
        assert health.statuses[Component.EXECUTION] is HealthStatus.CRITICAL

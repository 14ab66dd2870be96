"""Controller: one decision per session, safety at once, and an override that can only be more careful."""

from __future__ import annotations

from decimal import Decimal

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.config import PolicyConfig
from quantum_trader.control.controller import MetaStrategyController
from quantum_trader.control.policy_store import NoPolicyStore
from quantum_trader.events import (
    ComponentHeartbeatEvent,
    HealthStatusChangedEvent,
    MetricRecordedEvent,
    PolicyOverrideRequestedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    PredictionItem,
    PredictionMadeEvent,
    RunStartedEvent,
    StrategyPromotedEvent,
)
from quantum_trader.model import HealthStatus, RiskMode, StrategyLifecycle

ZERO = Decimal(0)
WINDOW = 10


class Desk:
    """A controller on a running bus, fed session by session."""

    def __init__(self, bus: InMemoryEventBus) -> None:
        self.bus = bus
        self.policies: list[PolicyUpdatedEvent] = []
        self.heartbeats: list[ComponentHeartbeatEvent] = []
        self.controller = MetaStrategyController(
            bus,
            NoPolicyStore(),
            PolicyConfig(volatility_window=WINDOW, override_sessions=3),
            warrant=lambda _: True,
        )
        bus.subscribe(PolicyUpdatedEvent, self.on_policy)
        bus.subscribe(ComponentHeartbeatEvent, self.on_heartbeat)

    async def on_policy(self, event: PolicyUpdatedEvent) -> None:
        self.policies.append(event)

    async def on_heartbeat(self, event: ComponentHeartbeatEvent) -> None:
        self.heartbeats.append(event)

    async def start(self) -> None:
        await self.bus.publish(RunStartedEvent(run_id="r", seed=1, config_sha256="", code_version="", universe=()))
        await self.bus.drain()

    async def session(self, session: int, drawdown: float = 0.0, *, swap: bool = False) -> RiskMode:
        portfolio = PortfolioUpdatedEvent(
            session=session,
            cash=ZERO,
            equity=Decimal(1),
            gross=ZERO,
            realised=ZERO,
            fees=ZERO,
            drawdown=drawdown,
            day_return=0.0,
        )
        item = PredictionItem(symbol="AAA", log_range=-4.0, sigma_1d=0.01)
        prediction = PredictionMadeEvent(session=session, items=(item,))
        for event in (prediction, portfolio) if swap else (portfolio, prediction):
            await self.bus.publish(event)
            await self.bus.drain()
        assert self.controller.policy is not None
        return self.controller.policy.risk_mode


async def promote(bus: InMemoryEventBus, session: int, confidence: float) -> None:
    await bus.publish(
        StrategyPromotedEvent(
            strategy_id="s",
            from_stage=StrategyLifecycle.SHADOW,
            to_stage=StrategyLifecycle.LIVE,
            reason="",
            session=session,
        )
    )
    await bus.publish(
        MetricRecordedEvent(
            metric="strategy.confidence",
            value=confidence,
            unit="probability",
            labels={"strategy_id": "s"},
            session=session,
        )
    )
    await bus.drain()


@pytest.mark.parametrize("swap", [False, True])
async def test_it_starts_defensive_and_rises_once_the_history_is_long_enough(swap: bool) -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        modes = [await desk.session(session, swap=swap) for session in range(WINDOW + 1)]
    assert modes == [RiskMode.DEFENSIVE] * (WINDOW - 1) + [RiskMode.NORMAL] * 2
    assert [policy.version for policy in desk.policies] == [1, 2]
    assert desk.policies[1].effective_session == WINDOW - 1
    assert any("drawdown" in reason for reason in desk.policies[1].reasons)


async def test_safety_is_immediate_and_says_why() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        for session in range(WINDOW):
            await desk.session(session)
        assert await desk.session(WINDOW, drawdown=0.11) is RiskMode.DEFENSIVE
    assert desk.policies[-1].reasons[0].startswith("drawdown 0.1100 > 0.1")


async def test_what_is_told_in_a_session_counts_in_the_next() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        await promote(bus, 3, 0.85)
        await desk.session(3)
        assert list(desk.policies[-1].allowed_strategies) == []
        await desk.session(4)
        assert list(desk.policies[-1].allowed_strategies) == ["s"]


async def test_confidence_below_the_mode_shuts_a_strategy_out() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        await promote(bus, 0, 0.79)
        await desk.session(1)
    assert list(desk.policies[-1].allowed_strategies) == []


async def test_critical_health_is_defensive_from_the_next_session() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        for session in range(WINDOW):
            await desk.session(session)
        await bus.publish(
            HealthStatusChangedEvent(
                old_status=HealthStatus.HEALTHY,
                new_status=HealthStatus.CRITICAL,
                component="DATA",
                reason="",
                session=WINDOW,
            )
        )
        await bus.drain()
        assert await desk.session(WINDOW) is RiskMode.NORMAL
        assert await desk.session(WINDOW + 1) is RiskMode.DEFENSIVE


async def test_unchanged_policy_is_confirmed_every_five_sessions() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        for session in range(6):
            await desk.session(session)
    assert [(beat.session, beat.state_version) for beat in desk.heartbeats] == [(0, 1), (5, 1)]


async def test_override_can_only_be_more_defensive_and_ends() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        for session in range(WINDOW + 6):
            await desk.session(session)
        careful = PolicyOverrideRequestedEvent(risk_mode=RiskMode.DEFENSIVE, reason="holiday", actor="ada")
        await bus.publish(careful)
        await bus.drain()
        assert await desk.session(WINDOW + 6) is RiskMode.DEFENSIVE
        assert "ada asks for DEFENSIVE: holiday" in desk.policies[-1].reasons
        bold = PolicyOverrideRequestedEvent(risk_mode=RiskMode.AGGRESSIVE, reason="greed", actor="bob")
        await bus.publish(bold)
        await bus.drain()
        assert await desk.session(WINDOW + 7, drawdown=0.2) is RiskMode.DEFENSIVE


async def test_forced_override_wins_until_it_ends() -> None:
    async with InMemoryEventBus() as bus:
        desk = Desk(bus)
        await desk.start()
        await desk.session(0)
        forced = PolicyOverrideRequestedEvent(risk_mode=RiskMode.AGGRESSIVE, reason="test", actor="bob", force=True)
        await bus.publish(forced)
        await bus.drain()
        modes = [await desk.session(session) for session in range(1, 5)]
    assert modes == [RiskMode.AGGRESSIVE] * 3 + [RiskMode.DEFENSIVE]

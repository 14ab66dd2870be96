"""Orchestrator: exits always, entries by every gate, best first; the refused are kept with their reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.control.orchestrator import Orchestrator
from quantum_trader.events import (
    ComponentHeartbeatEvent,
    HealthStatusChangedEvent,
    OpportunitiesUpdatedEvent,
    OrderAcceptedEvent,
    OrderCancelledEvent,
    PolicyUpdatedEvent,
    SignalItem,
)
from quantum_trader.model import HealthStatus, OrderKind, RiskMode, StrategyLifecycle


def policy(**fields: Any) -> PolicyUpdatedEvent:
    usual: dict[str, Any] = {
        "risk_mode": RiskMode.NORMAL,
        "allowed_strategies": ["s1", "s2"],
        "global_min_confidence": 0.6,
        "max_risk_per_trade": 0.01,
        "max_positions": 4,
        "version": 1,
        "top_n": 2,
    }
    return PolicyUpdatedEvent(**{**usual, **fields})


def signal(strategy_id: str = "s1", symbol: str = "AAA", target: int = 1, **fields: Any) -> SignalItem:
    usual: dict[str, Any] = {
        "signal_id": f"{strategy_id}-{symbol}",
        "strategy_id": strategy_id,
        "stage": StrategyLifecycle.LIVE,
        "symbol": symbol,
        "target": target,
        "reference_px": 10.0,
        "confidence": 0.7,
        "reason": "test",
    }
    return SignalItem(**{**usual, **fields})


RANKING = OpportunitiesUpdatedEvent(top_symbols=("BBB", "AAA", "CCC"), scores={"BBB": 0.9, "AAA": 0.5, "CCC": 0.4})


@pytest.fixture
async def orchestrator() -> Orchestrator:
    made = Orchestrator(InMemoryEventBus())
    await made.on_policy_updated(policy())
    await made.on_opportunities_updated(RANKING)
    return made


def reasons(made: Orchestrator, *signals: SignalItem, session: int = 0) -> list[str]:
    return [item.reason for item in made.propose(session, signals)[1]]


def test_exits_come_first_and_entries_by_score_then_confidence(orchestrator: Orchestrator) -> None:
    signals = [
        signal("s1", "AAA"),
        signal("s1", "BBB", confidence=0.7),
        signal("s2", "BBB", confidence=0.9),
        signal("s2", "CCC", target=0),
    ]
    intents, rejected = orchestrator.propose(0, signals)
    assert [(i.kind, i.strategy_id, i.symbol) for i in intents] == [
        (OrderKind.EXIT, "s2", "CCC"),
        (OrderKind.ENTRY, "s2", "BBB"),
        (OrderKind.ENTRY, "s1", "BBB"),
        (OrderKind.ENTRY, "s1", "AAA"),
    ]
    assert rejected == ()


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (signal(stage=StrategyLifecycle.SHADOW), "STAGE"),
        (signal(stage=StrategyLifecycle.SHADOW, target=0), "STAGE"),
        (signal("s3"), "STRATEGY_NOT_ALLOWED"),
        (signal(confidence=0.59), "CONFIDENCE"),
        (signal(symbol="CCC"), "NOT_IN_TOP"),
    ],
)
def test_each_gate_refuses_with_its_reason(orchestrator: Orchestrator, item: SignalItem, reason: str) -> None:
    assert reasons(orchestrator, item) == [reason]


def test_without_policy_or_ranking_nothing_is_entered_but_exits_pass() -> None:
    made = Orchestrator(InMemoryEventBus())
    intents, rejected = made.propose(0, [signal(), signal(symbol="BBB", target=0)])
    assert [intent.kind for intent in intents] == [OrderKind.EXIT]
    assert [item.reason for item in rejected] == ["POLICY_STALE"]


async def test_without_a_ranking_nothing_is_entered() -> None:
    made = Orchestrator(InMemoryEventBus())
    await made.on_policy_updated(policy())
    assert reasons(made, signal()) == ["NO_RANKING"]


async def test_policy_goes_stale_and_a_heartbeat_of_its_version_refreshes_it(orchestrator: Orchestrator) -> None:
    assert reasons(orchestrator, signal(), session=5) == []
    assert reasons(orchestrator, signal(), session=6) == ["POLICY_STALE"]
    await orchestrator.on_heartbeat(ComponentHeartbeatEvent(component="MSC_AI", session=5, state_version=2))
    assert reasons(orchestrator, signal(), session=6) == ["POLICY_STALE"]
    await orchestrator.on_heartbeat(ComponentHeartbeatEvent(component="MSC_AI", session=5, state_version=1))
    assert reasons(orchestrator, signal(), session=6) == []


async def test_policy_of_the_future_is_not_used(orchestrator: Orchestrator) -> None:
    await orchestrator.on_policy_updated(policy(effective_session=9))
    assert reasons(orchestrator, signal(), session=8) == ["POLICY_STALE"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [(HealthStatus.DEGRADED, ["HEALTH_DEGRADED"]), (HealthStatus.CRITICAL, ["HEALTH_CRITICAL", "HEALTH_CRITICAL"])],
)
async def test_poor_health_lets_one_entry_or_none_pass(
    orchestrator: Orchestrator, status: HealthStatus, expected: list[str]
) -> None:
    event = HealthStatusChangedEvent(
        old_status=HealthStatus.HEALTHY, new_status=status, component="DATA", reason="test"
    )
    await orchestrator.on_health_status_changed(event)
    assert reasons(orchestrator, signal(), signal(symbol="BBB"), signal("s2", "BBB", target=0)) == expected


async def test_pair_with_a_working_order_of_the_kind_waits_for_it(orchestrator: Orchestrator) -> None:
    order: dict[str, Any] = {
        "order_id": "o",
        "strategy_id": "s1",
        "symbol": "AAA",
        "kind": OrderKind.ENTRY,
        "session": 0,
    }
    await orchestrator.on_order_accepted(OrderAcceptedEvent(**order, qty=Decimal(1), expires_session=3))
    assert reasons(orchestrator, signal()) == ["WORKING_ORDER"]
    await orchestrator.on_order_ended(OrderCancelledEvent(**order, remaining_qty=Decimal(1), reason="CASH"))
    assert reasons(orchestrator, signal()) == []

"""Events: names and shapes that people already write code against."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from eventbus import Event, Kind, event_types
from quantum_trader import events
from quantum_trader.model import HealthStatus, RiskMode, Side, StrategyLifecycle, price

FIXED: list[tuple[type[Event], str, dict[str, Any]]] = [
    (
        events.PolicyUpdatedEvent,
        "policy.updated",
        {
            "risk_mode": "NORMAL",
            "allowed_strategies": ["a"],
            "global_min_confidence": 0.6,
            "max_risk_per_trade": 0.01,
            "max_positions": 3,
        },
    ),
    (
        events.StrategyPromotedEvent,
        "strategy.promoted",
        {"strategy_id": "s", "from_stage": "SHADOW", "to_stage": "LIVE", "reason": "r"},
    ),
    (
        events.ModelPromotedEvent,
        "model.promoted",
        {"model_name": "m", "old_version": "1", "new_version": "2", "metrics": {"mse": 1.0}},
    ),
    (
        events.HealthStatusChangedEvent,
        "health.status_changed",
        {"old_status": "HEALTHY", "new_status": "CRITICAL", "component": "DATA", "reason": "r"},
    ),
    (events.OpportunitiesUpdatedEvent, "opportunities.updated", {"top_symbols": ["A"], "scores": {"A": 0.5}}),
    (
        events.TradeExecutedEvent,
        "trade.executed",
        {"order_id": "o", "symbol": "A", "side": "BUY", "size": 1, "price": "2.5", "strategy_id": "s"},
    ),
    (
        events.SampleProcessedEvent,
        "spc.sample_processed",
        {
            "sample_id": 1,
            "characteristic_id": 2,
            "mean": 0.5,
            "range_value": 0.1,
            "zone": "zone_c_upper",
            "in_control": True,
        },
    ),
    (
        events.ViolationCreatedEvent,
        "spc.violation_created",
        {
            "violation_id": 1,
            "sample_id": 1,
            "characteristic_id": 2,
            "rule_id": 1,
            "rule_name": "Outlier",
            "severity": "CRITICAL",
        },
    ),
    (events.ViolationAcknowledgedEvent, "spc.violation_acknowledged", {"violation_id": 1, "user": "u", "reason": "r"}),
    (
        events.ControlLimitsUpdatedEvent,
        "spc.limits_updated",
        {"characteristic_id": 1, "center_line": 0.0, "ucl": 3.0, "lcl": -3.0},
    ),
    (
        events.AlertThresholdExceededEvent,
        "spc.alert_threshold_exceeded",
        {"characteristic_id": 1, "metric": "m", "value": 1.0, "threshold": 0.5},
    ),
    *(
        (cls, f"spc.characteristic_{what}", {"characteristic_id": 1, "name": "pred.log_range"})
        for cls, what in (
            (events.CharacteristicCreatedEvent, "created"),
            (events.CharacteristicUpdatedEvent, "updated"),
            (events.CharacteristicDeletedEvent, "deleted"),
        )
    ),
]


@pytest.mark.parametrize(("cls", "name", "fields"), FIXED, ids=lambda value: value if isinstance(value, str) else "")
def test_fixed_shapes_are_made_by_class_and_by_create(cls: type[Event], name: str, fields: dict[str, Any]) -> None:
    made, created = cls(**fields), cls.create(**fields)
    assert made.type == created.type == name
    assert made.payload == created.payload
    assert {key: made.payload[key] for key in fields if key not in {"size", "price"}} == {
        key: value for key, value in fields.items() if key not in {"size", "price"}
    }


@pytest.mark.parametrize("size", [2, 2.0, "2", Decimal(2)])
def test_trade_takes_any_number_and_keeps_a_decimal(size: Any) -> None:
    event = events.TradeExecutedEvent.create(
        order_id="o", symbol="A", side="buy", size=size, price=0.1, strategy_id="s", pnl="1.5"
    )
    assert event.size == Decimal(2)
    assert isinstance(event.size, Decimal)
    assert event.price == Decimal("0.1")
    assert event.pnl == Decimal("1.5")
    assert event.side is Side.BUY


def test_members_equal_their_strings() -> None:
    assert RiskMode.AGGRESSIVE == "AGGRESSIVE"
    assert StrategyLifecycle.RETIRED == "RETIRED"
    assert HealthStatus.DEGRADED == "DEGRADED"


def test_lists_can_be_compared_and_not_changed() -> None:
    policy = events.PolicyUpdatedEvent(**FIXED[0][2])
    assert policy.allowed_strategies == ["a"]
    assert not hasattr(policy.allowed_strategies, "append")
    assert policy.updated_by == "MSC_AI"


def test_percents_and_unknown_fields_are_refused() -> None:
    fields = FIXED[0][2]
    with pytest.raises(ValidationError, match="max_risk_per_trade"):
        events.PolicyUpdatedEvent(**{**fields, "max_risk_per_trade": 2.0})
    with pytest.raises(ValidationError, match="colour"):
        events.PolicyUpdatedEvent(**{**fields, "colour": "red"})


def test_every_event_is_a_decision_or_an_operation() -> None:
    for cls in event_types():
        if cls.__module__.startswith("quantum_trader"):
            assert issubclass(cls, events.Decision) is not issubclass(cls, events.Operation), cls.__name__


def test_what_moves_money_is_an_execution_and_what_ends_an_order_passes_a_halt() -> None:
    moves: set[type[Event]] = {events.OrderApprovedEvent, events.OrderAcceptedEvent, events.TradeExecutedEvent}
    ends: set[type[Event]] = {
        events.OrderRejectedEvent,
        events.OrderCancelledEvent,
        events.OrderExpiredEvent,
        events.OrderDeniedEvent,
    }
    assert {cls.__event__.kind for cls in moves} == {Kind.EXECUTION}
    assert {cls.__event__.kind for cls in ends} == {Kind.EVENT}


def test_wall_clock_metrics_stay_out_of_the_digest() -> None:
    assert events.is_decision(events.MetricRecordedEvent(metric="m", value=1, unit="u"))
    assert not events.is_decision(events.MetricRecordedEvent(metric="m", value=1, unit="u", clock="wall"))
    assert not events.is_decision(events.QueueTaskAddedEvent(queue="q", task_id="t", depth=1))


def test_a_price_has_up_to_eighteen_places_on_the_wire() -> None:
    fill: dict[str, Any] = {"order_id": "o", "symbol": "A", "side": "BUY", "size": 1, "strategy_id": "s"}
    smallest = events.TradeExecutedEvent(**fill, price=Decimal("0.000000000000000001"))
    assert smallest.price == Decimal("1e-18")
    with pytest.raises(ValidationError, match="18 decimal places"):
        events.TradeExecutedEvent(**fill, price=Decimal("0.0000000000000000001"))


@pytest.mark.parametrize("value", [4.123456789012e-7, 1.23456789012e-9, 1e-12, 12345678.9012345, 1e12, 28.19])
def test_every_price_that_is_paid_fits_on_the_wire(value: float) -> None:
    paid = price(value)
    fill: dict[str, Any] = {"order_id": "o", "symbol": "A", "side": "BUY", "size": 1, "strategy_id": "s"}
    assert events.TradeExecutedEvent(**fill, price=paid).price == paid
    assert float(paid) == pytest.approx(value, rel=1e-6 if value < 1e-7 else 1e-11)

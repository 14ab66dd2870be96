from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    CharacteristicCreatedEvent,
    ControlLimitsUpdatedEvent,
    MetricRecordedEvent,
    OrderApprovedEvent,
    OrderDeniedEvent,
    PortfolioUpdatedEvent,
    PredictionItem,
    PredictionMadeEvent,
    PredictionScoredEvent,
    SampleProcessedEvent,
    ScoreItem,
    SessionClosedEvent,
    TradeExecutedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
    is_decision,
)
from quantum_trader.model import OrderKind, Side, Trigger
from quantum_trader.monitoring.characteristics import Characteristics
from quantum_trader.monitoring.spc_engine import DENIALS, PREDICTION, RETURN, SHORTFALL, SpcEngine, UnknownViolation

AT = datetime(2001, 1, 1, tzinfo=UTC)
IMR = {"type": "imr", "baseline": 20, "rebase": 1_000, "rules": [1, 2]}


def scored(session: int, *errors: float, model: str = "ensemble") -> PredictionScoredEvent:
    items = tuple(
        ScoreItem(symbol=f"S{at}", model=model, version=0, stage="LIVE", predicted=0.0, actual=error, error=error)
        for at, error in enumerate(errors)
    )
    return PredictionScoredEvent(session=session, items=items, timestamp=AT)


def metric(name: str, value: float, session: int, *, wall: bool = False) -> MetricRecordedEvent:
    return MetricRecordedEvent(
        metric=name, value=value, unit="1", clock="wall" if wall else "event", session=session, timestamp=AT
    )


async def engine_with(bus: InMemoryEventBus, **charts: dict[str, object]) -> tuple[SpcEngine, Characteristics]:
    known, engine = Characteristics(bus), SpcEngine(bus)
    for name, settings in charts.items():
        await known.create(name.replace("__", "."), settings, at=AT)
    await bus.drain()
    return engine, known


def quiet(count: int) -> list[float]:
    return [0.1 * float(value) for value in np.random.default_rng(5).standard_normal(count)]


async def feed(bus: InMemoryEventBus, values: Sequence[float], name: str = "m.x", start: int = 0) -> None:
    for at, value in enumerate(values):
        await bus.publish(metric(name, value, start + at))
    await bus.drain()


async def test_a_baseline_becomes_limits_and_an_outlier_a_critical_violation(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await engine_with(event_bus, m__x=IMR)
    await feed(event_bus, [*quiet(20), 5.0])
    samples = recorder.of(SampleProcessedEvent)
    assert [one.phase for one in samples] == ["BASELINE"] * 20 + ["MONITOR"]
    assert recorder.of(ControlLimitsUpdatedEvent)[0].chart == "m.x"
    violation = recorder.of(ViolationCreatedEvent)[-1]
    assert (violation.violation_id, violation.rule_name, violation.severity) == ("m.x-20-1", "Outlier", "CRITICAL")
    assert (samples[-1].zone, samples[-1].in_control, samples[-1].session) == ("beyond_upper", False, 20)


async def test_limits_are_told_after_the_sample_that_completes_the_baseline(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await engine_with(event_bus, m__x=IMR)
    await feed(event_bus, quiet(20))
    kinds = [type(event) for event in recorder if isinstance(event, SampleProcessedEvent | ControlLimitsUpdatedEvent)]
    assert kinds == [SampleProcessedEvent] * 20 + [ControlLimitsUpdatedEvent]


async def test_only_the_combined_forecast_is_charted_as_its_mean_over_symbols(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await engine_with(event_bus, pred__log_range=IMR)
    await event_bus.publish(scored(1, 0.25, 0.75))
    await event_bus.publish(scored(2, 9.0, model="average"))
    await event_bus.drain()
    assert [one.mean for one in recorder.of(SampleProcessedEvent)] == [0.5]
    assert recorder.of(SampleProcessedEvent)[0].chart == PREDICTION


async def test_shortfall_is_charted_once_per_open_and_side_in_units_of_the_forecast_volatility(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await engine_with(event_bus, exec__shortfall=IMR)
    trade = TradeExecutedEvent(
        order_id="o",
        symbol="A",
        side=Side.SELL,
        size=Decimal(1),
        price=Decimal(98),
        strategy_id="s",
        shortfall_bp=-1 * (98 / 100 - 1) * 1e4,
        timestamp=AT,
    )
    await event_bus.publish(trade)  # no forecast yet: nothing to measure by
    item = PredictionItem(symbol="A", log_range=-3.0, sigma_1d=0.02)
    await event_bus.publish(PredictionMadeEvent(session=1, items=(item,), timestamp=AT))
    await event_bus.publish(trade)
    others: list[dict[str, object]] = [
        {"strategy_id": "t"},
        {"trigger": Trigger.STOP},
        {"trigger": Trigger.DELISTED},
    ]
    for at, change in enumerate(others):
        await event_bus.publish(trade.model_copy(update={**change, "event_id": str(at)}))
    await event_bus.drain()
    (sample,) = recorder.of(SampleProcessedEvent)
    assert sample.chart == SHORTFALL
    assert sample.mean == pytest.approx(math.asinh(-3 * math.log(0.98) / 0.02))


async def test_returns_are_charted_only_while_exposed(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    await engine_with(event_bus, port__return=IMR)
    for session in range(40):
        gross = Decimal(0) if session < 10 else Decimal(3)
        await event_bus.publish(
            PortfolioUpdatedEvent(
                session=session,
                cash=Decimal(1),
                equity=Decimal(6),
                gross=gross,
                realised=Decimal(0),
                fees=Decimal(0),
                drawdown=0.0,
                day_return=0.01 if session % 2 else -0.01,
                timestamp=AT,
            )
        )
    await event_bus.drain()
    samples = recorder.of(SampleProcessedEvent)
    assert [one.session for one in samples] == list(range(31, 40))  # 20 returns settle the volatility
    assert all(abs(one.mean) == pytest.approx(1.0) for one in samples)
    assert samples[0].chart == RETURN


P_CHART = {"type": "p", "baseline": 20, "rules": [1], "subgroup": 20}


def verdict(at: int, *, denied: bool, session: int = 0) -> OrderApprovedEvent | OrderDeniedEvent:
    if denied:
        return OrderDeniedEvent(
            order_id=f"{at:03}", strategy_id="s", symbol="A", kind=OrderKind.ENTRY, code="CASH", limit=0, value=1,
            session=session, timestamp=AT,
        )  # fmt: skip
    return OrderApprovedEvent(
        order_id=f"{at:03}", intent_id="", strategy_id="s", symbol="A", side=Side.BUY, kind=OrderKind.ENTRY, qty=Decimal(1),
        reference_px=1.0, session=session, timestamp=AT,
    )  # fmt: skip


async def test_every_verdict_counts_once_whoever_is_heard_first(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    engine, _ = await engine_with(event_bus, risk__denials=P_CHART)
    verdicts = [verdict(at, denied=at % 4 == 0) for at in range(50)]
    random = np.random.default_rng(3)
    for session in range(2):
        for at in random.permutation(25):
            await event_bus.publish(verdicts[25 * session + at])
            await event_bus.publish(verdicts[25 * session + at])  # told again
        await event_bus.drain()
        if session:
            saved = json.loads(json.dumps(engine.state()))
            await event_bus.publish(verdict(99, denied=True))  # lost with the crash
            await event_bus.drain()
            engine.restore(saved)
        await event_bus.publish(SessionClosedEvent(session=session + 1, timestamp=AT))
        await event_bus.drain()
    shares = [sum(at % 4 == 0 for at in range(first, first + 20)) / 20 for first in (0, 20)]
    assert [(one.chart, one.mean, one.session) for one in recorder.of(SampleProcessedEvent)] == [
        (DENIALS, shares[0], 1),
        (DENIALS, shares[1], 2),
    ]


async def test_verdicts_become_points_in_the_order_of_the_orders(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await engine_with(event_bus, risk__denials=P_CHART)
    denied = [verdict(at, denied=True) for at in range(10, 30)]
    approved = [verdict(at, denied=False) for at in (*range(10), *range(30, 40))]
    await event_bus.publish_many([*approved, *denied])
    await event_bus.drain()
    await event_bus.publish(SessionClosedEvent(session=1, timestamp=AT))
    await event_bus.drain()
    assert [one.mean for one in recorder.of(SampleProcessedEvent)] == [0.5, 0.5]


async def test_what_is_measured_by_the_wall_clock_is_told_by_it_and_is_no_decision(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    engine, _ = await engine_with(event_bus, m__x=IMR)
    for at, value in enumerate([*quiet(20), 5.0]):
        await event_bus.publish(metric("m.x", value, at, wall=True))
    await event_bus.publish(metric("m.unknown", 1.0, 1))
    await event_bus.drain()
    engine.restore(json.loads(json.dumps(engine.state())))
    await event_bus.publish(AcknowledgeRequestedEvent(violation_id="m.x-20-1", user="ann", reason="busy"))
    await event_bus.drain()
    for told in (SampleProcessedEvent, ViolationCreatedEvent, ControlLimitsUpdatedEvent, ViolationAcknowledgedEvent):
        events = recorder.of(told)
        assert events
        assert not any(map(is_decision, events))


async def test_an_acknowledgement_closes_its_violation_and_can_keep_its_points_out_of_the_next_baseline(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    engine, _known = await engine_with(event_bus, m__x=IMR)
    await feed(event_bus, [*quiet(20), 5.0])
    assert engine.open_violations() == ("m.x-20-1",)
    ask = AcknowledgeRequestedEvent(
        violation_id="m.x-20-1", user="ann", reason="split", exclude_samples=True, timestamp=AT
    )
    assert not await event_bus.publish_and_wait(ask)
    await event_bus.drain()
    (answer,) = recorder.of(ViolationAcknowledgedEvent)
    assert (answer.user, answer.characteristic_id) == ("ann", 1)
    assert engine.open_violations() == ()
    await engine.rebase(1, at=AT)
    await event_bus.drain()
    assert recorder.of(ControlLimitsUpdatedEvent)[-1].sample_count == 19
    assert recorder.of(ControlLimitsUpdatedEvent)[-1].excluded_count == 0


async def test_an_unknown_violation_is_refused_in_one_line_and_changes_nothing(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await engine_with(event_bus, m__x=IMR)
    ask = AcknowledgeRequestedEvent(violation_id="m.x-9-1", user="ann", reason="?", timestamp=AT)
    (refusal,) = await event_bus.publish_and_wait(ask)
    assert isinstance(refusal, UnknownViolation)
    assert str(refusal) == "violation m.x-9-1: there is no open one of that id; list the open ones"
    assert not recorder.of(ViolationAcknowledgedEvent)


async def test_new_rules_judge_the_same_chart_and_a_deleted_one_is_silent(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    engine, known = await engine_with(event_bus, m__x=IMR)
    await feed(event_bus, quiet(20))
    await known.update(1, {"rules": [2]}, at=AT)
    await event_bus.drain()
    await feed(event_bus, [5.0])
    assert not recorder.of(ViolationCreatedEvent)
    assert recorder.of(SampleProcessedEvent)[-1].phase == "MONITOR"
    await known.delete(1, at=AT)
    await event_bus.drain()
    count = len(recorder.of(SampleProcessedEvent))
    await feed(event_bus, [5.0])
    assert engine.chart("m.x") is None
    assert len(recorder.of(SampleProcessedEvent)) == count


async def test_a_restored_engine_answers_like_the_first(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    engine, _ = await engine_with(event_bus, m__x=IMR)
    await feed(event_bus, [*quiet(25), 5.0])
    state = json.loads(json.dumps(engine.state()))
    bus = InMemoryEventBus()
    heard = Recorder()
    bus.subscribe("*", heard)
    other = SpcEngine(bus)
    other.restore(state)
    async with bus:
        recorder.clear()
        await feed(event_bus, [0.3, 6.0], start=26)
        await feed(bus, [0.3, 6.0], start=26)
    assert heard.payloads == recorder.payloads
    assert other.open_violations() == engine.open_violations()


def test_the_engine_asks_for_no_characteristic_that_was_not_announced() -> None:
    bus = InMemoryEventBus()
    engine = SpcEngine(bus)
    assert engine.chart(PREDICTION) is None
    assert CharacteristicCreatedEvent.type in {one.selector.title for one in bus.subscriptions}

"""Forged promotion: who says that a strategy is LIVE, without an evaluation that it passed, is not believed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.app import build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import (
    EvaluationCompletedEvent,
    HealthStatusChangedEvent,
    SessionClosedEvent,
    SignalsGeneratedEvent,
    StrategyPromotedEvent,
)
from quantum_trader.model import HealthStatus, StrategyLifecycle

FORGED_IN = 300
STRATEGY = "breakout-20-10"
LIVE = StrategyLifecycle.LIVE


@dataclass
class Told:
    fills: int = 0
    denials: dict[str, int] = field(default_factory=dict)
    degraded: list[tuple[int, str]] = field(default_factory=list)
    stages: set[StrategyLifecycle] = field(default_factory=set)  # in which it spoke
    live: list[str] = field(default_factory=list)  # by the runtime's word, at the end


async def forge(evaluation_id: str | None, claimed_by: str) -> Told:
    """Somebody promotes one of the seeds in session 300; `passed` stands for the id of an evaluation it did not pass."""
    config = load_config(environ={}, overrides={"universe": {"end": "2001-12-31"}})
    told, failed = Told(), list[str]()
    async with InMemoryEventBus(max_queue_size=100_000) as bus:
        system = build(bus, config, load_feed(config))

        async def intrude(event: SessionClosedEvent) -> None:
            if event.session == FORGED_IN:
                await bus.publish(
                    StrategyPromotedEvent(
                        strategy_id=STRATEGY, from_stage=StrategyLifecycle.BACKTEST, to_stage=LIVE,
                        reason="shadow gate passed", session=event.session, timestamp=event.timestamp,
                        evaluation_id=failed[-1] if evaluation_id == "failed" else evaluation_id, source=claimed_by,
                    )
                )  # fmt: skip

        async def health(event: HealthStatusChangedEvent) -> None:
            if event.new_status is HealthStatus.DEGRADED and "forged" in event.reason:
                told.degraded.append((event.session, event.reason))

        async def spoken(event: SignalsGeneratedEvent) -> None:
            told.stages |= {item.stage for item in event.items if item.strategy_id == STRATEGY}

        async def answered(event: EvaluationCompletedEvent) -> None:
            if event.subject_id == STRATEGY:
                failed.append(event.evaluation_id)

        bus.subscribe(EvaluationCompletedEvent, answered)
        bus.subscribe(SessionClosedEvent, intrude, name="intruder")
        bus.subscribe(HealthStatusChangedEvent, health)
        bus.subscribe(SignalsGeneratedEvent, spoken)
        await system.run()
        told.fills, told.denials = len(system.record.trades), dict(system.record.denials)
        told.live = [name for name, stage in system.runtime.stages().items() if stage is LIVE]
        system.close()
    return told


@pytest.mark.parametrize(
    ("evaluation_id", "claimed_by"),
    [
        pytest.param(None, "", id="no evaluation", marks=pytest.mark.long),
        pytest.param("never-asked", "strategy_generator", id="one that never was", marks=pytest.mark.long),
        pytest.param("failed", "strategy_generator", id="one that it failed"),
        pytest.param("operator:mine", "operator", id="the operator's word"),
    ],
)
def test_a_promotion_without_a_passed_evaluation_trades_nothing_and_is_told(
    evaluation_id: str | None, claimed_by: str
) -> None:
    told = asyncio.run(forge(evaluation_id, claimed_by))
    assert (told.fills, told.live, told.stages) == (0, [], set())
    assert told.denials == {"FORGED_PROMOTION": 1}
    assert told.degraded
    assert STRATEGY in told.degraded[0][1]

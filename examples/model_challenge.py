"""Models earn their place: EWMA replaces the moving average, the direction model is refused, and one mistake is undone.

The first two happen on the demo bars, with nothing staged. For the third a version is promoted that forecasts well in
shadow and badly afterwards: the version before it comes back by itself.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from eventbus import Event, InMemoryEventBus
from quantum_trader.alpha.trials import Trials
from quantum_trader.config import Costs, ModelGateConfig, ModelsConfig, StrategiesConfig
from quantum_trader.events import (
    MarketBarEvent,
    ModelPromotedEvent,
    ModelRejectedEvent,
    PredictionScoredEvent,
    ScoreItem,
    SessionClosedEvent,
)
from quantum_trader.learning.catalogue import AVERAGE, DIRECTION, REGRESSION
from quantum_trader.learning.ensemble import EnsembleManager
from quantum_trader.learning.evaluation import EvaluationHandler
from quantum_trader.learning.manager import ContinuousLearningManager
from quantum_trader.learning.model_subjects import ModelSubjects
from quantum_trader.learning.registry import CachingRegistry, Registry
from quantum_trader.learning.registry_reads import MODEL
from quantum_trader.learning.strategy_subjects import StrategySubjects
from quantum_trader.learning.task_queue import QueueHandler
from quantum_trader.market.dataset import load_dataset
from quantum_trader.market.replayer import MarketReplayer
from quantum_trader.session import SessionClock

START = datetime(2020, 1, 1, tzinfo=UTC)


def platform(bus: InMemoryEventBus, registry: Registry) -> ContinuousLearningManager:
    """Learning and evaluation, without anybody who trades."""
    subjects = StrategySubjects(Trials(Costs(), StrategiesConfig(), cooldown=5), StrategiesConfig())
    EvaluationHandler(bus, QueueHandler(), subjects, ModelSubjects(ModelGateConfig()))
    return ContinuousLearningManager(bus, registry, ModelsConfig())


def listen(bus: InMemoryEventBus) -> list[ModelPromotedEvent | ModelRejectedEvent]:
    heard: list[ModelPromotedEvent | ModelRejectedEvent] = []

    async def note(event: Event) -> None:
        if isinstance(event, ModelPromotedEvent):
            heard.append(event)
            what = "comes back" if event.metrics["rollback"] else "goes live"
            print(f"  session {event.session:4}: {event.model_name} {event.new_version} {what}, {figures(event)}")
        elif isinstance(event, ModelRejectedEvent):
            heard.append(event)
            print(f"  session {event.session:4}: {event.model_name} {event.version} refused, {event.reason}")

    bus.subscribe("model.*", note)
    return heard


def figures(event: ModelPromotedEvent) -> str:
    return f"p {event.metrics['p']:.2g}, mean squared error {event.metrics['mse_ratio']:.3f} of the other's"


async def on_the_demo_bars() -> None:
    print("on the demo bars, 2000-2006:")
    async with InMemoryEventBus() as bus:
        registry, heard = Registry(bus), listen(bus)
        EnsembleManager(bus, CachingRegistry(bus, registry))
        learning = platform(bus, registry)
        await SessionClock(bus, MarketReplayer(load_dataset(end=datetime(2006, 1, 1, tzinfo=UTC)))).run()
        promoted = {event.model_name for event in heard if isinstance(event, ModelPromotedEvent)}
        refused = [event.model_name for event in heard if isinstance(event, ModelRejectedEvent)]
        assert promoted == {AVERAGE}, "only the average is so much worse than its challenger that it cannot be luck"
        assert learning.places()[AVERAGE].live_name == "EWMA-0.9"
        assert refused.count(REGRESSION) >= 3, "the regression was not put to the test"
        assert refused.count(DIRECTION) >= 3, "the direction model was not put to the test"
        assert registry.get(MODEL, AVERAGE, 1).stage == "RETIRED"
        registry.close()


def error(session: int, version: int) -> float:
    """Version 2 has seven tenths of version 1's error while it is in shadow, and half as much again after that."""
    plain = (0.2 + 0.1 * (session % 3)) * (-1.0) ** session
    return plain if version == 1 else plain * (0.7 if session <= 63 + 126 else 1.5)


async def a_mistake() -> None:
    print("a version that was better in shadow only:")
    async with InMemoryEventBus() as bus:
        registry, heard = Registry(bus), listen(bus)
        learning = platform(bus, registry)
        for session in range(63 + 126 + 63 + 2):
            at = START + timedelta(days=session)
            close = 100.0 + session % 5
            await bus.publish(
                MarketBarEvent(
                    symbol="A", session=session, open=close, high=close * 1.01, low=close * 0.99, close=close,
                    volume=1_000_000, timestamp=at,
                )
            )  # fmt: skip
            await bus.drain()
            items = tuple(
                ScoreItem(
                    symbol="A", model=AVERAGE, version=version, stage="", predicted=0.0,
                    actual=error(session, version), error=error(session, version),
                )
                for version in range(1, registry.latest_version(MODEL, AVERAGE) + 1)
            )  # fmt: skip
            await bus.publish(PredictionScoredEvent(session=session, items=items, timestamp=at))
            await bus.publish(SessionClosedEvent(session=session, timestamp=at))
            await bus.drain()
        moves = [(event.old_version, event.new_version) for event in heard if isinstance(event, ModelPromotedEvent)]
        assert moves == [(1, 2), (2, 1)], moves
        assert learning.places()[AVERAGE].live == 1
        assert [stage for _, stage, _ in registry.stages(MODEL, AVERAGE)] == [
            "LIVE", "SHADOW", "RETIRED", "LIVE", "RETIRED", "LIVE",
        ]  # fmt: skip
        assert len(bus.dead_letters) == 0
        registry.close()


async def main() -> None:
    await on_the_demo_bars()
    await a_mistake()


if __name__ == "__main__":
    asyncio.run(main())

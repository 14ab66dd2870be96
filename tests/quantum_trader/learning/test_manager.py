from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.alpha.trials import Trials
from quantum_trader.config import Costs, ModelGateConfig, ModelsConfig, StrategiesConfig
from quantum_trader.events import (
    EvaluationCompletedEvent,
    EvaluationRequestedEvent,
    MarketBarEvent,
    ModelPromotedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    PredictionScoredEvent,
    Purpose,
    ScoreItem,
    SessionClosedEvent,
    ViolationCreatedEvent,
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

AT = datetime(2001, 1, 1, tzinfo=UTC)
BETTER = {"t": 3.0, "p": 0.001, "mse_ratio": 0.9, "since_violation": -1.0}
WORSE = {"t": -3.0, "p": 0.999, "mse_ratio": 1.1, "since_violation": -1.0}


class Judge:
    """Answers what is asked about one model; about the others it is silent."""

    def __init__(self, bus: InMemoryEventBus, model: str, figures: Mapping[str, float]) -> None:
        self._bus, self.model, self.figures = bus, model, figures
        bus.subscribe(EvaluationRequestedEvent, self.answer)

    async def answer(self, event: EvaluationRequestedEvent) -> None:
        if event.subject_id == self.model:
            await self._bus.publish(
                EvaluationCompletedEvent(
                    evaluation_id=event.evaluation_id,
                    subject_kind="MODEL",
                    subject_id=event.subject_id,
                    purpose=event.purpose,
                    verdict="PASS",
                    metrics={**self.figures, "sessions": event.last_session - event.first_session + 1},
                    session=event.last_session,
                    timestamp=AT,
                )
            )


async def play(bus: InMemoryEventBus, learning: ContinuousLearningManager, first: int, last: int) -> None:
    """Sessions of one wavy symbol, and scores of every version that would be scored."""
    for session in range(first, last + 1):
        at = AT + timedelta(days=session)
        close = 100.0 + session % 5
        await bus.publish(
            MarketBarEvent(
                symbol="A",
                session=session,
                open=close,
                high=close * 1.01,
                low=close * 0.99,
                close=close,
                volume=10**6,
                timestamp=at,
            )
        )
        await bus.drain()
        items = [
            ScoreItem(symbol="A", model=model, version=version, stage="", predicted=0.0, actual=0.1, error=0.1)
            for model, place in learning.places().items()
            for version in sorted({place.live, place.challenger})
            if version and model != DIRECTION
        ]
        await bus.publish(PredictionScoredEvent(session=session, items=tuple(items), timestamp=at))
        await bus.publish(SessionClosedEvent(session=session, timestamp=at))
        await bus.drain()


def learner(bus: InMemoryEventBus) -> ContinuousLearningManager:
    return ContinuousLearningManager(bus, Registry(bus), ModelsConfig())


def trained(recorder: Recorder, model: str) -> list[tuple[int, int]]:
    return [(one.through_session, one.version) for one in recorder.of(ModelTrainedEvent) if one.model == model]


async def test_the_first_version_is_registered_without_any_promotion(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    learning = learner(event_bus)
    await play(event_bus, learning, 0, 5)
    (told,) = recorder.of(ModelTrainedEvent)
    assert (told.model, told.version, told.samples) == (AVERAGE, 1, 1)
    assert len(told.params_sha256) == 64
    assert learning.places()[AVERAGE].live == 1
    assert not recorder.of(ModelPromotedEvent)


async def test_one_challenger_per_model_is_trained_every_63_sessions(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    learning = learner(event_bus)
    await play(event_bus, learning, 0, 190)
    assert trained(recorder, AVERAGE) == [(0, 1), (63, 2)]  # the second keeps its place for want of an answer
    assert trained(recorder, REGRESSION) == [(63, 1)]
    assert trained(recorder, DIRECTION) == [(63, 1)]
    samples = {one.model: one.samples for one in recorder.of(ModelTrainedEvent) if one.through_session == 63}
    assert samples[REGRESSION] == 64


async def test_a_challenger_is_evaluated_after_126_sessions_in_shadow_and_every_21_after(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    learning = learner(event_bus)
    await play(event_bus, learning, 0, 63 + 126 + 42)
    asked = [one for one in recorder.of(EvaluationRequestedEvent) if one.subject_id == AVERAGE]
    assert [(one.first_session, one.last_session) for one in asked] == [(64, 189), (64, 210), (64, 231)]
    assert {(one.purpose, one.version) for one in asked} == {(Purpose.CHALLENGE, 2)}


async def test_a_better_challenger_goes_live_with_its_evaluation(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    registry = Registry(event_bus)
    learning = ContinuousLearningManager(event_bus, registry, ModelsConfig())
    Judge(event_bus, AVERAGE, BETTER)
    await play(event_bus, learning, 0, 189)
    (promotion,) = recorder.of(ModelPromotedEvent)
    assert (promotion.model_name, promotion.old_version, promotion.new_version) == (AVERAGE, 1, 2)
    assert promotion.session == 189
    assert promotion.evaluation_id in {one.evaluation_id for one in recorder.of(EvaluationRequestedEvent)}
    assert registry.get(MODEL, AVERAGE, 1).stage == "RETIRED"
    assert registry.get(MODEL, AVERAGE, 2).stage == "LIVE"


async def test_a_challenger_that_never_wins_is_rejected_after_its_patience_and_the_next_gets_its_turn(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    learning = learner(event_bus)
    Judge(event_bus, REGRESSION, WORSE)
    await play(event_bus, learning, 0, 63 * 6)
    (refusal,) = recorder.of(ModelRejectedEvent)
    assert (refusal.model_name, refusal.version, refusal.session) == (REGRESSION, 1, 63 + 252)
    assert refusal.reason.startswith("p 0.999 >= 0.02044")
    assert trained(recorder, REGRESSION) == [(63, 1), (378, 2)]
    assert learning.places()[REGRESSION].challenger_name == "HAR-RLS-1-leverage"


@pytest.mark.parametrize(("figures", "comes_back"), [(BETTER, True), (WORSE, False)])
async def test_the_old_version_comes_back_when_it_beats_its_successor(
    event_bus: InMemoryEventBus, recorder: Recorder, figures: dict[str, float], comes_back: bool
) -> None:
    learning = learner(event_bus)
    judge = Judge(event_bus, AVERAGE, BETTER)
    await play(event_bus, learning, 0, 189)
    judge.figures = figures
    await play(event_bus, learning, 190, 189 + 63)
    review = [one for one in recorder.of(EvaluationRequestedEvent) if one.purpose is Purpose.LIVE_REVIEW]
    assert [(one.first_session, one.last_session, one.version) for one in review] == [(190, 252, 2)]
    promotions = [(one.old_version, one.new_version) for one in recorder.of(ModelPromotedEvent)]
    assert promotions == ([(1, 2), (2, 1)] if comes_back else [(1, 2)])
    assert recorder.of(ModelPromotedEvent)[-1].metrics["rollback"] == float(comes_back)
    assert learning.places()[AVERAGE].live == (1 if comes_back else 2)


async def test_no_challenger_is_trained_during_probation(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    learning = learner(event_bus)
    judge = Judge(event_bus, AVERAGE, BETTER)
    await play(event_bus, learning, 0, 189)
    judge.model = "nobody"
    await play(event_bus, learning, 190, 252)
    assert trained(recorder, AVERAGE) == [(0, 1), (63, 2)]


async def test_an_alarm_of_the_forecasts_brings_the_training_forward(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    learning = learner(event_bus)
    await play(event_bus, learning, 0, 9)
    await event_bus.publish(
        ViolationCreatedEvent(
            violation_id="pred.log_range-9-1",
            sample_id=9,
            characteristic_id=1,
            rule_id=1,
            rule_name="Outlier",
            severity="CRITICAL",
            chart="pred.log_range",
            session=9,
            timestamp=AT,
        )
    )
    await play(event_bus, learning, 10, 40)
    assert trained(recorder, REGRESSION) == [(29, 1)]


async def test_a_restored_manager_goes_on_like_the_first(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    first = learner(event_bus)
    Judge(event_bus, AVERAGE, BETTER)
    await play(event_bus, first, 0, 100)
    state: dict[str, Any] = json.loads(json.dumps(first.state()))
    recorder.clear()
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        bus.subscribe("*", heard)
        registry = Registry(bus)
        for model, versions in ((AVERAGE, 2), (REGRESSION, 1), (DIRECTION, 1)):
            for version in range(versions):
                await registry.put(MODEL, model, {"version": version}, session=version, at=AT)
        await bus.drain()
        heard.clear()
        second = ContinuousLearningManager(bus, registry, ModelsConfig())
        second.restore(state)
        Judge(bus, AVERAGE, BETTER)
        await play(bus, second, 101, 330)
    await play(event_bus, first, 101, 330)
    assert heard.payloads == recorder.payloads


@pytest.mark.long
async def test_on_the_demo_bars_ewma_and_har_go_live_and_direction_is_always_refused(
    event_bus: InMemoryEventBus,
) -> None:
    heard = Recorder()
    event_bus.subscribe("model.*", heard)
    registry = Registry(event_bus)
    EnsembleManager(event_bus, CachingRegistry(event_bus, registry))
    learning = ContinuousLearningManager(event_bus, registry, ModelsConfig())
    subjects = StrategySubjects(Trials(Costs(), StrategiesConfig(), cooldown=5), StrategiesConfig())
    EvaluationHandler(event_bus, QueueHandler(), subjects, ModelSubjects(ModelGateConfig()))
    await SessionClock(event_bus, MarketReplayer(load_dataset())).run()
    promoted = [one.model_name for one in heard.of(ModelPromotedEvent)]
    refused = [one.model_name for one in heard.of(ModelRejectedEvent)]
    assert sorted(promoted) == [AVERAGE, REGRESSION]
    assert refused.count(DIRECTION) == 10
    assert learning.places()[AVERAGE].live_name == "EWMA-0.9"
    assert learning.places()[REGRESSION].live_name == "HAR-RLS-0.999-leverage"
    assert len(event_bus.dead_letters) == 0

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.events import (
    MarketBarEvent,
    MetricRecordedEvent,
    ModelPromotedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    PredictionMadeEvent,
    PredictionScoredEvent,
    SessionClosedEvent,
)
from quantum_trader.learning.catalogue import AVERAGE, MODELS, REGRESSION, build
from quantum_trader.learning.ensemble import EnsembleManager
from quantum_trader.learning.forecast import digest, log_range
from quantum_trader.learning.lifecycle import ModelStage
from quantum_trader.learning.registry import CachingRegistry, Registry
from quantum_trader.learning.registry_reads import MODEL
from quantum_trader.market.calendar import SessionBars
from quantum_trader.market.dataset import load_dataset
from quantum_trader.model import Bar

AT = datetime(2001, 1, 1, tzinfo=UTC)
DEMO = load_dataset(end=datetime(2001, 1, 1, tzinfo=UTC)).sessions  # AAPL, IBM, MSFT


def event(bar: Bar) -> MarketBarEvent:
    return MarketBarEvent(
        symbol=bar.symbol,
        session=bar.session,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        timestamp=bar.ts,
    )


async def play(bus: InMemoryEventBus, groups: Iterable[SessionBars]) -> None:
    for group in groups:
        await bus.publish_many([event(bar) for bar in group.bars])
        await bus.drain()
        await bus.publish(SessionClosedEvent(session=group.session, timestamp=group.ts))
        await bus.drain()


async def train(bus: InMemoryEventBus, registry: Registry, model: str, name: str, session: int) -> int:
    """Register an unfitted forecaster of the catalogue and announce it."""
    forecaster = build(model, name)
    payload = {"name": name, "state": forecaster.state(), "through": session}
    version = await registry.put(MODEL, model, payload, session=session, at=AT)
    await bus.publish(
        ModelTrainedEvent(
            model=model,
            version=version,
            params_sha256=digest(forecaster),
            samples=0,
            through_session=session,
            timestamp=AT,
        )
    )
    await bus.drain()
    return version


def promotion(model: str, old: int, new: int) -> ModelPromotedEvent:
    return ModelPromotedEvent(model_name=model, old_version=old, new_version=new, metrics={}, timestamp=AT)


async def manager(bus: InMemoryEventBus) -> tuple[EnsembleManager, Registry]:
    """An ensemble, and a registry that holds its first member as version 1."""
    registry = Registry(bus)
    payload = {"name": "MA22", "state": build(AVERAGE, "MA22").state(), "through": 0}
    assert await registry.put(MODEL, AVERAGE, payload, session=0, at=AT) == 1
    return EnsembleManager(bus, CachingRegistry(bus, registry)), registry


async def test_the_first_forecast_is_the_mean_of_22_log_ranges_and_is_scored_by_the_next_bar(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await manager(event_bus)
    await play(event_bus, DEMO[:23])
    made = recorder.of(PredictionMadeEvent)
    assert [len(one.items) for one in made] == [0] * 21 + [3] * 2
    aapl = [group.bars[0] for group in DEMO[:23]]
    expected = math.fsum(log_range(bar.high, bar.low) for bar in aapl[:22]) / 22
    item = made[21].items[0]
    assert (item.symbol, item.members, item.filled) == ("AAPL", {AVERAGE: 1}, False)
    assert item.log_range == pytest.approx(expected)
    assert 0.005 < item.sigma_1d < 0.1
    (scored,) = recorder.of(PredictionScoredEvent)
    assert [(one.model, one.symbol) for one in scored.items] == [
        (model, symbol) for model in (AVERAGE, "ensemble") for symbol in ("AAPL", "IBM", "MSFT")
    ]
    assert scored.items[0].error == pytest.approx(log_range(aapl[22].high, aapl[22].low) - expected)


async def test_a_symbol_without_history_gets_the_median_of_the_others(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    await manager(event_bus)
    late = [SessionBars(one.session, one.ts, one.bars if one.session >= 20 else one.bars[1:]) for one in DEMO[:25]]
    await play(event_bus, late)
    aapl, ibm, msft = recorder.of(PredictionMadeEvent)[-1].items
    assert (aapl.filled, ibm.filled, msft.filled) == (True, False, False)
    assert aapl.log_range == pytest.approx((ibm.log_range + msft.log_range) / 2)
    assert {one.symbol for one in recorder.of(PredictionScoredEvent)[-1].items} == {"IBM", "MSFT"}


async def test_a_shadow_is_scored_and_never_used(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    ensemble, registry = await manager(event_bus)
    await play(event_bus, DEMO[:40])
    alone = Recorder()
    async with InMemoryEventBus() as other:
        await manager(other)
        other.subscribe(PredictionMadeEvent, alone)
        await play(other, DEMO[:80])
    version = await train(event_bus, registry, AVERAGE, "EWMA-0.9", 39)
    await play(event_bus, DEMO[40:80])
    assert ensemble.stages() == {"average@1": ModelStage.LIVE, "average@2": ModelStage.SHADOW}
    last = recorder.of(PredictionScoredEvent)[-1].items
    assert {(one.version, one.stage) for one in last if one.model == AVERAGE} == {(1, "LIVE"), (version, "SHADOW")}
    assert [one.payload for one in recorder.of(PredictionMadeEvent)] == alone.payloads


async def test_a_promotion_takes_effect_with_the_next_forecast_and_the_old_version_stays_scored(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    ensemble, registry = await manager(event_bus)
    await play(event_bus, DEMO[:40])
    version = await train(event_bus, registry, AVERAGE, "EWMA-0.9", 39)
    await play(event_bus, DEMO[40:80])
    await event_bus.publish(promotion(AVERAGE, 1, version))
    await event_bus.drain()
    assert recorder.of(PredictionMadeEvent)[-1].items[0].members == {AVERAGE: 1}
    await play(event_bus, DEMO[80:81])
    assert recorder.of(PredictionMadeEvent)[-1].items[0].members == {AVERAGE: version}
    assert ensemble.stages() == {"average@1": ModelStage.RETIRED, "average@2": ModelStage.LIVE}
    await play(event_bus, DEMO[81 : 81 + 127])
    assert ensemble.stages() == {"average@2": ModelStage.LIVE}


async def test_a_version_that_was_forgotten_comes_back_from_the_registry(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    ensemble, registry = await manager(event_bus)
    version = await train(event_bus, registry, AVERAGE, "EWMA-0.9", 0)
    await event_bus.publish(promotion(AVERAGE, 1, version))
    await play(event_bus, DEMO[:140])
    assert "average@1" not in ensemble.stages()
    await event_bus.publish(promotion(AVERAGE, version, 1))
    await event_bus.drain()
    assert ensemble.stages() == {"average@1": ModelStage.LIVE, "average@2": ModelStage.RETIRED}


async def test_two_live_models_are_weighted_by_their_errors(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    _, registry = await manager(event_bus)
    version = await train(event_bus, registry, REGRESSION, next(iter(MODELS[REGRESSION])), 0)
    await event_bus.publish(promotion(REGRESSION, 0, version))
    await play(event_bus, DEMO[:60])
    item = recorder.of(PredictionMadeEvent)[-1].items[0]
    assert item.members == {AVERAGE: 1, REGRESSION: version}


async def test_parameters_that_are_not_those_announced_are_refused(event_bus: InMemoryEventBus) -> None:
    ensemble, registry = await manager(event_bus)
    forecaster = build(AVERAGE, "EWMA-0.9")
    payload = {"name": "EWMA-0.9", "state": forecaster.state(), "through": 0}
    version = await registry.put(MODEL, AVERAGE, payload, session=0, at=AT)
    (refusal,) = await event_bus.publish_and_wait(
        ModelTrainedEvent(
            model=AVERAGE, version=version + 1, params_sha256="0", samples=0, through_session=0, timestamp=AT
        )
    )
    assert "version 3 is not registered" in str(refusal)
    await registry.put(MODEL, AVERAGE, {**payload, "through": 1}, session=1, at=AT)
    (refusal,) = await event_bus.publish_and_wait(
        ModelTrainedEvent(model=AVERAGE, version=3, params_sha256="0", samples=0, through_session=1, timestamp=AT)
    )
    assert "not those announced" in str(refusal)
    assert ensemble.stages() == {"average@1": ModelStage.LIVE}


async def test_a_rejected_challenger_is_gone_and_a_live_one_cannot_be_rejected(event_bus: InMemoryEventBus) -> None:
    ensemble, registry = await manager(event_bus)
    version = await train(event_bus, registry, AVERAGE, "EWMA-0.9", 0)
    for one in (version, 1):
        await event_bus.publish(ModelRejectedEvent(model_name=AVERAGE, version=one, reason="r", timestamp=AT))
    await event_bus.drain()
    assert ensemble.stages() == {"average@1": ModelStage.LIVE}


async def test_a_forecast_that_is_not_finite_is_dropped_and_reported(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    ensemble, _ = await manager(event_bus)
    await play(event_bus, DEMO[:30])
    state = ensemble.state()
    state["members"][0]["state"]["forecasts"] = dict.fromkeys(("AAPL", "IBM", "MSFT"), math.nan)
    state["histories"] = {}  # 22 bars pass before the average is computed anew
    ensemble.restore(state)
    await play(event_bus, DEMO[30:31])
    assert recorder.of(PredictionMadeEvent)[-1].items == ()
    (told,) = recorder.of(MetricRecordedEvent)
    assert (told.metric, told.labels) == ("ensemble.member_dropped", {"member": "average@1"})


async def test_a_restored_ensemble_goes_on_exactly(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    ensemble, registry = await manager(event_bus)
    version = await train(event_bus, registry, REGRESSION, next(iter(MODELS[REGRESSION])), 0)
    await event_bus.publish(promotion(REGRESSION, 0, version))
    await play(event_bus, DEMO[:60])
    state: dict[str, Any] = json.loads(json.dumps(ensemble.state()))
    recorder.clear()
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        restored, _ = await manager(bus)
        restored.restore(state)
        await bus.drain()
        bus.subscribe("*", heard)
        await play(bus, DEMO[60:90])
    await play(event_bus, DEMO[60:90])
    assert heard.payloads == recorder.payloads

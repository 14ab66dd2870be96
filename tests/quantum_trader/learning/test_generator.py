from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.alpha.families import FAMILIES
from quantum_trader.config import StrategiesConfig
from quantum_trader.events import (
    EvaluationCompletedEvent,
    EvaluationRequestedEvent,
    HealthStatusChangedEvent,
    Purpose,
    SessionClosedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
)
from quantum_trader.learning.generator import StrategyGenerator
from quantum_trader.learning.lifecycle import LEGAL
from quantum_trader.model import HealthStatus, StrategyLifecycle

AT = datetime(2001, 1, 1, tzinfo=UTC)
BACKTEST, SHADOW, LIVE, RETIRED = StrategyLifecycle
GOOD = {
    "sessions": 504,
    "trades": 50,
    "profit_factor": 2.0,
    "max_drawdown": 0.05,
    "sharpe": 2.0,
    "psr": 0.998,
    "dsr": 0.98,
}
BAD = {"sessions": 504, "trades": 50, "profit_factor": 0.5, "max_drawdown": 0.5, "sharpe": -1.0, "psr": 0.1, "dsr": 0.0}
ONE = "momentum-126"


class Judge:
    """Answers every request with the same figures, as the evaluation platform would."""

    def __init__(self, bus: InMemoryEventBus, figures: Mapping[str, float], only: str | None = None) -> None:
        self.figures, self.only = figures, only
        self.replaces: dict[str, tuple[str, ...]] = {}
        self._bus = bus
        bus.subscribe(EvaluationRequestedEvent, self.answer)

    async def answer(self, event: EvaluationRequestedEvent) -> None:
        figures = self.figures if self.only in (None, event.subject_id) else BAD
        await self._bus.publish(
            EvaluationCompletedEvent(
                evaluation_id=event.evaluation_id,
                subject_kind="STRATEGY",
                subject_id=event.subject_id,
                purpose=event.purpose,
                verdict="PASS",
                metrics=figures,
                replaces=self.replaces.get(event.subject_id, ()),
                session=event.last_session,
                timestamp=AT,
            )
        )


async def play(bus: InMemoryEventBus, first: int, last: int) -> None:
    for session in range(first, last + 1):
        await bus.publish(SessionClosedEvent(session=session, timestamp=AT))
        await bus.drain()


def moves(recorder: Recorder) -> list[tuple[int, str, str]]:
    return [
        (one.session, one.from_stage.value, one.to_stage.value)
        for one in recorder.of(StrategyPromotedEvent)
        if one.strategy_id == ONE
    ]


async def test_the_seeds_are_created_once_and_counted_as_trials(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    generator = StrategyGenerator(event_bus, StrategiesConfig(), seed=7)
    await play(event_bus, 0, 20)
    made = recorder.of(StrategyCreatedEvent)
    assert [one.trial_no for one in made] == list(range(1, 13))
    assert made[0].strategy_id == "trend-10-50"
    assert generator.trials == 12


async def test_a_strategy_walks_through_every_stage_with_its_evaluations(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_most=0), seed=7)
    judge = Judge(event_bus, GOOD, only=ONE)
    await play(event_bus, 0, 42)
    judge.only = "nobody"
    await play(event_bus, 43, 63 + 504 + 21)
    assert moves(recorder) == [
        (21, "BACKTEST", "SHADOW"),
        (42, "SHADOW", "LIVE"),
        (63, "LIVE", "RETIRED"),
        (63 + 504, "RETIRED", "BACKTEST"),
    ]
    told = [one for one in recorder.of(StrategyPromotedEvent) if one.strategy_id == ONE]
    asked = {one.evaluation_id: one for one in recorder.of(EvaluationRequestedEvent)}
    assert [asked[one.evaluation_id].purpose for one in told[:3] if one.evaluation_id] == [
        Purpose.BACKTEST,
        Purpose.SHADOW,
        Purpose.LIVE_REVIEW,
    ]
    assert told[0].metrics["dsr"] == 0.98
    assert told[0].metrics["trials"] == 12.0


async def test_shadow_is_judged_by_the_sessions_after_it_entered_only(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_most=0), seed=7)
    judge = Judge(event_bus, GOOD, only=ONE)
    await play(event_bus, 0, 21)
    judge.only = "nobody"
    await play(event_bus, 22, 105)
    shadow = [one for one in recorder.of(EvaluationRequestedEvent) if one.purpose is Purpose.SHADOW]
    assert {one.first_session for one in shadow} == {22}
    assert [one.last_session for one in shadow] == [42, 63, 84, 105]


async def test_a_shadow_that_never_qualifies_goes_back_after_its_patience(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_most=0), seed=7)
    judge = Judge(event_bus, GOOD, only=ONE)
    await play(event_bus, 0, 21)
    judge.only = "nobody"
    await play(event_bus, 22, 21 + 252)
    assert moves(recorder) == [(21, "BACKTEST", "SHADOW"), (273, "SHADOW", "BACKTEST")]


async def test_a_candidate_that_passed_at_none_of_24_looks_rests_before_it_is_looked_at_again(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_most=0), seed=7)
    Judge(event_bus, BAD)
    await play(event_bus, 0, 24 * 21 + 504 + 40)
    asked = [one.last_session for one in recorder.of(EvaluationRequestedEvent) if one.subject_id == ONE]
    assert asked == [*range(21, 24 * 21 + 1, 21), 24 * 21 + 504, 24 * 21 + 504 + 21]


async def test_a_look_at_a_window_that_is_not_full_spends_nothing(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_most=0), seed=7)
    judge = Judge(event_bus, BAD | {"sessions": 503})
    await play(event_bus, 0, 10 * 21)
    judge.figures = BAD
    await play(event_bus, 10 * 21 + 1, 36 * 21)
    asked = [one.last_session for one in recorder.of(EvaluationRequestedEvent) if one.subject_id == ONE]
    assert asked == list(range(21, 34 * 21 + 1, 21))


async def test_what_a_better_candidate_replaces_is_retired_by_its_name(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_most=0), seed=7)
    judge = Judge(event_bus, GOOD, only=ONE)
    await play(event_bus, 0, 42)
    judge.only = None
    await play(event_bus, 43, 63)
    judge.replaces["momentum-252"] = (ONE,)
    await play(event_bus, 64, 84)
    told = [one for one in recorder.of(StrategyPromotedEvent) if one.session == 84]
    told = [one for one in told if one.strategy_id in (ONE, "momentum-252")]
    assert [(one.strategy_id, one.to_stage) for one in told] == [(ONE, RETIRED), ("momentum-252", LIVE)]
    assert told[0].reason == "REPLACED by momentum-252"
    assert told[0].evaluation_id == told[1].evaluation_id is not None


async def test_nothing_goes_live_while_health_is_critical(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_most=0), seed=7)
    Judge(event_bus, GOOD)
    await event_bus.publish(
        HealthStatusChangedEvent(
            old_status=HealthStatus.HEALTHY,
            new_status=HealthStatus.CRITICAL,
            component="DATA",
            reason="r",
            overall_new=HealthStatus.CRITICAL,
            timestamp=AT,
        )
    )
    await play(event_bus, 0, 84)
    assert {one.to_stage for one in recorder.of(StrategyPromotedEvent)} == {SHADOW}


async def test_an_answer_for_another_stage_decides_nothing(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(), seed=7)
    await play(event_bus, 0, 1)
    await event_bus.publish(
        EvaluationCompletedEvent(
            evaluation_id="x",
            subject_kind="STRATEGY",
            subject_id=ONE,
            purpose=Purpose.SHADOW,
            verdict="PASS",
            metrics=GOOD,
            session=1,
            timestamp=AT,
        )
    )
    await event_bus.drain()
    assert not recorder.of(StrategyPromotedEvent)


@pytest.mark.parametrize("figures", [GOOD, BAD])
async def test_whatever_the_figures_only_legal_changes_happen(
    event_bus: InMemoryEventBus, recorder: Recorder, figures: dict[str, float]
) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(), seed=7)
    Judge(event_bus, figures)
    await play(event_bus, 0, 400)
    assert {(one.from_stage, one.to_stage) for one in recorder.of(StrategyPromotedEvent)} <= LEGAL


async def test_breeding_makes_new_strategies_within_bounds_and_never_too_many(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    generator = StrategyGenerator(event_bus, StrategiesConfig(breed_every=21), seed=7)
    Judge(event_bus, GOOD, only=ONE)
    await play(event_bus, 0, 210)
    made = recorder.of(StrategyCreatedEvent)
    children = made[12:]
    assert len(made) == 24 == generator.trials
    assert len({one.strategy_id for one in made}) == 24
    assert [one.trial_no for one in made] == list(range(1, 25))
    assert {one.session for one in made[:12]} == {0}
    for child in children:
        assert child.session > 0
        assert child.session % 21 == 0, "when they were bred"
        assert child.parents
        assert {parent.partition("-")[0] for parent in child.parents} == {child.family}
        bounds = FAMILIES[child.family].bounds
        assert all(bounds[name][0] <= value <= bounds[name][1] for name, value in child.params.items())


async def test_the_best_by_psr_is_bred_first(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(breed_every=22, breed_most=1), seed=7)
    Judge(event_bus, GOOD, only=ONE)
    await play(event_bus, 0, 22)
    assert recorder.of(StrategyCreatedEvent)[-1].parents == (ONE, "momentum-252")


async def test_the_same_seed_breeds_the_same_strategies() -> None:
    assert await bred(7) == await bred(7)
    assert await bred(7) != await bred(8)


async def bred(seed: int) -> list[str]:
    async with InMemoryEventBus() as bus:
        heard = Recorder()
        bus.subscribe(StrategyCreatedEvent, heard)
        StrategyGenerator(bus, StrategiesConfig(breed_every=5), seed=seed)
        await play(bus, 0, 20)
        return [one.strategy_id for one in heard.of(StrategyCreatedEvent)]


async def test_a_restored_generator_goes_on_like_the_first(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    first = StrategyGenerator(event_bus, StrategiesConfig(), seed=7)
    Judge(event_bus, GOOD, only=ONE)
    await play(event_bus, 0, 130)
    state: dict[str, Any] = json.loads(json.dumps(first.state()))
    recorder.clear()
    async with InMemoryEventBus() as bus:
        heard = Recorder()
        bus.subscribe("*", heard)
        StrategyGenerator(bus, StrategiesConfig(), seed=7).restore(state)
        Judge(bus, GOOD, only=ONE)
        await play(bus, 131, 300)
    await play(event_bus, 131, 300)
    assert heard.payloads == recorder.payloads


async def test_without_gates_nothing_is_reviewed(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    StrategyGenerator(event_bus, StrategiesConfig(all_live=True), seed=7)
    await play(event_bus, 0, 126)
    assert set(recorder.types) == {"session.closed", "strategy.created"}

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.trials import Trials
from quantum_trader.config import Costs, ModelGateConfig, StrategiesConfig
from quantum_trader.events import (
    EvaluationCompletedEvent,
    EvaluationFailedEvent,
    EvaluationRequestedEvent,
    EvaluationRetriedEvent,
    EvaluationStartedEvent,
    MarketBarEvent,
    MetricRecordedEvent,
    ModelPromotedEvent,
    PredictionScoredEvent,
    Purpose,
    QueueTaskAddedEvent,
    QueueTaskProcessedEvent,
    ScoreItem,
    SessionClosedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.learning.evaluation import EvaluationHandler, evaluation_id, request
from quantum_trader.learning.lifecycle import Verdict
from quantum_trader.learning.model_subjects import LOSSES, ModelSubjects, comparison_of
from quantum_trader.learning.statistics import PROFIT_FACTOR_CAP, annual_sharpe, max_drawdown
from quantum_trader.learning.strategy_subjects import StrategySubjects
from quantum_trader.learning.subjects import Measured
from quantum_trader.learning.task_queue import MonitoringHandler, QueueHandler
from quantum_trader.model import Bar, Side, StrategyLifecycle

AT = datetime(2001, 1, 1, tzinfo=UTC)


class Broken(StrategySubjects):
    """Raises for the first `failures` questions."""

    def __init__(self, failures: int) -> None:
        super().__init__(Trials(Costs(), StrategiesConfig(), cooldown=5), StrategiesConfig())
        self.failures = failures

    def measure(self, request: EvaluationRequestedEvent) -> Measured:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("no sessions")
        return Measured({"psr": 0.5}, Verdict(True))


def handler(bus: InMemoryEventBus, strategies: StrategySubjects | None = None) -> EvaluationHandler:
    subjects = strategies or StrategySubjects(Trials(Costs(), StrategiesConfig(), cooldown=5), StrategiesConfig())
    return EvaluationHandler(bus, QueueHandler(), subjects, ModelSubjects(ModelGateConfig()), warrant=lambda _: True)


def ask(subject: str, purpose: Purpose = Purpose.BACKTEST, last: int = 50) -> EvaluationRequestedEvent:
    return request("STRATEGY", subject, purpose, 0, last, timestamp=AT, source="test")


async def close(bus: InMemoryEventBus, session: int) -> None:
    await bus.publish(SessionClosedEvent(session=session, timestamp=AT))
    await bus.drain()


def test_the_same_question_has_the_same_identity() -> None:
    assert ask("a").evaluation_id == evaluation_id("a", 1, Purpose.BACKTEST, 50) == ask("a").evaluation_id
    assert len({ask("a").evaluation_id, ask("b").evaluation_id, ask("a", last=51).evaluation_id}) == 3


async def test_what_is_asked_together_is_answered_by_urgency(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    handler(event_bus, Broken(0))
    purposes = [Purpose.BACKTEST, Purpose.SHADOW, Purpose.LIVE_REVIEW, Purpose.CHALLENGE, Purpose.BACKTEST]
    questions = [ask(f"s{at}", purpose) for at, purpose in enumerate(purposes)]

    async def together(event: SessionClosedEvent) -> None:
        await event_bus.publish_many(questions)

    event_bus.subscribe(SessionClosedEvent, together)
    await close(event_bus, 50)
    assert [one.subject_id for one in recorder.of(EvaluationStartedEvent)] == ["s2", "s3", "s1", "s0", "s4"]
    assert [one.depth for one in recorder.of(QueueTaskAddedEvent)] == [1, 2, 3, 4, 5]
    assert [one.outcome for one in recorder.of(QueueTaskProcessedEvent)] == ["PASS"] * 5


async def test_a_question_is_measured_once_and_answered_as_often_as_asked(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    handler(event_bus, Broken(0))
    for _ in range(3):
        await event_bus.publish(ask("a"))
        await event_bus.drain()
    assert len(recorder.of(EvaluationStartedEvent)) == 1
    answers = recorder.of(EvaluationCompletedEvent)
    assert len(answers) == 3
    assert all(one.payload == answers[0].payload for one in answers)


async def test_a_failure_is_tried_again_at_the_next_session_three_times_in_all(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    handler(event_bus, Broken(3))
    await event_bus.publish(ask("a"))
    await event_bus.drain()
    for session in (51, 52, 53):
        await close(event_bus, session)
    failed = recorder.of(EvaluationFailedEvent)
    assert [(one.attempt, one.will_retry) for one in failed] == [(1, True), (2, True), (3, False)]
    assert (failed[0].error_kind, failed[0].message) == ("ZeroDivisionError", "no sessions")
    assert [(one.attempt, one.session) for one in recorder.of(EvaluationRetriedEvent)] == [(2, 51), (3, 52)]
    assert not recorder.of(EvaluationCompletedEvent)


async def test_a_success_on_the_second_attempt_is_an_answer(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    handler(event_bus, Broken(1))
    await event_bus.publish(ask("a"))
    await event_bus.drain()
    await close(event_bus, 51)
    (answer,) = recorder.of(EvaluationCompletedEvent)
    assert (answer.session, answer.verdict) == (51, "PASS")


async def test_what_nobody_created_fails_and_harms_nobody(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    handler(event_bus)
    await event_bus.publish(ask("ghost"))
    await event_bus.drain()
    assert recorder.of(EvaluationFailedEvent)[0].message == "strategy ghost: nobody created it"
    assert len(event_bus.dead_letters) == 0


async def bars(bus: InMemoryEventBus, first: int, last: int) -> None:
    for session in range(first, last + 1):
        close_px = 100.0 + 10.0 * ((session // 7) % 2) + session * 0.1
        await bus.publish(
            MarketBarEvent(
                symbol="A",
                session=session,
                open=close_px,
                high=close_px + 1,
                low=close_px - 1,
                close=close_px,
                volume=1_000_000,
                timestamp=AT + timedelta(days=session),
            )
        )
        await close(bus, session)


def created(strategy_id: str, **params: int) -> StrategyCreatedEvent:
    return StrategyCreatedEvent(
        strategy_id=strategy_id, family=strategy_id.partition("-")[0], params=params, trial_no=1, timestamp=AT
    )


async def test_a_strategy_is_measured_on_the_bars_there_were(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    handler(event_bus)
    await event_bus.publish(created("momentum-5", lookback=5))
    await bars(event_bus, 0, 120)
    await event_bus.publish(request("STRATEGY", "momentum-5", Purpose.BACKTEST, 21, 120, timestamp=AT, source="test"))
    await event_bus.drain()
    (answer,) = recorder.of(EvaluationCompletedEvent)
    assert answer.metrics["sessions"] == 100
    assert answer.metrics["trades"] > 5
    assert answer.verdict == "FAIL"
    assert any(reason.startswith("sessions 100 <") for reason in answer.reasons)


def zigzag(session: int) -> Bar:
    close = 100.0 + 10.0 * ((session // 7) % 2) + session * 0.1
    at = AT + timedelta(days=session)
    return Bar("A", session, at, close, close + 1, close - 1, close, 1_000_000)


def test_luck_is_judged_by_all_candidates_over_the_same_sessions_in_any_order_of_asking() -> None:
    names = [f"momentum-{lookback}" for lookback in (2, 3, 5, 8)]

    def asked(order: Sequence[str]) -> dict[str, float]:
        subjects = StrategySubjects(Trials(Costs(), StrategiesConfig(), cooldown=5), StrategiesConfig())
        for name in names:
            subjects.create(name, StrategySpec("momentum", (int(name[-1]),)))
        for session in range(201):
            subjects.bar(zigzag(session))
            subjects.close(session)
            if session == 60:
                subjects.measure(ask("momentum-2", last=60))  # months before the others
        return {name: subjects.measure(ask(name, last=200)).metrics["dsr"] for name in order}

    first, again = asked(names), asked(names[::-1])
    assert len(set(first.values())) == len(names)
    assert first == again


@pytest.mark.parametrize(("first", "last"), [(10, 40), (10, 60), (1, 40)], ids=["across", "out of", "into"])
def test_a_position_that_overlaps_the_window_is_judged_by_its_marks_at_both_ends(first: int, last: int) -> None:
    """One position, from 5 to 50; all there is to judge in windows across it, out of it and into it."""
    subjects = StrategySubjects(Trials(Costs(), StrategiesConfig(), cooldown=5), StrategiesConfig())
    subjects.create("momentum-2", StrategySpec("momentum", (2,)))
    for session in range(61):
        close = 100.0 - session if session < 3 else 97.0 + session if session < 49 else 400.0 - 5 * session
        subjects.bar(Bar("A", session, AT + timedelta(days=session), close, close, close, close, 1_000_000))
        subjects.close(session)
    figures = subjects.measure(request("STRATEGY", "momentum-2", Purpose.SHADOW, first, last)).metrics
    assert figures["trades"] == 1
    assert figures["profit_factor"] == PROFIT_FACTOR_CAP
    assert figures["sharpe"] > 0


def filled(session: int, side: Side, price: float, *, fee: str = "0") -> TradeExecutedEvent:
    return TradeExecutedEvent(
        order_id=f"o{session}",
        symbol="A",
        side=side,
        size=Decimal(10),
        price=Decimal(str(price)),
        strategy_id="momentum-5",
        fill_id=f"o{session}#1",
        fee=Decimal(fee),
        session=session,
        timestamp=AT,
    )


async def live_review(bus: InMemoryEventBus, heard: Recorder, first: int, last: int) -> EvaluationCompletedEvent:
    await bus.publish(request("STRATEGY", "momentum-5", Purpose.LIVE_REVIEW, first, last, timestamp=AT, source="test"))
    await bus.drain()
    return heard.of(EvaluationCompletedEvent)[-1]


async def test_a_live_review_judges_what_the_account_did_for_the_strategy(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    handler(event_bus)
    await event_bus.publish(created("momentum-5", lookback=5))
    await bars(event_bus, 0, 40)
    await event_bus.publish(filled(41, Side.BUY, 100.0, fee="1"))
    await bars(event_bus, 41, 45)
    await event_bus.publish(filled(46, Side.SELL, 90.0, fee="1"))
    await bars(event_bus, 46, 50)
    answer = await live_review(event_bus, recorder, 31, 50)
    closes = [zigzag(session).close for session in range(51)]
    worth = [*[0.0] * 11, *[10 * (closes[session] - 100.0) - 1.0 for session in range(41, 46)], *[-102.0] * 5]
    # At work: what was bought, then what was held at the close before.
    capital = [1_001.0, *(10 * closes[session] for session in range(41, 46))]
    changes = [(b - a) / (sum(capital) / len(capital)) for a, b in pairwise(worth)]
    assert answer.metrics["trades"] == 1
    assert answer.metrics["profit_factor"] == 0
    assert answer.metrics["sharpe"] == pytest.approx(annual_sharpe(changes))
    assert answer.metrics["max_drawdown"] == pytest.approx(max_drawdown(1.0 + np.cumsum([0.0, *changes])))
    assert answer.metrics["max_drawdown"] > 0.15
    assert answer.verdict == "FAIL", "a broken drawdown waits for no full window"


async def test_a_live_strategy_that_never_filled_is_not_judged(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    handler(event_bus)
    await event_bus.publish(created("momentum-5", lookback=5))
    await bars(event_bus, 0, 400)
    answer = await live_review(event_bus, recorder, 149, 400)
    assert (answer.verdict, answer.metrics["trades"]) == ("NOT_JUDGED", 0)


def test_a_trial_is_protected_by_the_stop_that_its_orders_would_have() -> None:
    """One calm rise, then a day that opens where the last one closed and falls by half."""
    subjects = StrategySubjects(Trials(Costs(), StrategiesConfig(), cooldown=5), StrategiesConfig())
    subjects.create("momentum-25", StrategySpec("momentum", (25,)))
    for session in range(61):
        opened = 100.0 + 0.1 * session
        low = close = opened + 0.1 if session < 59 else 52.0
        subjects.bar(Bar("A", session, AT + timedelta(days=session), opened, opened + 1, low - 1, close, 1_000_000))
        subjects.close(session)
    figures = subjects.measure(request("STRATEGY", "momentum-25", Purpose.BACKTEST, 10, 60)).metrics
    assert 0.005 < figures["max_drawdown"] < 0.02, "three ranges of two, a fifth of equity"


async def swings(bus: InMemoryEventBus) -> None:
    """Two symbols up and down in 24 sessions, one a little before the other, and shaken together: sessions 0..240."""
    random = np.random.Generator(np.random.Philox(key=3))
    shock = 0.0
    for session in range(241):
        at = AT + timedelta(days=session)
        shock += 0.004 * float(random.standard_normal())
        for number, symbol in enumerate("AB"):
            px = 100.0 * math.exp(0.1 * math.sin(2 * math.pi * (session / 24 + number / 20)) + shock)
            await bus.publish(
                MarketBarEvent(
                    symbol=symbol, session=session, open=px, high=px * 1.01, low=px * 0.99, close=px,
                    volume=10_000_000, timestamp=at,
                )
            )  # fmt: skip
        await close(bus, session)


async def reviewed(
    bus: InMemoryEventBus, heard: Recorder, *candidates: str, live: Sequence[str] = ()
) -> list[EvaluationCompletedEvent]:
    """What a round of reviews says of shadows, over 200 sessions of swings. The shorter a lookback, the more it earns."""
    handler(bus)
    for lookback in (2, 3, 4, 6):
        await bus.publish(created(f"momentum-{lookback}", lookback=lookback))
    shadow, to_live = StrategyLifecycle.SHADOW, StrategyLifecycle.LIVE
    for one in live:
        await bus.publish(
            StrategyPromotedEvent(strategy_id=one, from_stage=shadow, to_stage=to_live, reason="", timestamp=AT)
        )
    await swings(bus)
    await bus.publish_many(
        [request("STRATEGY", one, Purpose.SHADOW, 41, 240, timestamp=AT, source="test") for one in candidates]
    )
    await bus.drain()
    return heard.of(EvaluationCompletedEvent)


async def test_a_candidate_unlike_the_live_strategies_passes(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    (answer,) = await reviewed(event_bus, recorder, "momentum-6", live=["momentum-2"])
    assert (answer.verdict, answer.reasons) == ("PASS", ())


async def test_a_candidate_like_a_live_strategy_is_refused_by_name(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    (answer,) = await reviewed(event_bus, recorder, "momentum-3", live=["momentum-2"])
    assert answer.verdict == "FAIL"
    assert answer.reasons == ("TOO_SIMILAR to momentum-2: correlation 0.9796 > 0.9",)


async def test_a_candidate_that_is_surely_better_than_its_like_replaces_it(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    (answer,) = await reviewed(event_bus, recorder, "momentum-2", live=["momentum-4"])
    assert (answer.verdict, answer.replaces) == ("PASS", ("momentum-4",))


async def test_of_two_alike_in_one_round_the_first_passes(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    first, second = await reviewed(event_bus, recorder, "momentum-2", "momentum-3")
    assert (first.verdict, second.verdict) == ("PASS", "FAIL")
    assert second.reasons[0].startswith("TOO_SIMILAR to momentum-2")


async def test_a_restored_handler_answers_like_the_first(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    config = StrategiesConfig()
    trials, others = Trials(Costs(), config, cooldown=5), Trials(Costs(), config, cooldown=5)
    first = handler(event_bus, StrategySubjects(trials, config))
    await event_bus.publish(created("momentum-5", lookback=5))
    await bars(event_bus, 0, 60)
    await event_bus.publish(ask("momentum-5", last=60))
    await event_bus.drain()
    state: list[dict[str, Any]] = json.loads(json.dumps([trials.state(), first.state()]))
    async with InMemoryEventBus() as bus:
        heard = Recorder()
        bus.subscribe("*", heard)
        others.restore(state[0])
        handler(bus, StrategySubjects(others, config)).restore(state[1])
        for one in (event_bus, bus):
            await bars(one, 61, 90)
            await one.publish(ask("momentum-5", last=60))
            await one.publish(ask("momentum-5", last=90))
            await one.drain()
        ours = [one.payload for one in recorder.of(EvaluationCompletedEvent)]
        theirs = [one.payload for one in heard.of(EvaluationCompletedEvent)]
    assert theirs == ours[1:]


def scored(session: int, *errors: tuple[str, int, float]) -> PredictionScoredEvent:
    items = tuple(
        ScoreItem(symbol="A", model=model, version=version, stage="LIVE", predicted=0.0, actual=error, error=error)
        for model, version, error in errors
    )
    return PredictionScoredEvent(session=session, items=items, timestamp=AT)


def promoted(model: str, old: int, new: int) -> ModelPromotedEvent:
    return ModelPromotedEvent(model_name=model, old_version=old, new_version=new, metrics={}, timestamp=AT)


@pytest.mark.parametrize(("better", "verdict"), [(True, "PASS"), (False, "FAIL")])
async def test_a_challenger_is_compared_with_what_is_live(
    event_bus: InMemoryEventBus, recorder: Recorder, better: bool, verdict: str
) -> None:
    handler(event_bus)
    await event_bus.publish(promoted("average", 1, 2))
    await event_bus.drain()
    for session in range(130):
        wobble = 0.4 * (-1) ** session * (1 + session % 3)
        await event_bus.publish(
            scored(session, ("average", 2, wobble), ("average", 3, wobble * (0.7 if better else 1.3)))
        )
    await event_bus.publish(
        request("MODEL", "average", Purpose.CHALLENGE, 1, 129, version=3, timestamp=AT, source="test")
    )
    await event_bus.drain()
    (answer,) = recorder.of(EvaluationCompletedEvent)
    comparison, quiet = comparison_of(answer.metrics)
    assert (answer.verdict, comparison.n, quiet) == (verdict, 129, None)
    assert (comparison.ratio < 1) is better


async def test_where_nothing_is_live_yet_the_combined_forecast_is_the_one_to_beat(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    handler(event_bus)
    for session in range(130):
        wobble = 0.4 * (-1) ** session * (1 + session % 3)
        await event_bus.publish(scored(session, ("ensemble", 0, wobble), ("regression", 1, wobble * 0.7)))
    await event_bus.publish(request("MODEL", "regression", Purpose.CHALLENGE, 1, 129, timestamp=AT, source="test"))
    await event_bus.drain()
    assert recorder.of(EvaluationCompletedEvent)[0].verdict == "PASS"


async def test_a_live_review_fails_when_the_version_before_would_have_been_better(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    handler(event_bus)
    await event_bus.publish(promoted("average", 1, 2))
    await event_bus.drain()
    for session in range(70):
        wobble = 0.4 * (-1) ** session * (1 + session % 3)
        await event_bus.publish(scored(session, ("average", 2, wobble), ("average", 1, wobble * 0.5)))
    await event_bus.publish(
        request("MODEL", "average", Purpose.LIVE_REVIEW, 1, 69, version=2, timestamp=AT, source="test")
    )
    await event_bus.drain()
    assert recorder.of(EvaluationCompletedEvent)[0].verdict == "FAIL"


async def test_queue_times_become_metrics_by_the_wall_clock(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    MonitoringHandler(event_bus)
    handler(event_bus, Broken(0))
    await event_bus.publish(ask("a"))
    await event_bus.drain()
    await close(event_bus, 51)
    await close(event_bus, 52)
    metrics = recorder.of(MetricRecordedEvent)
    assert [one.metric for one in metrics] == ["queue.depth", "queue.wait_ms", "queue.run_ms"]
    assert {one.clock for one in metrics} == {"wall"}


def test_versions_that_are_scored_no_more_are_forgotten_when_a_new_one_comes() -> None:
    subjects = ModelSubjects(ModelGateConfig())
    for session in range(3 * LOSSES):
        subjects.score(session, [score(session // 100)])
    kept = [version for _, version, _ in subjects.state()["losses"]]
    assert kept == [7, 8, 9, 10, 11]
    assert [version for _, version, _ in subjects.state()["errors"]] == kept


def score(version: int) -> ScoreItem:
    return ScoreItem(symbol="A", model="m", version=version, stage="LIVE", predicted=0.0, actual=0.1, error=0.1)

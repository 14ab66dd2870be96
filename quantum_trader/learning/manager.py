"""Continuous learning manager: trains challengers, has them compared with what is live, and promotes only what won.

Bars in, `model.trained`, `evaluation.requested`, `model.promoted` and `model.rejected` out. A challenger runs in shadow and
never affects a live number; what it replaces is kept and comes back if it turns out to have been better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from eventbus import EventBus
from quantum_trader.config import ModelsConfig
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    EvaluationCompletedEvent,
    EvaluationRequestedEvent,
    MarketBarEvent,
    MetricRecordedEvent,
    ModelPromotedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    PredictionScoredEvent,
    Purpose,
    SessionClosedEvent,
    ViolationCreatedEvent,
    unwatched,
)
from quantum_trader.learning.catalogue import DIRECTION, FIRST, MODELS, build
from quantum_trader.learning.direction_desk import DirectionDesk
from quantum_trader.learning.evaluation import request
from quantum_trader.learning.forecast import Observation, RangeHistory, digest
from quantum_trader.learning.lifecycle import (
    Challenge,
    ModelStage,
    challenge,
    check_legal_model,
    needs_rollback,
)
from quantum_trader.learning.model_subjects import comparison_of
from quantum_trader.learning.registry import Registry
from quantum_trader.learning.registry_reads import MODEL
from quantum_trader.model import Bar, Station

SOURCE = "learning_manager"
TRAINING: Final = 504  # sessions that a challenger is fitted on
ALARM_CHART: Final = "pred.log_range"  # whose rule-1 violations bring a training forward


@dataclass(slots=True)
class Place:
    """One model: its live version (0: none yet), its challenger, and the version on probation's predecessor."""

    live: int = 0
    live_name: str = ""
    turn: int = 0  # of the challengers in the catalogue
    challenger: int = 0
    challenger_name: str = ""
    shadow_from: int = 0
    scored: int = 0  # sessions of the challenger, or of the live version while on probation
    before: int = 0  # what comes back if the live version fails its probation; 0: no probation
    before_name: str = ""


class ContinuousLearningManager:
    """At most one challenger per model, and none while the last promotion is on probation."""

    publishes: ClassVar = (
        ComponentHeartbeatEvent,
        ModelTrainedEvent,
        ModelPromotedEvent,
        ModelRejectedEvent,
        EvaluationRequestedEvent,
        MetricRecordedEvent,
    )

    def __init__(self, bus: EventBus, registry: Registry, config: ModelsConfig, *, alive: Alive = unwatched) -> None:
        self._bus = bus
        self._alive = alive
        self._registry = registry
        self._config = config
        self._gate = config.gate
        self._places = {model: Place() for model in (*MODELS, DIRECTION)}
        self._direction = DirectionDesk(bus, SOURCE)
        self._histories: dict[str, RangeHistory] = {}
        self._seen: deque[tuple[tuple[str, Observation], ...]] = deque(maxlen=TRAINING)
        self._bars: list[Bar] = []
        self._alarm_due: int | None = None  # session to train in because the forecasts went wrong
        bus.subscribe(MarketBarEvent, self.on_bar, name="learning.bar")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="learning.closed")
        bus.subscribe(PredictionScoredEvent, self.on_scored, name="learning.scored")
        bus.subscribe(ViolationCreatedEvent, self.on_violation, name="learning.violation")
        bus.subscribe(EvaluationCompletedEvent, self.on_evaluation_completed, name="learning.evaluated")

    def places(self) -> dict[str, Place]:
        """Where each model stands."""
        return dict(self._places)

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._bars.append(event.bar)

    async def on_violation(self, event: ViolationCreatedEvent) -> None:
        if event.chart == ALARM_CHART and event.rule_id == 1 and self._alarm_due is None:
            self._alarm_due = event.session + self._config.retrain_after_alarm

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        session, at = event.session, event.timestamp
        bars, self._bars = sorted(self._bars, key=lambda bar: bar.symbol), []
        self._seen.append(tuple((bar.symbol, self._history(bar.symbol).observe(bar)) for bar in bars))
        if not self._places[FIRST[0]].live:
            await self._install_first(session, at)
        if await self._direction.take(bars, session, at):
            await self._count(DIRECTION, session, at)
        alarmed = self._alarm_due is not None and session >= self._alarm_due
        if alarmed or (session and session % self._config.train_every == 0):
            self._alarm_due = None
            for model in self._places:
                await self._train(model, session, at)
        self._alive(Station.LEARNING, SOURCE)

    async def on_scored(self, event: PredictionScoredEvent) -> None:
        scored = {(item.model, item.version) for item in event.items}
        for model, place in self._places.items():
            if (model, place.challenger) in scored or (place.before and (model, place.live) in scored):
                await self._count(model, event.session, event.timestamp)

    async def on_evaluation_completed(self, event: EvaluationCompletedEvent) -> None:
        place = self._places.get(event.subject_id)
        if place is None or event.subject_kind != "MODEL":
            return
        if event.purpose is Purpose.LIVE_REVIEW and place.before:
            await self._end_probation(event, place)
        elif event.purpose is Purpose.CHALLENGE and place.challenger:
            comparison, quiet = comparison_of(event.metrics)
            result = challenge(comparison, sessions_since_violation=quiet, gate=self._gate)
            if result.answer is Challenge.PROMOTE:
                await self._promote(event, place)
            elif result.answer is Challenge.REJECT:
                await self._reject(event, place, ", ".join(result.reasons))

    def _history(self, symbol: str) -> RangeHistory:
        history = self._histories.get(symbol)
        if history is None:
            history = self._histories[symbol] = RangeHistory()
        return history

    async def _install_first(self, session: int, at: datetime) -> None:
        """Register what the ensemble begins with: live by configuration, not by promotion."""
        model, _, name = FIRST
        place = self._places[model]
        place.live, place.live_name = await self._register(model, name, session, at, ModelStage.LIVE), name

    async def _train(self, model: str, session: int, at: datetime) -> None:
        place = self._places[model]
        if place.challenger or place.before:
            return
        if model == DIRECTION:
            name, version = self._direction.name, await self._register_direction(session, at)
        else:
            names = [name for name in MODELS[model] if name != place.live_name]
            name = names[place.turn % len(names)]
            version = await self._register(model, name, session, at, ModelStage.SHADOW)
        place.turn += 1
        place.challenger, place.challenger_name = version, name
        place.shadow_from, place.scored = session, 0

    async def _register(self, model: str, name: str, session: int, at: datetime, stage: ModelStage) -> int:
        forecaster = build(model, name)
        samples = 0
        for group in self._seen:
            for symbol, observation in group:
                forecaster.update(symbol, observation)
                samples += 1
        payload = {"name": name, "state": forecaster.state(), "through": session}
        version = await self._registry.put(MODEL, model, payload, session=session, at=at, stage=stage.value)
        await self._tell_trained(model, version, digest(forecaster), samples, session, at)
        return version

    async def _register_direction(self, session: int, at: datetime) -> int:
        payload = {"name": self._direction.name, "state": self._direction.parameters(), "through": session}
        stage = ModelStage.SHADOW.value
        version = await self._registry.put(MODEL, DIRECTION, payload, session=session, at=at, stage=stage)
        self._direction.version = version
        sha256 = self._registry.get(MODEL, DIRECTION, version).sha256
        await self._tell_trained(DIRECTION, version, sha256, self._direction.outcomes, session, at)
        return version

    async def _tell_trained(
        self, model: str, version: int, sha256: str, samples: int, session: int, at: datetime
    ) -> None:
        await self._bus.publish(
            ModelTrainedEvent(
                model=model,
                version=version,
                params_sha256=sha256,
                samples=samples,
                through_session=session,
                timestamp=at,
                source=SOURCE,
            )
        )

    async def _count(self, model: str, session: int, at: datetime) -> None:
        """One more session was scored; ask for an evaluation when enough are."""
        place = self._places[model]
        if place.before:
            purpose, version, enough = Purpose.LIVE_REVIEW, place.live, self._gate.rollback_sessions
        elif place.challenger:
            purpose, version, enough = Purpose.CHALLENGE, place.challenger, self._gate.sessions
        else:
            return
        place.scored += 1
        if place.scored < enough or (place.scored - enough) % self._gate.every:
            return
        first = place.shadow_from + 1
        await self._bus.publish(
            request("MODEL", model, purpose, first, session, version=version, timestamp=at, source=SOURCE)
        )

    async def _promote(self, event: EvaluationCompletedEvent, place: Place) -> None:
        check_legal_model(event.subject_id, ModelStage.SHADOW, ModelStage.LIVE)
        old, old_name = place.live, place.live_name
        place.live, place.live_name = place.challenger, place.challenger_name
        place.challenger, place.challenger_name = 0, ""
        place.before, place.before_name = old, old_name
        place.shadow_from, place.scored = event.session, 0
        await self._tell_promoted(event, old, place.live)

    async def _end_probation(self, event: EvaluationCompletedEvent, place: Place) -> None:
        failed, comparison = place.live, comparison_of(event.metrics)[0]
        before, before_name = place.before, place.before_name
        place.before, place.before_name = 0, ""
        if needs_rollback(comparison, self._gate):
            check_legal_model(event.subject_id, ModelStage.RETIRED, ModelStage.LIVE)
            place.live, place.live_name = before, before_name
            await self._tell_promoted(event, failed, before)

    async def _tell_promoted(self, event: EvaluationCompletedEvent, old: int, new: int) -> None:
        if old:
            await self._set_stage(event, old, ModelStage.RETIRED)
        await self._set_stage(event, new, ModelStage.LIVE)
        await self._bus.publish(
            ModelPromotedEvent(
                model_name=event.subject_id,
                old_version=old,
                new_version=new,
                metrics={**event.metrics, "rollback": float(event.purpose is Purpose.LIVE_REVIEW)},
                shadow_performance=dict(event.metrics),
                evaluation_id=event.evaluation_id,
                session=event.session,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    async def _reject(self, event: EvaluationCompletedEvent, place: Place, reason: str) -> None:
        check_legal_model(event.subject_id, ModelStage.SHADOW, ModelStage.RETIRED)
        refused, place.challenger, place.challenger_name = place.challenger, 0, ""
        await self._set_stage(event, refused, ModelStage.RETIRED)
        await self._bus.publish(
            ModelRejectedEvent(
                model_name=event.subject_id,
                version=refused,
                reason=reason,
                metrics=dict(event.metrics),
                evaluation_id=event.evaluation_id,
                session=event.session,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    async def _set_stage(self, event: EvaluationCompletedEvent, version: int, stage: ModelStage) -> None:
        await self._registry.set_stage(
            MODEL, event.subject_id, version, stage.value, session=event.session, at=event.timestamp
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "places": {model: asdict(place) for model, place in self._places.items()},
            "direction": self._direction.state(),
            "histories": {symbol: history.state() for symbol, history in self._histories.items()},
            "seen": [[[symbol, one.y, one.week, one.month, one.fall] for symbol, one in group] for group in self._seen],
            "alarm_due": self._alarm_due,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._places = {model: Place(**saved) for model, saved in state["places"].items()}
        self._direction.restore(state["direction"])
        self._histories = {}
        for symbol, saved in state["histories"].items():
            self._history(symbol).restore(saved)
        groups = (tuple((symbol, Observation(*rest)) for symbol, *rest in group) for group in state["seen"])
        self._seen = deque(groups, maxlen=TRAINING)
        self._alarm_due = state["alarm_due"]

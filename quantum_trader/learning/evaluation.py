"""Evaluation: measures strategies and models on request, most urgent first, and answers each question once.

Requests in, `evaluation.*` out; the measuring itself is in `subjects`. It runs on the loop, not in a thread: a review
costs a few milliseconds, and where its answer stands among the events must not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import uuid_utils

from eventbus import Event, EventBus
from quantum_trader.alpha.families import StrategySpec
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    EvaluationCompletedEvent,
    EvaluationDueEvent,
    EvaluationFailedEvent,
    EvaluationRequestedEvent,
    EvaluationRetriedEvent,
    EvaluationStartedEvent,
    MarketBarEvent,
    MetricRecordedEvent,
    ModelPromotedEvent,
    PredictionScoredEvent,
    Purpose,
    SessionClosedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
    Warrant,
    steps_down_only,
    unwatched,
)
from quantum_trader.execution.fills import notional
from quantum_trader.learning.model_subjects import ModelSubjects
from quantum_trader.learning.strategy_subjects import StrategySubjects
from quantum_trader.learning.subjects import Subjects
from quantum_trader.learning.task_queue import QueueHandler
from quantum_trader.model import Side, Station, Trigger
from quantum_trader.snapshot import event_values, events_of

SOURCE = "evaluation"
ATTEMPTS: Final = 3
FAILED: Final = "FAILED"  # the outcome of a task that raised
MODEL_LOSS: Final = "model.loss"  # a metric with labels model and version: the loss of what is no log-range forecast
_ANSWERS_KEPT: Final = 1_000  # about two years of reviews: whoever asks again does so at once, or after a restart
_NAMESPACE: Final = uuid_utils.UUID("6f1c2f0e-5a63-5d0b-9a37-1f6b3f6a2c11")


def evaluation_id(subject_id: str, version: int, purpose: Purpose, last_session: int) -> str:
    """The identity of a question: asked twice, it is answered once."""
    return str(uuid_utils.uuid5(_NAMESPACE, f"{subject_id}|{version}|{purpose.value}|{last_session}"))


def request(
    kind: str, subject_id: str, purpose: Purpose, first: int, last: int, *, version: int = 1, **header: Any
) -> EvaluationRequestedEvent:
    """A request with the identity that its content gives it. `kind` is STRATEGY or MODEL; `header` goes to the event."""
    return EvaluationRequestedEvent.create(
        evaluation_id=evaluation_id(subject_id, version, purpose, last),
        subject_kind=kind,
        subject_id=subject_id,
        purpose=purpose,
        first_session=max(0, first),
        last_session=last,
        version=version,
        **header,
    )


class EvaluationHandler:
    """Queues requests, measures, and tries a failed one again at the next session, three times in all."""

    publishes: ClassVar = (
        ComponentHeartbeatEvent,
        EvaluationDueEvent,
        EvaluationStartedEvent,
        EvaluationCompletedEvent,
        EvaluationFailedEvent,
        EvaluationRetriedEvent,
    )

    def __init__(
        self,
        bus: EventBus,
        queue: QueueHandler,
        strategies: StrategySubjects,
        models: ModelSubjects,
        *,
        warrant: Warrant = steps_down_only,
        alive: Alive = unwatched,
    ) -> None:
        self._bus = bus
        self._alive = alive
        self._queue = queue
        self._warrant = warrant
        self._promotions: list[StrategyPromotedEvent] = []  # since the last session
        self._strategies = strategies
        self._models = models
        self._subjects: dict[str, Subjects] = {"STRATEGY": strategies, "MODEL": models}
        self._answers: dict[str, EvaluationCompletedEvent] = {}
        self._pending: set[str] = set()  # asked, not answered, not given up
        self._retries: list[EvaluationRequestedEvent] = []
        self._news: list[Event] = []  # of the tasks that wait, to be published with what comes of them
        bus.subscribe(StrategyCreatedEvent, self.on_strategy_created, name="evaluation.created")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name="evaluation.stage")
        bus.subscribe(MarketBarEvent, self.on_bar, name="evaluation.bar")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="evaluation.trade")
        bus.subscribe(ModelPromotedEvent, self.on_model_promoted, name="evaluation.promoted")
        bus.subscribe(PredictionScoredEvent, self.on_scored, name="evaluation.scored")
        bus.subscribe(MetricRecordedEvent, self.on_metric, name="evaluation.metric")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="evaluation.closed")
        bus.subscribe(EvaluationRequestedEvent, self.on_requested, name="evaluation.requested")
        bus.subscribe(EvaluationDueEvent, self.on_due, name="evaluation.due")

    async def on_strategy_created(self, event: StrategyCreatedEvent) -> None:
        self._strategies.create(event.strategy_id, StrategySpec.named_params(event.family, event.params))

    async def on_strategy_promoted(self, event: StrategyPromotedEvent) -> None:
        self._promotions.append(event)

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._strategies.bar(event.bar)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        cash = -event.side.sign * float(notional(event.size, event.price)) - float(event.fee)
        shares = event.size if event.side is Side.BUY else event.size.copy_negate()
        late = event.trigger is Trigger.DELISTED
        self._strategies.fill(event.strategy_id, event.symbol, event.session, shares, cash, late=late)

    async def on_model_promoted(self, event: ModelPromotedEvent) -> None:
        self._models.promote(event.model_name, int(event.old_version), int(event.new_version))

    async def on_scored(self, event: PredictionScoredEvent) -> None:
        self._models.score(event.session, event.items)

    async def on_metric(self, event: MetricRecordedEvent) -> None:
        if event.metric == MODEL_LOSS:
            self._models.loss(event.labels["model"], int(event.labels["version"]), event.session, event.value)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        # What was told in a session counts from the next on: by then it is certain what stands behind it.
        due = [promotion for promotion in self._promotions if promotion.session < event.session]
        self._promotions = [promotion for promotion in self._promotions if promotion.session >= event.session]
        for promotion in filter(self._warrant, due):
            self._strategies.promote(promotion.strategy_id, promotion.to_stage)
        self._strategies.close(event.session)
        retries, self._retries = self._retries, []
        for task in retries:
            await self._bus.publish(
                EvaluationRetriedEvent(
                    evaluation_id=task.evaluation_id,
                    subject_id=task.subject_id,
                    attempt=task.attempt,
                    session=event.session,
                    timestamp=event.timestamp,
                    source=SOURCE,
                )
            )
            await self._enqueue(task.model_copy(update={"timestamp": event.timestamp}), event.session)
        self._alive(Station.EVALUATION, SOURCE)

    async def on_requested(self, event: EvaluationRequestedEvent) -> None:
        answer = self._answers.get(event.evaluation_id)
        if answer is not None:
            await self._bus.publish(_again(answer, event))
        elif event.evaluation_id not in self._pending:
            self._pending.add(event.evaluation_id)
            await self._enqueue(event, event.last_session)

    async def on_due(self, event: EvaluationDueEvent) -> None:
        while (task := self._queue.take()) is not None:
            started = EvaluationStartedEvent(
                evaluation_id=task.evaluation_id,
                subject_id=task.subject_id,
                purpose=task.purpose,
                attempt=task.attempt,
                session=event.session,
                timestamp=event.timestamp,
                source=SOURCE,
            )
            answer = self._evaluate(task, event)
            outcome = answer.verdict if isinstance(answer, EvaluationCompletedEvent) else FAILED
            self._news += (started, answer, self._queue.done(task, outcome))
        news, self._news = self._news, []
        await self._bus.publish_many(news)

    async def _enqueue(self, task: EvaluationRequestedEvent, session: int) -> None:
        first = not len(self._queue)
        self._news.append(self._queue.add(task))
        # Whatever was published together with the first request is delivered before this.
        if first:
            await self._bus.publish(EvaluationDueEvent(session=session, timestamp=task.timestamp, source=SOURCE))

    def _evaluate(
        self, task: EvaluationRequestedEvent, due: EvaluationDueEvent
    ) -> EvaluationCompletedEvent | EvaluationFailedEvent:
        try:
            measured = self._subjects[task.subject_kind].measure(task)
        except Exception as error:  # noqa: BLE001 - a subject may raise anything; that is a fact to tell, not to die of
            return self._failed(task, due, error)
        answer = EvaluationCompletedEvent(
            evaluation_id=task.evaluation_id,
            subject_kind=task.subject_kind,
            subject_id=task.subject_id,
            purpose=task.purpose,
            verdict=measured.verdict.word,
            metrics=measured.metrics,
            reasons=measured.verdict.reasons,
            replaces=measured.replaces,
            session=due.session,
            timestamp=due.timestamp,
            source=SOURCE,
        )
        self._pending.discard(task.evaluation_id)
        self._answers[task.evaluation_id] = answer
        if len(self._answers) > _ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]
        return answer

    def _failed(
        self, task: EvaluationRequestedEvent, due: EvaluationDueEvent, error: Exception
    ) -> EvaluationFailedEvent:
        will_retry = task.attempt < ATTEMPTS
        if will_retry:
            self._retries.append(task.model_copy(update={"attempt": task.attempt + 1}))
        else:
            self._pending.discard(task.evaluation_id)
        return EvaluationFailedEvent(
            evaluation_id=task.evaluation_id,
            subject_id=task.subject_id,
            attempt=task.attempt,
            error_kind=type(error).__name__,
            message=str(error),
            will_retry=will_retry,
            session=due.session,
            timestamp=due.timestamp,
            source=SOURCE,
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "strategies": self._strategies.state(),
            "models": self._models.state(),
            "queue": self._queue.state(),
            "answers": [answer.model_dump(mode="json") for answer in self._answers.values()],
            "pending": sorted(self._pending),
            "promotions": [event_values(event) for event in self._promotions],
            "retries": [task.model_dump(mode="json") for task in self._retries],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._strategies.restore(state["strategies"])
        self._models.restore(state["models"])
        self._queue.restore(state["queue"])
        answers = map(EvaluationCompletedEvent.model_validate, state["answers"])
        self._answers = {answer.evaluation_id: answer for answer in answers}
        self._pending = set(state["pending"])
        self._promotions = events_of(state["promotions"])
        self._retries = [EvaluationRequestedEvent.model_validate(task) for task in state["retries"]]


def _again(answer: EvaluationCompletedEvent, asked: EvaluationRequestedEvent) -> EvaluationCompletedEvent:
    """The same answer as a new event, caused by whoever asked again."""
    header = {"event_id", "causation_id", "correlation_id", "timestamp"}
    same = {name: getattr(answer, name) for name in type(answer).model_fields if name not in header}
    return EvaluationCompletedEvent(**same, timestamp=asked.timestamp)

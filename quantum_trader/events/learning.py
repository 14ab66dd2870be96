"""Events of predictions, models and evaluation: what was forecast, how far off it was, who was judged and how."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from eventbus import Event, Kind
from quantum_trader.events.marks import Decision, Item, Operation


class PredictionItem(Item):
    """The forecast for one symbol: log range and volatility (`sigma_1d`, a fraction) of its next session.

    `members` are the versions of the models combined; `filled` says that it is the median of the other symbols.
    """

    symbol: str
    log_range: float
    sigma_1d: float
    members: Mapping[str, int] = Field(default_factory=dict)
    filled: bool = False


class PredictionMadeEvent(Decision, Event, type="prediction.made"):
    """What the ensemble expects of the next session; empty when no member could say."""

    session: int
    items: tuple[PredictionItem, ...] = ()


class ScoreItem(Item):
    """How far off one model was: `error = actual - predicted`, of the log range."""

    symbol: str
    model: str
    version: int
    stage: str
    predicted: float
    actual: float
    error: float


class PredictionScoredEvent(Decision, Event, type="prediction.scored"):
    """The forecasts for this session, judged by its bars; shadow models included."""

    session: int
    items: tuple[ScoreItem, ...] = ()


class ModelTrainedEvent(Decision, Event, type="model.trained", key="model"):
    """A version of a model exists, known by the digest of its fitted parameters."""

    model: str
    version: int
    params_sha256: str
    samples: int
    through_session: int


class ModelPromotedEvent(Decision, Event, type="model.promoted", kind=Kind.CONTROL, key="model_name", retain=True):
    """A model version went live, or came back: `old_version` is the one it replaces."""

    model_name: str
    old_version: str | int
    new_version: str | int
    metrics: Mapping[str, Any]
    shadow_performance: Mapping[str, Any] = Field(default_factory=dict)
    evaluation_id: str | None = None
    session: int = 0


class ModelRejectedEvent(Decision, Event, type="model.rejected", key="model_name"):
    """A challenger was refused for good, with the criteria it failed."""

    model_name: str
    version: str | int
    reason: str
    metrics: Mapping[str, Any] = Field(default_factory=dict)
    evaluation_id: str | None = None
    session: int = 0


class Purpose(StrEnum):
    """Why something is evaluated; in order of urgency."""

    LIVE_REVIEW = "LIVE_REVIEW"
    CHALLENGE = "CHALLENGE"
    SHADOW = "SHADOW"
    BACKTEST = "BACKTEST"


class EvaluationRequestedEvent(Decision, Event, type="evaluation.requested", key="subject_id"):
    """Somebody wants a strategy or a model measured over the sessions `first_session`..`last_session`, both included."""

    evaluation_id: str
    subject_kind: Literal["STRATEGY", "MODEL"]
    subject_id: str
    purpose: Purpose
    first_session: int
    last_session: int
    version: int = 1
    attempt: int = 1


class EvaluationDueEvent(Decision, Event, type="evaluation.due"):
    """The queue may be emptied: what was asked for together waits together, so that the most urgent comes first."""

    session: int


class EvaluationStartedEvent(Decision, Event, type="evaluation.started", key="subject_id"):
    """An evaluation left the queue."""

    evaluation_id: str
    subject_id: str
    purpose: Purpose
    attempt: int
    session: int


class EvaluationCompletedEvent(Decision, Event, type="evaluation.completed", key="subject_id"):
    """The figures, the verdict and the criteria that failed; NOT_JUDGED where there was too little to go by.

    `replaces` names the live strategies that what passed is like, and surely better than.
    """

    evaluation_id: str
    subject_kind: Literal["STRATEGY", "MODEL"]
    subject_id: str
    purpose: Purpose
    verdict: Literal["PASS", "FAIL", "NOT_JUDGED"]
    metrics: Mapping[str, float] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    session: int = 0


class EvaluationFailedEvent(Decision, Event, type="evaluation.failed", key="subject_id"):
    """An evaluation raised. Without `will_retry` its subject stays where it is."""

    evaluation_id: str
    subject_id: str
    attempt: int
    error_kind: str
    message: str
    will_retry: bool
    session: int = 0


class EvaluationRetriedEvent(Decision, Event, type="evaluation.retried", key="subject_id"):
    """A failed evaluation is queued again."""

    evaluation_id: str
    subject_id: str
    attempt: int
    session: int = 0


class QueueTaskAddedEvent(Operation, Event, type="queue.task_added", key="queue"):
    """A task waits; `depth` counts those waiting, it included."""

    queue: str
    task_id: str
    depth: int


class QueueTaskProcessedEvent(Operation, Event, type="queue.task_processed", key="queue"):
    """A task is done; times in milliseconds of wall time."""

    queue: str
    task_id: str
    outcome: str
    wait_ms: float
    run_ms: float


class RegistryUpdatedEvent(Decision, Event, type="registry.updated"):
    """Something registered has a new version: caches drop theirs. `kind`: STRATEGY, MODEL, POLICY or LIMITS."""

    kind: str
    id: str
    version: int
    op: str = "PUT"

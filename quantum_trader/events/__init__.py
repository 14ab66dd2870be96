"""Events: every fact the trading system tells, one class each, with its units. What components meet as.

Prices (`_px`, open .. close) are floats in account currency, back-adjusted; money is `Decimal`; fractions are of 1, never
percent; `session` counts the calendar of the run from 0; quantities are whole lots. The header's `timestamp` is event
time: the session's instant, not the moment of publishing.

A `Decision` event is part of what a run decided: same data, configuration and seed give the same ones, and the replay
digest is made of them. An `Operation` event tells how a run was carried out (wall clock, network) and is never decided on.
"""

from __future__ import annotations

from quantum_trader.events.alpha import (
    OpportunitiesUpdatedEvent,
    PromotionRefusedEvent,
    SignalItem,
    SignalsGeneratedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
    Warrant,
    steps_down_only,
)
from quantum_trader.events.control import (
    ComponentHeartbeatEvent,
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    KillSwitchRequestedEvent,
    PolicyOverrideRequestedEvent,
    PolicyUpdatedEvent,
)
from quantum_trader.events.learning import (
    EvaluationCompletedEvent,
    EvaluationDueEvent,
    EvaluationFailedEvent,
    EvaluationRequestedEvent,
    EvaluationRetriedEvent,
    EvaluationStartedEvent,
    ModelPromotedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    PredictionItem,
    PredictionMadeEvent,
    PredictionScoredEvent,
    Purpose,
    QueueTaskAddedEvent,
    QueueTaskProcessedEvent,
    RegistryUpdatedEvent,
    ScoreItem,
)
from quantum_trader.events.marks import (
    AnySide,
    Decision,
    Fraction,
    Item,
    Operation,
    Price,
    Told,
    is_decision,
)
from quantum_trader.events.monitoring import (
    AcknowledgeRequestedEvent,
    AlertThresholdExceededEvent,
    CharacteristicCreatedEvent,
    CharacteristicDeletedEvent,
    CharacteristicRequestedEvent,
    CharacteristicUpdatedEvent,
    ControlLimitsUpdatedEvent,
    MetricRecordedEvent,
    NotificationFailedEvent,
    NotificationSentEvent,
    SampleProcessedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.events.orders import (
    DroppedIntent,
    OrderAcceptedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrderExpiredEvent,
    OrderIntent,
    OrderRejectedEvent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    PortfolioUpdatedEvent,
    PositionItem,
    RejectedSignal,
    SizedOrder,
    TradeExecutedEvent,
)
from quantum_trader.events.run import (
    FeedAnomalyEvent,
    MarketBarEvent,
    RunCompletedEvent,
    RunStartedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
)

__all__ = [
    # marks
    "Decision",
    "Operation",
    "Item",
    "AnySide",
    "Fraction",
    "Price",
    "Told",
    "is_decision",
    # run
    "RunStartedEvent",
    "RunCompletedEvent",
    "MarketBarEvent",
    "FeedAnomalyEvent",
    "SessionClosedEvent",
    "SessionDecideEvent",
    # alpha
    "SignalItem",
    "SignalsGeneratedEvent",
    "OpportunitiesUpdatedEvent",
    "StrategyCreatedEvent",
    "StrategyPromotedEvent",
    "PromotionRefusedEvent",
    "Warrant",
    "steps_down_only",
    # control
    "PolicyUpdatedEvent",
    "KillSwitchChangedEvent",
    "KillSwitchRequestedEvent",
    "PolicyOverrideRequestedEvent",
    "HealthStatusChangedEvent",
    "ComponentHeartbeatEvent",
    # orders
    "OrderIntent",
    "RejectedSignal",
    "OrdersProposedEvent",
    "SizedOrder",
    "DroppedIntent",
    "OrdersSizedEvent",
    "OrderApprovedEvent",
    "OrderDeniedEvent",
    "OrderAcceptedEvent",
    "OrderRejectedEvent",
    "OrderCancelledEvent",
    "OrderExpiredEvent",
    "TradeExecutedEvent",
    "PositionItem",
    "PortfolioUpdatedEvent",
    # learning
    "PredictionItem",
    "PredictionMadeEvent",
    "ScoreItem",
    "PredictionScoredEvent",
    "ModelTrainedEvent",
    "ModelPromotedEvent",
    "ModelRejectedEvent",
    "Purpose",
    "EvaluationRequestedEvent",
    "EvaluationDueEvent",
    "EvaluationStartedEvent",
    "EvaluationCompletedEvent",
    "EvaluationFailedEvent",
    "EvaluationRetriedEvent",
    "QueueTaskAddedEvent",
    "QueueTaskProcessedEvent",
    "RegistryUpdatedEvent",
    # monitoring
    "MetricRecordedEvent",
    "CharacteristicCreatedEvent",
    "CharacteristicUpdatedEvent",
    "CharacteristicDeletedEvent",
    "SampleProcessedEvent",
    "ViolationCreatedEvent",
    "ViolationAcknowledgedEvent",
    "AcknowledgeRequestedEvent",
    "CharacteristicRequestedEvent",
    "ControlLimitsUpdatedEvent",
    "AlertThresholdExceededEvent",
    "NotificationSentEvent",
    "NotificationFailedEvent",
]

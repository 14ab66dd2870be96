"""Events: every fact the trading system tells, one class each, with its units. What components meet as.

Prices (`_px`, open .. close) are floats in account currency, back-adjusted; money is `Decimal`; fractions are of 1, never
percent; `session` counts the calendar of the run from 0; quantities are whole shares. The header's `timestamp` is event
time: the session's instant, not the moment of publishing.

A `Decision` event is part of what a run decided: same data, configuration and seed give the same ones, and the replay
digest is made of them. An `Operation` event tells how a run was carried out (wall clock, network) and is never decided on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from eventbus import Event, Kind
from quantum_trader.model import (
    Bar,
    HealthStatus,
    KillMode,
    Order,
    OrderKind,
    RiskMode,
    Side,
    StrategyLifecycle,
    Trigger,
)


class Decision:
    """Mark of an event that belongs to the replay digest."""


class Operation:
    """Mark of an event that depends on the machine, the clock on its wall or the network."""


class Item(BaseModel):
    """One line of an event that carries many."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


AnySide = Annotated[Side, BeforeValidator(_upper)]  # "buy" and "BUY" are one side
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Told = Literal["event", "wall"]  # by which clock: "wall" is about the machine, and stays out of the digest


# --- the run and its clock -------------------------------------------------------------------------------------------


class RunStartedEvent(Decision, Event, type="run.started"):
    """A run began over this data, configuration and seed. Digests are SHA-256; `data_sha256` is by symbol."""

    run_id: str
    seed: int
    config_sha256: str
    code_version: str
    universe: tuple[str, ...]
    data_sha256: Mapping[str, str] = Field(default_factory=dict)
    sessions: int = 0


class RunCompletedEvent(Operation, Event, type="run.completed"):
    """The last session is over. `digest` covers the `det_events` decision events, so it is not one itself."""

    run_id: str
    sessions: int
    det_events: int
    digest: str


class MarketBarEvent(Decision, Event, type="market.bar", key="symbol"):
    """One session of one symbol. Volume in adjusted shares; prices are raw ones times `adj_factor`."""

    symbol: str
    session: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    adj_factor: float = 1.0
    interval_s: int = 86_400

    @classmethod
    def of(cls, bar: Bar, *, interval_s: int = 86_400, source: str = "", **header: Any) -> Self:
        """The event that tells of `bar`, and hands that very value to whoever asks for it; `header` goes to the event."""
        event = cls(
            symbol=bar.symbol,
            session=bar.session,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            adj_factor=bar.adj_factor,
            interval_s=interval_s,
            timestamp=bar.ts,
            source=source,
            **header,
        )
        # Where `cached_property` would keep what it made: making it again takes longer than making the event.
        event.__dict__["bar"] = bar
        return event

    @cached_property
    def bar(self) -> Bar:
        """The same as the value that the pure parts work on; made once for all who listen."""
        return Bar(
            self.symbol,
            self.session,
            self.timestamp,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.adj_factor,
        )


class FeedAnomalyEvent(Decision, Event, type="feed.anomaly", key="symbol"):
    """Something is odd about a symbol's feed. `kind`: MISSING, STALE, OUT_OF_ORDER, DUPLICATE, BAD_OHLC or JUMP."""

    symbol: str
    session: int
    kind: str
    detail: str


class SessionClosedEvent(Decision, Event, type="session.closed"):
    """Every bar of the session has been delivered and handled. `missing`: listed symbols without a bar."""

    session: int
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class SessionDecideEvent(Decision, Event, type="session.decide"):
    """Everybody knows the session; decide now. What is decided can fill in the next session at the earliest."""

    session: int


# --- alpha -----------------------------------------------------------------------------------------------------------


class SignalItem(Item):
    """One strategy wants another target in one symbol: 1 long, 0 flat. `confidence` is its PSR."""

    signal_id: str
    strategy_id: str
    stage: StrategyLifecycle
    symbol: str
    target: Literal[0, 1]
    reference_px: float
    stop_px: float | None = None
    confidence: float
    reason: str
    version: int = 1


class SignalsGeneratedEvent(Decision, Event, type="signals.generated", kind=Kind.SIGNAL):
    """What changed in the wishes of all strategies this session; once per session, often empty."""

    session: int
    items: tuple[SignalItem, ...] = ()


class OpportunitiesUpdatedEvent(Decision, Event, type="opportunities.updated"):
    """The ranking of symbols, effective from `effective_session` on. Scores are 0..1, best first in `top_symbols`."""

    top_symbols: Sequence[str]
    scores: Mapping[str, float]
    criteria: Mapping[str, Any] = Field(default_factory=dict)
    excluded_count: int = 0
    session: int = 0
    effective_session: int = 0
    components: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    excluded: Mapping[str, str] = Field(default_factory=dict)  # symbol -> reason


class StrategyCreatedEvent(Decision, Event, type="strategy.created", key="strategy_id"):
    """A candidate exists; `trial_no` counts every candidate ever made in the run."""

    strategy_id: str
    family: str
    params: Mapping[str, int]
    parents: tuple[str, ...] = ()
    trial_no: int = 0


class StrategyPromotedEvent(
    Decision, Event, type="strategy.promoted", key="strategy_id", kind=Kind.CONTROL, retain=True
):
    """A strategy changed its stage: promotion, demotion and retirement alike."""

    strategy_id: str
    from_stage: StrategyLifecycle
    to_stage: StrategyLifecycle
    reason: str
    metrics: Mapping[str, Any] = Field(default_factory=dict)
    evaluation_id: str | None = None
    session: int = 0


# --- policy and health -----------------------------------------------------------------------------------------------


class PolicyUpdatedEvent(Decision, Event, type="policy.updated", kind=Kind.CONTROL, retain=True):
    """The meta strategy controller chose a new risk posture. Fractions are of equity."""

    risk_mode: RiskMode
    allowed_strategies: Sequence[str]
    global_min_confidence: Fraction
    max_risk_per_trade: Fraction
    max_positions: Annotated[int, Field(ge=0)]  # symbols
    updated_by: str = "MSC_AI"
    version: int = 0
    gross_limit: Annotated[float, Field(ge=0.0)] = 1.0
    top_n: Annotated[int, Field(ge=0)] = 5
    session: int = 0
    effective_session: int = 0
    reasons: tuple[str, ...] = ()


class KillSwitchChangedEvent(Decision, Event, type="killswitch.changed", kind=Kind.CONTROL, retain=True):
    """Trading was stopped, restricted to reductions, or allowed again. `latched`: only a command clears it."""

    mode: KillMode
    reason: str
    actor: str
    latched: bool = False
    session: int = 0


class KillSwitchRequestedEvent(Decision, Event, type="command.killswitch", kind=Kind.CONTROL):
    """Somebody asks for another mode of the kill switch.

    `latch` makes the mode stay until a request with `force` clears it; a stricter mode needs no force.
    """

    mode: KillMode
    reason: str
    actor: str
    latch: bool = False
    force: bool = False
    session: int = 0


class PolicyOverrideRequestedEvent(Decision, Event, type="command.policy", kind=Kind.CONTROL):
    """Somebody asks for a risk mode for a while. It can only be more defensive than the policy, unless `force`.

    With `block_entries` no strategy is allowed until a request with `force`.
    """

    risk_mode: RiskMode
    reason: str
    actor: str
    force: bool = False
    block_entries: bool = False


class HealthStatusChangedEvent(
    Decision, Event, type="health.status_changed", kind=Kind.CONTROL, key="component", retain=True
):
    """A component's status changed; `overall_new` is the worst of all components."""

    old_status: HealthStatus
    new_status: HealthStatus
    component: str
    reason: str
    metrics: Mapping[str, Any] = Field(default_factory=dict)
    overall_old: HealthStatus | None = None
    overall_new: HealthStatus | None = None
    session: int = 0
    clock: Told = "event"

    @property
    def overall(self) -> HealthStatus:
        """The worst status there is: what decisions go by."""
        return self.new_status if self.overall_new is None else self.overall_new


class ComponentHeartbeatEvent(Decision, Event, type="component.heartbeat", key="component"):
    """A component has finished with `session`; `state_version` is the version of what it governs, if anything."""

    component: str
    session: int
    state_version: int = 0


# --- orders ----------------------------------------------------------------------------------------------------------


class OrderIntent(Item):
    """A wish that passed the orchestrator, not sized yet."""

    intent_id: str
    strategy_id: str
    symbol: str
    side: Side
    kind: OrderKind
    reference_px: float
    stop_px: float | None = None
    confidence: float = 0.0


class RejectedSignal(Item):
    """A signal that became no intent, and why."""

    signal_id: str
    strategy_id: str
    symbol: str
    reason: str


class OrdersProposedEvent(Decision, Event, type="orders.proposed"):
    """Exits first, then entries, best first. `rejected` keeps every signal left out, for people."""

    session: int
    policy_version: int
    items: tuple[OrderIntent, ...] = ()
    rejected: tuple[RejectedSignal, ...] = ()


class SizedOrder(Item):
    """An order with its size. `limited_by` names the term that bound the size, `risk` is what the stop would lose."""

    order_id: str
    intent_id: str
    strategy_id: str
    symbol: str
    side: Side
    kind: OrderKind
    qty: int
    reference_px: float
    stop_px: float | None = None
    confidence: float = 0.0
    notional: Decimal
    risk: Decimal
    limited_by: str = ""

    def order(self, session: int) -> Order:
        """The value that checks and venue work on."""
        return Order(
            self.order_id,
            self.intent_id,
            self.strategy_id,
            self.symbol,
            self.side,
            self.kind,
            self.qty,
            self.reference_px,
            self.stop_px,
            self.confidence,
            session,
        )


class DroppedIntent(Item):
    """An intent too small to be worth an order; the reason is the binding term."""

    intent_id: str
    strategy_id: str
    symbol: str
    reason: str


class OrdersSizedEvent(Decision, Event, type="orders.sized"):
    """What the balancer made of the proposals of a session."""

    session: int
    policy_version: int
    items: tuple[SizedOrder, ...] = ()
    dropped: tuple[DroppedIntent, ...] = ()


class OrderApprovedEvent(Decision, Event, type="order.approved", kind=Kind.EXECUTION, key="symbol"):
    """The risk guard lets an order go to the venue. `warnings` are codes of checks that exits only trip over."""

    order_id: str
    intent_id: str
    strategy_id: str
    symbol: str
    side: Side
    kind: OrderKind
    qty: int
    reference_px: float
    stop_px: float | None = None
    confidence: float = 0.0
    session: int
    policy_version: int = 0
    warnings: tuple[str, ...] = ()

    def order(self) -> Order:
        """The value that the venue works on."""
        return Order(
            self.order_id,
            self.intent_id,
            self.strategy_id,
            self.symbol,
            self.side,
            self.kind,
            self.qty,
            self.reference_px,
            self.stop_px,
            self.confidence,
            self.session,
        )


# What ends or refuses an order must pass a halted bus, so these are ordinary events; only what moves money is not.


class OrderDeniedEvent(Decision, Event, type="order.denied", key="symbol"):
    """The risk guard refused an order: the code of the check, what it allows, what it found."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    code: str
    limit: float | str
    value: float | str
    session: int


class OrderAcceptedEvent(Decision, Event, type="order.accepted", kind=Kind.EXECUTION, key="symbol"):
    """The order works at the venue until the end of `expires_session`."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    qty: int
    session: int
    expires_session: int


class OrderRejectedEvent(Decision, Event, type="order.rejected", key="symbol"):
    """The venue refused an approved order."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    code: str
    session: int


class OrderCancelledEvent(Decision, Event, type="order.cancelled", key="symbol"):
    """The order ended with `remaining_qty` shares unfilled; what it had filled stays."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    remaining_qty: int
    reason: str
    session: int


class OrderExpiredEvent(Decision, Event, type="order.expired", key="symbol"):
    """The order's time ran out with `remaining_qty` shares unfilled; what it had filled stays."""

    order_id: str
    strategy_id: str
    symbol: str
    kind: OrderKind
    remaining_qty: int
    reason: str
    session: int


class TradeExecutedEvent(Decision, Event, type="trade.executed", kind=Kind.EXECUTION, key="symbol"):
    """A fill. Price and fee in account currency, size in shares, slippage and shortfall in basis points.

    `shortfall_bp` is the cost against the price decided on, positive when it hurt; `leaves_qty` what the order has left;
    `stop_px` the protective stop on the position after the fill; `pnl` the profit realised, where known.
    """

    order_id: str
    symbol: str
    side: AnySide
    size: Decimal
    price: Decimal
    strategy_id: str
    model: str | None = None
    pnl: Decimal | None = None
    fill_id: str = ""
    fee: Decimal = Decimal(0)
    slippage_bp: float = 0.0
    shortfall_bp: float = 0.0
    trigger: Trigger = Trigger.OPEN
    leaves_qty: int = 0
    stop_px: float | None = None
    session: int = 0


class PositionItem(Item):
    """One position at the end of a session. `stale`: the symbol had no bar, `last` is the close before."""

    strategy_id: str
    symbol: str
    qty: int
    avg_price: Decimal
    last: Decimal
    stop_px: float | None
    unrealised: Decimal
    stale: bool


class PortfolioUpdatedEvent(Decision, Event, type="portfolio.updated"):
    """The account after a session. `drawdown` is a positive fraction of the 252-session peak, `realised` before fees."""

    session: int
    cash: Decimal
    equity: Decimal
    gross: Decimal
    realised: Decimal
    fees: Decimal
    drawdown: float
    day_return: float
    positions: tuple[PositionItem, ...] = ()
    invariants_ok: bool = True
    breaches: tuple[str, ...] = ()


# --- predictions, models, evaluation ---------------------------------------------------------------------------------


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
    """The figures, the verdict and the criteria that failed."""

    evaluation_id: str
    subject_kind: Literal["STRATEGY", "MODEL"]
    subject_id: str
    purpose: Purpose
    verdict: Literal["PASS", "FAIL"]
    metrics: Mapping[str, float] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()
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


# --- monitoring ------------------------------------------------------------------------------------------------------


class MetricRecordedEvent(Decision, Event, type="monitoring.metric_recorded", key="metric"):
    """A measured value."""

    metric: str
    value: float
    unit: str
    labels: Mapping[str, str] = Field(default_factory=dict)
    clock: Told = "event"
    session: int = 0


class CharacteristicCreatedEvent(Decision, Event, type="spc.characteristic_created", key="characteristic_id"):
    """A control chart exists."""

    characteristic_id: int
    name: str
    settings: Mapping[str, Any] = Field(default_factory=dict)


class CharacteristicUpdatedEvent(Decision, Event, type="spc.characteristic_updated", key="characteristic_id"):
    """Settings of a control chart changed; `changes` holds the new values."""

    characteristic_id: int
    name: str
    changes: Mapping[str, Any] = Field(default_factory=dict)


class CharacteristicDeletedEvent(Decision, Event, type="spc.characteristic_deleted", key="characteristic_id"):
    """A control chart is no more."""

    characteristic_id: int
    name: str


class SampleProcessedEvent(Decision, Event, type="spc.sample_processed", key="characteristic_id"):
    """A point on a control chart and its verdict. `mean` is the charted value, `z` its distance in sigmas."""

    sample_id: int
    characteristic_id: int
    mean: float
    range_value: float | None
    zone: str
    in_control: bool
    chart: str = ""
    centre: float | None = None
    sigma: float | None = None
    z: float | None = None
    phase: str = "MONITOR"
    session: int = 0
    clock: Told = "event"


class ViolationCreatedEvent(Decision, Event, type="spc.violation_created", key="characteristic_id"):
    """The newest point broke a rule; `involved` are the samples that broke it together."""

    violation_id: int | str
    sample_id: int
    characteristic_id: int
    rule_id: Annotated[int, Field(ge=1, le=8)]
    rule_name: str
    severity: str
    chart: str = ""
    involved: tuple[int, ...] = ()
    session: int = 0
    clock: Told = "event"


class ViolationAcknowledgedEvent(Decision, Event, type="spc.violation_acknowledged"):
    """Somebody has seen a violation. With `exclude_samples` its points stay out of the next baseline."""

    violation_id: int | str
    user: str
    reason: str
    exclude_samples: bool = False
    characteristic_id: int | None = None
    clock: Told = "event"


class AcknowledgeRequestedEvent(Decision, Event, type="command.acknowledge"):
    """Somebody wants to acknowledge a violation; the SPC engine knows whether there is one."""

    violation_id: int | str
    user: str
    reason: str
    exclude_samples: bool = False


class ControlLimitsUpdatedEvent(Decision, Event, type="spc.limits_updated", key="characteristic_id"):
    """A control chart has new limits, made from `sample_count` points."""

    characteristic_id: int
    center_line: float
    ucl: float
    lcl: float
    method: str = "moving_range"
    sample_count: int = 0
    chart: str = ""
    sigma: float | None = None
    excluded_count: int = 0
    iterations: int = 0
    clock: Told = "event"


class AlertThresholdExceededEvent(Decision, Event, type="spc.alert_threshold_exceeded", key="characteristic_id"):
    """A metric that is watched by thresholds, not by a chart, crossed one."""

    characteristic_id: int
    metric: str
    value: float
    threshold: float
    session: int = 0


class NotificationSentEvent(Operation, Event, type="notification.sent", key="channel"):
    """A notification reached its channel; `status` is the answer's code, 0 for a dry run."""

    channel: str
    dedupe_key: str
    attempts: int
    status: int


class NotificationFailedEvent(Operation, Event, type="notification.failed", key="channel"):
    """A notification was given up."""

    channel: str
    dedupe_key: str
    attempts: int
    status: int
    reason: str


def is_decision(event: Event) -> bool:
    """Whether the event belongs to the replay digest."""
    # A model takes long to say that it lacks an attribute, and this is asked of every event.
    return isinstance(event, Decision) and event.__dict__.get("clock", "event") == "event"

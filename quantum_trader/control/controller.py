"""Meta strategy controller: chooses the risk mode from drawdown, volatility and health, and says what it allows.

Portfolio and prediction of a session in, `policy.updated` out when a field changes. What others tell during a session
counts from the next one on, so the order in which they tell it decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.config import ModeConfig, PolicyConfig
from quantum_trader.control.policy_rules import Inputs, VolatilityRatio, allowed_strategies, decide, safer
from quantum_trader.control.policy_store import PolicyStore, PolicyStoreError
from quantum_trader.events import (
    ComponentHeartbeatEvent,
    HealthStatusChangedEvent,
    MetricRecordedEvent,
    PolicyOverrideRequestedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    PredictionMadeEvent,
    RunStartedEvent,
    StrategyPromotedEvent,
    Warrant,
    steps_down_only,
)
from quantum_trader.model import HealthStatus, RiskMode, StrategyLifecycle
from quantum_trader.snapshot import event_of, event_values, events_of

SOURCE = "MSC_AI"
CONFIDENCE_METRIC = "strategy.confidence"


@dataclass(frozen=True, slots=True)
class _Override:
    mode: RiskMode
    until: int
    force: bool
    reason: str


class MetaStrategyController:
    """Decides once per session, when it knows both the portfolio and the prediction of it.

    An unchanged policy is confirmed every `confirm_every` sessions.
    """

    publishes: ClassVar = (PolicyUpdatedEvent, MetricRecordedEvent, ComponentHeartbeatEvent)

    def __init__(
        self,
        bus: EventBus,
        store: PolicyStore,
        config: PolicyConfig,
        *,
        confirm_every: int = 5,
        warrant: Warrant = steps_down_only,
    ) -> None:
        self._bus = bus
        self._warrant = warrant
        self._store = store
        self._config = config
        self._confirm_every = confirm_every
        self._ratio = VolatilityRatio(config.volatility_window)
        self._mode = config.fixed_mode or RiskMode.DEFENSIVE
        self._changed: int | None = None
        self._policy: PolicyUpdatedEvent | None = None
        self._session = -1
        self._portfolio: PortfolioUpdatedEvent | None = None
        self._prediction: PredictionMadeEvent | None = None
        self._health = HealthStatus.HEALTHY
        self._confidence: dict[str, float] = {}
        self._live: set[str] = set()
        self._override: _Override | None = None
        self._heard: list[HealthStatusChangedEvent | MetricRecordedEvent | StrategyPromotedEvent] = []
        self._is_blocked = False
        bus.subscribe(RunStartedEvent, self.on_run_started, name="controller.run")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="controller.portfolio")
        bus.subscribe(PredictionMadeEvent, self.on_prediction_made, name="controller.prediction")
        bus.subscribe(HealthStatusChangedEvent, self.on_told, name="controller.health")
        bus.subscribe(StrategyPromotedEvent, self.on_told, name="controller.promoted")
        bus.subscribe(
            MetricRecordedEvent,
            self.on_told,
            name="controller.metric",
            where=lambda event: event.metric == CONFIDENCE_METRIC,
        )
        bus.subscribe(PolicyOverrideRequestedEvent, self.on_override_requested, name="controller.override")

    @property
    def policy(self) -> PolicyUpdatedEvent | None:
        """The policy in force."""
        return self._policy

    async def on_run_started(self, event: RunStartedEvent) -> None:
        try:
            last = self._store.load()
        except PolicyStoreError as error:
            self._is_blocked = True
            await self._publish(event.timestamp, (str(error),))
            return
        if last is not None and self._config.fixed_mode is None:
            self._mode = last.risk_mode
        await self._publish(event.timestamp, ("run started",))

    async def on_told(self, event: HealthStatusChangedEvent | MetricRecordedEvent | StrategyPromotedEvent) -> None:
        self._heard.append(event)

    async def on_override_requested(self, event: PolicyOverrideRequestedEvent) -> None:
        self._override = _Override(
            event.risk_mode,
            self._session + self._config.override_sessions,
            event.force,
            f"{event.actor} asks for {event.risk_mode}: {event.reason}",
        )
        self._is_blocked = event.block_entries or (self._is_blocked and not event.force)

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        self._portfolio = event
        await self._decide_when_complete()

    async def on_prediction_made(self, event: PredictionMadeEvent) -> None:
        self._prediction = event
        await self._decide_when_complete()

    async def _decide_when_complete(self) -> None:
        portfolio, prediction = self._portfolio, self._prediction
        if portfolio is None or prediction is None or portfolio.session != prediction.session:
            return
        self._session = portfolio.session
        self._listen(portfolio.session)
        ratio = self._ratio.update({item.symbol: item.log_range for item in prediction.items if not item.filled})
        reasons = self._choose(portfolio.session, portfolio.drawdown, ratio)
        is_new = await self._publish(portfolio.timestamp, reasons)
        if not is_new and portfolio.session % self._confirm_every == 0:
            await self._confirm(portfolio.session, portfolio.timestamp)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "ratio": self._ratio.state(),
            "mode": self._mode.value,
            "changed": self._changed,
            "policy": event_values(self._policy),
            "session": self._session,
            "health": self._health.value,
            "confidence": dict(self._confidence),
            "live": sorted(self._live),
            "override": self._override and asdict(self._override),
            "heard": [event_values(event) for event in self._heard],
            "blocked": self._is_blocked,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described; portfolio and prediction are those of the next session."""
        self._ratio.restore(state["ratio"])
        self._mode = RiskMode(state["mode"])
        self._changed = state["changed"]
        self._policy = event_of(state["policy"])
        self._session = state["session"]
        self._portfolio = self._prediction = None
        self._health = HealthStatus(state["health"])
        self._confidence = dict(state["confidence"])
        self._live = set(state["live"])
        override = state["override"]
        self._override = override and _Override(**override | {"mode": RiskMode(override["mode"])})
        self._heard = events_of(state["heard"])
        self._is_blocked = state["blocked"]

    def _listen(self, session: int) -> None:
        """Take in what was told before this session."""
        waiting = []
        for event in self._heard:
            if event.session >= session:
                waiting.append(event)
                continue
            match event:
                case HealthStatusChangedEvent():
                    self._health = event.overall
                case MetricRecordedEvent():
                    self._confidence[event.labels["strategy_id"]] = event.value
                case StrategyPromotedEvent():
                    if not self._warrant(event):
                        continue
                    if event.to_stage is StrategyLifecycle.LIVE:
                        self._live.add(event.strategy_id)
                    else:
                        self._live.discard(event.strategy_id)
        self._heard = waiting

    def _choose(self, session: int, drawdown: float, ratio: float | None) -> tuple[str, ...]:
        """Set the mode of this session; the reasons if it is another."""
        before = self._mode
        if self._config.fixed_mode is not None:
            return ()
        if self._override is not None and session > self._override.until:
            self._override = None
        decision = decide(
            before,
            Inputs(drawdown, ratio, self._health),
            sessions_since_change=None if self._changed is None else session - self._changed,
            thresholds=self._config.thresholds,
        )
        mode, reasons = decision.mode, decision.reasons
        if self._override is not None:
            wanted = self._override.mode
            mode = wanted if self._override.force else safer(mode, wanted)
            reasons = (self._override.reason,) if mode is not decision.mode else reasons
        if mode is not before:
            self._mode, self._changed = mode, session
            return reasons
        return ()

    def _values(self) -> ModeConfig:
        return self._config.mode(self._mode)

    async def _publish(self, ts: datetime, reasons: tuple[str, ...]) -> bool:
        """Publish the policy if a field changed; whether it did."""
        values, before = self._values(), self._policy
        live = {strategy_id: self._confidence.get(strategy_id, 0.0) for strategy_id in sorted(self._live)}
        allowed = () if self._is_blocked else allowed_strategies(live, values)
        if before is not None and (before.risk_mode, tuple(before.allowed_strategies)) == (self._mode, allowed):
            return False
        if not reasons:
            reasons = ("allowed strategies changed",)
        policy = PolicyUpdatedEvent(
            risk_mode=self._mode,
            allowed_strategies=allowed,
            global_min_confidence=values.global_min_confidence,
            max_risk_per_trade=values.max_risk_per_trade,
            max_positions=values.max_positions,
            gross_limit=values.gross_limit,
            top_n=values.top_n,
            updated_by=SOURCE,
            version=1 if before is None else before.version + 1,
            session=self._session,
            effective_session=max(0, self._session),
            reasons=reasons,
            timestamp=ts,
            source=SOURCE,
        )
        self._policy = policy
        await self._bus.publish(policy)
        await self._keep(policy)
        return True

    async def _keep(self, policy: PolicyUpdatedEvent) -> None:
        if self._is_blocked:  # what could not be read is evidence: it stays as it is
            return
        try:
            self._store.save(policy)
        except PolicyStoreError as error:
            await self._bus.publish(
                MetricRecordedEvent(
                    metric="policy_store.failed",
                    value=1.0,
                    unit="count",
                    labels={"problem": str(error)},
                    clock="wall",
                    session=policy.session,
                    timestamp=policy.timestamp,
                    source=SOURCE,
                )
            )

    async def _confirm(self, session: int, ts: datetime) -> None:
        version = 0 if self._policy is None else self._policy.version
        await self._bus.publish(
            ComponentHeartbeatEvent(
                component=SOURCE, session=session, state_version=version, timestamp=ts, source=SOURCE
            )
        )

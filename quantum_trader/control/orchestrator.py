"""Orchestrator: turns signals into proposals that the policy, the ranking and the state of health allow.

Exits first and always; entries best first. What is refused is kept with its reason. It only ever narrows: confidence,
stages and thresholds are taken as they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.events import (
    ComponentHeartbeatEvent,
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    OpportunitiesUpdatedEvent,
    OrderAcceptedEvent,
    OrderCancelledEvent,
    OrderExpiredEvent,
    OrderIntent,
    OrdersProposedEvent,
    PolicyUpdatedEvent,
    RejectedSignal,
    SignalItem,
    SignalsGeneratedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import HealthStatus, KillMode, OrderKind, Side, StrategyLifecycle
from quantum_trader.snapshot import event_of, event_values

SOURCE = "orchestrator"
MSC = "MSC_AI"


class Orchestrator:
    """Wires the rules of proposing to the bus. `policy_max_age`: sessions after which an unconfirmed policy is stale;
    `when_degraded`: entries of a session while the state of health is, None for no limit.
    """

    publishes: ClassVar = (OrdersProposedEvent,)

    def __init__(self, bus: EventBus, *, policy_max_age: int = 5, when_degraded: int | None = 1) -> None:
        self._bus = bus
        self._when_degraded = when_degraded
        self._policy_max_age = policy_max_age
        self._policy: PolicyUpdatedEvent | None = None
        self._confirmed = 0
        self._ranking: OpportunitiesUpdatedEvent | None = None
        self._health = HealthStatus.HEALTHY
        self._kill_mode = KillMode.OFF
        self._working: dict[str, tuple[str, str, OrderKind]] = {}
        bus.subscribe(SignalsGeneratedEvent, self.on_signals_generated, name="orchestrator.signals")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="orchestrator.policy")
        bus.subscribe(
            ComponentHeartbeatEvent,
            self.on_heartbeat,
            name="orchestrator.heartbeat",
            where=lambda event: event.component == MSC,
        )
        bus.subscribe(OpportunitiesUpdatedEvent, self.on_opportunities_updated, name="orchestrator.ranking")
        bus.subscribe(HealthStatusChangedEvent, self.on_health_status_changed, name="orchestrator.health")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="orchestrator.killswitch")
        bus.subscribe(OrderAcceptedEvent, self.on_order_accepted, name="orchestrator.accepted")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="orchestrator.trade")
        bus.subscribe(OrderCancelledEvent, self.on_order_ended, name="orchestrator.cancelled")
        bus.subscribe(OrderExpiredEvent, self.on_order_ended, name="orchestrator.expired")

    @property
    def policy(self) -> PolicyUpdatedEvent | None:
        """The policy it goes by."""
        return self._policy

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self._policy = event
        self._confirmed = event.session

    async def on_heartbeat(self, event: ComponentHeartbeatEvent) -> None:
        if self._policy is not None and event.state_version == self._policy.version:
            self._confirmed = event.session

    async def on_opportunities_updated(self, event: OpportunitiesUpdatedEvent) -> None:
        self._ranking = event

    async def on_health_status_changed(self, event: HealthStatusChangedEvent) -> None:
        self._health = event.overall

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        self._kill_mode = event.mode

    async def on_order_accepted(self, event: OrderAcceptedEvent) -> None:
        self._working[event.order_id] = (event.strategy_id, event.symbol, event.kind)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        if not event.leaves_qty:
            self._working.pop(event.order_id, None)

    async def on_order_ended(self, event: OrderCancelledEvent | OrderExpiredEvent) -> None:
        self._working.pop(event.order_id, None)

    async def on_signals_generated(self, event: SignalsGeneratedEvent) -> None:
        intents, rejected = self.propose(event.session, event.items)
        await self._bus.publish(
            OrdersProposedEvent(
                session=event.session,
                policy_version=0 if self._policy is None else self._policy.version,
                items=intents,
                rejected=rejected,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "policy": event_values(self._policy),
            "confirmed": self._confirmed,
            "ranking": event_values(self._ranking),
            "health": self._health.value,
            "kill_mode": self._kill_mode.value,
            "working": {order_id: [*pair, kind.value] for order_id, (*pair, kind) in self._working.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._policy = event_of(state["policy"])
        self._confirmed = state["confirmed"]
        self._ranking = event_of(state["ranking"])
        self._health = HealthStatus(state["health"])
        self._kill_mode = KillMode(state["kill_mode"])
        self._working = {
            order_id: (strategy_id, symbol, OrderKind(kind))
            for order_id, (strategy_id, symbol, kind) in state["working"].items()
        }

    def propose(
        self, session: int, signals: Iterable[SignalItem]
    ) -> tuple[tuple[OrderIntent, ...], tuple[RejectedSignal, ...]]:
        """Exits, then entries by (score, confidence, strategy); and what was left out."""
        exits, entries, rejected = [], [], []
        for signal in signals:
            reason = self._refusal(signal, session)
            if reason is not None:
                rejected.append(_rejected(signal, reason))
            elif signal.target:
                entries.append(signal)
            else:
                exits.append(signal)
        entries.sort(key=lambda signal: (-self._score(signal.symbol), -signal.confidence, signal.strategy_id))
        if self._health is HealthStatus.DEGRADED and self._when_degraded is not None:
            rejected += [_rejected(signal, "HEALTH_DEGRADED") for signal in entries[self._when_degraded :]]
            del entries[self._when_degraded :]
        intents = [_intent(signal, OrderKind.EXIT) for signal in exits]
        intents += [_intent(signal, OrderKind.ENTRY) for signal in entries]
        return tuple(intents), tuple(rejected)

    def _refusal(self, signal: SignalItem, session: int) -> str | None:
        kind = OrderKind.ENTRY if signal.target else OrderKind.EXIT
        if (signal.strategy_id, signal.symbol, kind) in self._working.values():
            return "WORKING_ORDER"
        if not signal.target:
            return "STAGE" if signal.stage is StrategyLifecycle.SHADOW else None
        return self._entry_refusal(signal, session)

    def _entry_refusal(self, signal: SignalItem, session: int) -> str | None:
        policy, ranking = self._policy, self._ranking
        if signal.stage is not StrategyLifecycle.LIVE:
            return "STAGE"
        if self._kill_mode is not KillMode.OFF:
            return "KILL_SWITCH"
        if self._health is HealthStatus.CRITICAL:
            return "HEALTH_CRITICAL"
        if policy is None or policy.effective_session > session or session - self._confirmed > self._policy_max_age:
            return "POLICY_STALE"
        if signal.strategy_id not in policy.allowed_strategies:
            return "STRATEGY_NOT_ALLOWED"
        if signal.confidence < policy.global_min_confidence:
            return "CONFIDENCE"
        if ranking is None or ranking.effective_session > session:
            return "NO_RANKING"
        if signal.symbol not in ranking.top_symbols[: policy.top_n]:
            return "NOT_IN_TOP"
        return None

    def _score(self, symbol: str) -> float:
        return 0.0 if self._ranking is None else self._ranking.scores.get(symbol, 0.0)


def _rejected(signal: SignalItem, reason: str) -> RejectedSignal:
    return RejectedSignal(
        signal_id=signal.signal_id, strategy_id=signal.strategy_id, symbol=signal.symbol, reason=reason
    )


def _intent(signal: SignalItem, kind: OrderKind) -> OrderIntent:
    return OrderIntent(
        intent_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        symbol=signal.symbol,
        side=Side.BUY if kind is OrderKind.ENTRY else Side.SELL,
        kind=kind,
        reference_px=signal.reference_px,
        stop_px=signal.stop_px,
        confidence=signal.confidence,
        weight=signal.weight,
    )

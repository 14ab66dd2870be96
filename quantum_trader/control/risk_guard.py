"""Risk guard: the one gate between signals and the venue.

Sized orders in, approvals and denials out, each by the checks in `checks.py` over a state kept from events. It asks the
kill switch to act when the account breaks: reductions only at the maximal drawdown, halt when the books are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.control.checks import Check, Denial, judge, warnings
from quantum_trader.control.risk_state import PolicyView, RiskState, Stop
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    FeedAnomalyEvent,
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    KillSwitchRequestedEvent,
    MarketBarEvent,
    OpportunitiesUpdatedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrderExpiredEvent,
    OrderRejectedEvent,
    OrdersSizedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    RunStartedEvent,
    SessionClosedEvent,
    SizedOrder,
    StrategyPromotedEvent,
    TradeExecutedEvent,
    Warrant,
    steps_down_only,
    unwatched,
)
from quantum_trader.model import KillMode, Order, Station, StrategyLifecycle, Trigger
from quantum_trader.snapshot import event_values, events_of

SOURCE = "risk_guard"
MSC = "MSC_AI"
_PAUSING = frozenset({"GARBAGE", "SILENT"})  # of a live feed: what it says next is not believed at once


class RiskGuard:
    """Wires a `RiskState` and the checks to the bus; `checks` are asked after the shipped ones."""

    publishes: ClassVar = (OrderApprovedEvent, OrderDeniedEvent, KillSwitchRequestedEvent, ComponentHeartbeatEvent)

    def __init__(
        self,
        bus: EventBus,
        state: RiskState,
        *,
        warrant: Warrant = steps_down_only,
        checks: tuple[Check, ...] = (),
        alive: Alive = unwatched,
    ) -> None:
        self._bus = bus
        self._alive = alive
        self._state = state
        self._warrant = warrant
        self._checks = checks
        self._promotions: list[StrategyPromotedEvent] = []  # since the last orders
        self._asked: KillMode = KillMode.OFF
        self._stopped: int | None = None  # the session in which a drawdown made it ask for reductions only
        bus.subscribe(RunStartedEvent, self.on_run_started, name="risk_guard.run")
        bus.subscribe(MarketBarEvent, self.on_bar, name="risk_guard.bar")
        bus.subscribe(FeedAnomalyEvent, self.on_feed_anomaly, name="risk_guard.anomaly")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="risk_guard.closed")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="risk_guard.policy")
        bus.subscribe(
            ComponentHeartbeatEvent,
            self.on_heartbeat,
            name="risk_guard.heartbeat",
            where=lambda event: event.component == MSC,
        )
        bus.subscribe(HealthStatusChangedEvent, self.on_health_status_changed, name="risk_guard.health")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="risk_guard.killswitch")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name="risk_guard.promoted")
        bus.subscribe(OpportunitiesUpdatedEvent, self.on_opportunities_updated, name="risk_guard.ranking")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="risk_guard.portfolio")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="risk_guard.trade")
        for ended in (OrderRejectedEvent, OrderCancelledEvent, OrderExpiredEvent):
            bus.subscribe(ended, self.on_order_ended, name=f"risk_guard.{ended.type}")
        bus.subscribe(OrdersSizedEvent, self.on_orders_sized, name="risk_guard.sized")

    @property
    def risk(self) -> RiskState:
        """What it knows."""
        return self._state

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "risk": self._state.state(),
            "asked": self._asked.value,
            "stopped": self._stopped,
            "promotions": [event_values(event) for event in self._promotions],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._state.restore(state["risk"])
        self._asked = KillMode(state["asked"])
        self._stopped = state["stopped"]
        self._promotions = events_of(state["promotions"])

    async def on_run_started(self, event: RunStartedEvent) -> None:
        self._state.universe = frozenset(event.universe)

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._state.note_bar(event.bar)

    async def on_feed_anomaly(self, event: FeedAnomalyEvent) -> None:
        if event.kind == "JUMP":
            self._state.note_jump(event.symbol, event.session)
        elif event.kind in _PAUSING and event.symbol:
            self._state.note_pause(event.symbol, event.session)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._state.open_session(event.session)
        self._alive(Station.GUARD, SOURCE)

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self._state.policy = PolicyView(
            version=event.version,
            allowed_strategies=frozenset(event.allowed_strategies),
            global_min_confidence=event.global_min_confidence,
            max_risk_per_trade=event.max_risk_per_trade,
            max_positions=event.max_positions,
            gross_limit=event.gross_limit,
            effective_session=event.effective_session,
            confirmed_session=event.session,
        )

    async def on_heartbeat(self, event: ComponentHeartbeatEvent) -> None:
        policy = self._state.policy
        if policy is not None and event.state_version == policy.version:
            self._state.policy = PolicyView(
                version=policy.version,
                allowed_strategies=policy.allowed_strategies,
                global_min_confidence=policy.global_min_confidence,
                max_risk_per_trade=policy.max_risk_per_trade,
                max_positions=policy.max_positions,
                gross_limit=policy.gross_limit,
                effective_session=policy.effective_session,
                confirmed_session=event.session,
            )

    async def on_health_status_changed(self, event: HealthStatusChangedEvent) -> None:
        self._state.health = event.overall

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        self._state.kill_mode = self._asked = event.mode
        if event.actor != SOURCE:
            self._stopped = None  # somebody else has taken it over

    async def on_strategy_promoted(self, event: StrategyPromotedEvent) -> None:
        self._promotions.append(event)

    def _change_stages(self) -> None:
        """Not when they are told: only in a later phase is it certain what stands behind them."""
        promotions, self._promotions = self._promotions, []
        for event in filter(self._warrant, promotions):
            live = self._state.live_strategies
            if event.to_stage is StrategyLifecycle.LIVE:
                self._state.live_strategies = live | {event.strategy_id}
            else:
                self._state.live_strategies = live - {event.strategy_id}

    async def on_opportunities_updated(self, event: OpportunitiesUpdatedEvent) -> None:
        self._state.excluded = dict(event.excluded)

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        self._state.note_leaves(event.order_id, event.leaves_qty)
        if event.trigger is Trigger.STOP:
            self._state.note_stop(Stop(event.session, event.strategy_id, event.symbol, event.order_id))

    async def on_order_ended(self, event: OrderRejectedEvent | OrderCancelledEvent | OrderExpiredEvent) -> None:
        self._state.note_ended(event.order_id)

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        state = self._state
        state.equity, state.cash = event.equity, event.cash
        state.drawdown, state.day_return = event.drawdown, event.day_return
        state.positions = {(line.strategy_id, line.symbol): line.qty for line in event.positions}
        if not event.invariants_ok:
            await self._ask(KillMode.HALT, f"the books are broken: {event.breaches[0]}", event)
        elif self._is_to_rearm(event.session):
            await self._rearm(event)
        elif event.drawdown >= state.limits.max_drawdown:
            if self._asked is KillMode.OFF:
                self._stopped = event.session
            await self._ask(
                KillMode.REDUCE_ONLY, f"drawdown {event.drawdown:.4f} >= {state.limits.max_drawdown:g}", event
            )

    async def on_orders_sized(self, event: OrdersSizedEvent) -> None:
        self._change_stages()
        for item in event.items:
            order = item.order(event.session)
            denial = judge(order, self._state, self._checks)
            if denial is None:
                cautions = tuple(warning.code for warning in warnings(order, self._state))
                self._state.note_approved(order)
                await self._bus.publish(_approved(item, event, cautions))
            else:
                self._state.note_denied(order)
                await self._bus.publish(_denied(order, denial, event.timestamp))

    def _is_to_rearm(self, session: int) -> bool:
        after, stopped = self._state.limits.rearm_after, self._stopped
        return after is not None and stopped is not None and session - stopped >= after

    async def _rearm(self, event: PortfolioUpdatedEvent) -> None:
        """Nobody can lift a latch in a replay: after a while it goes on, from a peak of its own."""
        self._stopped = None
        await self._bus.publish(
            KillSwitchRequestedEvent(
                mode=KillMode.OFF,
                reason=f"re-armed after {self._state.limits.rearm_after} sessions",
                actor=SOURCE,
                force=True,
                session=event.session,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    async def _ask(self, mode: KillMode, reason: str, event: PortfolioUpdatedEvent) -> None:
        """Ask the kill switch once; it stays latched until somebody clears it."""
        if self._asked in {mode, KillMode.HALT}:
            return
        self._asked = mode
        await self._bus.publish(
            KillSwitchRequestedEvent(
                mode=mode,
                reason=reason,
                actor=SOURCE,
                latch=True,
                session=event.session,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )


def _approved(item: SizedOrder, event: OrdersSizedEvent, cautions: tuple[str, ...]) -> OrderApprovedEvent:
    return OrderApprovedEvent(
        order_id=item.order_id,
        intent_id=item.intent_id,
        strategy_id=item.strategy_id,
        symbol=item.symbol,
        side=item.side,
        kind=item.kind,
        qty=item.qty,
        reference_px=item.reference_px,
        stop_px=item.stop_px,
        confidence=item.confidence,
        session=event.session,
        policy_version=event.policy_version,
        warnings=cautions,
        timestamp=event.timestamp,
        source=SOURCE,
    )


def _denied(order: Order, denial: Denial, ts: datetime) -> OrderDeniedEvent:
    return OrderDeniedEvent(
        order_id=order.order_id,
        strategy_id=order.strategy_id,
        symbol=order.symbol,
        kind=order.kind,
        code=denial.code,
        limit=denial.limit,
        value=denial.value,
        session=order.session,
        timestamp=ts,
        source=SOURCE,
    )

"""Executor: puts approved orders to the paper venue and tells what became of them.

Approvals and bars in, order events and trades out. It trusts no approval that does not descend from a sized order
through the risk guard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

from eventbus import Event, EventBus
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    KillSwitchChangedEvent,
    MarketBarEvent,
    OrderAcceptedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderExpiredEvent,
    OrderRejectedEvent,
    OrdersSizedEvent,
    SessionClosedEvent,
    TradeExecutedEvent,
    unwatched,
)
from quantum_trader.execution.fills import Fill
from quantum_trader.execution.reports import Accepted, Cancelled, Expired, Rejected, Report
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.model import Station

SOURCE = "executor"
GUARD = "risk_guard"


class Unapproved(Exception):
    """An approval did not come from the risk guard for a sized order. It is dead-lettered; nothing was sent to the venue."""

    def __init__(self, order_id: str, reason: str) -> None:
        super().__init__(f"order {order_id}: {reason}; let the risk guard judge it")
        self.order_id = order_id


class Approvals:
    """Which approvals may be acted on: those that the risk guard gave to an order sized in this session."""

    def __init__(self) -> None:
        self._sized: set[str] = set()  # ids of the sizing events of this session

    def sized(self, event: OrdersSizedEvent) -> None:
        """Orders were sized."""
        self._sized.add(event.event_id)

    def closed(self) -> None:
        """The next session begins."""
        self._sized.clear()

    def examine(self, event: OrderApprovedEvent) -> None:
        """Raises `Unapproved`."""
        if event.source != GUARD:
            raise Unapproved(event.order_id, f"approved by {event.source or 'nobody'}")
        if event.causation_id not in self._sized:
            raise Unapproved(event.order_id, "its approval descends from no sized order of this session")

    def state(self) -> list[str]:
        """The ids, sorted."""
        return sorted(self._sized)

    def restore(self, state: Iterable[str]) -> None:
        """Become what `state()` described."""
        self._sized = set(state)


class Executor:
    """Wires a `PaperVenue` to the bus."""

    publishes: ClassVar = (
        OrderAcceptedEvent,
        OrderRejectedEvent,
        OrderCancelledEvent,
        OrderExpiredEvent,
        TradeExecutedEvent,
        ComponentHeartbeatEvent,
    )

    def __init__(self, bus: EventBus, venue: PaperVenue, *, alive: Alive = unwatched) -> None:
        self._bus = bus
        self._alive = alive
        self._venue = venue
        self._session = 0
        self._approvals = Approvals()
        bus.subscribe(MarketBarEvent, self.on_bar, name="executor.bar")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="executor.closed")
        bus.subscribe(OrdersSizedEvent, self.on_orders_sized, name="executor.sized")
        bus.subscribe(OrderApprovedEvent, self.on_order_approved, name="executor.approved")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="executor.killswitch")

    async def on_bar(self, event: MarketBarEvent) -> None:
        reports = self._venue.on_bar(event.bar)
        if reports:
            await self._tell(reports, event.session, event.timestamp)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._session = event.session
        self._approvals.closed()
        await self._tell(self._venue.end_session(event.session), event.session, event.timestamp)
        self._alive(Station.EXECUTOR, SOURCE)

    async def on_orders_sized(self, event: OrdersSizedEvent) -> None:
        self._approvals.sized(event)

    async def on_order_approved(self, event: OrderApprovedEvent) -> None:
        self._approvals.examine(event)
        await self._tell(self._venue.submit(event.order()), event.session, event.timestamp)

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        await self._tell(self._venue.set_mode(event.mode), self._session, event.timestamp)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"venue": self._venue.state(), "session": self._session, "sized": self._approvals.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._venue.restore(state["venue"])
        self._session = state["session"]
        self._approvals.restore(state["sized"])

    async def _tell(self, reports: Iterable[Report], session: int, ts: datetime) -> None:
        for report in reports:
            await self._bus.publish(event_of(report, session, ts))


def event_of(report: Report, session: int, ts: datetime) -> Event:
    """How a report is told to everybody else."""
    if isinstance(report, Fill):
        return TradeExecutedEvent(
            order_id=report.order_id,
            symbol=report.symbol,
            side=report.side,
            size=report.qty,
            price=report.price,
            strategy_id=report.strategy_id,
            fill_id=report.fill_id,
            fee=report.fee,
            slippage_bp=report.slippage_bp,
            shortfall_bp=report.shortfall_bp,
            trigger=report.trigger,
            leaves_qty=report.leaves_qty,
            stop_px=report.stop,
            session=report.session,
            timestamp=ts,
            source=SOURCE,
        )
    order = report.order
    match report:
        case Accepted():
            return OrderAcceptedEvent(
                order_id=order.order_id,
                strategy_id=order.strategy_id,
                symbol=order.symbol,
                kind=order.kind,
                qty=order.qty,
                session=session,
                expires_session=report.expires_session,
                timestamp=ts,
                source=SOURCE,
            )
        case Rejected():
            return OrderRejectedEvent(
                order_id=order.order_id,
                strategy_id=order.strategy_id,
                symbol=order.symbol,
                kind=order.kind,
                code=report.code.value,
                session=session,
                timestamp=ts,
                source=SOURCE,
            )
        case Cancelled() | Expired():
            ended = OrderCancelledEvent if isinstance(report, Cancelled) else OrderExpiredEvent
            return ended(
                order_id=order.order_id,
                strategy_id=order.strategy_id,
                symbol=order.symbol,
                kind=order.kind,
                remaining_qty=report.remaining_qty,
                reason=report.reason.value if isinstance(report, Cancelled) else "TIME_TO_LIVE",
                session=session,
                timestamp=ts,
                source=SOURCE,
            )

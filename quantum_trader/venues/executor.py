"""Venue executor: stands where the executor of the paper venue stands, over a venue of a user's own.

What it tells follows from approvals and from reports alone, both of which the journal has; sending is done elsewhere, when the
session is journalled. So a run that is done again decides the same, and sends nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.events import (
    Alive,
    KillSwitchChangedEvent,
    KillSwitchRequestedEvent,
    OrderApprovedEvent,
    OrdersSizedEvent,
    SessionClosedEvent,
    unwatched,
)
from quantum_trader.events.own import VenueReportedEvent
from quantum_trader.execution import reports as told
from quantum_trader.execution.executor import SOURCE, Approvals, Executor, event_of
from quantum_trader.execution.fills import Fill, shortfall_bp
from quantum_trader.model import KillMode, Order, OrderKind, Station, Trigger, taken
from quantum_trader.snapshot import event_values, events_of
from quantum_trader.venues.desk import Followed, ImpossibleReport, VenueDesk
from quantum_trader.venues.values import FILLS, Report, ReportStatus


class VenueExecutor:
    """Wires a `VenueDesk` to the bus. An order lives `time_to_live` sessions; `holds_stops` where the venue does.

    What is reported while trading is halted waits: nothing that moves money is told then.
    """

    publishes: ClassVar = (*Executor.publishes, KillSwitchRequestedEvent)

    def __init__(
        self,
        bus: EventBus,
        desk: VenueDesk,
        *,
        time_to_live: int,
        holds_stops: bool = False,
        alive: Alive = unwatched,
    ) -> None:
        self._bus = bus
        self._desk = desk
        self._time_to_live = time_to_live
        self._holds_stops = holds_stops
        self._alive = alive
        self._approvals = Approvals()
        self._mode = KillMode.OFF
        self._session = 0
        self._accepted: dict[str, None] = {}
        self._waiting: list[VenueReportedEvent] = []
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="executor.closed")
        bus.subscribe(OrdersSizedEvent, self.on_orders_sized, name="executor.sized")
        bus.subscribe(OrderApprovedEvent, self.on_order_approved, name="executor.approved")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="executor.killswitch")
        bus.subscribe(VenueReportedEvent, self.on_venue_reported, name="executor.reported")

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._session = event.session
        self._approvals.closed()
        for order in self._desk.unfinished():
            if order.session + self._time_to_live <= event.session:
                self._desk.end(order.client_id)
        self._alive(Station.EXECUTOR, SOURCE)

    async def on_orders_sized(self, event: OrdersSizedEvent) -> None:
        self._approvals.sized(event)

    async def on_order_approved(self, event: OrderApprovedEvent) -> None:
        self._approvals.examine(event)
        order = event.order()
        code = self._refusal(order)
        if code is not None:
            await self._bus.publish(event_of(told.Rejected(order, code), event.session, event.timestamp))
        else:
            self._desk.hold(order)

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        self._mode = event.mode
        for order in self._desk.unfinished():
            if event.mode is KillMode.HALT or (event.mode is KillMode.REDUCE_ONLY and order.kind is OrderKind.ENTRY):
                self._desk.end(order.client_id)
        if event.mode is not KillMode.HALT:
            waiting, self._waiting = self._waiting, []
            for report in waiting:
                await self._tell(report, event.session, event.timestamp)
        await self._desk.send_ends()

    async def on_venue_reported(self, event: VenueReportedEvent) -> None:
        if self._mode is KillMode.HALT:
            self._waiting.append(event)
        else:
            await self._tell(event, event.session, event.timestamp)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "desk": self._desk.state(),
            "sized": self._approvals.state(),
            "mode": self._mode.value,
            "session": self._session,
            "accepted": list(self._accepted),
            "waiting": [event_values(event) for event in self._waiting],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._desk.restore(state["desk"])
        self._approvals.restore(state["sized"])
        self._mode = KillMode(state["mode"])
        self._session = state["session"]
        self._accepted = dict.fromkeys(state["accepted"])
        self._waiting = events_of(state["waiting"])

    def _refusal(self, order: Order) -> told.RejectCode | None:
        entry = order.kind is OrderKind.ENTRY
        if self._mode is KillMode.HALT or (self._mode is KillMode.REDUCE_ONLY and entry):
            return told.RejectCode.KILL_SWITCH
        if entry and order.stop is not None and not self._holds_stops:
            return told.RejectCode.STOP_NOT_HELD
        if any(
            (one.symbol, one.strategy_id, one.kind) == (order.symbol, order.strategy_id, order.kind)
            for one in self._desk.unfinished()
        ):
            return told.RejectCode.WORKING_ORDER
        return None

    async def _tell(self, event: VenueReportedEvent, session: int, ts: datetime) -> None:
        report = report_of(event)
        try:
            if not self._desk.take(report):
                return
        except ImpossibleReport as error:
            await self._bus.publish(
                KillSwitchRequestedEvent(
                    mode=KillMode.HALT, latch=True, reason=f"venue: {error}", actor=SOURCE, session=session,
                    timestamp=ts, source=SOURCE,
                )
            )  # fmt: skip
            return
        followed = self._desk.orders[report.client_id]
        for one in self._told(followed, report, session):
            await self._bus.publish(event_of(one, session, ts))

    def _told(self, followed: Followed, report: Report, session: int) -> list[told.Report]:
        """What a report comes to for everybody else; an order whose acknowledgement was lost is accepted by its first fill."""
        order, found = followed.order, list[told.Report]()
        if report.status in FILLS | {ReportStatus.ACCEPTED} and order.client_id not in self._accepted:
            self._accepted[order.client_id] = None
            found.append(told.Accepted(order, order.session + self._time_to_live))
        remaining = taken(order.qty, followed.filled)
        match report.status:
            case ReportStatus.PARTLY_FILLED | ReportStatus.FILLED:
                found.append(
                    Fill(
                        fill_id=report.venue_trade_id,
                        order_id=order.order_id,
                        strategy_id=order.strategy_id,
                        symbol=order.symbol,
                        side=order.side,
                        qty=report.filled,
                        price=report.price,
                        fee=report.fee,
                        slippage_bp=0.0,
                        shortfall_bp=shortfall_bp(order.side, report.price, order.reference),
                        trigger=Trigger.OPEN,
                        leaves_qty=followed.leaves,
                        session=session,
                        stop=order.stop,
                    )
                )
            case ReportStatus.REJECTED:
                found.append(told.Rejected(order, told.RejectCode.REFUSED))
            case ReportStatus.CANCELLED:
                found.append(told.Cancelled(order, remaining, told.CancelReason.VENUE))
            case ReportStatus.EXPIRED:
                found.append(told.Expired(order, remaining))
            case _:
                pass
        return found


def report_of(event: VenueReportedEvent) -> Report:
    """The report that `reported` told of."""
    return Report(
        event.client_id,
        ReportStatus(event.status),
        event.filled,
        event.price,
        event.fee,
        event.venue_trade_id,
        datetime.fromisoformat(event.reported),
    )

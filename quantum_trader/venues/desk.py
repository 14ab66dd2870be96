"""Desk: stands between whoever trades and a venue, and knows of each order what is certain and what is not.

An order is PENDING_NEW before it is sent, and UNKNOWN when nobody knows whether it arrived: then it is looked for by its id and
never sent again blindly. At the start orders and positions are compared with what the venue has; where they differ nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from quantum_trader.model import MONEY, Order, Side
from quantum_trader.venues.values import ENDS, Report, Venue


class DeskState(StrEnum):
    PENDING_NEW = "PENDING_NEW"  # written down, not sent yet
    UNKNOWN = "UNKNOWN"  # sent, and nobody knows whether it arrived
    WORKING = "WORKING"
    ENDED = "ENDED"


class NotReconciled(Exception):
    """The venue has other orders or positions than the desk. Find out why before anything is sent."""

    def __init__(self, differences: tuple[str, ...]) -> None:
        super().__init__(f"{'; '.join(differences)}; find out why before anything is sent")
        self.differences = differences


class ImpossibleReport(Exception):
    """A venue reported what cannot be: more filled than ordered, or something after an order's end. Stop trading there."""


@dataclass(slots=True)
class Followed:
    """An order, and what is known of it."""

    order: Order
    state: DeskState = DeskState.PENDING_NEW
    filled: Decimal = Decimal(0)
    trades: set[str] = field(default_factory=set)


class VenueDesk:
    """Follows the orders of one `venue`; `positions` are those that it should have."""

    def __init__(self, venue: Venue, *, positions: Mapping[str, Decimal] | None = None) -> None:
        self._venue = venue
        self._orders: dict[str, Followed] = {}
        self._is_reconciled = False
        self.positions: dict[str, Decimal] = dict(positions or {})

    @property
    def orders(self) -> Mapping[str, Followed]:
        """Everything ever given to it, by client id."""
        return self._orders

    async def reconcile(self) -> None:
        """Compare with what the venue has. Raises `NotReconciled`; until it does not, nothing can be sent."""
        there = {order.client_id for order in await self._venue.open_orders()}
        here = {name for name, one in self._orders.items() if one.state is DeskState.WORKING}
        told = [f"order {name} works there and not here" for name in sorted(there - set(self._orders))]
        told += [f"order {name} works here and not there" for name in sorted(here - there)]
        theirs = await self._venue.positions()
        for symbol in sorted({*theirs, *self.positions}):
            one, other = self.positions.get(symbol, Decimal(0)), theirs.get(symbol, Decimal(0))
            if one != other:
                told.append(f"{symbol}: {one} here, {other} there")
        if told:
            self._is_reconciled = False
            raise NotReconciled(tuple(told))
        self._is_reconciled = True

    async def submit(self, order: Order) -> DeskState:
        """Send an order once; what became of it. Raises `NotReconciled` before the first comparison came out well."""
        if not self._is_reconciled:
            raise NotReconciled(("the venue was not asked what it has",))
        if order.client_id in self._orders:
            return self._orders[order.client_id].state
        followed = self._orders[order.client_id] = Followed(order)
        try:
            await self._venue.submit(order)
        except (OSError, TimeoutError):
            followed.state = DeskState.UNKNOWN
            await self.look_for(order.client_id)
        return followed.state

    async def look_for(self, client_id: str) -> DeskState:
        """Ask the venue for an order of which nobody knows whether it arrived; it stays UNKNOWN if it is not working."""
        followed = self._orders[client_id]
        working = {order.client_id for order in await self._venue.open_orders()}
        if followed.state is DeskState.UNKNOWN and client_id in working:
            followed.state = DeskState.WORKING
        return followed.state

    def take(self, report: Report) -> bool:
        """Take a report; False for a fill that was told before. Raises `ImpossibleReport`."""
        followed = self._orders.get(report.client_id)
        if followed is None:
            raise ImpossibleReport(f"{report.client_id}: a report of an order that was never sent")
        if report.venue_trade_id and report.venue_trade_id in followed.trades:
            return False
        if followed.state is DeskState.ENDED:
            raise ImpossibleReport(f"{report.client_id}: {report.status} after its end")
        filled = MONEY.add(followed.filled, report.filled)
        if filled > followed.order.qty:
            raise ImpossibleReport(f"{report.client_id}: {filled} filled of {followed.order.qty}")
        if report.venue_trade_id:
            followed.trades.add(report.venue_trade_id)
        followed.filled = filled
        order = followed.order
        change = report.filled if order.side is Side.BUY else report.filled.copy_negate()
        self.positions[order.symbol] = MONEY.add(self.positions.get(order.symbol, Decimal(0)), change)
        followed.state = DeskState.ENDED if report.status in ENDS else DeskState.WORKING
        return True

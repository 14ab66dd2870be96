"""Desk: stands between whoever trades and a venue, and knows of each order what is certain and what is not.

An order is PENDING_NEW before it is sent, and UNKNOWN when nobody knows whether it arrived: then it is looked for by its id and
never sent again blindly. At the start orders and positions are compared with what the venue has; where they differ nothing is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from quantum_trader.model import MONEY, Order, Side
from quantum_trader.snapshot import order_of, order_values
from quantum_trader.venues.values import ENDS, Report, Venue


class DeskState(StrEnum):
    """How far an order has come on its way to a venue, by what the desk knows."""

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

    @property
    def leaves(self) -> Decimal:
        """What may still be filled."""
        return Decimal(0) if self.state is DeskState.ENDED else MONEY.subtract(self.order.qty, self.filled)


class VenueDesk:
    """Follows the orders of one `venue`; `positions` are those that it should have."""

    def __init__(self, venue: Venue, *, positions: Mapping[str, Decimal] | None = None) -> None:
        self._venue = venue
        self._orders: dict[str, Followed] = {}
        self._ending: dict[str, None] = {}
        self._is_reconciled = False
        self.positions: dict[str, Decimal] = dict(positions or {})

    @property
    def is_reconciled(self) -> bool:
        """Whether the venue was asked what it has, and has what it should."""
        return self._is_reconciled

    @property
    def orders(self) -> Mapping[str, Followed]:
        """Everything ever given to it, by client id."""
        return self._orders

    def reports(self) -> AsyncIterator[Report]:
        """What the venue tells, in the order in which it happens; `take` is what they are given to."""
        return self._venue.reports()

    def hold(self, order: Order) -> bool:
        """Write an order down, to be sent by `send`; False for one that is known."""
        if order.client_id in self._orders:
            return False
        self._orders[order.client_id] = Followed(order)
        return True

    def unfinished(self) -> list[Order]:
        """What has no end yet, oldest first."""
        return [one.order for one in self._orders.values() if one.state is not DeskState.ENDED]

    def end(self, client_id: str) -> None:
        """Have an order ended: what was not sent never is, and of what was the venue is asked by `send_ends`."""
        self._ending[client_id] = None

    async def send_ends(self) -> None:
        """Ask the venue for the end of what is to be ended. What does not get through is asked again the next time."""
        for client_id in list(self._ending):
            if self._orders[client_id].state is DeskState.ENDED:
                del self._ending[client_id]
            elif self._orders[client_id].state is not DeskState.PENDING_NEW:
                with suppress(OSError, TimeoutError):
                    await self._venue.cancel(client_id)

    async def reconcile(self, coming: Collection[Report] = ()) -> None:
        """Compare with what the venue has; `coming` are reports that were heard and not taken yet.

        An order that was written down, and that works there, was sent before a restart: it is not sent again. One that is not
        there, with every position as it should be, never arrived. Raises `NotReconciled`; until it does not, nothing can be sent.
        """
        there = {order.client_id for order in await self._venue.open_orders()}
        theirs = await self._venue.positions()
        heard = {report.client_id for report in coming}
        ended = {report.client_id for report in coming if report.status in ENDS}
        for name in sorted(there | heard):
            self._arrived(name)
        here = {name for name, one in self._orders.items() if one.state is DeskState.WORKING} - ended
        told = [f"order {name} works there and not here" for name in sorted(there - set(self._orders))]
        told += [f"order {name} works here and not there" for name in sorted(here - there)]
        ours = self._expected(coming)
        for symbol in sorted({*theirs, *ours}):
            one, other = ours.get(symbol, Decimal(0)), theirs.get(symbol, Decimal(0))
            if one != other:
                told.append(f"{symbol}: {one} here, {other} there")
        if told:
            self._is_reconciled = False
            raise NotReconciled(tuple(told))
        for followed in self._orders.values():
            if followed.state is DeskState.UNKNOWN:
                followed.state = DeskState.PENDING_NEW
        self._is_reconciled = True

    async def send(self) -> list[Order]:
        """Send what was written down and not sent yet; gives what was to be ended first, and is never sent.

        Raises `NotReconciled` before the first comparison came out well.
        """
        if not self._is_reconciled:
            raise NotReconciled(("the venue was not asked what it has",))
        unsent = []
        for client_id, followed in list(self._orders.items()):
            if followed.state is DeskState.PENDING_NEW and client_id in self._ending:
                unsent.append(followed.order)
            elif followed.state is DeskState.PENDING_NEW:
                await self._send(followed)
        return unsent

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
        _book(self.positions, followed.order, report.filled)
        followed.state = DeskState.ENDED if report.status in ENDS else DeskState.WORKING
        return True

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "ending": list(self._ending),
            "positions": {symbol: str(qty) for symbol, qty in self.positions.items()},
            "orders": [
                [order_values(one.order), one.state.value, str(one.filled), sorted(one.trades)]
                for one in self._orders.values()
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described; nothing is sent before the venue was asked what it has."""
        self.positions = {symbol: Decimal(qty) for symbol, qty in state["positions"].items()}
        self._ending = dict.fromkeys(state["ending"])
        self._orders = {}
        for values, told, filled, trades in state["orders"]:
            order = order_of(values)
            self._orders[order.client_id] = Followed(order, DeskState(told), Decimal(filled), set(trades))
        self._is_reconciled = False

    def _arrived(self, client_id: str) -> None:
        followed = self._orders.get(client_id)
        if followed is not None and followed.state in {DeskState.PENDING_NEW, DeskState.UNKNOWN}:
            followed.state = DeskState.WORKING

    async def _send(self, followed: Followed) -> None:
        followed.state = DeskState.UNKNOWN  # until it is certain
        try:
            await self._venue.submit(followed.order)
        except (OSError, TimeoutError):
            await self.look_for(followed.order.client_id)
        else:
            followed.state = DeskState.WORKING

    def _expected(self, coming: Collection[Report]) -> dict[str, Decimal]:
        """The positions, with the fills that were heard and not taken yet."""
        expected, counted = dict(self.positions), set[tuple[str, str]]()
        for report in coming:
            followed = self._orders.get(report.client_id)
            known = (report.client_id, report.venue_trade_id)
            if followed is None or known in counted or report.venue_trade_id in followed.trades:
                continue
            counted.add(known)
            _book(expected, followed.order, report.filled)
        return expected


def _book(positions: dict[str, Decimal], order: Order, filled: Decimal) -> None:
    change = filled if order.side is Side.BUY else filled.copy_negate()
    positions[order.symbol] = MONEY.add(positions.get(order.symbol, Decimal(0)), change)

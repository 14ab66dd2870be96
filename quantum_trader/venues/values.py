"""Values: what a venue is and what it reports. No order path to a real one is shipped: an adapter is its user's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from quantum_trader.model import Order


class ReportStatus(StrEnum):
    """What a venue reports of an order."""

    ACCEPTED = "ACCEPTED"
    PARTLY_FILLED = "PARTLY_FILLED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


ENDS: Final = frozenset(
    {ReportStatus.FILLED, ReportStatus.CANCELLED, ReportStatus.REJECTED, ReportStatus.EXPIRED}
)  # nothing comes of an order after one of these
FILLS: Final = frozenset({ReportStatus.PARTLY_FILLED, ReportStatus.FILLED})


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an order. `filled` is what this report adds, in units, at `price` each; `ts` is aware.

    `venue_trade_id` names a fill for ever: whoever hears of it twice counts it once. It is "" where nothing was filled.
    """

    client_id: str
    status: ReportStatus
    filled: Decimal
    price: Decimal
    fee: Decimal
    venue_trade_id: str
    ts: datetime


class Venue(Protocol):
    """Where orders go. An order is known by its `client_id`, and the same one given twice is one order."""

    async def submit(self, order: Order) -> None:
        """Send it. Raises `OSError` or `TimeoutError` when nobody knows whether it arrived."""
        ...

    async def cancel(self, client_id: str) -> None:
        """Ask for its end; one that is unknown or over is no fault."""
        ...

    async def open_orders(self) -> Sequence[Order]:
        """What has no end yet."""
        ...

    async def positions(self) -> Mapping[str, Decimal]:
        """Units held, by symbol; what is not held is left out."""
        ...

    def reports(self) -> AsyncIterator[Report]:
        """Everything that happens, in the order in which it does."""
        ...

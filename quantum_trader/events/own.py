"""Events of what users bring. They are told only where somebody brought something, so no shipped run knows them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

from eventbus import Event
from quantum_trader.events.marks import Decision, Item, Operation, Price


class StrategyFailedEvent(Decision, Event, type="strategy.failed", key="strategy_id"):
    """A strategy of a user's own raised, or asked for what nobody can do. It is asked no more; what it holds is sold.

    `place` is file and line, `symbol` the one it was asked about, "" when it was asked about all.
    """

    strategy_id: str
    symbol: str
    session: int
    place: str
    error: str
    remedy: str


class VenueReportedEvent(Decision, Event, type="venue.reported", key="client_id"):
    """A venue of a user's own reported on an order; told before the session that it is heard in. `filled` units at `price` each."""

    client_id: str
    status: Literal["ACCEPTED", "PARTLY_FILLED", "FILLED", "CANCELLED", "REJECTED", "EXPIRED"]
    filled: Decimal = Decimal(0)
    price: Price = Decimal(0)
    fee: Decimal = Decimal(0)
    venue_trade_id: str = ""
    reported: str = ""  # when, by the venue, ISO
    session: int = 0


class GateFinding(Item):
    """What a gate found in its window; the criteria that failed, each with its figure and threshold."""

    gate: str
    verdict: Literal["PASS", "FAIL", "NOT_JUDGED"]
    reasons: tuple[str, ...] = ()
    metrics: Mapping[str, float]


class GatesReportedEvent(Operation, Event, type="gates.reported", key="strategy_id"):
    """What the gates would have said of a strategy that is LIVE by its user's word, judged by its own fills. Nothing follows."""

    strategy_id: str
    items: tuple[GateFinding, ...]

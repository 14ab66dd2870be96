"""Reports: what the paper venue answers, besides fills. Values only.

Whoever wires the venue turns each into its event; nothing here knows one.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from quantum_trader.execution.fills import Fill
from quantum_trader.model import Order


class RejectCode(StrEnum):
    """Why a venue does not take an order."""

    KILL_SWITCH = "KILL_SWITCH"  # HALT, or REDUCE_ONLY and the order does not reduce
    SIDE_MISMATCH = "SIDE_MISMATCH"  # an entry that sells, or an exit that buys: there is no short side here
    QTY_INVALID = "QTY_INVALID"
    WORKING_ORDER = "WORKING_ORDER"  # one of the same kind already works for the pair
    NO_POSITION = "NO_POSITION"  # nothing to reduce
    REFUSED = "REFUSED"  # by a venue of a user's own, which alone knows why
    STOP_NOT_HELD = "STOP_NOT_HELD"  # an entry with a stop, for a venue that holds none


class CancelReason(StrEnum):
    """Why an order that worked ends without its rest."""

    KILL_SWITCH = "KILL_SWITCH"
    SUPERSEDED = "SUPERSEDED"  # an exit of the same pair goes first
    POSITION_CLOSED = "POSITION_CLOSED"  # the rest of an exit that found less than it wanted to sell
    STOPPED_OUT = "STOPPED_OUT"  # the rest of an entry whose position was just stopped out
    DELISTED = "DELISTED"
    VENUE = "VENUE"  # a venue of a user's own ended it, asked or not
    CASH = "CASH"  # the account cannot pay for the rest of an entry


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order works until the end of session `expires_session`."""

    order: Order
    expires_session: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The venue refused an approved order."""

    order: Order
    code: RejectCode


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The order ended with `remaining_qty` unfilled; what it had filled stays."""

    order: Order
    remaining_qty: Decimal
    reason: CancelReason


@dataclass(frozen=True, slots=True)
class Expired:
    """The order's time ran out with `remaining_qty` unfilled; what it had filled stays."""

    order: Order
    remaining_qty: Decimal


Report = Accepted | Rejected | Cancelled | Expired | Fill

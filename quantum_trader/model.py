"""Model: the words the trading system is spoken in. Values only; knows no event, no component.

Prices and statistics are floats (back-adjusted, account currency); money is `Decimal`, quantised to 1e-6; the price of a
fill is a `Decimal` of twelve significant digits; quantities are `Decimal`, whole lots of their instrument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Final

MICRO: Final = Decimal("0.000001")

# Money never relies on the ambient decimal context: a handler may have changed it.
MONEY: Final = Context(prec=28, rounding=ROUND_HALF_EVEN)


def money(value: Decimal | int | float | str) -> Decimal:
    """`value` as an amount of money: a `Decimal` with six places, rounded half to even.

    A float is taken by its shortest decimal text, so `money(0.1)` is 0.100000. Raises `decimal.InvalidOperation` when the
    value is not finite or has more than 22 digits before the point.
    """
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return exact.quantize(MICRO, context=MONEY)


_ATTO: Final = Decimal("1e-18")
_PRICE: Final = Context(prec=12, rounding=ROUND_HALF_EVEN)


def price(value: float | Decimal) -> Decimal:
    """`value` as a price that is paid: twelve significant digits, and no more than eighteen places."""
    exact = _PRICE.create_decimal(value if isinstance(value, Decimal) else repr(value))
    return exact if exact.adjusted() >= -7 or not exact else exact.quantize(_ATTO, context=MONEY)


def added(one: Decimal, other: Decimal) -> Decimal:
    """The sum of two quantities or amounts, whatever the ambient context is."""
    return MONEY.add(one, other)


def taken(whole: Decimal, part: Decimal) -> Decimal:
    """What `part` leaves of `whole`."""
    return MONEY.subtract(whole, part)


def significant(value: float) -> float:
    """`value` to twelve significant digits: more are noise of the adjustment."""
    return float(f"{value:.12g}")


class Side(StrEnum):
    """Which way an order or a fill goes."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class OrderKind(StrEnum):
    """What an order is for: to open a position, to close it, or to make it smaller."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    TRIM = "TRIM"


class Trigger(StrEnum):
    """What made a fill happen."""

    OPEN = "OPEN"
    STOP = "STOP"
    DELISTED = "DELISTED"


class RiskMode(StrEnum):
    """How much the policy lets the account risk, the most careful first."""

    DEFENSIVE = "DEFENSIVE"
    NORMAL = "NORMAL"
    AGGRESSIVE = "AGGRESSIVE"


class StrategyLifecycle(StrEnum):
    """How far a strategy is trusted: only a LIVE one trades the account."""

    BACKTEST = "BACKTEST"
    SHADOW = "SHADOW"
    LIVE = "LIVE"
    RETIRED = "RETIRED"


class HealthStatus(StrEnum):
    """How well a component, or the whole, does its work."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    CRITICAL = "CRITICAL"


class Station(StrEnum):
    """Those who say after every session that they are alive."""

    DATA = "DATA"
    LEDGER = "LEDGER"
    EXECUTOR = "EXECUTOR"
    GUARD = "GUARD"
    STRATEGIES = "STRATEGIES"
    RANKER = "RANKER"
    EVALUATION = "EVALUATION"
    LEARNING = "LEARNING"


class KillMode(StrEnum):
    """What the kill switch lets through: everything, what reduces a position, or nothing."""

    OFF = "OFF"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALT = "HALT"


# Stands for the volume of a bar where its source knows none: more than any market has, so that it limits no order.
UNKNOWN_VOLUME: Final = 1e18


@dataclass(frozen=True, slots=True)
class Bar:
    """One session of one symbol, back-adjusted to the symbol's last bar. Prices in account currency, volume in adjusted shares."""

    symbol: str
    session: int  # 0-based over the union calendar of the universe
    ts: datetime  # aware UTC
    open: float
    high: float
    low: float
    close: float
    volume: float
    adj_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    """An intent with a size. `reference` is the close it was decided on; `stop` is the protective stop of an entry."""

    order_id: str
    intent_id: str
    strategy_id: str
    symbol: str
    side: Side
    kind: OrderKind
    qty: Decimal  # whole lots
    reference: float
    stop: float | None = None
    confidence: float = 0.0
    session: int = 0  # the session it was decided in

    @property
    def client_id(self) -> str:
        """What a venue knows it by: sent twice under it, it is one order."""
        return self.order_id

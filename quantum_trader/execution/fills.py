"""Fills: what an order costs when it meets a bar.

The paper venue and the evaluation platform both price through here, so a backtest and a replay cannot disagree. Knows
no order book, no position and no session: a side, a quantity and a bar go in, an execution comes out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.config import Costs
from quantum_trader.instruments import SHARE, Instrument
from quantum_trader.model import MONEY, Bar, Side, Trigger, money, price

ZERO: Final = Decimal("0.000000")
ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Execution:
    """A priced quantity. `slippage_bp` is what spread and impact took from the price that the bar offered."""

    qty: Decimal
    price: Decimal
    fee: Decimal
    slippage_bp: float


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill as the venue reports it. Prices and fee in account currency, quantities in lots' multiples.

    `shortfall_bp` is the cost against the reference (the close the order was decided on, or the level of the stop),
    positive when it hurt. `leaves_qty` is what its order had left when it filled, `stop` the protective stop on the
    position after it.
    """

    fill_id: str
    order_id: str
    strategy_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    slippage_bp: float
    shortfall_bp: float
    trigger: Trigger
    leaves_qty: Decimal
    session: int
    stop: float | None = None


def room(bar: Bar, costs: Costs, instrument: Instrument = SHARE) -> Decimal:
    """How much of `bar` one order may take, in whole lots: the participation limit."""
    return instrument.floor(costs.participation * bar.volume)


def fill_at_open(
    bar: Bar,
    side: Side,
    qty: Decimal,
    costs: Costs,
    *,
    cash: Decimal | None = None,
    instrument: Instrument = SHARE,
) -> Execution | None:
    """A market order for `qty` at the open of `bar`, or None when the bar has no room for a single lot.

    The quantity is cut to the participation limit. With `cash` a purchase is cut further to what that pays for, fee
    included: the open may lie far above the close the order was sized on, and this is a cash account.
    """
    qty = min(qty, room(bar, costs, instrument))
    if not qty:
        return None
    execution = _executed(bar.open, side, qty, _slippage_bp(qty, bar.volume, costs), costs, instrument)
    if cash is None or side is Side.SELL or outlay(execution) <= cash:
        return execution
    # Fewer shares move the price less, so what is affordable at this price stays affordable at its own.
    qty = _affordable(execution.price, costs, cash, instrument)
    return _executed(bar.open, side, qty, _slippage_bp(qty, bar.volume, costs), costs, instrument) if qty else None


def hits(bar: Bar, stop: float) -> bool:
    """Whether `bar` traded at `stop` or below."""
    return bar.low <= stop and bar.volume > 0


def fill_at_stop(bar: Bar, stop: float, qty: Decimal, costs: Costs, instrument: Instrument = SHARE) -> Execution | None:
    """A sale of `qty` by a protective stop, or None when `bar` did not reach it or has no room for a single lot.

    A bar that opens below the stop fills at its open: a stop is no insurance against a gap. The stop pays the half
    spread, and takes no more of the bar than an order may; its rest is a market order at the next open.
    """
    qty = min(qty, room(bar, costs, instrument))
    if not qty or not hits(bar, stop):
        return None
    return _executed(min(bar.open, stop), Side.SELL, qty, costs.half_spread_bp, costs, instrument)


def written_off(close: float, haircut: float, qty: Decimal) -> Execution:
    """The end of a position nobody can sell any more: `haircut` of its last close is lost, and nobody takes a fee."""
    return Execution(qty, price(close * (1.0 - haircut)), ZERO, 0.0)


def fee(side: Side, qty: Decimal, paid: Decimal, costs: Costs) -> Decimal:
    """`max(min_fee, rate * qty * paid)`; a sale pays no more than it brings, or it could overdraw the account."""
    value = notional(qty, paid)
    charged = money(max(costs.min_fee, MONEY.multiply(costs.fee_rate, value)))
    return min(charged, value) if side is Side.SELL else charged


def notional(qty: Decimal, paid: Decimal) -> Decimal:
    """`qty * paid`, to a millionth: prices have more places than money."""
    return money(MONEY.multiply(paid, qty))


def outlay(execution: Execution) -> Decimal:
    """What a purchase takes out of the account, fee included."""
    return MONEY.add(notional(execution.qty, execution.price), execution.fee)


def shortfall_bp(side: Side, paid: Decimal, reference: float) -> float:
    """Implementation shortfall `side * (paid / reference - 1) * 1e4` in basis points, positive when it hurt."""
    return side.sign * (float(paid) / reference - 1.0) * 1e4


def _slippage_bp(qty: Decimal, volume: float, costs: Costs) -> float:
    return costs.half_spread_bp + costs.impact_bp * math.sqrt(float(qty) / volume)


def _executed(
    base: float, side: Side, qty: Decimal, slippage_bp: float, costs: Costs, instrument: Instrument
) -> Execution:
    paid = instrument.price(base * (1.0 + side.sign * slippage_bp / 1e4), side)
    return Execution(qty, paid, fee(side, qty, paid, costs), slippage_bp)


def _affordable(paid: Decimal, costs: Costs, cash: Decimal, instrument: Instrument) -> Decimal:
    unit = MONEY.multiply(paid, MONEY.add(ONE, costs.fee_rate))
    most = min(MONEY.divide(cash, unit), MONEY.divide(MONEY.subtract(cash, costs.min_fee), paid))
    qty = instrument.floor(most)
    # Value and fee are rounded to a micro, which can tip the last lot over.
    while qty and MONEY.add(notional(qty, paid), fee(Side.BUY, qty, paid, costs)) > cash:
        qty = MONEY.subtract(qty, instrument.lot)
    return qty

"""Fills: what an order costs when it meets a bar.

The paper venue and the evaluation platform both price through here, so a backtest and a replay cannot disagree. Knows
no order book, no position and no session: a side, a quantity and a bar go in, an execution comes out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.instruments import SHARE, Instrument
from quantum_trader.model import MONEY, Bar, Side, Trigger, money

ZERO: Final = Decimal("0.000000")
ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs and how much of a bar one order may take.

    `half_spread_bp` and `impact_bp` are basis points of the price, the latter for an order as large as the bar's
    volume; `participation` is a fraction of the bar's volume; `fee_rate` is a fraction of the traded value; `min_fee`
    is in account currency.
    """

    half_spread_bp: float = 2.0
    impact_bp: float = 10.0
    participation: float = 0.05
    fee_rate: Decimal = Decimal("0.001")
    min_fee: Decimal = ZERO

    def __post_init__(self) -> None:
        # Each bound is what keeps a price positive, a sale worth making or a quantity inside the bar.
        if not 0.0 <= self.half_spread_bp + self.impact_bp < 10_000.0 or min(self.half_spread_bp, self.impact_bp) < 0.0:
            raise ValueError(f"half_spread_bp and impact_bp must be >= 0 and below 10000 together, got {self!r}")
        if not 0.0 < self.participation <= 1.0:
            raise ValueError(f"participation must be in (0, 1], got {self.participation!r}")
        if not 0 <= self.fee_rate < 1 or self.min_fee < 0:
            raise ValueError(f"fee_rate must be in [0, 1) and min_fee >= 0, got {self.fee_rate!r}, {self.min_fee!r}")


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


def fill_at_stop(bar: Bar, stop: float, qty: Decimal, costs: Costs, instrument: Instrument = SHARE) -> Execution | None:
    """A sale of `qty` by a protective stop, or None when `bar` did not reach it (or did not trade).

    A bar that opens below the stop fills at its open: a stop is no insurance against a gap. The stop pays the half
    spread and is filled whole, whatever the volume.
    """
    if bar.low > stop or not bar.volume:
        return None
    return _executed(min(bar.open, stop), Side.SELL, qty, costs.half_spread_bp, costs, instrument)


def fill_at_last(close: float, qty: Decimal, costs: Costs, instrument: Instrument = SHARE) -> Execution:
    """A sale of `qty` at the last known close of a symbol that stopped trading: no spread, the usual fee."""
    return _executed(close, Side.SELL, qty, 0.0, costs, instrument)


def fee(side: Side, qty: Decimal, price: Decimal, costs: Costs) -> Decimal:
    """`max(min_fee, rate * qty * price)`; a sale pays no more than it brings, or it could overdraw the account."""
    value = notional(qty, price)
    charged = money(max(costs.min_fee, MONEY.multiply(costs.fee_rate, value)))
    return min(charged, value) if side is Side.SELL else charged


def notional(qty: Decimal, price: Decimal) -> Decimal:
    """`qty * price`, to a millionth: prices have more places than money."""
    return money(MONEY.multiply(price, qty))


def outlay(execution: Execution) -> Decimal:
    """What a purchase takes out of the account, fee included."""
    return MONEY.add(notional(execution.qty, execution.price), execution.fee)


def shortfall_bp(side: Side, price: Decimal, reference: float) -> float:
    """Implementation shortfall `side * (price / reference - 1) * 1e4` in basis points, positive when it hurt."""
    return side.sign * (float(price) / reference - 1.0) * 1e4


def _slippage_bp(qty: Decimal, volume: float, costs: Costs) -> float:
    return costs.half_spread_bp + costs.impact_bp * math.sqrt(float(qty) / volume)


def _executed(
    base: float, side: Side, qty: Decimal, slippage_bp: float, costs: Costs, instrument: Instrument
) -> Execution:
    price = instrument.price(base * (1.0 + side.sign * slippage_bp / 1e4), side)
    return Execution(qty, price, fee(side, qty, price, costs), slippage_bp)


def _affordable(price: Decimal, costs: Costs, cash: Decimal, instrument: Instrument) -> Decimal:
    unit = MONEY.multiply(price, MONEY.add(ONE, costs.fee_rate))
    most = min(MONEY.divide(cash, unit), MONEY.divide(MONEY.subtract(cash, costs.min_fee), price))
    qty = instrument.floor(most)
    # Value and fee are rounded to a micro, which can tip the last lot over.
    while qty and MONEY.add(notional(qty, price), fee(Side.BUY, qty, price, costs)) > cash:
        qty = MONEY.subtract(qty, instrument.lot)
    return qty

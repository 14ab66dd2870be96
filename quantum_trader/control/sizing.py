"""Sizing: how much an entry may buy so that every limit holds, and what is sold when too much is held.

Pure functions of a snapshot of the account. They size to fit: a denial by the risk guard afterwards means that the two
disagree about the world, which is worth a chart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from quantum_trader.config import RiskConfig, SizingConfig
from quantum_trader.instruments import SHARE, SHARES, Instrument, Instruments

_LEAST_DISTANCE: Final = 0.005  # of the price: a stop closer than that would ask for the moon
_CASH_KEPT: Final = 0.99
_GROSS_SLACK: Final = 1.05  # trimming back and forth over a limit would only feed the broker

NONE: Final = Decimal(0)

Pair = tuple[str, str]  # strategy, symbol


@dataclass(frozen=True, slots=True)
class SizingRules:
    """What an entry is sized by: the settings, the limits that the guard will hold it to, and how long a session is.

    `cost` is the fraction of value that fee and slippage take.
    """

    sizing: SizingConfig = field(default_factory=SizingConfig)
    limits: RiskConfig = field(default_factory=RiskConfig)
    cost: float = 0.0022
    sessions_a_day: int = 1

    @property
    def sigma_target(self) -> float:
        """The volatility of a session at which a position has its plain size."""
        return self.sizing.sigma_target / math.sqrt(self.sessions_a_day)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the policy grants."""

    max_risk_per_trade: float
    max_positions: int
    gross_limit: float


@dataclass(slots=True)
class Snapshot:
    """The account as the balancer knows it, in account currency; reservations of the session are added as it sizes."""

    equity: float
    free_cash: float
    exposure: dict[str, float]  # by symbol

    def reserve(self, symbol: str, value: float, cost: float) -> None:
        self.exposure[symbol] = self.exposure.get(symbol, 0.0) + value
        self.free_cash -= value * (1.0 + cost) / _CASH_KEPT

    @property
    def gross(self) -> float:
        return math.fsum(self.exposure.values())


@dataclass(frozen=True, slots=True)
class Size:
    """A quantity and the term that bound it; `qty` 0 means that the intent is dropped for that reason."""

    qty: Decimal
    limited_by: str


def size_entry(
    symbol: str,
    reference: float,
    stop: float | None,
    *,
    account: Snapshot,
    allowance: Allowance,
    rules: SizingRules,
    sigma: float | None,
    adv20: float,
    instrument: Instrument = SHARE,
    weight: float | None = None,
) -> Size:
    """What to buy at about `reference`, in whole lots.

    `q = floor(min(risk E / d * clip(sigma_target / sigma, .5, 1.5), (w_sym E - exp_sym) / c, (gross E - gross_now) / c,
    0.99 cash / (c (1 + cost)), participation ADV20, max_order_qty))` with `d = max(c - stop, 0.005 c)`; without a stop all
    is at risk. The plain risk budget bounds the scaled one, because the risk guard holds to it. Without a forecast the
    scale is 1. What was wanted, before any limit cut it, must be worth `min_weight` of equity; what is left, one lot.
    With a `weight` the position up to that fraction of equity is wanted, and the budget counts only where a stop is.
    """
    if rules.sizing.fixed_qty:
        return Size(rules.sizing.fixed_qty.get(symbol, NONE), "FIXED")
    if symbol not in account.exposure and len(account.exposure) >= allowance.max_positions:
        return Size(NONE, "MAX_POSITIONS")
    equity = account.equity
    distance = reference if stop is None else max(reference - stop, _LEAST_DISTANCE * reference)
    budget = allowance.max_risk_per_trade * equity / distance
    scale = 1.0 if sigma is None else min(max(rules.sigma_target / sigma, 0.5), 1.5)
    held = account.exposure.get(symbol, 0.0)
    # The first first: of equal terms the first is named, and without a forecast these two are.
    wanted = {"RISK": budget, "VOLATILITY": budget * scale}
    if weight is not None:
        wanted = {"WEIGHT": (weight * equity - held) / reference} | ({} if stop is None else {"RISK": budget})
    terms = wanted | {
        "ORDER_WEIGHT": rules.sizing.max_order_weight * equity / reference,
        "SYMBOL_WEIGHT": (rules.sizing.max_symbol_weight * equity - held) / reference,
        "GROSS": (allowance.gross_limit * equity - account.gross) / reference,
        "CASH": _CASH_KEPT * account.free_cash / (reference * (1.0 + rules.cost)),
        "PARTICIPATION": rules.limits.max_participation * adv20,
        "ORDER_QTY": rules.limits.max_order_qty,
    }
    if min(wanted.values()) * reference < rules.sizing.min_weight * equity:
        return Size(NONE, min(wanted, key=lambda name: wanted[name]))
    term = min(terms, key=lambda name: terms[name])
    return Size(instrument.floor(terms[term]), term)


def trims(
    positions: Mapping[Pair, Decimal],
    closes: Mapping[str, float],
    *,
    equity: float,
    gross_limit: float,
    instruments: Instruments = SHARES,
) -> dict[Pair, Decimal]:
    """What to sell of each position so that gross exposure is back at its limit; empty while it is within 5 % of it.

    Pro rata, rounded up, largest position first, so the limit is reached with as few sales as possible.
    """
    values = {pair: float(qty) * closes[pair[1]] for pair, qty in positions.items() if qty > 0}
    gross, limit = math.fsum(values.values()), gross_limit * equity
    if gross <= _GROSS_SLACK * limit:
        return {}
    share, excess, sales = 1.0 - limit / gross, gross - limit, {}
    for pair in sorted(values, key=lambda pair: (-values[pair], pair)):
        if excess <= 0.0:
            break
        qty = min(positions[pair], instruments.of(pair[1]).ceiling(share * float(positions[pair])))
        sales[pair] = qty
        excess -= float(qty) * closes[pair[1]]
    return sales

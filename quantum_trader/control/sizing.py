"""Sizing: how many shares an entry may buy so that every limit holds, and what is sold when too much is held.

Pure functions of a snapshot of the account. They size to fit: a denial by the risk guard afterwards means that the two
disagree about the world, which is worth a chart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_LEAST_DISTANCE: Final = 0.005  # of the price: a stop closer than that would ask for the moon
_CASH_KEPT: Final = 0.99
_GROSS_SLACK: Final = 1.05  # trimming back and forth over a limit would only feed the broker

Pair = tuple[str, str]  # strategy, symbol


@dataclass(frozen=True, slots=True)
class SizingRules:
    """Fractions are of equity. `cost` is the fraction of value that fee and slippage take."""

    sigma_target: float = 0.018
    max_order_weight: float = 0.24
    max_symbol_weight: float = 0.28
    min_weight: float = 0.01
    participation: float = 0.05
    cost: float = 0.0022
    fixed_qty: Mapping[str, int] = field(default_factory=dict)


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

    qty: int
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
) -> Size:
    """The shares to buy at about `reference`.

    `q = floor(min(risk E / d * clip(sigma_target / sigma, .5, 1.5), (w_sym E - exp_sym) / c, (gross E - gross_now) / c,
    0.99 cash / (c (1 + cost)), participation ADV20))` with `d = max(c - stop, 0.005 c)`; without a stop all is at risk.
    The plain risk budget bounds the scaled one, because the risk guard holds to it. Without a forecast the scale is 1.
    """
    if rules.fixed_qty:
        return Size(rules.fixed_qty.get(symbol, 0), "FIXED")
    if symbol not in account.exposure and len(account.exposure) >= allowance.max_positions:
        return Size(0, "MAX_POSITIONS")
    equity = account.equity
    distance = reference if stop is None else max(reference - stop, _LEAST_DISTANCE * reference)
    budget = allowance.max_risk_per_trade * equity / distance
    scale = 1.0 if sigma is None else min(max(rules.sigma_target / sigma, 0.5), 1.5)
    held = account.exposure.get(symbol, 0.0)
    terms = {
        "RISK": budget,  # first: of equal terms the first is named, and without a forecast these two are
        "VOLATILITY": budget * scale,
        "ORDER_WEIGHT": rules.max_order_weight * equity / reference,
        "SYMBOL_WEIGHT": (rules.max_symbol_weight * equity - held) / reference,
        "GROSS": (allowance.gross_limit * equity - account.gross) / reference,
        "CASH": _CASH_KEPT * account.free_cash / (reference * (1.0 + rules.cost)),
        "PARTICIPATION": rules.participation * adv20,
    }
    term = min(terms, key=lambda name: terms[name])
    qty = max(0, math.floor(terms[term]))
    if qty * reference < rules.min_weight * equity:
        return Size(0, term)
    return Size(qty, term)


def trims(
    positions: Mapping[Pair, int], closes: Mapping[str, float], *, equity: float, gross_limit: float
) -> dict[Pair, int]:
    """Shares to sell of each position so that gross exposure is back at its limit; empty while it is within 5 % of it.

    Pro rata, rounded up, largest position first, so the limit is reached with as few sales as possible.
    """
    values = {pair: qty * closes[pair[1]] for pair, qty in positions.items() if qty > 0}
    gross, limit = math.fsum(values.values()), gross_limit * equity
    if gross <= _GROSS_SLACK * limit:
        return {}
    share, excess, sales = 1.0 - limit / gross, gross - limit, {}
    for pair in sorted(values, key=lambda pair: (-values[pair], pair)):
        if excess <= 0.0:
            break
        qty = min(positions[pair], math.ceil(share * positions[pair]))
        sales[pair] = qty
        excess -= qty * closes[pair[1]]
    return sales

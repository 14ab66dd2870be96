"""Sizing: every limit can bind, none is passed, and what is too small is dropped with the reason."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.config import RiskConfig, SizingConfig
from quantum_trader.control.sizing import Allowance, Size, SizingRules, Snapshot, size_entry, trims
from quantum_trader.instruments import SHARE, Instrument

RULES = SizingRules()
OPEN = Allowance(max_risk_per_trade=1.0, max_positions=5, gross_limit=1.0)


def account(equity: float = 100_000.0, cash: float = 100_000.0, **exposure: float) -> Snapshot:
    return Snapshot(equity, cash, dict(exposure))


def size(
    rules: SizingRules = RULES,
    allowance: Allowance = OPEN,
    held: Snapshot | None = None,
    *,
    stop: float | None = 95.0,
    sigma: float | None = None,
    adv20: float = 1e9,
    instrument: Instrument = SHARE,
) -> Size:
    return size_entry(
        "AAA",
        100.0,
        stop,
        account=held or account(),
        allowance=allowance,
        rules=rules,
        sigma=sigma,
        adv20=adv20,
        instrument=instrument,
    )


def test_order_weight_binds_when_all_else_is_wide() -> None:
    assert size() == Size(Decimal(240), "ORDER_WEIGHT")


def test_risk_budget_binds_by_the_distance_to_the_stop() -> None:
    assert size(allowance=replace(OPEN, max_risk_per_trade=0.01)) == Size(Decimal(200), "RISK")
    assert size(allowance=replace(OPEN, max_risk_per_trade=0.01), stop=90.0) == Size(Decimal(100), "RISK")


def test_without_a_stop_the_whole_price_is_at_risk() -> None:
    assert size(allowance=replace(OPEN, max_risk_per_trade=0.02), stop=None).qty == 20


def test_a_stop_too_close_does_not_ask_for_the_moon() -> None:
    assert size(allowance=replace(OPEN, max_risk_per_trade=0.0001), stop=99.99).qty == 20


def test_volatile_symbols_get_less_and_quiet_ones_no_more_than_the_budget() -> None:
    tight = replace(OPEN, max_risk_per_trade=0.01)
    assert size(allowance=tight, sigma=0.036) == Size(Decimal(100), "VOLATILITY")
    assert size(allowance=tight, sigma=0.009) == Size(Decimal(200), "RISK")


def test_symbol_gross_cash_and_participation_bind() -> None:
    assert size(held=account(AAA=20_000.0)) == Size(Decimal(80), "SYMBOL_WEIGHT")
    assert size(held=account(BBB=90_000.0)) == Size(Decimal(100), "GROSS")
    assert size(held=account(cash=10_022.0)).limited_by == "CASH"
    assert size(adv20=1_000.0) == Size(Decimal(50), "PARTICIPATION")


def test_new_symbol_beyond_the_positions_allowed_is_dropped() -> None:
    two = replace(OPEN, max_positions=2)
    assert size(allowance=two, held=account(BBB=1.0, CCC=1.0)) == Size(Decimal(0), "MAX_POSITIONS")
    assert size(allowance=two, held=account(AAA=1.0, BBB=1.0)).qty > 0


def test_what_is_wanted_too_small_is_dropped() -> None:
    assert size(allowance=replace(OPEN, max_risk_per_trade=0.0004)) == Size(Decimal(0), "RISK")
    assert size(allowance=replace(OPEN, max_risk_per_trade=0.0008), sigma=0.036) == Size(Decimal(0), "VOLATILITY")


def test_what_a_limit_cuts_goes_down_to_one_lot() -> None:
    assert size(adv20=100.0) == Size(Decimal(5), "PARTICIPATION")
    assert size(adv20=20.0) == Size(Decimal(1), "PARTICIPATION")
    assert size(adv20=19.0) == Size(Decimal(0), "PARTICIPATION")
    assert size(adv20=19.0, instrument=Instrument(lot=Decimal("0.25"))) == Size(Decimal("0.75"), "PARTICIPATION")


def test_the_largest_quantity_allowed_binds() -> None:
    assert size(SizingRules(limits=RiskConfig(max_order_qty=50))) == Size(Decimal(50), "ORDER_QTY")


def test_fixed_quantities_replace_sizing() -> None:
    assert size(SizingRules(SizingConfig(fixed_qty={"AAA": Decimal(7)}))) == Size(Decimal(7), "FIXED")
    assert size(SizingRules(SizingConfig(fixed_qty={"BBB": Decimal(7)}))) == Size(Decimal(0), "FIXED")


@given(
    equity=st.floats(1e3, 1e9),
    invested=st.floats(0, 1),
    reference=st.floats(0.01, 1e4),
    gap=st.floats(0.0, 0.5),
    risk=st.floats(0.001, 1.0),
    gross=st.floats(0.1, 1.0),
    sigma=st.none() | st.floats(0.001, 0.2),
)
def test_no_limit_is_ever_passed(
    equity: float, invested: float, reference: float, gap: float, risk: float, gross: float, sigma: float | None
) -> None:
    held = Snapshot(equity, equity * (1 - invested), {"AAA": equity * invested})
    stop = reference * (1 - gap)
    allowance = Allowance(risk, 5, gross)
    found = size_entry("AAA", reference, stop, account=held, allowance=allowance, rules=RULES, sigma=sigma, adv20=1e12)
    value = float(found.qty) * reference
    slack = 1 + 1e-9
    assert value * (1 + RULES.cost) <= held.free_cash * slack
    assert value + held.gross <= gross * equity * slack or found.qty == 0
    assert float(found.qty) * (reference - stop) <= risk * equity * slack
    assert value <= RULES.sizing.max_order_weight * equity * slack


def test_reserving_leaves_less_for_the_next() -> None:
    held = account()
    first = size(held=held)
    held.reserve("AAA", float(first.qty) * 100.0, RULES.cost)
    assert size(held=held) == Size(Decimal(40), "SYMBOL_WEIGHT")
    assert held.free_cash == pytest.approx(100_000 - 24_000 * (1 + RULES.cost) / 0.99)


def test_trims_bring_gross_back_to_its_limit_largest_first() -> None:
    positions = {("s", "AAA"): Decimal(100), ("s", "BBB"): Decimal(500)}
    closes = {"AAA": 100.0, "BBB": 100.0}
    assert trims(positions, closes, equity=100_000.0, gross_limit=0.60) == {}
    assert trims(positions, closes, equity=100_000.0, gross_limit=0.58) == {}
    sales = trims(positions, closes, equity=100_000.0, gross_limit=0.30)
    assert sales == {("s", "BBB"): 250, ("s", "AAA"): 50}
    assert list(sales) == [("s", "BBB"), ("s", "AAA")]


def test_trims_never_sell_more_than_is_held() -> None:
    assert trims({("s", "AAA"): Decimal(3)}, {"AAA": 100.0}, equity=100.0, gross_limit=0.0) == {("s", "AAA"): 3}

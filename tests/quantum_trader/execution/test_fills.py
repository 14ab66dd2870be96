"""Fill arithmetic: prices by hand, limits, and the account that is never overdrawn."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Context, Decimal, FloatOperation, Inexact, Rounded, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.config import Costs
from quantum_trader.execution.fills import Execution, fee, fill_at_open, fill_at_stop, outlay, shortfall_bp, written_off
from quantum_trader.model import Bar, Side, price

FREE = Costs(half_spread_bp=0.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal(0))


def bar(open_: float = 100.0, low: float | None = None, volume: float = 10_000) -> Bar:
    bottom = open_ if low is None else low
    return Bar("AAPL", 1, datetime(2013, 1, 2, tzinfo=UTC), open_, open_ + 1.0, bottom, bottom + 0.5, volume)


def test_price_is_the_open_moved_by_half_spread_and_impact() -> None:
    costs = Costs(half_spread_bp=2.0, impact_bp=10.0, participation=0.05, fee_rate=Decimal("0.001"))
    execution = fill_at_open(bar(), Side.BUY, Decimal(100), costs)
    # 2 bp + 10 bp * sqrt(100 / 10000) = 3 bp of 100
    assert execution == Execution(Decimal(100), Decimal("100.030000"), Decimal("10.003000"), 3.0)


def test_seller_gets_less_by_as_much_as_a_buyer_pays_more() -> None:
    costs = Costs(half_spread_bp=5.0, impact_bp=0.0)
    prices = [fill_at_open(bar(), side, Decimal(1), costs) for side in Side]
    assert [price and price.price for price in prices] == [Decimal("100.05"), Decimal("99.95")]


def test_quantity_is_cut_to_the_participation_limit() -> None:
    execution = fill_at_open(bar(volume=1_999), Side.BUY, Decimal(1_000), Costs(participation=0.05))
    assert execution is not None
    assert execution.qty == 99


def test_bar_without_volume_fills_nothing() -> None:
    quiet = bar(low=90.0, volume=0)
    assert fill_at_open(quiet, Side.SELL, Decimal(1), FREE) is None
    assert fill_at_stop(quiet, 95.0, Decimal(1), FREE) is None


@pytest.mark.parametrize(
    ("open_", "low", "price"),
    [
        (100.0, 95.0, Decimal("95.000000")),  # touched: at the stop
        (100.0, 90.0, Decimal("95.000000")),  # through it inside the bar: still at the stop
        (92.5, 90.0, Decimal("92.500000")),  # opened below: at the open
    ],
)
def test_stop_fills_at_its_level_or_at_a_worse_open(open_: float, low: float, price: Decimal) -> None:
    execution = fill_at_stop(bar(open_, low), 95.0, Decimal(10), FREE)
    assert execution is not None
    assert execution.price == price


def test_stop_is_not_reached_by_a_higher_low() -> None:
    assert fill_at_stop(bar(100.0, 95.01), 95.0, Decimal(10), FREE) is None


def test_stop_pays_the_half_spread_and_takes_no_more_of_the_bar_than_an_order() -> None:
    execution = fill_at_stop(bar(100.0, 90.0, volume=2_000), 95.0, Decimal(1_000), Costs(half_spread_bp=2.0))
    assert execution == Execution(Decimal(100), Decimal("94.981"), Decimal("9.4981"), 2.0)
    assert fill_at_stop(bar(100.0, 90.0, volume=1), 95.0, Decimal(1_000), Costs()) is None


def test_a_write_off_loses_its_haircut_and_pays_no_fee() -> None:
    assert written_off(10.0, 0.25, Decimal(5)) == Execution(Decimal(5), Decimal("7.5"), Decimal(0), 0.0)
    assert written_off(10.0, 1.0, Decimal(5)).price == 0


def test_fee_is_at_least_the_minimum() -> None:
    costs = Costs(fee_rate=Decimal("0.001"), min_fee=Decimal(1))
    assert fee(Side.BUY, Decimal(10), Decimal(50), costs) == Decimal(1)
    assert fee(Side.BUY, Decimal(10), Decimal(500), costs) == Decimal(5)


def test_sale_never_pays_more_than_it_brings() -> None:
    assert fee(Side.SELL, Decimal(1), Decimal("0.4"), Costs(min_fee=Decimal(1))) == Decimal("0.4")


def test_shortfall_is_positive_when_the_fill_was_worse() -> None:
    assert shortfall_bp(Side.BUY, Decimal(101), 100.0) == pytest.approx(100.0)
    assert shortfall_bp(Side.SELL, Decimal(101), 100.0) == pytest.approx(-100.0)


def test_purchase_is_cut_to_the_cash() -> None:
    costs = Costs(half_spread_bp=0.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal("0.001"))
    execution = fill_at_open(bar(), Side.BUY, Decimal(20), costs, cash=Decimal("1001.000000"))
    assert execution is not None
    assert (execution.qty, outlay(execution)) == (Decimal(10), Decimal("1001.000000"))
    assert fill_at_open(bar(), Side.BUY, Decimal(20), costs, cash=Decimal("100.099999")) is None


def test_sale_needs_no_cash() -> None:
    assert fill_at_open(bar(), Side.SELL, Decimal(20), FREE, cash=Decimal(0)) is not None


def test_ambient_decimal_context_is_not_asked() -> None:
    costs = Costs(min_fee=Decimal(1))
    clean = fill_at_open(bar(33.333333), Side.BUY, Decimal(77), costs, cash=Decimal(2000))
    with localcontext(Context(prec=2, rounding=ROUND_CEILING, traps=[Inexact, Rounded, FloatOperation])):
        assert fill_at_open(bar(33.333333), Side.BUY, Decimal(77), costs, cash=Decimal(2000)) == clean


@pytest.mark.parametrize(
    "wrong",
    [
        {"half_spread_bp": -1.0},
        {"impact_bp": 10_000.0},
        {"half_spread_bp": math.nan},
        {"participation": 0.0},
        {"participation": 1.5},
        {"fee_rate": Decimal(1)},
        {"min_fee": Decimal(-1)},
    ],
)
def test_senseless_costs_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Costs.model_validate(wrong)


@given(
    open_=st.floats(0.01, 10_000.0).map(lambda price: round(price, 6)),
    qty=st.integers(1, 10**6).map(Decimal),
    volume=st.integers(0, 10**7),
    cash=st.decimals(0, 10**7, places=6),
    half_spread_bp=st.floats(0.0, 100.0),
    impact_bp=st.floats(0.0, 500.0),
    participation=st.floats(0.01, 1.0),
    fee_rate=st.decimals(0, Decimal("0.1"), places=4),
    min_fee=st.decimals(0, 100, places=2),
)
def test_purchase_never_costs_more_than_the_cash_or_takes_more_than_its_share(
    open_: float,
    qty: Decimal,
    volume: float,
    cash: Decimal,
    half_spread_bp: float,
    impact_bp: float,
    participation: float,
    fee_rate: Decimal,
    min_fee: Decimal,
) -> None:
    costs = Costs(
        half_spread_bp=half_spread_bp,
        impact_bp=impact_bp,
        participation=participation,
        fee_rate=fee_rate,
        min_fee=min_fee,
    )
    execution = fill_at_open(bar(open_, volume=volume), Side.BUY, qty, costs, cash=cash)
    if execution is None:
        return
    assert 1 <= execution.qty <= min(qty, Decimal(participation * volume))
    assert outlay(execution) <= cash
    assert execution.price >= price(open_)
    assert len(execution.price.as_tuple().digits) <= 12
    assert execution.fee.as_tuple().exponent == -6

"""Instruments: quantities are whole lots, prices lie on the tick that is worse for who deals, and names beat patterns."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal, FloatOperation, Inexact, Rounded, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quantum_trader.instruments import SHARE, Instrument, Instruments
from quantum_trader.model import Side

LOTS = st.sampled_from(["1", "100", "0.001", "0.00000001", "0.25", "7"]).map(Decimal)
TICKS = st.sampled_from(["0.01", "0.05", "0.5", "1", "0.000001"]).map(Decimal)


@given(st.floats(0, 1e12), LOTS)
def test_a_quantity_is_cut_to_whole_lots_and_never_grows(quantity: float, lot: Decimal) -> None:
    instrument = Instrument(lot=lot)
    cut, exact = instrument.floor(quantity), instrument.floor(Decimal(repr(quantity)))
    assert cut % lot == 0
    assert cut == exact
    assert exact <= Decimal(repr(quantity)) < exact + lot
    assert instrument.is_lots(cut) == (cut > 0)


@given(st.floats(0, 1e12), LOTS)
def test_what_must_be_sold_is_rounded_up(quantity: float, lot: Decimal) -> None:
    asked = Instrument(lot=lot).ceiling(quantity)
    assert asked % lot == 0
    assert asked - lot < Decimal(repr(quantity)) <= asked


@pytest.mark.parametrize("quantity", [Decimal(0), Decimal(-1), Decimal("1.5"), Decimal("NaN"), Decimal("Infinity")])
def test_only_whole_lots_above_none_are_a_quantity(quantity: Decimal) -> None:
    assert not SHARE.is_lots(quantity)


@given(st.floats(1e-6, 1e9), TICKS)
def test_a_price_lies_on_the_tick_that_is_worse(value: float, tick: Decimal) -> None:
    instrument = Instrument(tick=tick)
    bought, sold = instrument.price(value, Side.BUY), instrument.price(value, Side.SELL)
    assert bought % tick == sold % tick == 0
    assert sold == tick or sold <= SHARE.price(value, Side.SELL) <= bought
    assert bought - sold <= tick


def test_without_a_tick_a_price_has_twelve_digits() -> None:
    assert SHARE.price(28.19 * 1.0002, Side.BUY) == Decimal("28.195638")
    assert SHARE.price(1 / 3, Side.SELL) == Decimal("0.333333333333")


def test_digits_say_the_same_as_steps() -> None:
    assert Instrument(quantity_digits=3, price_digits=2).lot == Decimal("0.001")
    assert Instrument(quantity_digits=3, price_digits=2).tick == Decimal("0.01")
    assert Instrument(quantity_digits=0).lot == 1


@pytest.mark.parametrize(
    "wrong",
    [{"lot": 0}, {"lot": -1}, {"lot": "NaN"}, {"tick": 0}, {"lot": "0.1", "quantity_digits": 1}, {"price_digits": 99}],
    ids=str,
)
def test_steps_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Instrument.model_validate(wrong)


def test_a_name_beats_patterns_and_the_first_pattern_the_others() -> None:
    coin, other, one = (Instrument(lot=Decimal(lot)) for lot in ("0.1", "0.2", "0.3"))
    known = Instruments({"BTC/*": coin, "*/USDT": other, "BTC/EUR": one})
    assert [known.of(symbol) for symbol in ("BTC/USDT", "ETH/USDT", "BTC/EUR", "AAPL")] == [coin, other, one, SHARE]


def test_ambient_decimal_context_is_not_asked() -> None:
    instrument = Instrument(lot=Decimal("0.001"), tick=Decimal("0.05"))
    clean = (instrument.floor(1234.56789), instrument.ceiling(1234.56789), instrument.price(99.123456, Side.BUY))
    with localcontext(Context(prec=2, rounding=ROUND_CEILING, traps=[Inexact, Rounded, FloatOperation])):
        assert clean == (
            instrument.floor(1234.56789), instrument.ceiling(1234.56789), instrument.price(99.123456, Side.BUY)
        )  # fmt: skip

"""Accounts: sums by hand, identities to the last digit, breaches named, drawdown over its window."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import ROUND_CEILING, Context, Decimal, FloatOperation, Inexact, Rounded, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.execution.accounts import Accounts, Statement
from quantum_trader.execution.fills import Fill
from quantum_trader.model import Side, Trigger


def fill(
    side: Side,
    qty: float | str,
    price: str,
    *,
    fee: str = "0",
    n: int = 1,
    strategy: str = "s",
    symbol: str = "AAPL",
    session: int = 1,
    stop: float | None = None,
) -> Fill:
    order_id = f"{session}-{strategy}-{symbol}-{side}-{n}"
    return Fill(
        fill_id=f"{order_id}#1",
        order_id=order_id,
        strategy_id=strategy,
        symbol=symbol,
        side=side,
        qty=Decimal(qty),
        price=Decimal(price),
        fee=Decimal(fee),
        slippage_bp=0.0,
        shortfall_bp=0.0,
        trigger=Trigger.OPEN,
        leaves_qty=Decimal(0),
        session=session,
        stop=stop,
    )


def accounts(cash: int = 10_000, *, window: int = 252, audit_every: int = 50) -> Accounts:
    return Accounts(Decimal(cash), window=window, audit_every=audit_every)


def valued(books: Accounts, session: int, close: float) -> Statement:
    books.mark("AAPL", session, close)
    return books.close_session(session)


def test_purchases_average_and_a_sale_realises_against_the_average() -> None:
    books = accounts()
    assert books.book(fill(Side.BUY, 10, "100", fee="1", n=1)) == 0
    assert books.book(fill(Side.BUY, 20, "110", fee="2", n=2, stop=90.0)) == 0
    statement = valued(books, 1, 120.0)
    (line,) = statement.positions
    assert (line.qty, line.avg_price, line.unrealised, line.stop) == (
        Decimal(30),
        Decimal("106.666666667"),
        Decimal(400),
        90.0,
    )
    assert books.book(fill(Side.SELL, 15, "120", fee="3", session=2)) == Decimal(200)
    statement = valued(books, 2, 120.0)
    assert (statement.cash, statement.realised, statement.fees) == (Decimal(8_594), Decimal(200), Decimal(6))
    assert statement.equity == Decimal(8_594) + 15 * 120
    assert statement.gross == Decimal(1_800)


def test_fill_booked_before_changes_nothing() -> None:
    books = accounts()
    books.book(fill(Side.BUY, 10, "100"))
    state = books.state()
    assert books.book(fill(Side.BUY, 10, "100")) is None
    assert books.state() == state


def test_strategies_hold_the_same_symbol_apart() -> None:
    books = accounts()
    books.book(fill(Side.BUY, 10, "100", strategy="a"))
    books.book(fill(Side.BUY, 5, "90", strategy="b"))
    books.book(fill(Side.SELL, 10, "95", strategy="a"))
    assert books.quantities() == {("b", "AAPL"): 5}
    assert books.realised == Decimal(-50)


def test_missing_bar_values_at_the_last_close_and_says_so() -> None:
    books = accounts()
    books.book(fill(Side.BUY, 10, "100"))
    assert [line.stale for line in valued(books, 1, 101.0).positions] == [False]
    (line,) = books.close_session(2).positions
    assert (line.last, line.stale) == (Decimal(101), True)


def test_first_day_return_is_against_the_start_and_later_ones_against_the_day_before() -> None:
    books = accounts(1_000)
    books.book(fill(Side.BUY, 10, "100"))
    returns = [valued(books, session, close).day_return for session, close in enumerate((110.0, 99.0, 99.0))]
    assert returns == pytest.approx([0.1, -0.1, 0.0])


def test_drawdown_forgets_a_peak_that_left_the_window() -> None:
    books = accounts(1_000, window=3)
    books.book(fill(Side.BUY, 10, "100"))
    closes = (100.0, 80.0, 90.0, 90.0, 45.0)
    drawdowns = [valued(books, session, close).drawdown for session, close in enumerate(closes)]
    assert drawdowns == pytest.approx([0.0, 0.2, 0.1, 0.0, 0.5])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 8))
def test_drawdown_is_that_of_the_plain_definition(closes: list[int], window: int) -> None:
    books = accounts(1_000, window=window)
    books.book(fill(Side.BUY, 10, "100"))
    for session, close in enumerate(closes):
        peak = max(closes[max(0, session + 1 - window) : session + 1])
        assert valued(books, session, close).drawdown == pytest.approx(1 - close / peak)


def test_overselling_is_booked_and_named() -> None:
    books = accounts()
    books.book(fill(Side.BUY, 10, "100"))
    books.book(fill(Side.SELL, 15, "100"))
    statement = valued(books, 1, 100.0)
    assert statement.breaches == ("s holds -5 of AAPL",)
    assert not statement.invariants_ok


def test_buying_back_what_was_oversold_balances_the_books_again() -> None:
    books = accounts()
    books.book(fill(Side.BUY, 10, "100"))
    books.book(fill(Side.SELL, 15, "110"))
    assert books.book(fill(Side.BUY, 5, "120", n=2)) == Decimal(-100)
    assert (books.realised, books.quantities()) == (Decimal(50), {})
    assert books.close_session(1).breaches == ()


def test_overdrawing_is_booked_and_named() -> None:
    books = accounts(100)
    books.book(fill(Side.BUY, 10, "100"))
    assert valued(books, 1, 100.0).breaches == ("cash is -900.000000",)


def test_lost_money_unbalances_the_books() -> None:
    books = accounts()
    books.restore(books.state() | {"cash": "9999.000000"})
    assert books.close_session(1).breaches == ("the books are off by -1.000000",)


def test_audit_finds_positions_that_no_fill_made() -> None:
    books = accounts(audit_every=2)
    books.book(fill(Side.BUY, 10, "100"))
    state = books.state()
    state["positions"][0][2] = 11
    books.restore(state)
    assert [valued(books, session, 100.0).breaches for session in (1, 2, 3, 4)] == [
        (),
        ("the books are not what the fills add up to",),
    ] * 2


def test_good_audit_forgets_the_fills_it_has_added_up() -> None:
    books = accounts(audit_every=2)
    books.book(fill(Side.BUY, 10, "100"))
    assert [len(books.state()["unaudited"]) for session in (1, 2, 3) if valued(books, session, 100.0)] == [1, 0, 0]
    books.book(fill(Side.SELL, 4, "100", session=4))
    assert valued(books, 4, 100.0).invariants_ok


def test_account_needs_money_to_start_with() -> None:
    with pytest.raises(ValueError, match="cash must be above 0"):
        accounts(0)


def test_a_forgotten_peak_lets_drawdowns_count_from_now_on() -> None:
    books = accounts()
    books.book(fill(Side.BUY, 10, "100"))
    assert valued(books, 1, 100.0).drawdown == 0.0
    assert valued(books, 2, 50.0).drawdown == pytest.approx(0.05)
    books.forget_peak()
    again = accounts()
    again.restore(json.loads(json.dumps(books.state())))
    for each in (books, again):
        assert valued(each, 3, 50.0).drawdown == 0.0
        assert valued(each, 4, 40.0).drawdown == pytest.approx(100 / 9_500)


PRICES = st.decimals(Decimal("0.01"), 500, places=6)
TRADES = st.lists(
    st.builds(
        lambda side, qty, price, fee, strategy, symbol: (side, qty, str(price), str(fee), strategy, symbol),
        st.sampled_from(Side),
        st.integers(1, 99),
        PRICES,
        st.decimals(0, 5, places=6),
        st.sampled_from("ab"),
        st.sampled_from(("AAPL", "IBM")),
    ),
    max_size=40,
)


@given(TRADES)
def test_books_sum_to_zero_whatever_is_booked(trades: list[tuple[Side, int, str, str, str, str]]) -> None:
    books = accounts(audit_every=1)
    by_hand: dict[tuple[str, str], int] = {}
    for number, (side, qty, price, fee, strategy, symbol) in enumerate(trades):
        books.book(fill(side, qty, price, fee=fee, n=number, strategy=strategy, symbol=symbol))
        by_hand[strategy, symbol] = by_hand.get((strategy, symbol), 0) + side.sign * qty
        assert books.imbalance() == 0
    assert books.quantities() == {pair: qty for pair, qty in sorted(by_hand.items()) if qty}
    told = books.close_session(1).breaches
    assert [breach for breach in told if not breach.startswith(("cash is", "a holds -", "b holds -"))] == []


@given(TRADES, st.integers(0, 40))
def test_restored_accounts_go_on_as_the_ones_they_were(
    trades: list[tuple[Side, int, str, str, str, str]], cut: int
) -> None:
    whole, part = accounts(audit_every=3), accounts(audit_every=3)
    for number, (side, qty, price, fee, strategy, symbol) in enumerate(trades):
        if number == cut:
            fresh = accounts(audit_every=3)
            fresh.restore(json.loads(json.dumps(part.state())))
            part = fresh
        one = fill(side, qty, price, fee=fee, n=number, strategy=strategy, symbol=symbol)
        assert part.book(one) == whole.book(one)
        assert part.close_session(number) == whole.close_session(number)
    assert part.state() == whole.state()


def test_ambient_decimal_context_changes_no_figure() -> None:
    trades = [
        fill(Side.BUY, 7, "33.333333", fee="0.233333"),
        fill(Side.SELL, 3, "35.123457", fee="0.105370", session=2),
    ]
    clean, polluted = accounts(audit_every=1), accounts(audit_every=1)
    expected = [(clean.book(one), valued(clean, session, 34.567891)) for session, one in enumerate(trades)]
    with localcontext(Context(prec=2, rounding=ROUND_CEILING, traps=[Inexact, Rounded, FloatOperation])):
        told = [
            (polluted.book(replace(one)), valued(polluted, session, 34.567891)) for session, one in enumerate(trades)
        ]
    assert told == expected

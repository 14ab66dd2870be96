"""Marked book: the profit of a position in a window is what its marks at both ends say, and windows add up to the whole."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.execution.marked import MarkedBook

SESSIONS = 30
price = st.floats(0.5, 500.0)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[float], dict[int, int]]:
    """Closes of every session, and the shares bought or sold in some, never more sold than held."""
    closes = draw(st.lists(price, min_size=SESSIONS, max_size=SESSIONS))
    orders: dict[int, int] = {}
    held = 0
    for session in sorted(draw(st.sets(st.integers(0, SESSIONS - 1), max_size=12))):
        orders[session] = draw(st.integers(-held, 50).filter(bool)) if held else draw(st.integers(1, 50))
        held += orders[session]
    return closes, orders


@given(histories(), st.sets(st.integers(1, SESSIONS - 1), max_size=5))
def test_marked_profit_over_adjacent_windows_adds_up_to_the_whole(
    history: tuple[list[float], dict[int, int]], cuts: set[int]
) -> None:
    closes, orders = history
    book = MarkedBook()
    for session, close in enumerate(closes):
        if session in orders:
            shares = orders[session]
            book.fill(session, "A", Decimal(shares), -shares * (close + 0.25) - 1.0)
        book.close(session, {"A": close})

    def close_at(_symbol: str, session: int) -> float:
        return closes[session]

    edges = [0, *sorted(cuts), SESSIONS]
    whole = sum(book.profits(0, SESSIONS - 1, close_at))
    parts = [sum(book.profits(first, after - 1, close_at)) for first, after in pairwise(edges)]
    assert sum(parts) == pytest.approx(whole, abs=1e-6)
    assert whole == pytest.approx(book.worth(0, SESSIONS - 1)[-1], abs=1e-6), "and that is what the curve says"
    for (first, after), part in zip(pairwise(edges), parts, strict=True):
        assert sum(book.daily(first, after - 1)) == pytest.approx(part, abs=1e-6)

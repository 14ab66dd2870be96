"""Jumps: what moves by more than a fifth is found, named after the split it looks like, and divided away where it is one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.market.adjust import RawBar, adjusted, factors
from quantum_trader.market.jumps import SPLITS, jumps, nearest_split, without_splits

START = datetime(2020, 1, 1, tzinfo=UTC)


def rows(closes: list[float], volume: float = 1_000.0) -> list[RawBar]:
    """Bars that open where they close."""
    return [
        RawBar(START + timedelta(days=day), close, close, close, close, volume, close)
        for day, close in enumerate(closes)
    ]


@given(st.lists(st.floats(0.85, 1.19), max_size=30))
def test_what_moves_by_less_than_a_fifth_is_no_jump(changes: list[float]) -> None:
    closes = list(accumulate(changes, lambda price, change: price * change, initial=100.0))
    assert list(jumps("X", rows(closes))) == []


@pytest.mark.parametrize("ratio", sorted(SPLITS))
def test_every_usual_split_is_known_by_its_name_and_divided_away(ratio: float) -> None:
    split = rows([100.0, 101.0, 101.0 / ratio * 1.02, 101.0 / ratio])
    (found,) = jumps("X", split)
    assert str(found).endswith(f"like a split of {SPLITS[ratio]}")
    bars, taken, left = without_splits("X", split)
    assert (taken, left) == ([found], [])
    assert list(jumps("X", bars)) == []
    made = [adjusted("X", n, bar, k) for n, (bar, k) in enumerate(zip(bars, factors(bars), strict=True))]
    assert made[0].close == pytest.approx(100.0 / ratio)
    assert made[0].volume == pytest.approx(1_000.0 * ratio)
    assert made[-1].close == pytest.approx(101.0 / ratio)


def test_several_splits_add_up() -> None:
    bars, taken, left = without_splits("X", rows([600.0, 300.0, 100.0]))
    assert (len(taken), left) == (2, [])
    assert [bar.adj_close for bar in bars] == pytest.approx([100.0, 100.0, 100.0])


@pytest.mark.parametrize("ratio", [1.3, 2.4, 70.0, 1000.0])
def test_what_no_usual_split_is_near_has_no_name(ratio: float) -> None:
    assert nearest_split(ratio) is None
    assert nearest_split(1 / ratio) is None


def test_what_a_vendor_adjusted_is_no_jump() -> None:
    vendor = [bar._replace(adj_close=adj) for bar, adj in zip(rows([100.0, 50.0]), (50.0, 50.0), strict=True)]
    assert list(jumps("X", vendor)) == []

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.market.adjust import RawBar, adjusted, bars_sha256, factors

START = datetime(2020, 1, 1, tzinfo=UTC)


def raw(day: int, close: float, adj_close: float, *, volume: float = 1_000.0) -> RawBar:
    return RawBar(START + timedelta(days=day), close, close * 1.01, close * 0.99, close, volume, adj_close)


def test_the_last_bar_is_the_anchor() -> None:
    assert factors([raw(0, 100.0, 20.0), raw(1, 50.0, 20.0)]) == [0.5, 1.0]


def test_no_rows_have_no_factors() -> None:
    assert factors([]) == []


def test_a_split_leaves_no_gap_and_keeps_turnover() -> None:
    before, after = raw(0, 100.0, 12.5, volume=1_001), raw(1, 50.0, 12.5, volume=2_002)
    k = factors([before, after])
    bars = [adjusted("X", i, row, k[i]) for i, row in enumerate((before, after))]
    assert [bar.close for bar in bars] == [50.0, 50.0]
    assert [bar.volume for bar in bars] == [2_002, 2_002]
    assert [bar.adj_factor for bar in bars] == [0.5, 1.0]


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_prices_have_twelve_significant_digits(scale: float) -> None:
    bar = adjusted("X", 0, raw(0, 100.0 * scale, 1.0), 1 / 3)
    assert bar.close == float(f"{100 * scale / 3:.11e}")
    assert bar.volume == 3_000


def test_a_volume_below_one_is_kept() -> None:
    assert adjusted("X", 0, raw(0, 100.0, 100.0, volume=0.41), 1.0).volume == 0.41


price = st.floats(0.5, 5_000.0).map(lambda x: round(x, 2))


@given(st.lists(st.tuples(price, price), min_size=2, max_size=30))
def test_adjustment_keeps_the_ratios_of_the_adjusted_closes(closes: list[tuple[float, float]]) -> None:
    rows = [raw(i, close, adj) for i, (close, adj) in enumerate(closes)]
    k = factors(rows)
    last = rows[-1]
    assert k[-1] == 1.0
    for row, factor in zip(rows, k, strict=True):
        assert row.close * factor / last.close == pytest.approx(row.adj_close / last.adj_close, rel=1e-12)


@given(st.floats(0.001, 1_000.0), price)
def test_adjustment_keeps_a_bar_coherent(k: float, close: float) -> None:
    bar = adjusted("X", 0, raw(0, close, close), k)
    assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


def test_the_fingerprint_is_of_lines_without_a_last_line_feed() -> None:
    bars = [adjusted("X", i, raw(i, 100.0 + i, 1.0), 1.0) for i in range(2)]
    text = "2020-01-01,100,101,99,100,1000\n2020-01-02,101,102.01,99.99,101,1000"
    assert bars_sha256(bars) == hashlib.sha256(text.encode()).hexdigest()
